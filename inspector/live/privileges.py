"""Which capabilities the process has, and which it lacks for the kernel path."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from inspector.errors import PrivilegeError

# linux/capability.h
_SYS_ADMIN: Final = 21
_NEEDED: Final = {"CAP_BPF": 39, "CAP_NET_ADMIN": 12, "CAP_PERFMON": 38}


def effective_capabilities() -> int:
    """Return the process's effective capabilities as a bit mask."""
    for line in Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines():
        if line.startswith("CapEff:"):
            return int(line.split()[1], 16)
    return 0


def missing_capabilities(*, namespace: bool = False, effective: int | None = None) -> list[str]:
    """Return the names of the capabilities which are needed and not held.

    CAP_SYS_ADMIN stands for CAP_BPF and CAP_PERFMON (capabilities(7)), not for CAP_NET_ADMIN; entering another
    network namespace needs CAP_SYS_ADMIN itself.
    """
    held = effective_capabilities() if effective is None else effective
    admin = bool(held >> _SYS_ADMIN & 1)
    missing = [name for name, bit in _NEEDED.items() if not (held >> bit & 1 or (admin and name != "CAP_NET_ADMIN"))]
    if namespace and not admin:
        missing.append("CAP_SYS_ADMIN")
    return missing


def require_capabilities(*, namespace: bool = False) -> None:
    """Raise PrivilegeError, naming what is missing."""
    missing = missing_capabilities(namespace=namespace)
    if missing:
        raise PrivilegeError(f"attaching needs {', '.join(missing)}: run it as root, or grant them")
