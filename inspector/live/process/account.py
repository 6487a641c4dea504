"""The account (user and group, credentials(7)) with which an inspection goes on once root has attached it.

Without capabilities the user 0 still owns /etc and most files of a system. An account of its own owns only what it is
given. Changing it keeps the permitted capabilities of the calling thread (PR_SET_KEEPCAPS, capabilities(7)); glibc
makes the change in every thread of the process (nptl(7)), where the capabilities go.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from inspector.errors import PrivilegeError
from inspector.live.process.capabilities import keep_capabilities, keep_parent_death_signal

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

DEFAULT_NAMES: Final = ("epm-inspector", "nobody")


@dataclass(frozen=True, slots=True)
class Account:
    """A user of the system with the group of its entry in the user database (passwd(5))."""

    name: str
    uid: int
    gid: int


def find_account(name: str) -> Account:
    """Return the account of that name; PrivilegeError where there is none."""
    try:
        entry = pwd.getpwnam(name)
    except (KeyError, ValueError):
        raise PrivilegeError(f"user {name!r}: no such account ('getent passwd' shows them)") from None
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)


def find_default_account() -> Account | None:
    """Return the first of DEFAULT_NAMES which exists and is not root's; None without one."""
    for name in DEFAULT_NAMES:
        with contextlib.suppress(PrivilegeError):
            account = find_account(name)
            if account.uid:
                return account
    return None


def why_not(account: Account) -> str:
    """Return what keeps root from going on as that account: no right to change, or unreadable code; empty: nothing."""
    try:
        with acting_as(account):
            folders = {Path(file).parent for file in map(_file_of, list(sys.modules.values())) if file}
            closed = [folder for folder in sorted(folders) if not _may(folder, os.R_OK | os.X_OK)]
    except OSError as error:
        return f"the kernel refuses the change: {error.strerror}; check CAP_SETUID, CAP_SETGID and user namespaces"
    return f"the account cannot read the program's folder {closed[0]}" if closed else ""


def _file_of(module: object) -> str | None:
    file = getattr(module, "__file__", None)
    return file if isinstance(file, str) and Path(file).is_absolute() else None


@contextlib.contextmanager
def acting_as(account: Account) -> Iterator[None]:
    """Access files as that account, in all threads of the process, for the time of the context.

    Raises OSError where the kernel refuses.
    """
    groups, gid, uid = os.getgroups(), os.getegid(), os.geteuid()
    with keep_parent_death_signal():
        try:
            os.initgroups(account.name, account.gid)
            os.setegid(account.gid)
            os.seteuid(account.uid)
            yield
        finally:
            os.seteuid(uid)
            os.setegid(gid)
            # Without the right to set groups they are still the old ones.
            with contextlib.suppress(PermissionError):
                os.setgroups(groups)


def may_read(account: Account, paths: Iterable[Path]) -> dict[Path, bool]:
    """Return for each path whether the account may read it. Raises OSError."""
    with acting_as(account):
        return {path: _may(path, os.R_OK) for path in paths}


def may_append(account: Account, path: Path) -> bool:
    """Return whether the account may write to a file, and make it again after a rotation. Raises OSError."""
    with acting_as(account):
        return _may(path.parent, os.W_OK | os.X_OK) and (_may(path, os.W_OK) or not path.exists())


def _may(path: Path, mode: int) -> bool:
    return os.access(path, mode, effective_ids=True)


def make_folder(account: Account, path: Path, mode: int) -> None:
    """Make a folder which belongs to the account; one that exists is left as it is. Raises OSError."""
    try:
        path.mkdir(mode)
    except FileExistsError:
        return
    # By descriptor: who may write to the folder above can put another file there meanwhile, but no link to a folder.
    _give(account, os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC))


def make_file(account: Account, path: Path, mode: int) -> None:
    """Make an empty file which belongs to the account; one that exists is left as it is. Raises OSError."""
    with contextlib.suppress(FileExistsError):
        _give(account, os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode))


def _give(account: Account, descriptor: int) -> None:
    try:
        os.fchown(descriptor, account.uid, account.gid)
    finally:
        os.close(descriptor)


def change_to(account: Account) -> None:
    """Become that account for good, with its groups; the calling thread keeps its capabilities, other threads none.

    Raises PrivilegeError where the kernel refuses.
    """
    try:
        with keep_parent_death_signal(), keep_capabilities():
            os.initgroups(account.name, account.gid)
            os.setresgid(account.gid, account.gid, account.gid)
            os.setresuid(account.uid, account.uid, account.uid)
    except OSError as error:
        raise PrivilegeError(f"user {account.name}: the kernel refuses the change: {error.strerror}") from error
