"""What was seen on one connection: a question, an answer, a reset, ICMP errors, and how often each came.

Copies of a packet are not counted: a capture behind and before a router or firewall has each packet twice.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from inspector.outcomes.pdus import NAMES, Bind, SeenPdu, call_id_of, opnum_of, read_proposal
from inspector.record import LATEST_TIME_NS
from inspector.wire.pdu import PduType

if TYPE_CHECKING:
    from inspector.model import Finding
    from inspector.wire.headers import Header, IcmpQuote

_MODULUS: Final = 1 << 32
SYN_AGAIN_NS: Final = 100_000_000
DATA_AGAIN_NS: Final = 10_000_000
"""No end sends a packet again so soon (RFC 6298): a copy from behind a router or firewall. SYNs wait for longer."""


def is_copy(time_ns: int, before_ns: int, within_ns: int) -> bool:
    """Return whether a packet came too soon after the same one to be sent again; times are cut at the latest one."""
    return 0 <= time_ns - before_ns < within_ns and time_ns < LATEST_TIME_NS


class Asked:
    """A bind or request of the client which has no answer yet."""

    __slots__ = (
        "bind", "call_id", "end", "first_ns", "flags", "frame", "gap_ns", "largest", "last_ns", "name", "opnum",
        "sent", "start",
    )  # fmt: skip

    def __init__(self, header: Header, message: SeenPdu) -> None:
        self.name = NAMES[message.type]
        self.opnum = opnum_of(message)
        self.call_id = call_id_of(message.data)
        self.largest = header.payload_length
        self.flags = message.flags
        self.bind: Bind | None = read_proposal(message) if message.type is not PduType.REQUEST else None
        self.start = header.sequence
        self.end = (header.sequence + header.payload_length) % _MODULUS
        self.first_ns = self.last_ns = header.time_ns
        self.frame = header.frame
        self.gap_ns = 0
        self.sent = 1

    def repeat(self, time_ns: int) -> None:
        """Note that it was sent once more, unless this is a copy."""
        if is_copy(time_ns, self.last_ns, DATA_AGAIN_NS):
            return
        self.sent += 1
        self.gap_ns = time_ns - self.last_ns
        self.last_ns = time_ns


class GivenUp(NamedTuple):
    """A question that was told to be unanswered, by its finding; `asked_ns` is None where its packet was not seen."""

    finding: Finding
    asked_ns: int | None
    frame: int | None


class Sent:
    """An answer on its way to the client; `tag` is what its owner knows it by, `length` that of its last segment."""

    __slots__ = ("end", "first_ns", "frame", "gap_ns", "largest", "last_ns", "length", "sent", "tag")

    def __init__(self, time_ns: int, frame: int, end: int, length: int, largest: int) -> None:
        self.end = end
        self.length = length
        self.first_ns = self.last_ns = time_ns
        self.frame = frame
        self.largest = largest
        self.gap_ns = 0
        self.sent = 1
        self.tag: object = None


class ResetSeen:
    """A reset; `count` is how many came."""

    __slots__ = ("after_ns", "count", "from_server", "hop_limit", "time_ns")

    def __init__(self, header: Header, *, from_server: bool, after_ns: int | None) -> None:
        self.from_server = from_server
        self.hop_limit = header.hop_limit
        self.time_ns = header.time_ns
        self.after_ns = after_ns
        self.count = 1


class IcmpSeen:
    """ICMP errors about this connection: the first one, and how many came."""

    __slots__ = ("count", "first")

    def __init__(self, error: IcmpQuote) -> None:
        self.first = error
        self.count = 1
