"""Capabilities (capabilities(7)): which the kernel path needs, and giving up all that is not needed any more.

Measured on Linux 6.1, 6.12 and 6.18 with kernel.unprivileged_bpf_disabled=2: making maps asks for CAP_BPF, loading for
CAP_NET_ADMIN too, and the verifier for CAP_PERFMON. After that a descriptor is enough to read and write maps, and to
attach a loaded program by a link. CAP_NET_ADMIN is asked for by tc filters, where the kernel has no tcx, and by the
question what is on a tcx hook; entering another network namespace asks for CAP_SYS_ADMIN.
"""

from __future__ import annotations

import contextlib
import ctypes
import enum
import errno
import os
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Final

from inspector.errors import PrivilegeError

_LIBC: Final = ctypes.CDLL(None, use_errno=True)
_STATUS: Final = Path("/proc/self/status")
_THREADS: Final = Path("/proc/self/task")

# linux/prctl.h
_SET_PDEATHSIG: Final = 1
_GET_PDEATHSIG: Final = 2
_SET_KEEPCAPS: Final = 8
_CAPBSET_READ: Final = 23
_CAPBSET_DROP: Final = 24
_SET_NO_NEW_PRIVS: Final = 38
_CAP_AMBIENT: Final = 47
_CAP_AMBIENT_CLEAR_ALL: Final = 4
# linux/capability.h: _LINUX_CAPABILITY_VERSION_3, in which sets are of two words.
_VERSION: Final = 0x20080522


class Capability(enum.IntEnum):
    """The capabilities which are of interest here, by their numbers (linux/capability.h)."""

    CAP_SETPCAP = 8
    CAP_NET_ADMIN = 12
    CAP_SYS_ADMIN = 21
    CAP_PERFMON = 38
    CAP_BPF = 39


_NEEDED: Final = (Capability.CAP_BPF, Capability.CAP_NET_ADMIN, Capability.CAP_PERFMON)


class _Header(ctypes.Structure):
    _fields_ = [("version", ctypes.c_uint32), ("pid", ctypes.c_int)]


class _Sets(ctypes.Structure):
    _fields_ = [("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32), ("inheritable", ctypes.c_uint32)]


def effective_capabilities() -> int:
    """Return the process's effective capabilities as a bit mask."""
    return _mask("CapEff:")


def _mask(name: str) -> int:
    for line in _STATUS.read_text(encoding="ascii", errors="replace").splitlines():
        if line.startswith(name):
            return int(line.split()[1], 16)
    return 0


def missing_capabilities(*, namespace: bool = False, effective: int | None = None) -> list[str]:
    """Return the names of the capabilities which are needed and not held.

    CAP_SYS_ADMIN stands for CAP_BPF and CAP_PERFMON (capabilities(7)), not for CAP_NET_ADMIN; entering another
    network namespace needs CAP_SYS_ADMIN itself.
    """
    held = effective_capabilities() if effective is None else effective
    admin = bool(held >> Capability.CAP_SYS_ADMIN & 1)
    missing = [one.name for one in _NEEDED if not (held >> one & 1 or (admin and one != Capability.CAP_NET_ADMIN))]
    if namespace and not admin:
        missing.append(Capability.CAP_SYS_ADMIN.name)
    return missing


def require_capabilities(*, namespace: bool = False) -> None:
    """Raise PrivilegeError, naming what is missing."""
    missing = missing_capabilities(namespace=namespace)
    if missing:
        raise PrivilegeError(f"attaching needs {', '.join(missing)}: run as root, or grant them")


def is_allowed_without_capabilities(action: Callable[[], object]) -> bool:
    """Try an action with no capability in effect; say whether the kernel lets it happen. Other errors are raised."""
    effective, permitted = effective_capabilities(), _mask("CapPrm:")
    _set_capabilities(0, permitted)
    try:
        action()
    except PermissionError:
        return False
    finally:
        _set_capabilities(effective, permitted)
    return True


def drop_capabilities(keep: Collection[Capability]) -> int:
    """Give up, for good, every capability which is not among `keep`; return how many threads still have theirs.

    That is for the calling thread and those that it will start, since capabilities are a thread's own: it is to be
    done while there are no others. They go from all five sets (from the bounding set where CAP_SETPCAP is held), and
    programs that are executed from now on gain none. Raises PrivilegeError when the kernel refuses.
    """
    held = sum(1 << one for one in keep) & _mask("CapPrm:")
    try:
        _prctl(_CAP_AMBIENT, _CAP_AMBIENT_CLEAR_ALL)
        if effective_capabilities() >> Capability.CAP_SETPCAP & 1:
            _shrink_bounding_set(held)
        _set_capabilities(held, held)
        _prctl(_SET_NO_NEW_PRIVS, 1)
    except OSError as error:
        raise PrivilegeError(f"capabilities cannot be dropped: {error.strerror}") from error
    return len(list(_THREADS.iterdir())) - 1


@contextlib.contextmanager
def keep_capabilities() -> Iterator[None]:
    """Keep the calling thread's permitted capabilities through a change of its user within the block, all in effect.

    Without it they go with the last user id 0 (capabilities(7)). Raises OSError.
    """
    permitted = _mask("CapPrm:")
    _prctl(_SET_KEEPCAPS, 1)
    try:
        yield
        _set_capabilities(permitted, permitted)
    finally:
        _prctl(_SET_KEEPCAPS, 0)


@contextlib.contextmanager
def keep_parent_death_signal() -> Iterator[None]:
    """Keep the signal which the calling thread gets when its parent ends: a change of the user clears it (prctl(2))."""
    number = ctypes.c_int()
    if _LIBC.prctl(_GET_PDEATHSIG, ctypes.byref(number)) < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    parent = os.getppid()
    try:
        yield
    finally:
        _prctl(_SET_PDEATHSIG, number.value)
        if number.value and os.getppid() != parent:
            # It ended between the change and now.
            os.kill(os.getpid(), number.value)


def _shrink_bounding_set(keep: int) -> None:
    for number in range(64):
        try:
            held = _prctl(_CAPBSET_READ, number)
        except OSError as error:
            # Behind the last one that the kernel knows.
            if error.errno != errno.EINVAL:
                raise
            return
        if held and not keep >> number & 1:
            _prctl(_CAPBSET_DROP, number)


def _prctl(option: int, argument: int) -> int:
    result: int = _LIBC.prctl(option, ctypes.c_ulong(argument), ctypes.c_ulong(0), ctypes.c_ulong(0), ctypes.c_ulong(0))
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def _set_capabilities(effective: int, permitted: int) -> None:
    """Set the calling thread's sets (capset(2)); the inheritable one is emptied."""
    word = 0xFFFFFFFF
    sets = (_Sets * 2)(
        _Sets(effective & word, permitted & word, 0),
        _Sets(effective >> 32, permitted >> 32, 0),
    )
    if _LIBC.capset(ctypes.byref(_Header(_VERSION, 0)), sets) < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
