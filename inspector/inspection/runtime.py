"""The runtime directory: where running inspectors listen on UNIX sockets, and how others find and ask them.

An inspector's socket is `<process id>.sock`. It speaks HTTP, with the routes of the metrics server. It goes with
the inspector; after SIGKILL it stays, but nobody listens on it any more, which is how such a one is known.
"""

from __future__ import annotations

import contextlib
import fcntl
import http.client
import json
import os
import re
import socket
import stat
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from inspector.errors import ListenError, RunningError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

SYSTEM_DIRECTORY: Final = Path("/run/epm-inspector")

_NAME: Final = "epm-inspector"
_SOCKET: Final = re.compile(r"([0-9]+)\.sock")
_BACKLOG: Final = 16
_ANSWER_SECONDS: Final = 5.0
_LOCK_SECONDS: Final = 2.0
# An answer is read whole: no more of it than any route has.
_ANSWER_BYTES: Final = 64 << 20


def directories(environment: Mapping[str, str] = os.environ) -> list[Path]:
    """Return where inspectors may listen, the first choice first: systemd's word, the system's place, the user's."""
    # RuntimeDirectory= of a unit; several are joined by colons (systemd.exec(5)).
    named = [Path(one) for one in environment.get("RUNTIME_DIRECTORY", "").split(":") if one]
    users = environment.get("XDG_RUNTIME_DIR")
    return list(dict.fromkeys([*named, SYSTEM_DIRECTORY, *([Path(users) / _NAME] if users else [])]))


class LocalSocket:
    """A listening socket `<process id>.sock` in a runtime directory; the file is removed by `close`.

    Raises ListenError when it cannot be had. `socket` is to be served, and closed, by others.
    """

    def __init__(self, directory: Path) -> None:
        self.path = directory / f"{os.getpid()}.sock"
        # Who closes it need not be allowed to pass to the directory any more.
        self._directory: int | None = None
        try:
            _prepare(directory)
            self._directory = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            with _alone(directory):
                _sweep(directory)
                self.socket = _listen(self.path)
        except OSError as error:
            if self._directory is not None:
                os.close(self._directory)
            reason = error.strerror or str(error)
            raise ListenError(
                f"cannot listen on {self.path}: {reason}; choose another directory with --runtime-directory"
            ) from None

    def give_to(self, uid: int, gid: int) -> None:
        """Give the file to a user, and its directory where that is root's and holds nothing but such sockets.

        In another's directory the file may be another by now: it is left alone. Raises OSError.
        """
        directory = self._directory
        if directory is None:
            return
        status = os.fstat(directory)
        if status.st_uid == 0 and not status.st_mode & 0o022:
            os.chown(self.path.name, uid, gid, dir_fd=directory, follow_symlinks=False)
            with os.scandir(directory) as entries:
                if all(_SOCKET.fullmatch(entry.name) for entry in entries):
                    os.fchown(directory, uid, gid)

    @property
    def is_removable(self) -> bool:
        """Whether the user in effect may remove the file."""
        mode = os.W_OK | os.X_OK
        return self._directory is not None and os.access(".", mode, dir_fd=self._directory, effective_ids=True)

    def close(self) -> None:
        """Remove the file; doing it twice is harmless."""
        directory, self._directory = self._directory, None
        if directory is not None:
            with contextlib.suppress(OSError):
                os.unlink(self.path.name, dir_fd=directory)
            os.close(directory)


def open_local_socket(directory: Path | None = None) -> LocalSocket:
    """Return a socket in that directory, or in the first that can be used. Raises ListenError where none can."""
    if directory is not None:
        return LocalSocket(directory)
    refusals = []
    for candidate in directories():
        try:
            return LocalSocket(candidate)
        except ListenError as error:
            refusals.append(error)
    raise refusals[0]


def _prepare(directory: Path) -> None:
    """Make a directory that only its owner may enter; refuse one in which others may put what they like."""
    with contextlib.suppress(FileExistsError):
        directory.mkdir(mode=0o700)
    status = directory.stat()
    if not stat.S_ISDIR(status.st_mode):
        raise NotADirectoryError(None, f"{directory} is not a directory")
    if status.st_mode & 0o022:
        raise PermissionError(None, f"{directory} is writable by other users")
    if os.geteuid() not in (0, status.st_uid):
        raise PermissionError(None, f"{directory} belongs to another user")


