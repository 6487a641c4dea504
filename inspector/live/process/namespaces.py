"""Network namespaces: run a block of code inside a named one."""

from __future__ import annotations

import contextlib
import ctypes
import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

from inspector.errors import LiveError, NoSuchNamespaceError, PrivilegeError

if TYPE_CHECKING:
    from collections.abc import Iterator

_LIBC: Final = ctypes.CDLL(None, use_errno=True)
_NAMED: Final = Path("/run/netns")
_CLONE_NEWNET: Final = 0x40000000


def _enter(fd: int) -> None:
    # os.setns came with Python 3.12 only.
    if _LIBC.setns(fd, _CLONE_NEWNET) < 0:
        errno = ctypes.get_errno()
        raise OSError(errno, os.strerror(errno))


@contextlib.contextmanager
def inside(netns: str | None) -> Iterator[None]:
    """Move the calling thread into the network namespace of that name (`ip netns`), and back afterwards.

    None stays where it is. Sockets and links made inside belong to the namespace for good.
    Raises NoSuchNamespaceError where there is none, another LiveError where it cannot be entered (PrivilegeError: where
    that is not allowed).
    """
    if netns is None:
        yield
        return
    with contextlib.ExitStack() as stack:
        home = stack.enter_context(Path("/proc/thread-self/ns/net").open("rb"))
        try:
            there = stack.enter_context((_NAMED / netns).open("rb"))
        except OSError as error:
            raise NoSuchNamespaceError(
                f"no network namespace is named {netns!r} ('ip netns list' shows them)"
            ) from error
        try:
            _enter(there.fileno())
        except PermissionError as error:
            raise PrivilegeError(f"entering the network namespace {netns!r} needs CAP_SYS_ADMIN") from error
        except OSError as error:
            raise LiveError(f"{netns!r} cannot be entered as a network namespace: {error.strerror}") from error
        try:
            yield
        finally:
            _enter(home.fileno())
