"""Conversations with a file of evidence whose follow-up is still to come: which records belong to it, and how long.

A follow-up is a connection of the client to an endpoint that it was offered. Its records, the ICMP errors about it and
what comes later of the conversation itself are collected from the recent records about once a second, until an outcome
is known or the time is over.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

from inspector.decode.batch import packed
from inspector.protocols import TCP_SEQUENCES
from inspector.record import record_time, unpack_record

if TYPE_CHECKING:
    from collections.abc import Iterator

    from inspector.evidence.recent import End, RecentRecords
    from inspector.model import Finding

FOLLOWED_NS: Final = 45_000_000_000
"""A client connects within 30 s, and silence takes some seconds more to be one."""

SETTLE_NS: Final = 1_000_000_000
"""Records that come so long after the outcome are taken, too: what ends the connections."""

MOST_FOLLOWED: Final = 64
_ENDPOINTS: Final = 8
_EVERY_NS: Final = 500_000_000


class Case(NamedTuple):
    """A finding whose file is to be written, with the records of its connection, oldest first.

    `later` are those of what followed, in any order, `outcomes` the findings which told of it.
    """

    name: str
    finding: Finding
    records: list[bytes]
    one_of: int
    later: tuple[bytes, ...] = ()
    outcomes: tuple[Finding, ...] = ()

    @property
    def is_followed(self) -> bool:
        """Whether there is anything of what followed."""
        return bool(self.later or self.outcomes)

    def all_records(self) -> list[bytes]:
        """Return the records up to the answer as they are, and what came after it in the order of time."""
        times = [record_time(record) for record in self.records]
        end = len(times) - times[::-1].index(self.finding.time_ns) if self.finding.time_ns in times else len(times)
        return [*self.records[:end], *sorted((*self.records[end:], *self.later), key=record_time)]


@dataclass(slots=True)
class _Followed:
    """A case, with the ends that its follow-up may have: server's address and port, and what was collected."""

    case: Case
    due_ns: int
    client: bytes
    mapper: End
    servers: frozenset[End]
    room: list[int]
    later: list[bytes] = field(default_factory=list)
    outcomes: list[Finding] = field(default_factory=list)

    def is_of(self, record: bytes) -> bool:
        """Return whether a record is of the conversation or of a follow-up."""
        segment = unpack_record(record)
        source = segment.source_address, segment.source_port
        destination = segment.destination_address, segment.destination_port
        asking = self.client, self.case.finding.client_port
        return any(
            (client[0] == self.client and server in self.servers) or (client == asking and server == self.mapper)
            for client, server in ((source, destination), (destination, source))
        )

    def done(self) -> Case:
        """Return the case as it is to be written."""
        return self.case._replace(later=tuple(self.later), outcomes=tuple(self.outcomes))


class FollowedCases:
    """Cases by the name of their file, at most `MOST_FOLLOWED`: the oldest is done before its time.

    Each may collect `most_records` and `most_bytes` in all.
    """

    def __init__(self, recent: RecentRecords, most_records: int, most_bytes: int) -> None:
        self._recent = recent
        self._most = most_records, most_bytes
        self._cases: OrderedDict[str, _Followed] = OrderedDict()
        self._due_ns = 0
        self._mark = 0

    def __bool__(self) -> bool:
        return bool(self._cases)

    def add(self, case: Case) -> Iterator[Case]:
        """Follow a case, from the time of its answer on; yield one that has to be done for it."""
        finding = case.finding
        servers = frozenset(_endpoints_of(finding))
        if not servers:
            return
        records, octets = self._most
        room = [records - len(case.records), octets - sum(map(len, case.records))]
        mapper = packed(finding.asked_raw), finding.server_port
        one = _Followed(case, finding.time_ns + FOLLOWED_NS, packed(finding.client), mapper, servers, room)
        # Its follow-up may be in the block that brought the answer.
        self._collect(one, 0)
        self._cases[case.name] = one
        if len(self._cases) > MOST_FOLLOWED:
            yield self._cases.popitem(last=False)[1].done()

    def note(self, finding: Finding) -> None:
        """Take a finding that tells what became of a case."""
        one = self._cases.get(finding.evidence or "")
        if one is None:
            return
        told = [found for found in finding.with_follow_up() if found.outcome is not None]
        if told:
            one.outcomes += told
            one.due_ns = min(one.due_ns, max(found.time_ns for found in told) + SETTLE_NS)

    def refresh(self, now_ns: int) -> Iterator[Case]:
        """Collect what has come; yield the cases that are done."""
        if not self._cases or (self._due_ns - _EVERY_NS <= now_ns < self._due_ns):
            return
        self._due_ns = now_ns + _EVERY_NS
        yield from self._take(now_ns)

    def close(self) -> Iterator[Case]:
        """Yield all cases as they are."""
        yield from self._take(None)

    def _take(self, now_ns: int | None) -> Iterator[Case]:
        mark, self._mark = self._mark, self._recent.mark
        for name, one in list(self._cases.items()):
            self._collect(one, mark)
            if now_ns is None or one.due_ns <= now_ns:
                del self._cases[name]
                yield one.done()

    def _collect(self, one: _Followed, mark: int) -> None:
        since_ns = one.case.finding.time_ns
        known = set(one.case.records) | set(one.later)
        servers = {address for address, _ in one.servers} | {one.mapper[0]}
        ports = {one.case.finding.client_port, *(port for _, port in one.servers)}
        for server in servers:
            for record in self._recent.between(one.client, server, mark, ports):
                if record_time(record) < since_ns or record in known or not one.is_of(record):
                    continue
                one.room[0] -= 1
                one.room[1] -= len(record)
                if min(one.room) < 0:
                    return
                one.later.append(record)


def _endpoints_of(finding: Finding) -> Iterator[End]:
    """Yield where a client may go: the asked address and the offered one, at the port that was offered."""
    for mapping in finding.mappings[:_ENDPOINTS]:
        if mapping.port not in (None, 0, finding.server_port) and mapping.protocol in TCP_SEQUENCES:
            assert mapping.port is not None  # noqa: S101 - for the type checker
            yield packed(finding.asked_raw), mapping.port
            if mapping.address is not None:
                yield packed(mapping.address), mapping.port
