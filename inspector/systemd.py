"""What a service tells its manager: notifications of sd_notify(3).

A notification is one datagram of `NAME=VALUE` lines to the socket that $NOTIFY_SOCKET names. Where there is no such
variable nobody asked, and nothing is sent.
"""

from __future__ import annotations

import os
import socket
import time
from typing import TYPE_CHECKING, Final

from inspector.escape import harmless

if TYPE_CHECKING:
    from collections.abc import Mapping

# A manager that does not read must not stop the inspection.
_PATIENCE_S: Final = 0.2
_STATUS_INTERVAL_S: Final = 10.0


class Notifier:
    """Tells the service manager how the inspection stands, if there is one; never raises, never waits for long."""

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        self._socket = _connect(environment.get("NOTIFY_SOCKET", ""))
        self._interval_s = _watchdog_interval_s(environment)
        self._alive_due = 0.0
        self._status_due = 0.0
        self._owed: tuple[str, ...] = ()

    def ready(self, status: str) -> None:
        """Say that the inspection runs: after the beginning, and after a reloading.

        A manager that does not hear of it takes the service for one that is still reloading, and `systemctl reload`
        never ends: so `alive` says it again until it is sent.
        """
        lines = ("READY=1", f"STATUS={status}")
        self._owed = () if self._send(*lines) else lines

    def reloading(self) -> None:
        """Say that the configuration is being read again; `ready` says when that is done."""
        self._send("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        """Say that the inspection ends."""
        self._send("STOPPING=1")

    def alive(self, status: str) -> None:
        """Say that all goes on: for the main loop, as often as it likes.

        The watchdog hears of it twice in each of its intervals, and of `status` every ten seconds.
        """
        now = time.monotonic()
        lines: list[str] = []
        if self._interval_s is not None and now >= self._alive_due:
            self._alive_due = now + self._interval_s / 2
            lines.append("WATCHDOG=1")
        if now >= self._status_due:
            self._status_due = now + _STATUS_INTERVAL_S
            lines.append(f"STATUS={status}")
        if self._owed and lines and self._send(*self._owed):
            self._owed = ()
        if lines:
            self._send(*lines)

    def close(self) -> None:
        """Give the socket back."""
        if self._socket is not None:
            self._socket.close()

    def _send(self, *lines: str) -> bool:
        """Send a notification; return False where the manager does not take it."""
        if self._socket is None:
            return True
        try:
            self._socket.send("\n".join(harmless(line.replace("\n", " ")) for line in lines).encode())
        except OSError:
            return False
        return True


def _connect(address: str) -> socket.socket | None:
    """Return a socket connected to the manager's; an address that begins with @ is abstract (unix(7))."""
    if address[:1] not in ("/", "@"):
        return None
    channel = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
    channel.settimeout(_PATIENCE_S)
    try:
        channel.connect("\0" + address[1:] if address[0] == "@" else address)
    except OSError:
        channel.close()
        return None
    return channel


def _watchdog_interval_s(environment: Mapping[str, str]) -> float | None:
    """Return within how many seconds the watchdog wants to hear of this process, None if there is none for it."""
    microseconds = environment.get("WATCHDOG_USEC", "")
    if not microseconds.isdecimal() or environment.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    return int(microseconds) / 1e6
