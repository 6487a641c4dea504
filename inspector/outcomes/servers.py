"""What the answers of each asked address said lately: evidence about the servers behind it."""

from __future__ import annotations

from collections import OrderedDict, deque
from ipaddress import IPv4Address
from typing import TYPE_CHECKING, Final, TypeVar

from inspector.judge.evidence import Siblings
from inspector.model import Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from inspector.model import Finding, IPAddress

_Key = TypeVar("_Key")
_Value = TypeVar("_Value")

_ADDRESSES: Final = 16
_SERVICES: Final = 64
_VERSIONS: Final = 8
_REFUSALS: Final = 64
_REACHED: Final = 16
_HOP_LIMITS: Final = 4
_SMALL: Final = 512
_SPAN_NS: Final = 5_000_000_000
_SPANS: Final = 12
_ASKED: Final = frozenset({Verdict.UNANSWERED, Verdict.REJECTED, Verdict.FAULT, Verdict.SEALED})


class _Service:
    """Answers about one interface: of the last minute, in spans of some seconds, and when each version was named."""

    __slots__ = ("_spans", "versions")

    def __init__(self) -> None:
        self._spans: deque[list[int]] = deque(maxlen=_SPANS + 1)
        self.versions: dict[str, int] = {}

    def note(self, time_ns: int, answers: int, named: int) -> None:
        """Take answers, of which so many named an endpoint."""
        number = time_ns // _SPAN_NS
        # Packets that are a little out of order count for the span that is open.
        if not self._spans or number > self._spans[-1][0]:
            self._spans.append([number, 0, 0])
        self._spans[-1][1] += answers
        self._spans[-1][2] += named

    def lately(self, now_ns: int) -> tuple[int, int]:
        """Return how many answers there were, and how many of them named an endpoint."""
        first = now_ns // _SPAN_NS - _SPANS
        spans = [span for span in self._spans if span[0] >= first]
        return sum(span[1] for span in spans), sum(span[2] for span in spans)


