"""The types which flow through the inspector, from the segment to the finding. All are immutable.

Words and their meanings follow C706 and MS-RPCE; the finding's JSON form is `Finding.as_dict`.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from ipaddress import IPv4Address, IPv6Address
from typing import Any, Final, Literal, NamedTuple
from uuid import UUID

from inspector.consequence import HARMFUL, AnswerReference, Consequence, FindingKind, Outcome
from inspector.dcom import Binding, DcomCall

IPAddress = IPv4Address | IPv6Address

Mode = Literal["auto", "native", "generic", "tc"]
"""How the operator wants the program attached."""

OTHER_INTERFACES: Final = ":other"
"""What interfaces beyond those which are told apart are called, together: Linux lets none have a colon in its name."""


class Direction(enum.StrEnum):
    """Which way a packet went, seen from the endpoint mapper's port."""

    TO_SERVER = "to_server"
    FROM_SERVER = "from_server"


class Verdict(enum.StrEnum):
    """What is said of one mapping, or of a response as a whole. A closed set: it labels a metric.

    `one_way` is of no answer: of a server only one direction was seen, and nothing is said of its answers.
    """

    MATCH = "match"
    MISMATCH = "mismatch"
    POOLED = "pooled"
    OTHER_FAMILY = "other_family"
    UNSPECIFIED = "unspecified"
    UNROUTABLE = "unroutable"
    NO_ADDRESS = "no_address"
    NOT_REGISTERED = "not_registered"
    REJECTED = "rejected"
    FAULT = "fault"
    UNANSWERED = "unanswered"
    OPEN = "open"
    SEALED = "sealed"
    MALFORMED = "malformed"
    ONE_WAY = "one_way"


NOTEWORTHY = frozenset(Verdict) - {
    Verdict.MATCH,
    Verdict.UNSPECIFIED,
    Verdict.NO_ADDRESS,
    Verdict.POOLED,
    Verdict.OTHER_FAMILY,
    Verdict.OPEN,
}
"""Verdicts which should not come where all is well."""


class TunnelKind(enum.IntEnum):
    """How a packet was carried within another: enum epm_tunnel_kind. `label` is the usual name of it."""

    IPIP = 1
    SIX_IN_FOUR = 2
    FOUR_IN_SIX = 3
    SIX_IN_SIX = 4
    GRE = 5
    VXLAN = 6
    GENEVE = 7
    TEREDO = 8

    @property
    def label(self) -> str:
        """The usual name in lower case, as in a finding."""
        return _TUNNEL_LABELS.get(self, self.name.lower())


_TUNNEL_LABELS = {
    TunnelKind.SIX_IN_FOUR: "6in4",
    TunnelKind.FOUR_IN_SIX: "4in6",
    TunnelKind.SIX_IN_SIX: "6in6",
}


class Tunnel(NamedTuple):
    """The outermost tunnel around a packet; addresses are 16 bytes each, `depth` counts tunnels in one another."""

    kind: TunnelKind
    source_address: bytes
    destination_address: bytes
    depth: int = 1


class Segment(NamedTuple):
    """One payload span of TCP, or a UDP datagram, with its flow and time: a record, unpacked (`inspector.record`).

    Addresses are 16 bytes each, IPv4 as ::ffff:a.b.c.d; `attributes` are bits of
    `inspector.record.Attribute`; `payload` may be shorter than `payload_length`,
    which is what the wire carried.
    """

    time_ns: int
    source_address: bytes
    destination_address: bytes
    sequence: int
    acknowledgment: int
    source_port: int
    destination_port: int
    payload_length: int
    tcp_flags: int
    attributes: int
    interface_index: int
    payload: bytes
    tunnel: Tunnel | None = None
    hop_limit: int = 0

    @property
    def from_server(self) -> bool:
        """Whether the source port is the endpoint mapper's: bit 0 of `attributes`."""
        return bool(self.attributes & 1)


