"""Where compiled code is kept from one process to the next, and having it made before it is needed.

The folder is named after all sources that code is made of. This module loads no compiler.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib.util
import mmap
import os
import platform
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

    from inspector.machinecode import MachineCode

_NAME: Final = "epm-inspector"
_PACKAGE: Final = Path(__file__).parent
_MAKER: Final = "inspector.prepare"
# What has a part in compiled code without having any of its functions.
_PARTS: Final = ("layout.py", "compiled.py", "machinecode.py", "objectfile.py", "record.py", "rehearsal.py")

# Vendor, family, model and features in one line, on x86 and on ARM. A service may not see the same in /proc/cpuinfo.
_PROCESSOR: Final = Path("/sys/devices/system/cpu/modalias")

_making = False
_loaded: MachineCode | None = None


@functools.cache
def has_compiler() -> bool:
    """Return whether there can be compiled code: its integers are little-endian, like the rings of most machines."""
    return sys.byteorder == "little" and importlib.util.find_spec("numba") is not None and _may_make_code()


def _may_make_code() -> bool:
    """Return whether this process may execute what it wrote: SELinux and systemd's MemoryDenyWriteExecute forbid it."""
    try:
        mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC).close()
    except PermissionError:
        return False
    return True


def _folders() -> Iterator[Path]:
    """Yield where compiled code may be kept: what systemd gives, beside the sources, the user's cache."""
    if "CACHE_DIRECTORY" in os.environ:
        yield Path(os.environ["CACHE_DIRECTORY"].split(":")[0])
    yield _PACKAGE / "__pycache__"
    # An account need not have a home.
    with contextlib.suppress(RuntimeError):
        yield Path(os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()) / _NAME


def _fingerprint() -> str:
    """Return a name for what compiled code is made of: the compiler, and every file with something to compile."""
    digest = hashlib.sha256(version("numba").encode())
    for path in sorted(_PACKAGE.rglob("*.py")):
        text = path.read_bytes()
        if b"inspector.compiled import" in text or path.name in _PARTS:
            digest.update(text)
    return digest.hexdigest()[:16]


@functools.cache
def _places() -> tuple[Path, ...]:
    """Return the folders where this version's compiled code may be."""
    return tuple(parent / f"compiled-{_fingerprint()}" for parent in _folders())


def place_to_keep() -> Path | None:
    """Return a folder for this version's compiled code which can be written to, made if need be; None without one."""
    for path in _places():
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError:
            continue
        if os.access(path, os.W_OK):
            return path
    return None


def _processor() -> str:
    """Return what tells processors apart for which code is not the same, as far as the kernel says it.

    The environment may say another processor, to us as to numba (NUMBA_CPU_NAME).
    """
    if "NUMBA_CPU_NAME" in os.environ:
        return f"{platform.machine()} {os.environ['NUMBA_CPU_NAME']} {os.environ.get('NUMBA_CPU_FEATURES')}"
    try:
        return platform.machine() + _PROCESSOR.read_text(encoding="ascii")
    except OSError:
        return platform.machine()


def names_in(folder: Path) -> tuple[Path, Path]:
    """Return where in a folder the object file for this processor is, and the table of its functions."""
    name = hashlib.sha256(_processor().encode()).hexdigest()[:16]
    return folder / f"{name}.o", folder / f"{name}.json"


def _kept() -> tuple[Path, Path] | None:
    return next((names for folder in _places() for names in [names_in(folder)] if names[1].exists()), None)


def is_kept() -> bool:
    """Return whether there is compiled code for this version and processor."""
    return _kept() is not None


def load() -> MachineCode | None:
    """Load the compiled code; None where none is kept that can be read, or it is being made here."""
    global _loaded
    names = _kept()
    if _loaded is None and names is not None and not _making and has_compiler():
        from inspector import machinecode

        with contextlib.suppress(OSError, ValueError):
            _loaded = machinecode.load(*names)
    return _loaded


def begin_to_make() -> None:
    """Have functions compiled in this process from now on, whatever is kept."""
    global _making
    _making = True


def forget_others(kept: Path) -> None:
    """Remove what other versions have left beside a folder."""
    for other in kept.parent.glob("compiled-*"):
        if other != kept:
            shutil.rmtree(other, ignore_errors=True)


def complete() -> None:
    """Have everything compiled, if it can be kept: some seconds, once for each version, in a process of its own."""
    if not _making and not is_kept() and has_compiler() and place_to_keep() is not None:
        subprocess.run([sys.executable, "-m", _MAKER], check=False)  # noqa: S603 - our own module
