"""What a cause can rest on: plain facts about one answer, its delivery, its follow-up or its connection.

Every time is a duration in nanoseconds, every address is unmapped (NAT64 and the like) unless its name says `raw`.
None means that a fact was not seen; an empty tuple means that there is none.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from inspector.consequence import FindingKind, Outcome, Target
from inspector.judge.addresses import is_unroutable
from inspector.model import IPAddress, Verdict

_INITIAL_HOP_LIMITS = (32, 64, 128, 255)


def hops_away(hop_limit: int) -> int:
    """Return over how many routers a packet came, where its sender began with one of the usual hop limits."""
    return next(initial for initial in _INITIAL_HOP_LIMITS if hop_limit <= initial) - hop_limit


@dataclass(frozen=True, slots=True)
class Reset:
    """A TCP reset, or a FIN (`closing`).

    `from_server`: its source is the server's address, whoever sent it. `ttl` is its TTL or hop limit and `usual_ttl`
    that of the same address's SYN-ACK or SYN: of this connection, or of port 135 where the reset refused a SYN.
    `after_ns` is the time since the packet that it answers. `count` is how many came.
    """

    from_server: bool
    ttl: int | None = None
    usual_ttl: int | None = None
    after_ns: int | None = None
    count: int = 1
    closing: bool = False

    @property
    def by_device(self) -> bool:
        """Whether the TTL proves that another device sent it than the one that sent the SYN-ACK."""
        return self.ttl is not None and self.usual_ttl is not None and self.ttl != self.usual_ttl

    @property
    def hops_nearer(self) -> int:
        """By how many routers its sender is nearer to the point of capture than the SYN-ACK's; 0 where not known."""
        if self.ttl is None or self.usual_ttl is None:
            return 0
        return hops_away(self.usual_ttl) - hops_away(self.ttl)


@dataclass(frozen=True, slots=True)
class IcmpError:
    """An ICMP or ICMPv6 error that quotes a packet of the connection; `reporter` is who sent it."""

    reporter: IPAddress
    type: int
    code: int
    count: int = 1


@dataclass(frozen=True, slots=True)
class Attempt:
    """A connection that a client tried: to port 135 (kind `connection`), or to an endpoint (kind `follow_up`).

    `syns` SYNs were sent within `span_ns`; `answered` says that a SYN-ACK came, with `syn_ack_ttl`,
    `syn_acks` times. `bind_contexts` is how many presentation contexts its bind had, 0 where no bind was seen.
    `rejection` is the reason in words for which contexts or bind were rejected, `fault` the status of a fault.
    """

    address: IPAddress
    port: int
    syns: int = 0
    span_ns: int = 0
    answered: bool = False
    syn_ack_ttl: int | None = None
    bind_contexts: int = 0
    rejection: str | None = None
    fault: int | None = None
    reset: Reset | None = None
    icmp: IcmpError | None = None
    syn_acks: int = 0

    def __str__(self) -> str:
        """Return address and port, IPv6 in brackets."""
        return f"[{self.address}]:{self.port}" if self.address.version == 6 else f"{self.address}:{self.port}"


@dataclass(frozen=True, slots=True)
class Question:
    """A message of the client that waits for an answer: a bind or a request.

    It was sent `sent` times, the last one `span_ns` after the first, and `waited_ns` passed without an answer.
    `acknowledged`: the server's TCP has it. `contexts` and `interface` are those of a bind (`interface` the name or
    UUID of its first abstract syntax). `flags_zero`: its PDU flags are 0, as NT 4.0 sends it. `reset` ended it, or
    `client_ended`: the client closed or reset the connection first; `server_ended`: the server closed it first,
    without an answer. `missing` bytes were sent by the server, by its later sequence numbers, and did not come.
    `begun` bytes of the answer came, and not its end. `message` is its PDU type, `closed` the FIN of the server that
    ended it, `largest_segment` the payload of its largest segment. `hole`: a later part of the server's stream came, an
    earlier one did not.
    """

    sent: int = 1
    span_ns: int = 0
    waited_ns: int = 0
    acknowledged: bool | None = None
    contexts: int = 0
    interface: str | None = None
    flags_zero: bool = False
    reset: Reset | None = None
    client_ended: bool = False
    server_ended: bool = False
    missing: int = 0
    largest_segment: int = 0
    message: str = "request"
    closed: Reset | None = None
    hole: bool = False
    begun: int = 0


@dataclass(frozen=True, slots=True)
class Delivery:
    """What became of an answer on its way to the client.

    Sent `sent` times within `span_ns`; `largest_segment` is the payload of its largest segment in bytes;
    `acknowledged` that the client's acknowledgments cover its last byte; `reset` what ended the connection.
    `client_hole`: the client acknowledged what is before a missing part of the answer, and no more.
    `acknowledged_part`: of its last segment the client acknowledges so many bytes, which TCP never does: it got others.
    """

    sent: int = 1
    span_ns: int = 0
    largest_segment: int = 0
    acknowledged: bool | None = None
    client_hole: bool = False
    acknowledged_part: int = 0
    reset: Reset | None = None


