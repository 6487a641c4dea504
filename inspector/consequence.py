"""What an answer led to: closed sets of words, and the part of a finding that says it.

The words label metrics, and rows of tables refer to them; docs/findings.md has their meanings.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import Any, NamedTuple


class FindingKind(enum.StrEnum):
    """What a finding is about: an answer, its delivery, a connection that it led to, or port 135 itself."""

    ANSWER = "answer"
    DELIVERY = "delivery"
    FOLLOW_UP = "follow_up"
    CONNECTION = "connection"


class Outcome(enum.StrEnum):
    """What became of an answer, of a follow-up, or of a connection to port 135. A closed set: it labels a metric.

    `undelivered` is the outcome of an answer; `not_followed` is no fault by itself.
    """

    REACHED = "reached"
    REFUSED = "refused"
    TIMED_OUT = "timed_out"
    UNREACHABLE = "unreachable"
    WRONG_SERVER = "wrong_server"
    DENIED = "denied"
    BROKEN = "broken"
    UNDELIVERED = "undelivered"
    NOT_FOLLOWED = "not_followed"


class Target(enum.StrEnum):
    """Where a follow-up went: to the asked address, to the address that the answer offered, or elsewhere."""

    ASKED = "asked"
    OFFERED = "offered"
    OTHER = "other"


class Cause(enum.StrEnum):
    """Why an outcome or a verdict is what it is. A closed set: docs/causes.md has a section for each."""

    LOAD_BALANCER = "load_balancer"
    DESTINATION_NAT = "destination_nat"
    NAT64_PREFIX_UNDECLARED = "nat64_prefix_undeclared"
    OTHER_ADDRESS_FAMILY = "other_address_family"
    MULTIHOMED_SERVER = "multihomed_server"
    BARE_NAMES = "bare_names"
    STRICT_RPC_FILTER = "strict_rpc_filter"
    PORTS_NOT_PUBLISHED = "ports_not_published"
    PORTS_FILTERED = "ports_filtered"
    STALE_REGISTRATION = "stale_registration"
    NO_AFFINITY = "no_affinity"
    SERVICE_NOT_REGISTERED = "service_not_registered"
    WRONG_VERSION = "wrong_version"
    POOL_MEMBER_DIFFERS = "pool_member_differs"
    MAPPER_DOWN = "mapper_down"
    MAPPER_REFUSES = "mapper_refuses"
    MAPPER_MUTE = "mapper_mute"
    ACCESS_POLICY = "access_policy"
    DCOM_HARDENING = "dcom_hardening"
    PATH_MTU = "path_mtu"
    RESET_BY_DEVICE = "reset_by_device"
    SLOW_SERVER = "slow_server"
    SNAP_LENGTH = "snap_length"
    ONE_WAY_VIEW = "one_way_view"
    CAPTURE_ENDS = "capture_ends"
    UNKNOWN = "unknown"


HARMFUL = frozenset(Outcome) - {Outcome.REACHED, Outcome.NOT_FOLLOWED}
"""Outcomes which hurt a client."""


class AnswerReference(NamedTuple):
    """The answer that a follow-up or a delivery belongs to; `time` is written as in findings."""

    time: str
    client_port: int
    call_id: int | None
    frame: int | None

    def as_dict(self) -> dict[str, Any]:
        """Return the JSON form; without `frame` where that is not known."""
        result = self._asdict()
        if self.frame is None:
            del result["frame"]
        return result


class Endpoint(NamedTuple):
    """An address and a port."""

    address: IPv4Address | IPv6Address
    port: int

    def __str__(self) -> str:
        """Return address and port, an IPv6 address in brackets."""
        return f"[{self.address}]:{self.port}" if self.address.version == 6 else f"{self.address}:{self.port}"


@dataclass(frozen=True, slots=True)
class Consequence:
    """What became of an answer or a connection, why, and what to do.

    `evidence_seen` are sentences with numbers. `connect_ns` is the time from the client's first SYN to the SYN-ACK,
    of a follow-up of which both were seen.
    """

    outcome: Outcome | None = None
    target: Target | None = None
    endpoint: Endpoint | None = None
    cause: Cause | None = None
    remedy: str | None = None
    evidence_seen: tuple[str, ...] = ()
    answer: AnswerReference | None = None
    connect_ns: int | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return the JSON form: keys which have a value, in a fixed order."""
        result: dict[str, Any] = {
            key: str(value)
            for key, value in (
                ("outcome", self.outcome),
                ("target", self.target),
                ("cause", self.cause),
                ("remedy", self.remedy),
            )
            if value is not None
        }
        if self.evidence_seen:
            result["evidence_seen"] = list(self.evidence_seen)
        if self.endpoint is not None:
            result["endpoint"] = {"address": str(self.endpoint.address), "port": self.endpoint.port}
        if self.connect_ns is not None:
            result["connect_ms"] = round(self.connect_ns / 1e6, 6)
        if self.answer is not None:
            result["answer"] = self.answer.as_dict()
        return result
