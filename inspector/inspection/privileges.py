"""What an inspection still needs once it is attached, by right and by account; all else is given up."""

from __future__ import annotations

import contextlib
import logging
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from inspector.errors import OutputError, PrivilegeError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from inspector.config import Config
    from inspector.inspection.runtime import LocalSocket
    from inspector.live.process.account import Account
    from inspector.live.session import Session

ROOT: Final = "root"

_FOLDER_MODE: Final = 0o750
_FILE_MODE: Final = 0o640

_LOG: Final = logging.getLogger(__name__)


def choose_account(wanted: str | None) -> Account | None:
    """Return the account to go on with; None where the process keeps its own: it is not root's, or is to stay.

    Raises PrivilegeError where the account that is wanted cannot be had. Without the default one root stays, and a
    line says why.
    """
    from inspector.live.process import account as accounts

    if wanted is None:
        account = accounts.find_default_account() if os.geteuid() == 0 else None
        if os.geteuid() == 0 and account is None:
            _warn_of_root(f"none of the accounts {', '.join(accounts.DEFAULT_NAMES)} exists")
    else:
        account = accounts.find_account(wanted)
    if account is None or account.uid == os.geteuid():
        return None
    if os.geteuid() != 0:
        raise PrivilegeError(f"user {account.name}: only root can change to another account")
    obstacle = accounts.why_not(account)
    if not obstacle:
        return account
    if wanted is not None:
        raise PrivilegeError(f"user {account.name}: {obstacle}")
    _warn_of_root(f"{account.name}: {obstacle}")
    return None


def _warn_of_root(reason: str) -> None:
    _LOG.warning("still running as %s, which may write the system's files: %s; see --user", ROOT, reason)


@dataclass(frozen=True, slots=True)
class Files:
    """The files which an inspection opens again, or makes, while it runs."""

    config: Path | None
    tls: tuple[Path, ...]
    findings: Path | None
    evidence: Path | None
    capture: Path | None

    @classmethod
    def of(cls, config: Config, config_file: Path | None, capture: Path | None) -> Files:
        """Return those which the configuration and the command line name."""
        tls = (config.tls_certificate, config.tls_key, config.tls_client_ca)
        named = tuple(path for path in tls if path is not None)
        return cls(config_file, named, config.findings_file, config.evidence.directory, capture)

    def make(self, account: Account) -> None:
        """Make, as root, the folders and files which do not exist, for the account; who opens them reports errors."""
        from inspector.live.process.account import make_file, make_folder

        with contextlib.suppress(OSError):
            if self.evidence is not None:
                self.evidence.parent.mkdir(parents=True, exist_ok=True)
                make_folder(account, self.evidence, _FOLDER_MODE)
        with contextlib.suppress(OSError):
            if self.findings is not None:
                make_folder(account, self.findings.parent, _FOLDER_MODE)
                make_file(account, self.findings, _FILE_MODE)
        with contextlib.suppress(OSError):
            if self.capture is not None:
                make_file(account, self.capture, _FILE_MODE)

    def limits(self, account: Account) -> Iterator[str]:
        """Yield what the account may not do with them, in words. Raises OSError."""
        from inspector.live.process.account import may_append, may_read

        readable = may_read(account, [*self.tls, *([self.config] if self.config is not None else [])])
        for path in self.tls:
            if not readable[path]:
                yield f"read {path} when it is renewed (a restart will)"
        if self.config is not None and not readable[self.config]:
            yield f"read {self.config} at SIGHUP (the current configuration is kept)"
        if self.findings is not None and not may_append(account, self.findings):
            yield f"make {self.findings} again after a rotation or SIGHUP (findings are lost then, and counted)"
        if self.capture is not None and not may_append(account, self.capture):
            yield f"rotate {self.capture} when it is full or at SIGHUP (packets are lost then, and counted)"


def hand_over(account: Account, files: Files, local: LocalSocket | None) -> str:
    """Give the local socket to the account; return what it will not be able to do, as a line, or an empty string."""
    from inspector.live.process.account import acting_as

    try:
        limits = list(files.limits(account))
        if local is not None:
            local.give_to(account.uid, account.gid)
            with acting_as(account):
                is_removable = local.is_removable
            if not is_removable:
                limits.append(f"remove {local.path} at the end (the next start does)")
    except OSError as error:
        raise PrivilegeError(f"user {account.name}: the kernel refuses the change: {error.strerror}") from error
    if not limits:
        return ""
    return f"user {account.name} may not: {'; '.join(limits)}. Give it the right, or use --user {ROOT}"


@contextlib.contextmanager
def naming(account: Account | None) -> Iterator[None]:
    """Name the account in an OutputError of the block: its rights may be the reason."""
    try:
        yield
    except OutputError as error:
        if account is None:
            raise
        raise OutputError(f"{error} (as user {account.name}: give it the folder, or use --user {ROOT})") from error


def give_up_privileges(session: Session, account: Account | None, *, netns: bool, everything: bool) -> None:
    """Change to the account, and drop all capabilities but those which attaching again may ask for.

    With `everything` those too. What reading and detaching ask for is kept in any case: filters, and the namespace
    that they are in, outlive the process. To be called before a thread is started. Raises PrivilegeError.
    """
    from inspector.live.process.account import change_to
    from inspector.live.process.capabilities import Capability, drop_capabilities, is_allowed_without_capabilities

    to_attach = {Capability.CAP_NET_ADMIN} | ({Capability.CAP_SYS_ADMIN} if netns else set())
    keep = set() if everything else set(to_attach)
    if any(attachment.mode == "clsact" for attachment in session.attachments):
        keep |= to_attach
        if everything:
            names = ", ".join(sorted(capability.name for capability in to_attach))
            _LOG.warning("--drop-all: keeping %s, which is needed to remove tc filters on exit", names)
    # Linux before 5.19 asks for more.
    if not is_allowed_without_capabilities(session.counters):
        keep.add(Capability.CAP_BPF)
    if account is not None:
        change_to(account)
    threads = drop_capabilities(keep)
    # A change of the user takes them from other threads.
    if threads and account is None:
        _LOG.warning("%d threads of libraries still hold capabilities", threads)
