"""Who owns which laboratory, and the removal of what a killed one left behind.

Every laboratory has a folder in /run, locked (flock) for as long as its owner lives: the kernel
lets go of the lock even when the owner is killed, so an unlocked folder is an abandoned laboratory.
The folder is made before the first namespace and removed after the last one.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pyroute2 import netns

from inspector.errors import LaboratoryError
from inspector.lab.topology import HOSTS

if TYPE_CHECKING:
    from collections.abc import Iterator

STATE: Final = Path("/run/epm-inspector")
_NAMED: Final = Path("/run/netns")
_TRAVERSED: Final = 0o711
_FOLDER_PREFIX: Final = "lab-"
_PATIENCE_SECONDS: Final = 5.0


def namespace_names(owner: int) -> dict[str, str]:
    """Return the namespace name of each host of the laboratory which the process `owner` built."""
    return {host: f"epm-{owner}-{host}" for host in HOSTS}


def claim() -> tuple[Path, int]:
    """Remove abandoned laboratories, then return a new folder for this process and the descriptor that locks it.

    Close the descriptor to give the claim up. Raises LaboratoryError when this process has a laboratory already.
    """
    STATE.mkdir(parents=True, exist_ok=True)
    # The inspector goes on as another account, which reads its configuration there again at SIGHUP.
    STATE.chmod(STATE.stat().st_mode | _TRAVERSED)
    with _alone():
        _sweep()
        folder = STATE / f"{_FOLDER_PREFIX}{os.getpid()}"
        try:
            folder.mkdir(mode=_TRAVERSED)
        except FileExistsError as error:
            raise LaboratoryError("this process has a laboratory already: one at a time") from error
        lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        fcntl.flock(lock, fcntl.LOCK_EX)
        return folder, lock


def remove(owner: int) -> None:
    """Remove the laboratory of a process: the processes inside, the namespaces, the folder. Missing parts are fine."""
    names = namespace_names(owner).values()
    with _uninterrupted():
        _end_processes({_NAMED / name for name in names})
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                netns.remove(name)
        shutil.rmtree(STATE / f"{_FOLDER_PREFIX}{owner}", ignore_errors=True)


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """Hold the lock that keeps two starting laboratories from removing each other's unlocked folder."""
    with (STATE / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def _uninterrupted() -> Iterator[None]:
    """Hold back Ctrl-C and its like for as long as a removal takes: an impatient second one comes often."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM, signal.SIGHUP})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _sweep() -> None:
    for folder in STATE.glob(f"{_FOLDER_PREFIX}*"):
        owner = folder.name.removeprefix(_FOLDER_PREFIX)
        if owner.isdigit() and _is_abandoned(folder):
            remove(int(owner))


def _is_abandoned(folder: Path) -> bool:
    lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    else:
        return True
    finally:
        os.close(lock)


def _end_processes(namespaces: set[Path]) -> None:
    """Kill every process inside these namespaces and wait until none is left (zombies are in no namespace)."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    identities = {(status.st_dev, status.st_ino) for path in namespaces if (status := _status(path))}
    while sum(_kill_if_inside(process, identities) for process in Path("/proc").iterdir() if process.name.isdigit()):
        if time.monotonic() > deadline:
            raise LaboratoryError("a process inside the laboratory's namespaces cannot be ended")
        time.sleep(0.02)


def _kill_if_inside(process: Path, identities: set[tuple[int, int]]) -> bool:
    try:
        handle = os.pidfd_open(int(process.name))
    except OSError:
        return False
    try:
        # Looked at only once the handle is had: a process number may be given to another process meanwhile.
        status = _status(process / "ns" / "net")
        if status is None or (status.st_dev, status.st_ino) not in identities:
            return False
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(handle, signal.SIGKILL)
        return True
    finally:
        os.close(handle)


def _status(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except OSError:
        return None
