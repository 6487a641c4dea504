"""What was said on a connection of one's own, as the packets that an observer would have seen.

The kernel does not say when it sent a SYN again, nor what acknowledged what: a connection that was not answered has one
SYN here, and everything that was received is acknowledged at once.
"""

from __future__ import annotations

import socket
import time
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final

from inspector.capture.frames import build_frame
from inspector.model import Segment
from inspector.protocols import ACK, FIN, IPV4_MAPPED, RST, SYN
from inspector.record import BULK_LARGE_PAYLOAD, Attribute

if TYPE_CHECKING:
    from collections.abc import Collection

_PUSH: Final = 0x08
_CLIENT_START: Final = 1000
_SERVER_START: Final = 5000
_HOP_LIMIT: Final = 64
# A port that is nobody's: its packet only says what time it is.
_CLOCK_PORT: Final = 9


class Recording:
    """Packets of all connections, in order: `segments` with the times at which they were seen."""

    def __init__(self, ports: Collection[int]) -> None:
        self.ports = frozenset(ports)
        self.segments: list[Segment] = []

    def frames(self) -> list[tuple[int, bytes]]:
        """Return times and Ethernet frames."""
        return [(one.time_ns, build_frame(one)) for one in self.segments]


class Copy:
    """One connection from `client` to `server`, which are addresses with ports."""

    def __init__(self, recording: Recording, client: tuple[str, int], server: tuple[str, int]) -> None:
        self._recording = recording
        self._ends = (client, server)
        self._next = [_CLIENT_START, _SERVER_START]
        self._open = False
        self._add(0, SYN)

    def accepted(self) -> None:
        """Note that the server accepted the connection."""
        self._add(1, SYN | ACK)
        self._add(0, ACK)
        self._open = True

    def refused(self) -> None:
        """Note that the server refused it."""
        self._add(1, RST | ACK)

    def sent(self, data: bytes) -> None:
        """Note what the client sent."""
        self._put(0, data)

    def received(self, data: bytes) -> None:
        """Note what the server sent, and that it arrived."""
        self._put(1, data)
        self._add(0, ACK)

    def reset(self) -> None:
        """Note that the server reset the connection."""
        if self._open:
            self._add(1, RST)
            self._open = False

    def closed(self) -> None:
        """Note that the client closed the connection, where it was open."""
        if self._open:
            self._add(0, FIN | ACK)
            self._add(1, FIN | ACK)
            self._open = False

    def ended(self) -> None:
        """Note that the server closed the connection."""
        self._add(1, FIN | ACK)
        self._add(0, ACK)
        self._open = False

    def silent(self) -> None:
        """Note that nothing came for so long: a packet of another connection says what time it is."""
        (host, port), (server, _) = self._ends
        self._recording.segments.append(self._segment((host, port), (server, _CLOCK_PORT), (1, 1), ACK, b""))

    def _put(self, end: int, data: bytes) -> None:
        for at in range(0, len(data), BULK_LARGE_PAYLOAD):
            self._add(end, _PUSH | ACK, data[at : at + BULK_LARGE_PAYLOAD])

    def _add(self, end: int, flags: int, payload: bytes = b"") -> None:
        numbers = self._next[end], self._next[1 - end] if flags & ACK else 0
        segment = self._segment(self._ends[end], self._ends[1 - end], numbers, flags, payload)
        self._recording.segments.append(segment)
        self._next[end] += len(payload) + bool(flags & SYN) + bool(flags & FIN)

    def _segment(
        self,
        source: tuple[str, int],
        destination: tuple[str, int],
        numbers: tuple[int, int],
        flags: int,
        payload: bytes,
    ) -> Segment:
        attributes = Attribute.IPV6 if ":" in source[0] else Attribute(0)
        if source[1] in self._recording.ports:
            attributes |= Attribute.FROM_SERVER
        return Segment(
            time.time_ns(),
            _packed(source[0]),
            _packed(destination[0]),
            *numbers,
            source[1],
            destination[1],
            len(payload),
            flags,
            int(attributes),
            0,
            payload,
            None,
            _HOP_LIMIT,
        )


def own_address(server: str, port: int) -> str:
    """Return the address from which this machine would reach another; raises OSError."""
    family = socket.AF_INET6 if ":" in server else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as one:
        one.connect((server, port))
        return str(one.getsockname()[0])


def _packed(address: str) -> bytes:
    packed = ip_address(address.partition("%")[0]).packed
    return packed if len(packed) == 16 else IPV4_MAPPED + packed