@dataclass(frozen=True, slots=True)
class RpcInterface:
    """An RPC interface or transfer syntax: UUID and version (C706 section 6.1)."""

    uuid: UUID
    major: int
    minor: int = 0
    name: str | None = None

    @property
    def version(self) -> str:
        """The version as C706 writes it: major and minor, with a dot between."""
        return f"{self.major}.{self.minor}"

    def as_dict(self) -> dict[str, Any]:
        """Return the JSON form: uuid, version, name."""
        return {"uuid": str(self.uuid), "version": self.version, "name": self.name}


@dataclass(frozen=True, slots=True)
class OfferedEndpoint:
    """One offered endpoint of a response (a tower or a string binding, judged).

    `references` is how often the response refers to it. `binding` is what a string binding of DCOM says in addition.
    """

    interface: RpcInterface | None
    protocol: str
    address: IPAddress | None
    port: int | None
    endpoint: str | None
    verdict: Verdict
    why: str
    annotation: str | None = None
    references: int = 1
    binding: Binding | None = None

    @property
    def host(self) -> str | None:
        """The name in a string binding of DCOM that has no address."""
        return self.binding.host if self.binding is not None else None

    def as_dict(self) -> dict[str, Any]:
        """Return the JSON form with stable keys."""
        of = self.interface
        result = {
            "uuid": str(of.uuid) if of else None,
            "version": of.version if of else None,
            "name": of.name if of else None,
            "protocol": self.protocol,
            "address": str(self.address) if self.address is not None else None,
            "port": self.port,
            "endpoint": self.endpoint,
            "verdict": str(self.verdict),
        }
        if self.binding is not None:
            result |= {"role": str(self.binding.role), "reach": str(self.binding.reach)}
            if self.host is not None:
                result["host"] = self.host
        if self.annotation is not None:
            result["annotation"] = self.annotation
        if self.references > 1:
            result["references"] = self.references
        return result


@dataclass(frozen=True, slots=True)
class FindingTunnel:
    """The tunnel that carried the packet of a finding, with the addresses of that packet's outer header."""

    kind: str
    source: IPAddress
    destination: IPAddress

    def as_dict(self) -> dict[str, Any]:
        """Return the JSON form: kind, source, destination."""
        return {"kind": self.kind, "source": str(self.source), "destination": str(self.destination)}


def known_address(raw: IPAddress, unmapped: IPAddress) -> IPAddress:
    """Return the address that is certain: the raw one where the other is guessed from its bits (6to4, Teredo)."""
    if not isinstance(raw, IPv6Address) or raw == unmapped:
        return unmapped
    guessed = unmapped == raw.sixtofour or (raw.teredo is not None and unmapped == raw.teredo[1])
    return raw if guessed else unmapped


