"""The runtime directory: sockets of the living and of the dead, rights, and what is said where it cannot be used."""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from inspector.errors import ListenError, RunningError
from inspector.http.http1 import Response
from inspector.http.server import MetricsServer
from inspector.inspection import runtime
from inspector.inspection.runtime import LocalSocket, Running, directories, find_running, open_local_socket
from tests.conftest import NOBODY, unavailable

if TYPE_CHECKING:
    from collections.abc import Iterator

HOLD_A_SOCKET = """
import sys, time
from pathlib import Path
from inspector.inspection.runtime import LocalSocket
held = LocalSocket(Path(sys.argv[1]))
print(held.path, flush=True)
time.sleep(60)
"""


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Return a runtime directory that does not exist yet."""
    return tmp_path / "run"


@pytest.fixture
def other(directory: Path) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """Return another process that holds a socket there, and the socket."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-c", HOLD_A_SOCKET, str(directory)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as child:
        assert child.stdout is not None
        try:
            yield child, Path(child.stdout.readline().strip())
        finally:
            child.kill()


def found(directory: Path) -> list[int]:
    """Return the process ids of the inspectors which are found there, nothing being hidden."""
    running, hidden = find_running(directory)
    assert hidden == []
    return [one.pid for one in running]


def test_a_socket_has_its_owners_rights_only(directory: Path) -> None:
    """Directory 0700 and socket 0600, whatever the umask says; closing removes the socket."""
    before = os.umask(0)
    try:
        local = LocalSocket(directory)
    finally:
        os.umask(before)
    with local.socket:
        assert local.path == directory / f"{os.getpid()}.sock"
        assert stat.S_IMODE(directory.stat().st_mode) == 0o700
        assert stat.S_IMODE(local.path.stat().st_mode) == 0o600
        assert found(directory) == [os.getpid()]
    local.close()
    local.close()
    assert list(directory.iterdir()) == []
    assert found(directory) == []


def test_the_socket_of_a_killed_one_is_removed_by_who_looks(
    directory: Path, other: tuple[subprocess.Popen[str], Path]
) -> None:
    """While it lives it is found; after SIGKILL the file is left, and goes with the next look."""
    child, path = other
    assert found(directory) == [child.pid]
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert path.is_socket()
    assert found(directory) == []
    assert not path.exists()


def test_the_socket_of_a_killed_one_is_removed_by_the_next(
    directory: Path, other: tuple[subprocess.Popen[str], Path]
) -> None:
    """An inspector which starts cleans up, and leaves the living alone, also one that hangs."""
    child, path = other
    child.send_signal(signal.SIGSTOP)
    local = LocalSocket(directory)
    assert path.is_socket()
    local.socket.close()
    child.send_signal(signal.SIGKILL)
    child.wait()
    # The first socket of this process is stale by now, and of the same name.
    local = LocalSocket(directory)
    with local.socket:
        assert [one.name for one in directory.iterdir()] == [local.path.name]


def test_other_files_are_left_alone(directory: Path) -> None:
    """Only sockets that are named as an inspector's are ours to remove."""
    directory.mkdir(mode=0o700)
    (directory / "1.sock").write_text("no socket")
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(directory / "other.sock"))
    assert found(directory) == []
    assert sorted(one.name for one in directory.iterdir()) == ["1.sock", "other.sock"]


def test_instances_of_a_unit_have_directories_of_their_own(directory: Path) -> None:
    """RuntimeDirectory=epm-inspector/%i: one level below is looked into as well."""
    directory.mkdir(mode=0o700)
    with LocalSocket(directory / "eth0").socket:
        assert found(directory) == [os.getpid()]
    assert found(directory) == []
    assert list((directory / "eth0").iterdir()) == []


def test_where_it_is() -> None:
    """The word of systemd comes first, then the system's place, then the user's; each once."""
    named = {"RUNTIME_DIRECTORY": "/run/a:/run/b", "XDG_RUNTIME_DIR": "/run/user/7"}
    assert directories(named) == [
        Path("/run/a"),
        Path("/run/b"),
        runtime.SYSTEM_DIRECTORY,
        Path("/run/user/7/epm-inspector"),
    ]
    assert directories({"RUNTIME_DIRECTORY": "/run/epm-inspector"}) == [Path("/run/epm-inspector")]
    assert directories({}) == [Path("/run/epm-inspector")]


