"""The column path beside the scalar one: blocks in, batches of findings and single observations out, in order."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

import numpy as np

from inspector.columns import layout
from inspector.columns.automaton import State, restore, state_of
from inspector.columns.batch import FindingRows
from inspector.columns.engine import Arrays, run
from inspector.columns.knowledge import Knowledge
from inspector.columns.tables import come_back, expire, find, give_back, leave, sweep, take
from inspector.errors import Anomaly
from inspector.model import Segment
from inspector.record import HEADER_SIZE, LATEST_TIME_NS, record_time, unpack_record, unpack_row
from inspector.wire.connection import Connection
from inspector.wire.conversations import flow_of, within_time
from inspector.wire.exchange import Flow
from inspector.wire.stream import Delivered, Stream

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import numpy.typing as npt

    from inspector.model import Finding
    from inspector.wire.conversations import Conversations
    from inspector.wire.exchange import Observed

    Words = npt.NDArray[np.int64]

_FINDINGS: Final = 1 << 16
_NEVER: Final = (1 << 63) - 1
# What is not known yet costs some hundred microseconds: more than one such thing in so many records is not learned.
_RECORDS_FOR_ONE: Final = 16
_MOST_CREDIT: Final = 4096
# How often questions that wait for long go to the scalar path, which knows when to give them up.
_SWEEPS_IN_TIME: Final = 8
_FLAGS: Final = (1 << layout.ORDER_SHIFT) - 1


class Columns:
    """Follows connections in compiled code, and hands what is more than that over to `conversations`.

    `judge` makes the finding of what was observed. The two share the limits.
    """

    def __init__(self, conversations: Conversations, judge: Callable[[Observed], Finding]) -> None:
        self._conversations = conversations
        self._knowledge = Knowledge(conversations.limits, judge)
        limits = conversations.limits
        slots = limits.connections + 2
        words = np.zeros((slots, layout.SLOT_WORDS), np.int64)
        words[0, layout.SECRET] = np.frombuffer(os.urandom(8), np.int64)[0]
        knows = self._knowledge
        self._arrays = Arrays(
            words,
            words.view(np.int32),
            np.zeros((slots, layout.HISTORY_WORDS), np.int64),
            np.zeros(1 << (2 * slots).bit_length(), np.int32),
            np.zeros(layout.REGISTERS, np.int64),
            knows.states,
            knows.payload_index,
            knows.payloads,
            knows.transition_keys,
            knows.transitions,
            knows.counted,
            knows.judgement_keys,
            knows.judgement_numbers,
            knows.scratch,
            np.zeros((_FINDINGS, layout.FOUND_WORDS), np.int64),
        )
        self._registers = self._arrays.registers
        self._registers[layout.LIMIT] = limits.connections
        self._registers[layout.BUFFERED_LIMIT] = limits.buffered_bytes
        self._registers[layout.FIRST_ASKED] = _NEVER
        self._follow_limits()
        self._credit = _MOST_CREDIT
        self._learned_at = 0
        self._found = np.zeros(slots, np.int64)
        self._single = np.zeros((1, layout.COMPACT_WORDS), np.int64)
        conversations.companion = self
        for flow in conversations.flows():
            self._mark(flow)
        self._came_back()

    def _follow_limits(self) -> None:
        limits = self._conversations.limits
        self._registers[layout.IDLE] = limits.idle_ns
        self._registers[layout.PATIENCE] = limits.unanswered_ns
        self._sweep_every = max(limits.unanswered_ns // _SWEEPS_IN_TIME, 1)

    def change_limits(self) -> None:
        """Follow the times of the scalar path's limits, which have changed."""
        self._follow_limits()
        # Questions which wait are looked at with the next record.
        self._registers[layout.SWEEP] = min(self._registers[layout.SWEEP], self._registers[layout.NOW])
        self._came_back()

    def forget_judgements(self) -> None:
        """Judge anew what was judged before."""
        self._knowledge.forget_judgements()

    def __len__(self) -> int:
        """How many connections this path holds."""
        return int(self._registers[layout.FAST])

    def feed(self, block: npt.NDArray[np.uint64]) -> Iterator[FindingRows | Observed]:
        """Take the records of a block, uint64[n, words]; yield what they complete, batches valid until the next."""
        times = block[:, layout.ROW_TIME]
        if times.max(initial=0) > LATEST_TIME_NS:
            # The block is the source's.
            block = block.copy()
            np.minimum(times, LATEST_TIME_NS, out=block[:, layout.ROW_TIME])
        rows = block.view(np.int64)
        yield from self._run(rows, lambda number: unpack_row(rows[number]))

    def feed_record(self, record: bytes | memoryview) -> Iterator[FindingRows | Observed]:
        """Take one record that fits no block."""
        self._single[0, 1 : 1 + HEADER_SIZE // 8] = np.frombuffer(record, np.int64, HEADER_SIZE // 8)
        self._single[0, layout.ROW_TIME] = min(record_time(record), LATEST_TIME_NS)
        yield from self._run(self._single, lambda _: within_time(unpack_record(record)))

    def advance(self, now_ns: int) -> Iterator[Observed]:
        """Move time forward when no record does."""
        if now_ns > self._registers[layout.NOW]:
            yield from self._advance(now_ns)

    def dropped(self, flow: Flow) -> None:
        """Forget that a connection was the scalar path's."""
        slot = find(self._arrays.slots, self._arrays.halves, self._arrays.buckets, *_key_of(flow))
        if slot:
            give_back(self._arrays.slots, self._arrays.halves, self._arrays.buckets, self._registers, slot)

    def _run(self, rows: Words, segment_at: Callable[[int], Segment]) -> Iterator[FindingRows | Observed]:
        number = 0
        self._registers[layout.LOSING] = self._conversations.losing
        while True:
            code, number = run(rows, number, self._arrays)
            if code == layout.DONE:
                break
            if code in (layout.NEW_PAYLOAD, layout.NEW_TRANSITION, layout.NEW_JUDGEMENT):
                if self._may_learn():
                    if self._knowledge.full:
                        yield from self._take_findings()
                        self._forget()
                    else:
                        self._learn(code)
                    continue
                code = layout.HAND_OVER
            yield from self._take_findings()
            if code == layout.ADVANCE:
                yield from self._advance(int(rows[number, layout.ROW_TIME]))
            elif code == layout.EXPIRE:
                yield from self._expire()
            elif code == layout.MAKE_ROOM:
                yield from self._make_room()
            elif code != layout.FULL:
                yield from self._hand_over(segment_at(number), alone=code == layout.ALONE)
                number += 1
        yield from self._take_findings()
        self._count()

    def _take_findings(self) -> Iterator[FindingRows]:
        count = int(self._registers[layout.FINDINGS])
        if count:
            self._registers[layout.FINDINGS] = 0
            yield FindingRows(self._arrays.findings[:count], self._knowledge.judgements)

    def _count(self) -> None:
        anomalies = self._conversations.anomalies
        if self._registers[layout.ANOMALIES]:
            self._registers[layout.ANOMALIES] = 0
            anomalies.update(self._knowledge.take_anomalies())
        if self._registers[layout.GAPS]:
            anomalies[Anomaly.STREAM_GAP] += int(self._registers[layout.GAPS])
            self._registers[layout.GAPS] = 0
        if self._registers[layout.EVICTED]:
            anomalies[Anomaly.CONNECTION_EVICTED] += int(self._registers[layout.EVICTED])
            self._registers[layout.EVICTED] = 0

    def _may_learn(self) -> bool:
        """Take from the credit that the records have brought; False if there is none."""
        order = int(self._registers[layout.ORDER])
        earned = (order - self._learned_at) // _RECORDS_FOR_ONE
        self._learned_at += earned * _RECORDS_FOR_ONE
        self._credit = min(self._credit + earned, _MOST_CREDIT) - 1
        if self._credit < 0:
            self._credit = 0
            return False
        return True

    def _learn(self, code: int) -> None:
        what, outcome = self._registers[layout.MISSING : layout.MISSING + 2].tolist()
        slot, interface = int(self._registers[layout.SLOT]), int(self._registers[layout.INTERFACE])
        if code == layout.NEW_PAYLOAD:
            self._knowledge.learn_payload()
        elif code == layout.NEW_TRANSITION:
            self._knowledge.learn_transition(what)
        else:
            words = self._arrays.slots[slot, layout.SLOT_SERVER : layout.SLOT_SERVER + 2]
            self._knowledge.learn_judgement(what, outcome, interface, words.tobytes())

    def _forget(self) -> None:
        self._count()
        self._knowledge.forget(self._arrays.slots[: int(self._registers[layout.HIGH_WATER]) + 1])

    def _hand_over(self, segment: Segment, *, alone: bool) -> Iterator[Observed]:
        """Let the scalar path take a record, with its connection unless it has it already."""
        slot = int(self._registers[layout.SLOT])
        if not alone and not self._arrays.slots[slot, layout.SLOT_FLAGS] & layout.SCALAR:
            self._give([slot], segment)
        self._go_over()
        yield from self._conversations.feed(segment)
        if not alone:
            self._settle(flow_of(segment))
        self._came_back()

    def _advance(self, now_ns: int) -> Iterator[Observed]:
        if now_ns >= self._registers[layout.SWEEP]:
            next_sweep_ns = now_ns + self._sweep_every
            self._registers[layout.SWEEP] = next_sweep_ns
            asked_until = next_sweep_ns - self._conversations.limits.unanswered_ns
            count = sweep(self._arrays.slots, self._registers, self._arrays.states, asked_until, self._found)
            self._give(self._found[:count].tolist())
        self._registers[layout.NOW] = now_ns
        yield from self._expire()

    def _expire(self) -> Iterator[Observed]:
        """Forget silent connections of this path, and let the scalar path do what is due now."""
        arrays, idle_ns = self._arrays, self._conversations.limits.idle_ns
        while not expire(arrays.slots, arrays.halves, arrays.buckets, self._registers, arrays.states, idle_ns):
            self._give([int(self._registers[layout.OLDEST])])
        self._go_over()
        yield from self._conversations.advance(int(self._registers[layout.NOW]))
        self._came_back()

    def _make_room(self) -> Iterator[Observed]:
        """Drop the connection that was silent for longest, of both paths."""
        registers = self._registers
        oldest = int(registers[layout.OLDEST])
        order = self._arrays.slots[oldest, layout.SLOT_FLAGS] >> layout.ORDER_SHIFT
        if oldest and order < registers[layout.OLDEST_ELSEWHERE]:
            self._give([oldest])
        self._go_over()
        yield from self._conversations.evict()
        self._came_back()

    def _give(self, slots: list[int], segment: Segment | None = None) -> None:
        """Give connections to the scalar path; `segment` is the record that is being read."""
        connections = []
        for slot in slots:
            connections.append(self._connection_of(slot, segment))
            state = int(self._arrays.slots[slot, layout.SLOT_STATE])
            self._registers[layout.BUFFERED] -= self._knowledge.state(state).buffered
            leave(self._arrays.slots, self._arrays.halves, self._registers, slot)
        self._conversations.adopt(connections, read_now=segment is not None)
        self._came_back()

    def _connection_of(self, slot: int, segment: Segment | None) -> Connection:
        """Return the connection of a slot as the scalar path would have it."""
        words = self._arrays.slots[slot].tolist()
        halves = self._arrays.halves[slot].view(np.uint32).tolist()
        flags, conversations = words[layout.SLOT_FLAGS] & _FLAGS, self._conversations
        first = _first_segment(words, halves[layout.HALF_INTERFACE], segment if not flags else None)
        connection = Connection(_flow_at(words), first, conversations.limits, conversations.anomalies)
        connection.last_ns = words[layout.SLOT_LAST]
        connection.touched = words[layout.SLOT_FLAGS] >> layout.ORDER_SHIFT
        connection.closed = bool(flags & layout.CLOSED)
        if flags & layout.HAS_INITIAL:
            connection.initial_sequence = halves[layout.HALF_INITIAL]
        history = self._arrays.history[slot].tolist()
        for number, side in enumerate((connection.client, connection.server)):
            if flags & layout.VISIBLE << number:
                _restore_stream(
                    side.stream,
                    words[layout.SLOT_POSITION + number],
                    history[layout.HISTORY_ORIGIN + number],
                    history[layout.HISTORY_LAST + number],
                )
            if flags & layout.FINISHED << number:
                side.stream.fin = side.stream.position
            side.stream.acknowledged = words[layout.SLOT_ACKNOWLEDGED + number]
            side.lost = bool(flags & layout.LOST << number)
        reads = bool(flags & layout.READ), bool(flags & layout.READ << 1)
        if any(reads):
            state = self._knowledge.state(words[layout.SLOT_STATE])
            asked_ns, call_id = words[layout.SLOT_ASKED], words[layout.SLOT_CALL] & 0xFFFFFFFF
            connection.resume(restore(state, call_id, asked_ns, conversations.limits, conversations.anomalies), *reads)
        return connection

    def _mark(self, flow: Flow) -> int:
        """Note that a connection is the scalar path's; return its slot."""
        arrays, key = self._arrays, _key_of(flow)
        slot = find(arrays.slots, arrays.halves, arrays.buckets, *key)
        if not slot:
            slot = take(arrays.slots, arrays.halves, arrays.buckets, self._registers, *key, 0)
            leave(arrays.slots, arrays.halves, self._registers, slot)
        return slot

    def _settle(self, flow: Flow) -> None:
        """Take a connection back that is plain again, or note that it is the scalar path's."""
        connection = self._conversations.get(flow)
        if connection is None:
            return
        slot = self._mark(flow)
        if not connection.plain:
            return
        association = connection.association
        held = state_of(association) if association is not None else (State(connection.contexts, None), 0, 0)
        number = None if held is None else self._knowledge.number_of(held[0])
        if held is None or number is None:
            return
        state, call_id, asked_ns = held
        self._write(slot, connection, call_id, asked_ns)
        self._arrays.slots[slot, layout.SLOT_STATE] = number
        self._registers[layout.BUFFERED] += state.buffered
        if state.question is not None:
            given_up = asked_ns + self._conversations.limits.unanswered_ns
            self._registers[layout.SWEEP] = min(int(self._registers[layout.SWEEP]), given_up)
            self._registers[layout.FIRST_ASKED] = min(int(self._registers[layout.FIRST_ASKED]), asked_ns)
        self._conversations.release(flow)

    def _write(self, slot: int, connection: Connection, call_id: int, asked_ns: int) -> None:
        """Write a connection into its slot, but for its state: the opposite of `_connection_of`."""
        words, halves = self._arrays.slots[slot], self._arrays.halves[slot].view(np.uint32)
        history = self._arrays.history[slot]
        flags = layout.CLOSED if connection.closed else 0
        for number, side in enumerate((connection.client, connection.server)):
            stream = side.stream
            flags |= layout.VISIBLE << number if stream.visible else 0
            flags |= layout.FINISHED << number if stream.finished else 0
            flags |= layout.READ << number if side.reader is not None or side.has_read else 0
            flags |= layout.LOST << number if side.lost else 0
            words[layout.SLOT_POSITION + number] = stream.position if stream.visible else 0
            words[layout.SLOT_ACKNOWLEDGED + number] = stream.acknowledged
            history[layout.HISTORY_ORIGIN + number] = stream.origin
            last = stream.last
            history[layout.HISTORY_LAST + number] = (last.end - last.start) << 32 | last.checksum if last else 0
        if connection.association is not None and connection.association.answer_lost:
            flags |= layout.LOST << 1
        words[layout.SLOT_ASKED], words[layout.SLOT_CALL] = asked_ns, call_id
        halves[layout.HALF_INTERFACE] = connection.interface_index
        if connection.initial_sequence is not None:
            flags |= layout.HAS_INITIAL
            halves[layout.HALF_INITIAL] = connection.initial_sequence
        # The scalar path counted this record already.
        self._registers[layout.ORDER] = self._conversations.fed
        come_back(self._arrays.slots, self._arrays.halves, self._registers, slot, flags)

    def _go_over(self) -> None:
        """Tell the scalar path what it must know of this one."""
        conversations = self._conversations
        conversations.now_ns = max(conversations.now_ns, int(self._registers[layout.NOW]))
        conversations.fed = int(self._registers[layout.ORDER])
        conversations.buffered_elsewhere = int(self._registers[layout.BUFFERED])

    def _came_back(self) -> None:
        """Take over what the scalar path has become."""
        conversations, registers = self._conversations, self._registers
        registers[layout.NOW] = max(registers[layout.NOW], conversations.now_ns)
        registers[layout.ORDER] = max(registers[layout.ORDER], conversations.fed)
        registers[layout.ELSEWHERE] = conversations.connections
        registers[layout.BUFFERED_ELSEWHERE] = conversations.buffered
        oldest, due = conversations.oldest_touched, conversations.due_ns()
        registers[layout.OLDEST_ELSEWHERE] = _NEVER if oldest is None else oldest
        sweep_due = int(registers[layout.SWEEP])
        registers[layout.DUE] = sweep_due if due is None else min(due, sweep_due)


def _key_of(flow: Flow) -> tuple[int, int, int, int, int]:
    """Return a connection's key in the words of a slot."""
    high, low, server_high, server_low = np.frombuffer(flow.client_address + flow.server_address, np.int64).tolist()
    return high, low, server_high, server_low, flow.client_port | flow.server_port << 16


def _flow_at(words: list[int]) -> Flow:
    addresses = np.array(words[layout.SLOT_CLIENT : layout.SLOT_SERVER + 2], np.int64).tobytes()
    ports = words[layout.SLOT_PORTS]
    return Flow(addresses[:16], ports & 0xFFFF, addresses[16:], ports >> 16)


def _restore_stream(stream: Stream, position: int, origin: int, last: int) -> None:
    """Set a stream to what a slot and its history hold of it."""
    stream.position, stream.origin = position, origin
    if last:
        stream.last = Delivered(position - (last >> 32), position, last & 0xFFFFFFFF)


def _first_segment(words: list[int], interface: int, segment: Segment | None) -> Segment:
    """Return a segment that stands for the first of a connection: `segment` itself where nothing came before it."""
    if segment is not None:
        return segment
    return Segment(words[layout.SLOT_LAST], b"", b"", 0, 0, 0, 0, 0, 0, 0, interface, b"")