@contextlib.contextmanager
def _alone(directory: Path) -> Iterator[None]:
    """Hold the lock which keeps others from taking a socket that does not listen yet for a stale one."""
    lock = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        deadline = time.monotonic() + _LOCK_SECONDS
        while True:
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            if time.monotonic() > deadline:
                raise BlockingIOError(None, f"another process holds the lock on {directory}")
            time.sleep(_LOCK_SECONDS / 100)
        yield
    finally:
        os.close(lock)


def _listen(path: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        # Linux gives the file the mode of the socket: there is no moment at which it has another.
        os.fchmod(listener.fileno(), 0o600)
        listener.bind(str(path))
        listener.listen(_BACKLOG)
    except BaseException:
        listener.close()
        raise
    return listener


def _is_stale(path: Path) -> bool:
    """Say whether nobody listens on a socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as channel:
        channel.settimeout(_ANSWER_SECONDS)
        try:
            channel.connect(str(path))
        except ConnectionRefusedError:
            return True
        except OSError:
            return False
    return False


def _sweep(directory: Path) -> list[Path]:
    """Remove the sockets of a directory on which nobody listens, as far as that is allowed; return the others."""
    living = []
    for path in directory.iterdir():
        if not (_SOCKET.fullmatch(path.name) and path.is_socket()):
            continue
        if not _is_stale(path):
            living.append(path)
            continue
        with contextlib.suppress(OSError):
            path.unlink()
    return living


@dataclass(frozen=True, slots=True)
class Running:
    """A running inspector, by its socket."""

    pid: int
    path: Path

    def ask(self, target: str, *, timeout_s: float = _ANSWER_SECONDS) -> bytes:
        """Return the body which a route answers with; raises RunningError when there is none in time."""
        connection = _Connection(self.path, timeout_s)
        try:
            connection.request("GET", target)
            response = connection.getresponse()
            body = response.read(_ANSWER_BYTES)
        except (OSError, http.client.HTTPException) as error:
            reason = "no answer" if isinstance(error, TimeoutError) else str(error) or type(error).__name__
            raise RunningError(f"the inspector with process id {self.pid} cannot be asked: {reason}") from error
        finally:
            connection.close()
        if response.status != http.HTTPStatus.OK:
            raise RunningError(f"the inspector with process id {self.pid} answers {response.status} to {target}")
        return body

    def ask_json(self, target: str, *, timeout_s: float = _ANSWER_SECONDS) -> Any:
        """Return the same, read as JSON."""
        try:
            return json.loads(self.ask(target, timeout_s=timeout_s))
        except ValueError as error:
            raise RunningError(f"the inspector with process id {self.pid} answers no JSON to {target}") from error


class _Connection(http.client.HTTPConnection):
    """HTTP over a UNIX socket."""

    def __init__(self, path: Path, timeout_s: float) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def find_running(directory: Path | None = None) -> tuple[list[Running], list[RunningError]]:
    """Return the inspectors which listen in that directory, or wherever they may, by process id; and what hid others.

    An error says which directory may not be looked into. Sockets of inspectors that were killed are removed.
    """
    found: dict[tuple[int, int], Running] = {}
    hidden = []
    for candidate in [directory] if directory is not None else directories():
        for folder in _folders(candidate):
            try:
                with _alone(folder):
                    # The same directory may have been named in two ways.
                    found |= {_identity(path): Running(int(path.stem), path) for path in _sweep(folder)}
            except FileNotFoundError:
                continue
            except OSError as error:
                advice = "run this command as root, or as the inspector's user"
                hidden.append(RunningError(f"{folder}: cannot be read: {error.strerror}; {advice}"))
    return sorted(found.values(), key=lambda one: (one.pid, one.path)), hidden


def _folders(directory: Path) -> list[Path]:
    """Return a directory and those in it which have sockets too: the instances of a systemd unit have one each."""
    inner = {path.parent for path in directory.glob("*/*.sock") if _SOCKET.fullmatch(path.name)}
    return [directory, *sorted(inner)]


def _identity(path: Path) -> tuple[int, int]:
    status = path.lstat()
    return status.st_dev, status.st_ino
