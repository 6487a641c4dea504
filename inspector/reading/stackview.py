"""The client's side of the story, as Windows' TCP tells it: connections to endpoint mappers, and how they went."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from inspector.capture.stackevents import StackKind

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from inspector.capture.stackevents import StackEvent
    from inspector.consequence import Endpoint

_OPEN: Final = 65_536
_KEPT: Final = 200
_AT_ONCE_NS: Final = 1_000_000_000
_SMALLEST_ACCEPTANCE: Final = 60
"""Bytes of a bind_ack with one context (C706 section 12.6.4.4)."""
_SMALLEST_ANSWER: Final = 200
"""Bytes of a bind_ack and of a map response with one tower."""

_FAILURES: Final = {StackKind.FAILED, StackKind.TIMED_OUT, StackKind.REFUSED}
_ENDS: Final = {
    StackKind.CLOSED: "closed by the client",
    StackKind.ABORTED: "aborted by the client",
    StackKind.ENDED: "ended by the server",
    StackKind.RESET: "reset in the server's name",
    StackKind.LOST: "given up, since the server did not answer",
}
_SENT: Final = (StackKind.SENT_IN_ALL, StackKind.POSTED, StackKind.SENT)
_RECEIVED: Final = (StackKind.RECEIVED_IN_ALL, StackKind.RECEIVED, StackKind.DELIVERED)
# NTSTATUS.
_STATUSES: Final = {
    0xC00000B5: "timed out",
    0xC0000236: "refused",
    0xC000023C: "network unreachable",
    0xC000023D: "host unreachable",
    0xC000023F: "port unreachable",
}


@dataclass(slots=True)
class _Connection:
    local: Endpoint
    remote: Endpoint
    first_ns: int
    connected_ns: int | None = None
    received_ns: int = 0
    again: int = 0
    bytes: Counter[StackKind] = field(default_factory=Counter)
    end: StackKind | None = None
    end_ns: int = 0
    status: int = 0

    def count(self, kinds: Iterable[StackKind]) -> int:
        """Return how many bytes the first of these kinds of event that was met says."""
        return next((self.bytes[kind] for kind in kinds if kind in self.bytes), 0)

    @property
    def failed(self) -> bool:
        return self.end in _FAILURES


class StackView:
    """Takes events, and tells of connections to `ports`, and of failed ones to servers that were asked there."""

    def __init__(self, ports: Collection[int]) -> None:
        self._ports = ports
        self._open: dict[int, _Connection] = {}
        self._asked: set[object] = set()
        self._kept: list[_Connection] = []
        self._more = 0

    def take(self, event: StackEvent) -> None:
        """Take an event; a control block is used again for other connections."""
        one = self._open.get(event.block)
        if event.local is not None and event.remote is not None:
            known = one is not None and (one.local, one.remote) == (event.local, event.remote)
            if not known or (event.kind is StackKind.REQUESTED and one is not None and one.end is not None):
                one = self._begin(event, event.local, event.remote)
        if one is None:
            return
        if event.kind is StackKind.CONNECTED:
            one.connected_ns = event.time_ns
        elif event.kind is StackKind.AGAIN:
            one.again += 1
        elif event.kind in _ENDS or event.kind in _FAILURES:
            if one.end is None:
                one.end, one.end_ns, one.status = event.kind, event.time_ns, event.value
        elif event.kind is not StackKind.REQUESTED:
            one.bytes[event.kind] += event.value
            if event.kind in _RECEIVED[1:]:
                one.received_ns = event.time_ns

    def lines(self) -> Iterator[str]:
        """Yield a line for each connection that matters."""
        for one in self._open.values():
            self._keep(one)
        self._open.clear()
        for one in sorted(self._kept, key=lambda one: one.first_ns):
            if one.remote.port in self._ports or one.remote.address in self._asked:
                yield f"as the client's TCP saw it: {one.local} to {one.remote}: {_story(one, self._ports)}"
        if self._more:
            yield f"as the client's TCP saw it: {self._more} connections more"

    def _begin(self, event: StackEvent, local: Endpoint, remote: Endpoint) -> _Connection:
        before = self._open.pop(event.block, None)
        if before is not None:
            self._keep(before)
        one = self._open[event.block] = _Connection(local, remote, event.time_ns)
        if remote.port in self._ports:
            self._asked.add(remote.address)
        if len(self._open) > _OPEN:
            self._keep(self._open.pop(next(iter(self._open))))
        return one

    def _keep(self, one: _Connection) -> None:
        if one.remote.port not in self._ports and not one.failed:
            return
        if len(self._kept) < _KEPT:
            self._kept.append(one)
        else:
            self._more += 1


def _story(one: _Connection, ports: Collection[int]) -> str:
    again = f" after {one.again + 1} SYNs" if one.again else ""
    if one.failed:
        after = f" {_duration(one.end_ns - one.first_ns)}" if one.end_ns > one.first_ns else ""
        return f"not connected: {_failure(one)}{again}{f', after{after}' if after else ''}"
    sent, received = one.count(_SENT), one.count(_RECEIVED)
    parts = [f"connected{again}"] if one.connected_ns is not None else []
    parts.append(f"{sent} bytes sent, {received} received")
    if one.end is not None:
        waited = one.end_ns - one.received_ns if one.received_ns else None
        later = f" {_duration(waited)} later" if waited is not None and waited >= 0 else ""
        parts.append(f"{_ENDS[one.end]}{later}")
    else:
        parts.append("open when the trace ended")
    return ", ".join(parts) + (_meaning(one, sent, received) if one.remote.port in ports else "")


def _failure(one: _Connection) -> str:
    if one.end is StackKind.REFUSED:
        return "refused (RST)"
    if one.end is StackKind.TIMED_OUT:
        return "no answer in time"
    words = _STATUSES.get(one.status)
    return f"{words} (status 0x{one.status:08X})" if words else f"status 0x{one.status:08X}"


def _meaning(one: _Connection, sent: int, received: int) -> str:
    """Return what a connection to an endpoint mapper looks like by its bytes alone."""
    if one.end is None or not sent:
        return ""
    if not received:
        return ": nothing came back: a mute endpoint mapper, or a filter which swallows binds"
    by_client = one.end in (StackKind.CLOSED, StackKind.ABORTED)
    at_once = not one.received_ns or one.end_ns - one.received_ns < _AT_ONCE_NS
    if received < _SMALLEST_ACCEPTANCE:
        return ": less than a bind_ack has: what a bind_nak looks like from here" if by_client and at_once else ""
    if received < _SMALLEST_ANSWER:
        return ": no more than a bind_ack has: what a swallowed answer looks like from here"
    return ""


def _duration(time_ns: int) -> str:
    return f"{time_ns / 1e9:.1f} s" if time_ns >= 1_000_000_000 else f"{time_ns / 1e6:.1f} ms"