@dataclass(frozen=True, slots=True)
class Finding:
    """What the inspector says of one answer, its absence, or what it led to (`kind`), in the words of an operator.

    `asked` is the server address in the IP header after unmapping (NAT64 and the like);
    `asked_raw` is the address before unmapping. `latency_ns` is None unless both
    request and response were seen; `status` is None where the answer carries none;
    `requested_address` is the target which the client wrote into its own request;
    `tunnel` is that of the packet which carried the answer (of the first packet, if there was no answer);
    `evidence` is the name of the file which has the conversation's packets, where there is one;
    `left_out` is how many mappings more the answer has than are here. `consequence` is what became of it, where that
    was followed; `frame` is the number of the packet in its capture file, from 1. `follow_up` is a finding of another
    kind which is known already: written after this one, shown in one row with it. `supersedes` refers to the finding
    which said of the same question that it is unanswered. `dcom` is there where the call is DCOM's.
    """

    time_ns: int
    source: str
    direction: Direction
    client: IPAddress
    client_port: int
    asked: IPAddress
    asked_raw: IPAddress
    server_port: int
    operation: str | None
    call_id: int | None
    transfer_syntax: str | None
    status: int | None
    verdict: Verdict
    why: str
    tunnel: FindingTunnel | None = None
    requested: RpcInterface | None = None
    requested_address: IPv4Address | None = None
    latency_ns: int | None = None
    mappings: tuple[OfferedEndpoint, ...] = ()
    anomalies: tuple[str, ...] = field(default=())
    evidence: str | None = None
    left_out: int = 0
    kind: FindingKind = FindingKind.ANSWER
    consequence: Consequence | None = None
    frame: int | None = None
    follow_up: Finding | None = None
    supersedes: AnswerReference | None = None
    dcom: DcomCall | None = None

    @property
    def server(self) -> IPAddress:
        """The asked address, as words name it and as one server is known: see `known_address`."""
        return known_address(self.asked_raw, self.asked)

    @property
    def outcome(self) -> Outcome | None:
        """What became of it, as far as this finding says."""
        return self.consequence.outcome if self.consequence is not None else None

    @property
    def outcomes(self) -> tuple[Outcome, ...]:
        """What became of it and of the follow-up that goes with it, as far as is known."""
        return tuple(one.outcome for one in self.with_follow_up() if one.outcome is not None)

    @property
    def harm(self) -> Outcome | None:
        """The outcome that hurt a client: of the finding, or of the follow-up that goes with it."""
        return next((outcome for outcome in self.outcomes if outcome in HARMFUL), None)

    def with_follow_up(self) -> tuple[Finding, ...]:
        """Return the finding, and the one of its follow-up where there is one."""
        return (self,) if self.follow_up is None else (self, self.follow_up)

    def shortened(self, mappings: int) -> Finding:
        """Return the finding with so many mappings at most: those which have its verdict first."""
        if len(self.mappings) <= mappings:
            return self
        kept = sorted(self.mappings, key=lambda mapping: mapping.verdict is not self.verdict)[:mappings]
        return replace(self, mappings=tuple(kept), left_out=self.left_out + len(self.mappings) - mappings)

    def as_dict(self) -> dict[str, Any]:
        """Return the JSON form: the keys and their order are an interface which people build on."""
        result: dict[str, Any] = {
            "time": format_time(self.time_ns),
            "source": self.source,
            "direction": str(self.direction),
            "client": str(self.client),
            "client_port": self.client_port,
            "asked": str(self.asked),
        }
        if self.asked_raw != self.asked:
            result["asked_raw"] = str(self.asked_raw)
        if self.tunnel is not None:
            result["tunnel"] = self.tunnel.as_dict()
        result |= {
            "server_port": self.server_port,
            "operation": self.operation,
            "call_id": self.call_id,
            "transfer_syntax": self.transfer_syntax,
            "status": self.status,
            "verdict": str(self.verdict),
            "why": self.why,
            "kind": str(self.kind),
        }
        if self.consequence is not None:
            result |= self.consequence.as_dict()
        if self.supersedes is not None:
            result["supersedes"] = self.supersedes.as_dict()
        if self.frame is not None:
            result["frame"] = self.frame
        if self.requested is not None:
            result["requested"] = self.requested.as_dict()
            if self.requested_address is not None:
                result["requested"]["address"] = str(self.requested_address)
        if self.dcom is not None:
            result["dcom"] = self.dcom.as_dict()
        if self.latency_ns is not None:
            result["latency_ms"] = round(self.latency_ns / 1e6, 6)
        result["mappings"] = [mapping.as_dict() for mapping in self.mappings]
        result["anomalies"] = list(self.anomalies)
        if self.evidence is not None:
            result["evidence"] = self.evidence
        if self.left_out:
            result["mappings_left_out"] = self.left_out
        return result


def format_time(time_ns: int) -> str:
    """Return nanoseconds since 1970 as RFC 3339 in UTC, with all nine digits."""
    seconds, nanoseconds = divmod(time_ns, 1_000_000_000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{nanoseconds:09d}Z"
