"""Conversations with port 135 as one point of capture saw them: what two points are compared by.

Of each conversation a bounded number of messages is kept, as digests: their place in the stream, their PDU type and
call id. Sequence numbers count from the one behind the SYN, or from the first that was seen.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

from inspector.outcomes.connection import Flow
from inspector.outcomes.pdus import call_id_of
from inspector.protocols import ACK, FIN, RST, SYN

if TYPE_CHECKING:
    from collections.abc import Collection

    from inspector.wire.headers import Header

_MODULUS: Final = 1 << 32
_HALF: Final = 1 << 31
_DIGEST: Final = 12
_PDU_HEADER: Final = 16
_MESSAGES: Final = 64
_CONVERSATIONS: Final = 65_536


class Message(NamedTuple):
    """A segment with payload: `offset` and `length` in its direction's stream, and what a PDU at its start says.

    `type` and `call_id` are -1 where no PDU begins in it. It was `sent` times, for the last time at `last_ns`.
    """

    from_server: bool
    time_ns: int
    offset: int
    length: int
    digest: bytes
    type: int
    call_id: int
    sent: int = 1
    last_ns: int = 0


@dataclass(slots=True)
class Conversation:
    """One connection to port 135 at one point of capture, `side`.

    `starts` are the first sequence numbers of client and server, None where that end was not seen. `handshake_ns` is
    the time from SYN to SYN-ACK. `acknowledged` is how far into the server's stream the client's acknowledgments go.
    `opened` says that its SYN was seen, `cut` that the capture kept a part of some segments, `ended_ns` when the client
    closed it or one of the ends reset it.
    """

    side: str
    flow: Flow
    first_ns: int
    last_ns: int
    starts: list[int | None] = field(default_factory=lambda: [None, None])
    opened: bool = False
    cut: bool = False
    handshake_ns: int | None = None
    acknowledged: int = 0
    ended_ns: int | None = None
    messages: list[Message] = field(default_factory=list)

    def take(self, header: Header, *, from_server: bool) -> None:
        """Take a packet of the connection."""
        self.last_ns = max(self.last_ns, header.time_ns)
        start = self.starts[from_server]
        if header.flags & SYN:
            start = self.starts[from_server] = (header.sequence + 1) % _MODULUS
            self.opened = self.opened or not from_server
            if from_server and self.handshake_ns is None:
                self.handshake_ns = header.time_ns - self.first_ns
        elif start is None and not header.flags & RST:
            start = self.starts[from_server] = header.sequence
        if header.flags & (RST if from_server else FIN | RST):
            self.ended_ns = header.time_ns
        if not from_server and header.flags & ACK:
            self._acknowledge(header.acknowledgment)
        if header.payload_length and start is not None:
            self._add(header, (header.sequence - start) % _MODULUS, from_server=from_server)

    def _acknowledge(self, number: int) -> None:
        start = self.starts[1]
        if start is not None:
            offset = (number - start) % _MODULUS
            if self.acknowledged < offset < _HALF:
                self.acknowledged = offset

    def _add(self, header: Header, offset: int, *, from_server: bool) -> None:
        """Keep what the segment holds, a retransmission once."""
        payload = bytes(header.payload)
        self.cut = self.cut or len(payload) < header.payload_length
        digest = hashlib.blake2b(payload, digest_size=_DIGEST).digest()
        for number, one in enumerate(self.messages):
            if one.offset == offset and one.from_server == from_server and one.digest == digest:
                self.messages[number] = one._replace(sent=one.sent + 1, last_ns=header.time_ns)
                return
        if len(self.messages) >= _MESSAGES:
            return
        kind = call_id = -1
        if len(payload) >= _PDU_HEADER and payload[0] == 5:
            kind = payload[2]
            call_id = call_id_of(payload)
        self.messages.append(
            Message(
                from_server, header.time_ns, offset, header.payload_length, digest, kind, call_id, 1, header.time_ns
            )
        )

    def of_client(self) -> list[Message]:
        """Return what the client wrote."""
        return [one for one in self.messages if not one.from_server]

    def of_server(self) -> list[Message]:
        """Return what the server wrote."""
        return [one for one in self.messages if one.from_server]


class Sightings:
    """The conversations that one point of capture sees; the oldest go where there are too many, `evicted` of them."""

    def __init__(self, side: str, ports: Collection[int], most: int = _CONVERSATIONS) -> None:
        self.side = side
        self.last_ns = 0
        self.evicted = 0
        self._ports = frozenset(ports)
        self._most = most
        self._current: dict[Flow, Conversation] = {}
        self._all: dict[int, Conversation] = {}

    def __len__(self) -> int:
        """Return how many conversations are kept."""
        return len(self._all)

    def take(self, header: Header) -> None:
        """Take a packet; those of other ports are let go."""
        self.last_ns = max(self.last_ns, header.time_ns)
        if header.destination_port in self._ports:
            flow = Flow(header.source, header.source_port, header.destination, header.destination_port)
            self._of(flow, header, from_server=False).take(header, from_server=False)
        elif header.source_port in self._ports:
            flow = Flow(header.destination, header.destination_port, header.source, header.source_port)
            self._of(flow, header, from_server=True).take(header, from_server=True)

    def forget_before(self, time_ns: int) -> None:
        """Forget conversations which have been silent since then."""
        for key, one in list(self._all.items()):
            if one.last_ns < time_ns:
                del self._all[key]
                if self._current.get(one.flow) is one:
                    del self._current[one.flow]

    def conversations(self) -> list[Conversation]:
        """Return the conversations, the oldest first."""
        return list(self._all.values())

    def _of(self, flow: Flow, header: Header, *, from_server: bool) -> Conversation:
        current = self._current.get(flow)
        opens = not from_server and header.flags & (SYN | ACK) == SYN
        if current is not None and not (opens and current.starts[0] != (header.sequence + 1) % _MODULUS):
            return current
        current = Conversation(self.side, flow, header.time_ns, header.time_ns)
        self._current[flow] = current
        self._all[id(current)] = current
        if len(self._all) > self._most:
            oldest = self._all.pop(next(iter(self._all)))
            if self._current.get(oldest.flow) is oldest:
                del self._current[oldest.flow]
            self.evicted += 1
        return current