@dataclass(frozen=True, slots=True)
class OtherSide:
    """The same question, seen on another interface or in another file (`inspector.outcomes.sides`).

    `here` and `there` are the names of the two. `asked_there` is the server's address in the other one. `dropped`:
    the answer was seen there and not here. `replaced_by` is what the client got here instead, in words ("bind_nak of
    24 bytes"), `after_ns` later. `client` is the client's address here, None where it is the same in both. `delivery`
    says how often a dropped answer was sent.
    """

    here: str
    there: str
    asked_there: IPAddress
    dropped: bool = False
    replaced_by: str | None = None
    after_ns: int | None = None
    client: IPAddress | None = None
    delivery: Delivery | None = None


@dataclass(frozen=True, slots=True)
class Siblings:
    """What other answers of the same asked address said lately about the same interface (the UUID).

    `named` of `answers` of the last minute named an endpoint, `versions` are the versions that any named, each with the
    time at which it did so last, `addresses` all addresses that
    this asked address offered, for any interface. `small_answers` says that answers of one small segment came.
    `bind_answered_contexts` is the number of contexts of a bind which the same server answered, 0 for none.
    `mapper_answered`: the endpoint mapper at this address answered a call. `refusals` is how many clients' follow-ups
    to the same endpoint were refused, this one included; `other_ports_reached`: follow-ups to other ports of the asked
    address got through, `port_reached`: others to this port did.
    """

    answers: int = 0
    named: int = 0
    versions: tuple[tuple[str, int], ...] = ()
    addresses: tuple[IPv4Address, ...] = ()
    small_answers: bool = False
    bind_answered_contexts: int = 0
    mapper_answered: bool = False
    refusals: int = 0
    other_ports_reached: bool = False
    port_reached: bool = False


@dataclass(frozen=True, slots=True)
class CaptureLimits:
    """What the capture cannot show: `snap_length` in bytes where packets were cut, open at the end, one direction.

    `ended_after_ns` is the time from the question to the last packet of the file. `one_way` is how many connections of
    this address were seen from one end alone, and `one_way_from_client` which. `live`: packets come from interfaces.
    """

    snap_length: int | None = None
    unread: int = 0
    ended_after_ns: int | None = None
    one_way: int = 0
    one_way_from_client: bool = True
    live: bool = False


@dataclass(frozen=True, slots=True)
class Evidence:
    """All facts about one finding that a cause can rest on.

    `service` is the name or UUID of the interface that was asked for, `version` its version. `offered` are the
    addresses of the answer's towers, each once, in their order; `port` that of the endpoint. `requested_address` is
    the target which the client wrote into its own request. `pooled`: a declared pool holds the offered address;
    `learned` is the pool learned from two sides; `asked_over_nat64` is what the client asked on its side of a NAT64
    whose prefix is not declared. `status` is that of the answer or fault. `fragments` is how many
    RPC fragments the answer had. `authentication_level` is the bind's, 0 or 1 for none. `scanned` is how many addresses
    the client tried in vain at port 135, where it is a scanner; `call_rejected` how long a bind_nak is that answers a
    request; `bind_contexts` how many presentation contexts the bind had that was answered.
    """

    kind: FindingKind
    client: IPAddress
    asked: IPAddress
    asked_raw: IPAddress
    verdict: Verdict | None = None
    outcome: Outcome | None = None
    target: Target | None = None
    operation: str | None = None
    service: str | None = None
    version: str | None = None
    offered: tuple[IPv4Address, ...] = ()
    port: int | None = None
    requested_address: IPv4Address | None = None
    pooled: bool = False
    learned: tuple[IPv4Address, ...] = ()
    asked_over_nat64: IPv6Address | None = None
    status: int | None = None
    latency_ns: int | None = None
    fragments: int = 1
    authentication_level: int = 0
    delivery: Delivery | None = None
    attempt: Attempt | None = None
    question: Question | None = None
    other_side: OtherSide | None = None
    siblings: Siblings = Siblings()
    capture: CaptureLimits = CaptureLimits()
    scanned: int = 0
    call_rejected: int = 0
    bind_contexts: int = 0

    @property
    def names_other(self) -> bool:
        """Whether the answer names addresses where others connect, and none of them is the asked one."""
        named = [address for address in self.offered if not (address.is_unspecified or is_unroutable(address))]
        return bool(named) and self.asked not in named

    @property
    def translated(self) -> bool:
        """Whether the asked address is another one than the server's: an IPv6 address no tower could name."""
        return self.asked.version == 4 and self.names_other

    @property
    def several_servers(self) -> bool:
        """Whether several servers are known behind the asked address."""
        others = {address for address in self.siblings.addresses if address != self.asked}
        # An answer that names the asked address, too, is of one server with several networks.
        return self.pooled or bool(self.learned) or (len(others) > 1 and self.asked not in self.offered)
