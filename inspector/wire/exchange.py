"""The output of the decoder: one exchange for each answer of an endpoint mapper, or for its absence."""

from __future__ import annotations

import enum
from ipaddress import IPv4Address
from typing import NamedTuple

from inspector.errors import Anomaly
from inspector.model import Direction, Tunnel
from inspector.wire.body import Syntax
from inspector.wire.epm import OfferedTower


class Outcome(enum.Enum):
    """How an exchange ended."""

    ANSWERED = enum.auto()
    REJECTED = enum.auto()
    FAULT = enum.auto()
    UNANSWERED = enum.auto()
    SEALED = enum.auto()
    MALFORMED = enum.auto()


class Exchange(NamedTuple):
    """An answer (or its absence) with what was asked, as far as either was seen.

    `time_ns` is the time of the answer's last byte, or of the moment at which it was
    given up; `request_time_ns` that of the request's last byte. `detail` says in words
    what a status or reason means. `requested` is the interface that was asked for, and
    `requested_address` the address in the request's own tower, where the client put one;
    `continued` says that the request carried an entry handle, so that an empty answer
    is the normal end of a listing.
    """

    outcome: Outcome
    time_ns: int
    call_id: int | None
    operation: str | None = None
    transfer_syntax: str | None = None
    status: int | None = None
    detail: str = ""
    request_time_ns: int | None = None
    requested: Syntax | None = None
    requested_address: IPv4Address | None = None
    continued: bool = False
    towers: tuple[OfferedTower, ...] = ()
    anomalies: tuple[Anomaly, ...] = ()


class Flow(NamedTuple):
    """A connection, seen from the client. Addresses are 16 bytes, IPv4 as ::ffff:a.b.c.d."""

    client_address: bytes
    client_port: int
    server_address: bytes
    server_port: int


class Observed(NamedTuple):
    """An exchange with its connection, and the interface on which the answer (or the first question) was seen."""

    flow: Flow
    interface_index: int
    direction: Direction
    exchange: Exchange
    tunnel: Tunnel | None = None