def test_the_first_that_can_be_used_is_used(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that cannot be made is passed over; where none can, the first one's reason is given."""
    monkeypatch.setattr(runtime, "SYSTEM_DIRECTORY", Path("/proc/epm-inspector"))
    monkeypatch.setenv("RUNTIME_DIRECTORY", "/proc/first")
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    with pytest.raises(ListenError, match=r"^cannot listen on /proc/first/[0-9]+\.sock: [^\n]*--runtime-directory"):
        open_local_socket()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(directory.parent))
    local = open_local_socket()
    with local.socket:
        assert local.path.parent == directory.parent / "epm-inspector"


@pytest.mark.parametrize("mode", [0o777, 0o1777, 0o770])
def test_a_directory_in_which_others_may_write_is_refused(directory: Path, mode: int) -> None:
    """Others could put their own socket there."""
    directory.mkdir()
    directory.chmod(mode)
    with pytest.raises(ListenError, match="writable by other users"):
        LocalSocket(directory)
    assert list(directory.iterdir()) == []


def test_directories_that_cannot_be(tmp_path: Path) -> None:
    """A file in its place, a missing parent, a path longer than the address of a socket may be: one line each."""
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "none" / "run", tmp_path / ("x" * 120)):
        with pytest.raises(ListenError, match=f"^cannot listen on {path}/[0-9]+\\.sock: [^\n]+$"):
            LocalSocket(path)


def test_a_lock_that_is_held_is_not_waited_for_without_end(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody who holds the lock for good is named as the reason, on both sides."""
    monkeypatch.setattr(runtime, "_LOCK_SECONDS", 0.05)
    directory.mkdir(mode=0o700)
    lock = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(ListenError, match="another process holds the lock"):
            LocalSocket(directory)
        running, [hidden] = find_running(directory)
        assert running == []
        assert "another process holds the lock" in str(hidden)
    finally:
        os.close(lock)


def test_who_may_not_look_is_told(directory: Path) -> None:
    """Without the right to enter, nothing is said of what runs, and what to do is."""
    if os.geteuid() != 0:
        unavailable("root is needed to take its rights away")
    with LocalSocket(directory).socket:
        for parent in directory.parents:
            if parent.stat().st_uid == 0 and parent.name.startswith(("pytest", "test")):
                parent.chmod(0o755)
        os.seteuid(NOBODY)
        try:
            running, [hidden] = find_running(directory)
        finally:
            os.seteuid(0)
        assert running == []
        assert "Permission denied" in str(hidden)
        assert "as root" in str(hidden)


def test_questions_and_answers(directory: Path) -> None:
    """The server answers on the socket what it answers on its address; what is no answer is said in one line."""
    local = LocalSocket(directory)
    routes = {"/status": lambda: Response(200, b'{"a": 1}'), "/text": lambda: Response(200, b"{")}
    server = MetricsServer("127.0.0.1", 0, routes)
    server.add(local.socket)
    with server:
        [one], _ = find_running(directory)
        assert one == Running(os.getpid(), local.path)
        assert one.ask_json("/status") == {"a": 1}
        with pytest.raises(RunningError, match="answers 404 to /nowhere"):
            one.ask("/nowhere")
        with pytest.raises(RunningError, match="no JSON"):
            one.ask_json("/text")
    with pytest.raises(RunningError, match="cannot be asked: "):
        one.ask("/status")


def test_who_does_not_answer_is_not_waited_for(directory: Path) -> None:
    """A stopped inspector accepts nothing, and one that hangs says nothing: both end in time."""
    with LocalSocket(directory).socket:
        [one], _ = find_running(directory)
        with pytest.raises(RunningError, match="no answer"):
            one.ask("/status", timeout_s=0.1)


def test_many_start_at_once(directory: Path) -> None:
    """Whoever sweeps takes no socket away that was just made: many processes' worth of sweeping beside one start."""
    ends = threading.Event()

    def sweep() -> None:
        while not ends.is_set():
            find_running(directory)

    directory.mkdir(mode=0o700)
    threads = [threading.Thread(target=sweep) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(50):
            local = LocalSocket(directory)
            with local.socket:
                assert local.path.is_socket()
                assert found(directory) == [os.getpid()]
            local.close()
    finally:
        ends.set()
        for thread in threads:
            thread.join()
