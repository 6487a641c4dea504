"""What a row of the table of causes answers, and the words which several rows share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Final

from inspector.consequence import Cause
from inspector.judge.evidence import Attempt, Evidence, IcmpError, Reset
from inspector.model import format_time

UNAVAILABLE: Final = "clients report error 1722 (0x6BA, HRESULT 0x800706BA: the RPC server is unavailable)"
DYNAMIC_PORTS: Final = "49152-65535 (1025-5000 on Windows 2003 and older)"

_ICMP_WORDS: Final = {
    (4, 3, 0): "network unreachable",
    (4, 3, 1): "host unreachable",
    (4, 3, 3): "port unreachable",
    (4, 3, 4): "fragmentation needed",
    (4, 3, 9): "network administratively prohibited",
    (4, 3, 10): "host administratively prohibited",
    (4, 3, 13): "communication administratively prohibited",
    (4, 11, 0): "time to live exceeded",
    (6, 1, 0): "no route to destination",
    (6, 1, 1): "communication administratively prohibited",
    (6, 1, 3): "address unreachable",
    (6, 1, 4): "port unreachable",
    (6, 1, 5): "source address failed the policy",
    (6, 1, 6): "route to destination rejected",
    (6, 2, 0): "packet too big",
    (6, 3, 0): "hop limit exceeded",
}
_NO_WAY: Final = frozenset({(4, 3, 0), (4, 3, 1), (4, 11, 0), (6, 1, 0), (6, 1, 3), (6, 3, 0)})
_TOO_BIG: Final = frozenset({(4, 3, 4), (6, 2, 0)})


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """A cause with the remedy, and the facts it rests on, each a short sentence with numbers."""

    cause: Cause
    remedy: str
    evidence_seen: tuple[str, ...]


Row = Callable[[Evidence], Diagnosis | None]


def seconds(duration_ns: int) -> str:
    """Return a duration in words: milliseconds below a second."""
    return f"{duration_ns / 1e9:.1f} s" if duration_ns >= 1_000_000_000 else f"{duration_ns / 1e6:.3g} ms"


def clock(time_ns: int) -> str:
    """Return the time of day in UTC."""
    return format_time(time_ns)[11:19]


def times(count: int) -> str:
    """Return how often, in words."""
    return "once" if count == 1 else f"{count} times"


def service_of(evidence: Evidence) -> str:
    """Return the interface that was asked for, with its version where known."""
    if evidence.service is None:
        return "the service"
    return f"{evidence.service} {evidence.version}" if evidence.version else evidence.service


def listed(addresses: tuple[IPv4Address, ...], limit: int = 4) -> str:
    """Return addresses in words, at most `limit` of them."""
    names = [str(address) for address in addresses[:limit]]
    if len(addresses) > limit:
        names.append(f"{len(addresses) - limit} more")
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1]))) if names else "no address"


def sender_of(reset: Reset, name: str) -> str:
    """Return who sent a reset, as far as the TTL tells; `name` is the address it came from."""
    word = "end of the connection" if reset.closing else "reset"
    if reset.ttl is None:
        return f"{word} from {name}"
    if reset.usual_ttl is None:
        return f"{word} from {name}, TTL {reset.ttl}"
    end, opening = ("server", "SYN-ACK") if reset.from_server else ("client", "SYN")
    if not reset.by_device:
        return f"{word} from {name} with TTL {reset.ttl}, as its {opening}: sent by the {end} or a device beside it"
    nearer = reset.hops_nearer
    where = f"{abs(nearer)} hop{'s' if abs(nearer) > 1 else ''} {'nearer' if nearer > 0 else 'farther'}"
    distance = f", sent {where} than the {end}" if nearer else ""
    return f"{word} in the name of {name} with TTL {reset.ttl}, its {opening} had {reset.usual_ttl}{distance}"


def icmp_words(error: IcmpError) -> str:
    """Return an ICMP error in words: who sent it, type, code and meaning."""
    version = error.reporter.version
    words = _ICMP_WORDS.get((version, error.type, error.code))
    protocol = "ICMP" if version == 4 else "ICMPv6"
    meaning = f": {words}" if words else ""
    return f"{error.reporter} sent {protocol} type {error.type} code {error.code}{meaning}"


def is_of_filter(error: IcmpError) -> bool:
    """Return whether a filter sends the error: not for a host or network that a router has no way to."""
    return (error.reporter.version, error.type, error.code) not in _NO_WAY


def is_too_big(error: IcmpError) -> bool:
    """Return whether the error says that a packet does not fit the path."""
    return (error.reporter.version, error.type, error.code) in _TOO_BIG


def syns_sent(attempt: Attempt, client: object) -> str:
    """Return how a client tried to connect: SYNs, and within which time."""
    span = f" in {seconds(attempt.span_ns)}" if attempt.syns > 1 else ""
    return f"{client} sent {attempt.syns} SYN{'s' if attempt.syns != 1 else ''} to {attempt}{span}"
