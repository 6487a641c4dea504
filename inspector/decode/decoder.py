"""The engine beside the scalar decoder: blocks in, batches of findings and single observations out, in order."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Final

import numpy as np

from inspector.decode import layout
from inspector.decode.batch import FindingBatch
from inspector.decode.engine import Engine
from inspector.decode.exchange import export, flow_at, import_into, is_plain, key_of
from inspector.decode.judged import Judged
from inspector.errors import Anomaly
from inspector.record import unpack_record
from inspector.wire.checksum import checksum
from inspector.wire.conversations import flow_of, within_time
from inspector.wire.exchange import Flow, Observed
from inspector.wire.stream import Delivered

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import numpy.typing as npt

    from inspector.decode.quota import Quota
    from inspector.model import Finding, Segment
    from inspector.wire.conversations import Conversations

    Batch = npt.NDArray[np.uint64] | bytes | memoryview

# Anomalies which the engine counts by itself.
_COUNTED: Final = {
    "gaps": Anomaly.STREAM_GAP,
    "malformed": Anomaly.PDU_MALFORMED,
    "fragment_order": Anomaly.FRAGMENT_ORDER,
    "not_rpc": Anomaly.STREAM_NOT_RPC,
    "evicted": Anomaly.CONNECTION_EVICTED,
    "unidentified": Anomaly.RESPONSE_UNIDENTIFIED,
    "skipped": Anomaly.DECODER_QUOTA,
}
# How often pending questions are checked within the time after which they count as unanswered.
_SWEEPS_IN_TIME: Final = 8


class Decoder:
    """Follows connections in compiled code, and hands what is more than that over to `conversations`.

    `judge` makes the finding of what was observed. The two share the limits. `handed_over` counts the records which
    went to the scalar decoder.
    """

    def __init__(
        self, conversations: Conversations, judge: Callable[[Observed], Finding], quota: Quota | None = None
    ) -> None:
        self._conversations = conversations
        self._quota = quota
        limits = conversations.limits
        self._engine = Engine(limits.connections)
        self._slots: npt.NDArray[np.int64] = self._engine.arrays["slots"]
        rows = np.asarray(self._engine.findings)
        self._findings: npt.NDArray[np.int64] = rows.reshape(-1, layout.FOUND_WORDS)
        self._judged = Judged(self._engine, conversations, judge, quota)
        self._stashed: list[FindingBatch] = []  # held findings of templates that were forgotten meanwhile
        engine = self._engine
        engine.buffered_limit = limits.buffered_bytes
        engine.call_limit, engine.context_limit = limits.calls_per_connection, limits.contexts_per_connection
        engine.stub_limit, engine.request_limit = limits.stub_bytes, limits.request_stub_bytes
        self._follow_limits()
        self.handed_over = self.records = 0
        self._engine.losing = conversations.losing
        # No cycle: the tables take tens of megabytes, which would wait for its collector.
        conversations.companion = weakref.proxy(self)
        for flow in conversations.flows():
            self._mark(flow)
        self._import_counters()

    def _follow_limits(self) -> None:
        limits = self._conversations.limits
        self._engine.idle = limits.idle_ns
        self._engine.patience = limits.unanswered_ns
        self._sweep_every = max(limits.unanswered_ns // _SWEEPS_IN_TIME, 1)

    def change_limits(self) -> None:
        """Follow the times of the scalar decoder's limits, which have changed."""
        self._follow_limits()
        # Pending questions are checked with the next record.
        self._engine.sweep = min(self._engine.sweep, self._engine.now)
        self._import_counters()

    def forget_judgements(self) -> None:
        """Forget the templates: policy or names have changed. Batches keep those which they have."""
        self._stashed = [rows.kept() for rows in self._take_findings()]
        self._judged.forget()

    @property
    def losing(self) -> bool:
        """Whether records get lost before they come here."""
        return bool(self._engine.losing)

    @losing.setter
    def losing(self, losing: bool) -> None:
        self._engine.losing = losing

    @property
    def waiting(self) -> tuple[int, int]:
        """The time at which `advance` has something to do next, and how many findings are held."""
        return int(self._engine.due), int(self._engine.found) + sum(map(len, self._stashed))

    def __len__(self) -> int:
        """How many connections the engine holds."""
        return int(self._engine.count)

    def feed(self, batches: Sequence[Batch], *, hold: bool = False) -> Iterator[FindingBatch | Observed]:
        """Take blocks of records, uint64[n, words], and single records; yield what they complete, in order.

        A batch of findings is valid until the next is asked for. With `hold`, findings may wait until more of them have
        come, or until the next call without it.
        """
        self.records += self._engine.open(batches)
        code, number = self._engine.run(0, False)
        if code != layout.DONE:
            yield from self._go_on(code, number)
        if not hold or self._engine.found > layout.FINDINGS // 4:
            yield from self._take_findings()
        self._count()

    def drain(self) -> Iterator[FindingBatch]:
        """Yield the findings which were held."""
        yield from self._take_findings()

    def advance(self, now_ns: int) -> Iterator[FindingBatch | Observed]:
        """Move time forward when no record does."""
        yield from self._take_findings()
        if now_ns > self._engine.now or now_ns >= self._engine.sweep:
            yield from self._advance(now_ns)

    def dropped(self, flow: Flow) -> None:
        """Forget that a connection was the scalar decoder's."""
        slot = self._engine.lookup(key_of(flow))
        if slot:
            self._engine.remove(slot)

    def _go_on(self, code: int, number: int) -> Iterator[FindingBatch | Observed]:
        """Do what the loop stopped for at a row, and let it run on from there, to the end."""
        engine = self._engine
        while code != layout.DONE:
            resume = False
            if code == layout.NEW_TEMPLATE:
                if engine.repeated and self._judged.full:
                    self.forget_judgements()
                decided = self._judged.decide()
                resume = decided is not False
                if isinstance(decided, Observed):
                    yield from self._take_findings()
                    yield decided
                if not resume:
                    code = layout.HAND_OVER
            if code == layout.FULL:
                resume = True
                yield from self._take_findings()
            elif not resume:
                # Few of these end in a finding: the rows before it need not be a batch of their own for all others.
                for observed in self._go_past(code, number):
                    yield from self._take_findings()
                    yield observed
                number += code in (layout.HAND_OVER, layout.ALONE)
            code, number = engine.run(number, resume)

    def _go_past(self, code: int, number: int) -> Iterator[Observed]:
        """Let the scalar decoder do what the engine stopped for at a row."""
        if code == layout.ADVANCE:
            yield from self._advance(within_time(self._segment_at(number)).time_ns)
        elif code == layout.EXPIRE:
            yield from self._expire()
        elif code == layout.MAKE_ROOM:
            yield from self._make_room()
        else:
            yield from self._hand_over(self._segment_at(number), alone=code == layout.ALONE)

    def _segment_at(self, number: int) -> Segment:
        return unpack_record(self._engine.record_of(number))

    def _take_findings(self) -> Iterator[FindingBatch]:
        while self._stashed:
            yield self._stashed.pop(0)
        count = int(self._engine.found)
        if count:
            self._engine.found = 0
            yield FindingBatch(self._findings[:count], self._judged.templates)

    def _count(self) -> None:
        """Count anomalies which the engine has met."""
        engine, anomalies = self._engine, self._conversations.anomalies
        self._judged.count()
        for name, anomaly in _COUNTED.items():
            count = int(getattr(engine, name))
            if count:
                anomalies[anomaly] += count
                setattr(engine, name, 0)

    def _hand_over(self, segment: Segment, *, alone: bool) -> Iterator[Observed]:
        """Let the scalar decoder take (the rest of) a record, with its connection unless it has it already."""
        slot = int(self._engine.slot)
        flow = flow_of(segment)
        # What comes through a tunnel is the scalar decoder's anyway.
        quota = self._quota if segment.tunnel is None else None
        if quota is not None:
            entry = 0 if alone else slot
            if not quota.take_noted(self._engine, layout.QUOTA_RECORDS, entry, flow.client_address, segment.time_ns):
                self._skip([] if alone else [slot])
                self._engine.skip_record(entry)
                return
        self.handed_over += 1
        taken = 0 if alone else int(self._engine.consumed)
        whole = segment
        if taken:
            segment = segment._replace(
                sequence=(segment.sequence + taken) & 0xFFFFFFFF,
                payload_length=segment.payload_length - taken,
                payload=segment.payload[taken:],
            )
        if not alone and not self._slots[slot, layout.SLOT_FLAGS] & layout.SCALAR:
            self._give([slot], segment)
        self._export_counters()
        if taken and segment.payload:
            yield from self._feed_rest(whole, segment)
        else:
            yield from self._conversations.feed(segment)
        if not alone:
            self._settle(flow)
        self._import_counters()

    def _feed_rest(self, segment: Segment, rest: Segment) -> Iterator[Observed]:
        """Feed the rest of a segment whose first PDUs were taken: together they are what was delivered last."""
        connection = self._conversations.get(flow_of(segment))
        assert connection is not None  # noqa: S101 - it was given just now
        stream = (connection.server if segment.from_server else connection.client).stream
        engine = self._engine
        data = engine.joined_bytes() + segment.payload[int(engine.joined_used) :]
        before, position = len(data) - len(rest.payload), stream.position
        stream.last = Delivered(position - before, position, checksum(data[:before]))
        yield from self._conversations.feed(rest)
        last = stream.last
        if last is not None and last.start == position:
            start = position - before
            stream.last = Delivered(start, last.end, checksum(data[: last.end - start]))

    def _advance(self, now_ns: int) -> Iterator[Observed]:
        engine = self._engine
        if now_ns >= engine.sweep:
            engine.sweep = now_ns + self._sweep_every
            asked_until = int(engine.sweep) - self._conversations.limits.unanswered_ns
            self._give_within_quota(list(dict.fromkeys(slot for _, _, slot in engine.overdue(asked_until))))
        engine.now = now_ns
        yield from self._expire()

    def _expire(self) -> Iterator[Observed]:
        """Forget silent connections of the engine, and let the scalar decoder do what is due now."""
        while not self._engine.expire(self._conversations.limits.idle_ns):
            self._give_within_quota([int(self._engine.oldest)])
        self._export_counters()
        yield from self._conversations.advance(int(self._engine.now))
        self._import_counters()

    def _make_room(self) -> Iterator[Observed]:
        """Drop the connection that was silent for longest, of both decoders."""
        oldest = int(self._engine.oldest)
        if oldest and self._slots[oldest, layout.SLOT_ORDER] < self._engine.oldest_elsewhere:
            self._give_within_quota([oldest])
            if self._slots[oldest, layout.SLOT_FLAGS] & layout.SKIPPED:
                # The engine can drop it.
                return
        self._export_counters()
        yield from self._conversations.evict()
        self._import_counters()

    def _give_within_quota(self, slots: list[int]) -> None:
        """Give connections whose time is over to the scalar decoder; of clients over their quota none is heard of."""
        quota, now_ns = self._quota, int(self._engine.now)
        if quota is not None:
            given = [slot for slot in slots if quota.take(flow_at(self._engine, slot).client_address, now_ns)]
            if len(given) < len(slots):
                self._skip(sorted(set(slots) - set(given)))
            slots = given
        self._give(slots)
        self._import_counters()

    def _skip(self, slots: list[int]) -> None:
        """Read no more of connections, and count them; none stands for a record without a connection."""
        self._conversations.anomalies[Anomaly.DECODER_QUOTA] += max(len(slots), 1)
        for slot in slots:
            if self._slots[slot, layout.SLOT_FLAGS] & layout.SCALAR:
                self._conversations.release(flow_at(self._engine, slot))
            self._engine.skip(slot)
        self._import_counters()

    def _give(self, slots: list[int], segment: Segment | None = None) -> None:
        """Give connections to the scalar decoder; `segment` is the record that is being read."""
        conversations, connections = self._conversations, []
        for slot in slots:
            connections.append(export(self._engine, slot, conversations.limits, conversations.anomalies, segment))
            self._engine.leave(slot)
        conversations.adopt(connections, read_now=segment is not None)

    def _mark(self, flow: Flow) -> int:
        """Note that a connection is the scalar decoder's; return its entry."""
        key = key_of(flow)
        slot = int(self._engine.lookup(key))
        if not slot:
            slot = int(self._engine.insert(key, 0))
            self._engine.leave(slot)
        return slot

    def _settle(self, flow: Flow) -> None:
        """Take a connection back that is plain again, or note that it is the scalar decoder's."""
        connection = self._conversations.get(flow)
        if connection is None:
            return
        slot = self._mark(flow)
        if not is_plain(self._engine, connection):
            return
        # The scalar decoder counted this record already.
        self._engine.order = self._conversations.fed
        import_into(self._engine, slot, connection)
        self._conversations.release(flow)

    def _export_counters(self) -> None:
        """Tell the scalar decoder what it must know of the engine."""
        conversations, engine = self._conversations, self._engine
        conversations.now_ns = max(conversations.now_ns, int(engine.now))
        conversations.fed = int(engine.order)
        conversations.buffered_elsewhere = int(engine.buffered)

    def _import_counters(self) -> None:
        """Take over what the scalar decoder has become."""
        conversations, engine = self._conversations, self._engine
        connections, oldest, due = conversations.standing()
        engine.oldest_elsewhere = oldest
        engine.elsewhere_buffered = conversations.buffered
        engine.take_over(conversations.now_ns, conversations.fed, connections, due)
