"""What the service manager is told, over a real datagram socket; and lines with the journal's priorities."""

from __future__ import annotations

import itertools
import os
import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from inspector import notify
from inspector.notify import Notifier

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    """Listen as a service manager does."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "notify"))
        listening.settimeout(5)
        yield listening


def environment(manager: socket.socket, **more: str) -> dict[str, str]:
    """Return what a manager puts into a service's environment."""
    return {"NOTIFY_SOCKET": manager.getsockname(), **more}


def heard(manager: socket.socket) -> list[str]:
    """Return the lines of the next notification."""
    return manager.recv(4096).decode().splitlines()


def is_silent(manager: socket.socket) -> bool:
    """Say whether nothing waits to be heard."""
    manager.setblocking(False)
    try:
        manager.recv(4096)
    except BlockingIOError:
        return True
    finally:
        manager.settimeout(5)
    return False


def test_from_ready_to_stopping(manager: socket.socket) -> None:
    """Each word as systemd knows it; a status is one line, whatever is in it."""
    notifier = Notifier(environment(manager))
    notifier.ready("attached\nREADY=0")
    assert heard(manager) == ["READY=1", "STATUS=attached READY=0"]
    before = time.monotonic_ns() // 1000
    notifier.reloading()
    word, since = heard(manager)
    assert word == "RELOADING=1"
    assert before <= int(since.removeprefix("MONOTONIC_USEC=")) <= time.monotonic_ns() // 1000
    notifier.stopping()
    assert heard(manager) == ["STOPPING=1"]
    notifier.close()


def test_watchdog_hears_twice_in_each_interval(manager: socket.socket) -> None:
    """However often the main loop says that it lives."""
    notifier = Notifier(environment(manager, WATCHDOG_USEC="400000", WATCHDOG_PID=str(os.getpid())))
    times = []
    deadline = time.monotonic() + 1
    while time.monotonic() < deadline:
        notifier.alive("running")
        if not is_silent(manager):
            times.append(time.monotonic())
        time.sleep(0.005)
    assert 4 <= len(times) <= 6
    assert max(later - earlier for earlier, later in itertools.pairwise(times)) < 0.4


@pytest.mark.parametrize("more", [{}, {"WATCHDOG_USEC": "400000", "WATCHDOG_PID": "1"}, {"WATCHDOG_USEC": "soon"}])
def test_no_watchdog(manager: socket.socket, more: dict[str, str]) -> None:
    """Where there is none, or it is another process's, only the status is sent, and not each time."""
    notifier = Notifier(environment(manager, **more))
    for _ in range(100):
        notifier.alive("running")
    assert heard(manager) == ["STATUS=running"]
    assert is_silent(manager)


def test_abstract_socket() -> None:
    """An address that begins with @ is no file."""
    name = f"epm-inspector-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(f"\0{name}")
        listening.settimeout(5)
        Notifier({"NOTIFY_SOCKET": f"@{name}"}).ready("")
        assert heard(listening) == ["READY=1", "STATUS="]


@pytest.mark.parametrize("address", ["", "/nowhere/notify", "vsock:2:1234", "relative"])
def test_nobody_to_tell(address: str) -> None:
    """Without a manager everything can be said, and nothing happens."""
    notifier = Notifier({"NOTIFY_SOCKET": address})
    notifier.ready("")
    notifier.alive("")
    notifier.stopping()
    notifier.close()


def test_a_manager_that_does_not_read_holds_nobody_up(manager: socket.socket) -> None:
    """With its buffer full each word is given up soon."""
    notifier = Notifier(environment(manager))
    began = time.monotonic()
    for _ in range(2000):
        notifier._send("x" * 4000)
        if time.monotonic() - began > 1:
            break
    began = time.monotonic()
    notifier.alive("running")
    assert time.monotonic() - began < 1


def written(journal_stream: str | None, target: Path) -> str:
    """Return what `say` writes in a process whose standard error is a file, and maybe the journal."""
    with target.open("wb") as errors:
        status = os.fstat(errors.fileno())
        variables = dict(os.environ)
        if journal_stream is not None:
            variables["JOURNAL_STREAM"] = journal_stream.format(status=status)
        subprocess.run(
            [sys.executable, "-c", "from inspector.notify import *; say('one\\ntwo', Priority.WARNING)"],
            env=variables,
            stderr=errors,
            check=True,
        )
    return target.read_text()


def test_priorities_are_for_the_journal_only(tmp_path: Path) -> None:
    """Each line has its priority where standard error is the journal's stream, and no line has it elsewhere."""
    assert written("{status.st_dev}:{status.st_ino}", tmp_path / "a") == "<4>one\n<4>two\n"
    assert written("{status.st_dev}:1", tmp_path / "b") == "one\ntwo\n"
    assert written(None, tmp_path / "c") == "one\ntwo\n"


def test_closed_standard_error_is_no_journal() -> None:
    """A descriptor that is not open goes nowhere."""
    assert not notify.is_journal(987)


def test_standard_error_that_was_taken_away_ends_nothing() -> None:
    """As when a terminal has gone: what is said goes nowhere."""
    script = (
        "from inspector.notify import *; import os; os.close(2); os.open('/dev/full', os.O_WRONLY); say('x'); print(1)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.stdout == "1\n"