class Server:
    """One asked address.

    `one_way` counts connections of which only the client (index 0) or the server (1) was seen, `both` the others. Of
    `cut` answers the capture kept up to `cut_at` bytes of each packet. `single_syns` is how many connections in a row
    had one SYN and no answer.
    """

    __slots__ = (
        "_hop_limits", "_reached", "_refusals", "_services", "addresses", "asked", "bind_contexts", "both", "cut",
        "cut_at", "mapper_answered", "one_way", "one_way_told", "single_syns", "small_answers",
    )  # fmt: skip

    def __init__(self, asked: IPAddress) -> None:
        self.asked = asked
        self.addresses: OrderedDict[IPv4Address, None] = OrderedDict()
        self._services: OrderedDict[str, _Service] = OrderedDict()
        self._refusals: OrderedDict[tuple[IPAddress, int], int] = OrderedDict()
        self.mapper_answered = False
        self.small_answers = False
        self.bind_contexts = 0
        self._hop_limits: OrderedDict[int, None] = OrderedDict()
        self._reached: OrderedDict[int, None] = OrderedDict()
        self.single_syns = 0
        self.one_way = [0, 0]
        self.both = 0
        self.cut = self.cut_at = 0
        self.one_way_told = False

    def note_answer(self, finding: Finding, times: int = 1) -> None:
        """Take what an answer that came `times` says of the interface asked for, and the addresses it offers."""
        if finding.verdict is Verdict.UNANSWERED:
            return
        self.mapper_answered |= finding.verdict is not Verdict.REJECTED
        for mapping in finding.mappings[:_ADDRESSES]:
            if mapping.address is not None and not mapping.address.is_unspecified:
                _keep(self.addresses, mapping.address, None, _ADDRESSES)
        for mapping in finding.mappings[:_SERVICES]:
            if mapping.interface is not None:
                self._note_version(str(mapping.interface.uuid), mapping.interface.version, finding.time_ns)
        if finding.requested is not None and finding.verdict not in _ASKED:
            service = self._service(str(finding.requested.uuid))
            service.note(finding.time_ns, times, times * bool(finding.mappings))

    def note_size(self, largest: int) -> None:
        """Take the size of an answer that the client acknowledged."""
        self.small_answers |= largest <= _SMALL

    def note_bind(self, contexts: int) -> None:
        """Take that a bind with so many contexts was answered; the fewest count."""
        if contexts and (not self.bind_contexts or contexts < self.bind_contexts):
            self.bind_contexts = contexts

    def note_refusal(self, address: IPAddress, port: int) -> None:
        """Take that a follow-up was refused."""
        key = (address, port)
        _keep(self._refusals, key, self._refusals.get(key, 0) + 1, _REFUSALS)

    def note_reached(self, port: int) -> None:
        """Take that a follow-up to a port of the asked address got through."""
        _keep(self._reached, port, None, _REACHED)

    def is_single_syn(self) -> bool:
        """Take a SYN that was not sent again and not answered; return whether it is the first in a row."""
        self.single_syns += 1
        return self.single_syns == 1

    def note_hop_limit(self, hop_limit: int) -> None:
        """Take the hop limit of a SYN-ACK: members of a pool may be at different distances."""
        _keep(self._hop_limits, hop_limit, None, _HOP_LIMITS)

    @property
    def hop_limits(self) -> tuple[int, ...]:
        """Hop limits of SYN-ACKs from port 135, the last one at the end."""
        return tuple(self._hop_limits)

    def siblings(self, uuid: str | None, endpoint: tuple[IPAddress, int] | None, now_ns: int) -> Siblings:
        """Return what is known beside one finding: of the same interface, and of the same endpoint."""
        service = self._services.get(uuid) if uuid is not None else None
        answers, named = service.lately(now_ns) if service else (0, 0)
        return Siblings(
            answers=answers,
            named=named,
            versions=tuple(service.versions.items()) if service else (),
            addresses=tuple(self.addresses),
            small_answers=self.small_answers,
            bind_answered_contexts=self.bind_contexts,
            mapper_answered=self.mapper_answered,
            refusals=self._refusals.get(endpoint, 0) if endpoint is not None else 0,
            port_reached=endpoint is not None and endpoint[1] in self._reached,
            other_ports_reached=endpoint is not None and any(port != endpoint[1] for port in self._reached),
        )

    def _service(self, uuid: str) -> _Service:
        service = self._services.get(uuid) or _Service()
        _keep(self._services, uuid, service, _SERVICES)
        return service

    def _note_version(self, uuid: str, version: str, time_ns: int) -> None:
        versions = self._service(uuid).versions
        if version in versions or len(versions) < _VERSIONS:
            versions[version] = time_ns


def _keep(table: OrderedDict[_Key, _Value], key: _Key, value: _Value, most: int) -> None:
    """Put a value at the end of a table of a fixed size."""
    table[key] = value
    table.move_to_end(key)
    if len(table) > most:
        table.popitem(last=False)


def _do_nothing() -> None:
    """Have nothing to bring up to date."""


class Servers:
    """The asked addresses, at most so many: the one that was silent for longest goes first.

    `refresh` is called before something is judged by what is known of them.
    """

    def __init__(self, most: int) -> None:
        self.refresh: Callable[[], None] = _do_nothing
        self._most = most
        self._table: OrderedDict[IPAddress, Server] = OrderedDict()

    def __len__(self) -> int:
        return len(self._table)

    def __iter__(self) -> Iterator[Server]:
        return iter(self._table.values())

    def hop_limits(self, address: IPAddress) -> tuple[int, ...]:
        """Return the hop limits of an address, none of one that is not known."""
        server = self._table.get(address)
        return server.hop_limits if server is not None else ()

    def of(self, asked: IPAddress) -> Server:
        """Return what is known of an address."""
        server = self._table.get(asked) or Server(asked)
        _keep(self._table, asked, server, self._most)
        return server
