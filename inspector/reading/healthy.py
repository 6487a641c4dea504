"""Findings of healthy clients on their way from the decoder to the tracker, in the order of packets."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import numpy as np

from inspector.capture import layout
from inspector.capture.survey import address_words
from inspector.decode.batch import packed
from inspector.outcomes.connection import Flow
from inspector.outcomes.offers import Accepted
from inspector.reading.framenumbers import clients_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import numpy.typing as npt

    from inspector.capture.scan import Scan
    from inspector.decode.batch import FindingBatch
    from inspector.model import Finding
    from inspector.outcomes.tracker import Tracker
    from inspector.output.sums import CountedBatches
    from inspector.wire.headers import Header

    Block = npt.NDArray[np.uint64]


class HealthyFindings:
    """Gives findings, and what the compiled loop tells of follow-ups, to the tracker.

    Where findings are not `shown`, those which no outcome depends on are counted only, also in `sums`.
    """

    def __init__(
        self, tracker: Tracker, loop: Scan, last_ns: int, *, shown: bool, sums: CountedBatches | None = None
    ) -> None:
        self._tracker = tracker
        self._loop = loop
        self._last_ns = last_ns
        self._before_ns = last_ns - tracker.follow_up_ns
        self._shown = shown
        self._sums = sums
        self._templates: dict[int, Finding] = {}
        self._counts = np.zeros((2, 1), np.int64)
        tracker.refresh_by(self.refresh)

    def take(
        self,
        batches: Iterable[FindingBatch],
        block: Block | None,
        events: list[list[int]],
        packets: Sequence[Header] = (),
    ) -> list[Finding]:
        """Take what a block of records completes, and what came meanwhile; return what is known.

        `events` and `packets` are those which the compiled loop has kept for the tracker.
        """
        found: list[Finding] = []
        waiting = deque(events)
        upcoming = self._numbered(batches, block if self._shown or events or packets else None)
        following = next(upcoming, None)
        for packet in packets:
            completed: list[Finding] = []
            while following is not None and following[0] <= packet.frame:
                at, frame, finding = following
                if frame == packet.frame:
                    completed.append(finding)
                else:
                    self._take_events(waiting, at, found)
                    found += self.hold(finding, frame)
                following = next(upcoming, None)
            self._take_events(waiting, packet.frame, found)
            found += self._tracker.take(packet, completed, packet.time_ns, packet.frame)
        while following is not None:
            at, frame, finding = following
            self._take_events(waiting, at, found)
            found += self.hold(finding, frame)
            following = next(upcoming, None)
        self._take_events(waiting, layout.NEVER, found)
        return found

    def _numbered(
        self, batches: Iterable[FindingBatch], block: Block | None
    ) -> Iterator[tuple[int, int | None, Finding]]:
        """Yield findings with the number of their packet, where that is in the block.

        The first number is where each comes in: not before another that was completed earlier.
        """
        frames: dict[tuple[int, int], int] | None = None
        last = 0
        for batch in batches:
            if frames is None:
                frames = _frames_of(block) if block is not None else {}
            for finding in self._findings(batch):
                frame = frames.get((finding.time_ns, finding.client_port))
                last = max(last, frame or 0)
                yield last, frame, finding

    def _take_events(self, events: deque[list[int]], frame: int, found: list[Finding]) -> None:
        """Take the events up to a packet."""
        while events and events[0][layout.EVENT_FRAME] <= frame:
            self._take_event(events.popleft(), found)

    def hold(self, finding: Finding, frame: int | None) -> list[Finding]:
        """Take one finding; return what is known."""
        flags = self._loop.flags_of(*address_words(packed(finding.client)))
        if flags & layout.CLIENT_PYTHON:
            return self._tracker.take(None, (finding,), finding.time_ns, -1 if frame is None else frame)
        follows = bool(flags & layout.CLIENT_FOLLOWS)
        if frame is None:
            # Its packet was in an earlier block.
            frame = int(self._loop.frame)
        return self._tracker.take_healthy(finding, frame, follows=follows, last_ns=self._last_ns)

    def _findings(self, batch: FindingBatch) -> Iterator[Finding]:
        """Yield the findings of a batch that the tracker needs; others are counted."""
        if self._shown or not batch.lasting:
            yield from batch.findings()
            return
        columns = batch.columns()
        flags = self._loop.flags_of_clients(columns.clients)
        matters = (flags & (layout.CLIENT_PYTHON | layout.CLIENT_FOLLOWS)) != 0
        self._count(batch, ~matters)
        if self._sums is not None:
            self._sums.add(batch.chosen(~matters))
        if matters.any():
            for number in np.flatnonzero(matters).tolist():
                yield from batch[number : number + 1].findings()

    def _count(self, batch: FindingBatch, counted: npt.NDArray[np.bool_]) -> None:
        """Count findings by template until they are asked for."""
        for number, template, _ in batch.numbered():
            if self._templates.get(number) is not template:
                if number in self._templates:
                    self.refresh()
                self._templates[number] = template
        columns = batch.columns()
        numbers = columns.templates[counted]
        old = columns.templates[counted & (columns.times < self._before_ns)]
        if len(self._templates) and max(self._templates) >= self._counts.shape[1]:
            more = np.zeros((2, 2 * max(self._templates) + 1), np.int64)
            more[:, : self._counts.shape[1]] = self._counts
            self._counts = more
        size = self._counts.shape[1]
        self._counts[0] += np.bincount(numbers, minlength=size)
        self._counts[1] += np.bincount(old, minlength=size)

    def refresh(self) -> None:
        """Give the tracker what was counted."""
        for number in np.flatnonzero(self._counts[0]).tolist():
            times, old = self._counts[:, number].tolist()
            self._tracker.count_healthy(self._templates[number], times, old)
        self._counts[:] = 0

    def _take_event(self, event: list[int], found: list[Finding]) -> None:
        """Take an event of the compiled loop."""
        kind, frame, time_ns = event[layout.EVENT_KIND], event[layout.EVENT_FRAME], event[layout.EVENT_TIME]
        words = event[layout.EVENT_CLIENT : layout.EVENT_CLIENT + 4]
        client, server = (words[at].to_bytes(8, "little") + words[at + 1].to_bytes(8, "little") for at in (0, 2))
        if kind == layout.EVENT_SERVER_SEEN:
            hop_limit = event[layout.EVENT_HOP_LIMIT] - 1 if event[layout.EVENT_HOP_LIMIT] else None
            self._tracker.take_server(server, hop_limit, event[layout.EVENT_CONTEXTS], event[layout.EVENT_SIZE])
            return
        ports = event[layout.EVENT_PORTS]
        flow = Flow(client, ports & 0xFFFF, server, ports >> 16)
        if kind == layout.EVENT_OPENED:
            self._tracker.take_opened(flow, time_ns, frame)
        else:
            accepted = Accepted(
                time_ns, event[layout.EVENT_WAITED], event[layout.EVENT_HOP_LIMIT], event[layout.EVENT_CONTEXTS]
            )
            found += self._tracker.take_reached(flow, accepted)


def _frames_of(block: Block) -> dict[tuple[int, int], int]:
    """Return the number of the packet by time and client's port."""
    clients, _ = clients_of(block)
    times, frames = block[:, layout.ROW_TIME], block[:, layout.ROW_FRAME]
    return dict(zip(zip(times.tolist(), clients.tolist(), strict=True), frames.tolist(), strict=True))
