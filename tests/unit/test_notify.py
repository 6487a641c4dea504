"""What the service manager is told, over a real datagram socket."""

from __future__ import annotations

import os
import socket
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from inspector import systemd
from inspector.systemd import Notifier

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


def test_watchdog_hears_twice_in_each_interval(manager: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    """However often the main loop says that it lives."""
    now = 1000.0
    monkeypatch.setattr(systemd, "time", SimpleNamespace(monotonic=lambda: now))
    notifier = Notifier(environment(manager, WATCHDOG_USEC="400000", WATCHDOG_PID=str(os.getpid())))
    times = []
    for _ in range(200):
        notifier.alive("running")
        if not is_silent(manager):
            times.append(now)
        now += 0.005
    assert times == pytest.approx([1000, 1000.2, 1000.4, 1000.6, 1000.8], abs=0.03)


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
    """Without a manager everything can be said, and nothing is opened for it."""
    before = os.listdir("/proc/self/fd")  # noqa: PTH208 - names, as they are
    notifier = Notifier({"NOTIFY_SOCKET": address})
    notifier.ready("")
    notifier.alive("")
    notifier.stopping()
    assert os.listdir("/proc/self/fd") == before  # noqa: PTH208
    notifier.close()


def test_a_manager_that_does_not_read_holds_nobody_up(manager: socket.socket) -> None:
    """With its buffer full each word is given up, and later ones are sent when there is room again."""
    notifier = Notifier(environment(manager))
    assert any(not notifier._send("x" * 4000) for _ in range(2000))
    notifier.alive("running")
    while not is_silent(manager):
        pass
    notifier.stopping()
    assert heard(manager) == ["STOPPING=1"]


def test_a_reload_that_could_not_be_told_is_told_later(manager: socket.socket) -> None:
    """A manager that was too slow to read `READY=1` would take the service for one that reloads for ever."""
    notifier = Notifier(environment(manager))
    while notifier._send("x" * 4000):
        pass
    notifier.reloading()
    notifier.ready("inspecting")
    while not is_silent(manager):
        pass
    notifier.alive("running")
    assert heard(manager) == ["READY=1", "STATUS=inspecting"]
    assert heard(manager) == ["STATUS=running"]
    notifier.alive("running")
    assert is_silent(manager)


def test_text_from_outside_is_no_other_notification(manager: socket.socket) -> None:
    """Whatever an interface is called: one line of printable text."""
    Notifier(environment(manager)).ready("inspecting e\udcff\x1b\u202e\nMAINPID=1")
    assert heard(manager) == ["READY=1", "STATUS=inspecting e\\udcff\\x1b\\u202e MAINPID=1"]
