"""The compiled loop over records: which connection, is it in order, what does it end in.

It does what `inspector.wire.connection` does for a connection whose bytes come in order, and stops at the first
record that is more than that. Nothing of a record is noted before everything about it is known, so that the
loop can be entered again at the record at which it stopped.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from inspector.columns import layout
from inspector.columns.lookups import fetch_bucket, judgement_of, note_finding, restart, slot_of, step_of
from inspector.columns.tables import expire, touch
from inspector.compiled import compiled, exported, inlined
from inspector.record import Attribute

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Words = npt.NDArray[np.int64]
    Halves = npt.NDArray[np.int32]

_LOW: Final = 0xFFFFFFFF
_SPAN: Final = 1 << 32
_HALF: Final = 1 << 31
_FIN: Final = 1
_SYN: Final = 2
_RST: Final = 4
_ACK: Final = 16
_FROM_SERVER: Final = int(Attribute.FROM_SERVER)
_PLAIN: Final = int(Attribute.FROM_SERVER | Attribute.IPV6)
_UDP: Final = int(Attribute.UDP)
# Records: memory takes as long to come as some of them to be read.
_AHEAD: Final = 8


class Arrays(NamedTuple):
    """All arrays of the column path; shapes and meanings as in `inspector.columns.layout`.

    `halves` are the slots as 32-bit integers, `history` goes with them; `counted` counts how often each place of the
    transitions was taken.
    """

    slots: Words
    halves: Halves
    history: Words
    buckets: Halves
    registers: Words
    states: Words
    payload_index: Halves
    payloads: Words
    transition_keys: Words
    transitions: Words
    counted: Words
    judgement_keys: Words
    judgements: Halves
    scratch: Words
    findings: Words


@compiled
def unwrap(position: int, number: int) -> int:
    """Return the position next to `position` which a 32-bit number means."""
    return position + ((number - position + _HALF) & _LOW) - _HALF


@inlined
def follow(
    rows: Words,
    number: int,
    slot: int,
    slots: Words,
    halves: Halves,
    history: Words,
    buckets: Halves,
    registers: Words,
    states: Words,
    payload_index: Halves,
    payloads: Words,
    transition_keys: Words,
    transitions: Words,
    counted: Words,
    judgement_keys: Words,
    judgements: Halves,
    scratch: Words,
    findings: Words,
) -> int:
    """Take one record of a connection of this path: DONE, or why it could not be taken."""
    lengths = rows[number, layout.ROW_LENGTHS]
    length = lengths & 0xFFFF
    tcp_flags = lengths >> 16 & 0xFF
    from_server = lengths >> 24 & _FROM_SERVER
    flags = slots[slot, layout.SLOT_FLAGS]
    if lengths >> 24 & 0xFF & ~_PLAIN or length != rows[number, layout.ROW_PORTS] >> 32 & _LOW:
        return layout.HAND_OVER
    if flags & layout.CLOSED:
        if not from_server:
            flags = restart(rows, number, slot, tcp_flags, slots, halves, buckets, registers)
        if flags & layout.CLOSED:
            if length and not tcp_flags & _RST:
                return layout.HAND_OVER
            touch(slots, halves, registers, slot, flags & ((1 << layout.ORDER_SHIFT) - 1))
            return layout.DONE
    flags &= (1 << layout.ORDER_SHIFT) - 1
    sequence, acknowledgment = (
        rows[number, layout.ROW_SEQUENCES] & _LOW,
        rows[number, layout.ROW_SEQUENCES] >> 32 & _LOW,
    )
    ours, theirs = layout.SLOT_POSITION + from_server, layout.SLOT_POSITION + 1 - from_server
    position, other = slots[slot, ours], slots[slot, theirs]
    visible, other_visible = flags >> from_server & layout.VISIBLE, flags >> (1 - from_server) & layout.VISIBLE
    start = unwrap(position, sequence) if visible else sequence + _SPAN
    finished, other_finished = flags >> from_server & layout.FINISHED, flags >> (1 - from_server) & layout.FINISHED
    acknowledged = unwrap(other, acknowledgment) if tcp_flags & _ACK and other_visible else 0
    # Nothing but what both ends certainly accept: see inspector.wire.acceptance.
    if acknowledged and not other - layout.WINDOW <= acknowledged <= other + layout.WINDOW:
        return layout.HAND_OVER
    if tcp_flags & _SYN:
        start += 1
        if visible and (from_server or tcp_flags & _ACK or not flags & layout.HAS_INITIAL):
            return layout.HAND_OVER
        if visible and (halves[slot, layout.HALF_INITIAL] & _LOW != sequence or start != position):
            return layout.HAND_OVER
        if other_visible and (not from_server or acknowledged != other):
            return layout.HAND_OVER
        if not from_server:
            flags |= layout.HAS_INITIAL
    if tcp_flags & _RST and (
        length
        or tcp_flags & _SYN
        or (visible and start != position and (start != position + 1 or not finished))
        or (not visible and acknowledged and acknowledged != other)
    ):
        return layout.HAND_OVER
    if length and not tcp_flags & (_ACK | _SYN):
        return layout.HAND_OVER
    origin = history[slot, layout.HISTORY_ORIGIN + from_server]
    if not visible:
        position = origin = start
    flags |= layout.VISIBLE << from_server
    state, asked, call = (
        slots[slot, layout.SLOT_STATE],
        slots[slot, layout.SLOT_ASKED],
        slots[slot, layout.SLOT_CALL] & _LOW,
    )
    place, judgement, transition, gap = -1, -1, 0, 0
    if length:
        if start != position or finished or (other_visible and acknowledged > other + (other_finished != 0)):
            if not position <= start <= position + layout.WINDOW or finished or not registers[layout.LOSING]:
                return layout.HAND_OVER
            # A FIN behind a gap ends nothing: the scalar path looks for both ends before it gives the gap up.
            if tcp_flags & _FIN:
                return layout.HAND_OVER
            gap = 1 if start > position else 0
        if gap:
            origin = start
        place = step_of(
            rows,
            number,
            length,
            from_server,
            state,
            call,
            registers,
            states,
            payload_index,
            payloads,
            transition_keys,
            transitions,
            scratch,
        )
        if place < 0:
            return -place
        transition = transitions[place]
        if transition >> layout.OUTCOME_SHIFT:
            judgement = judgement_of(
                slot, transition, lengths >> 32 & _LOW, slots, registers, judgement_keys, judgements
            )
            if judgement < 0:
                return layout.NEW_JUDGEMENT
        state = transition & layout.NEXT_MASK
        position = start + length
        flags |= layout.READ << from_server
    if tcp_flags & _FIN and not tcp_flags & _RST:
        if start + length != position or not tcp_flags & (_ACK | _SYN):
            return layout.HAND_OVER
        flags |= layout.FINISHED << from_server
    ends = tcp_flags & _RST or flags & (layout.FINISHED * 3) == layout.FINISHED * 3
    if ends and states[state, layout.STATE_WAITING]:
        return layout.HAND_OVER
    before = states[slots[slot, layout.SLOT_STATE], layout.STATE_BUFFERED]
    buffered = registers[layout.BUFFERED] + states[state, layout.STATE_BUFFERED] - before
    if buffered + registers[layout.BUFFERED_ELSEWHERE] > registers[layout.BUFFERED_LIMIT]:
        return layout.HAND_OVER
    # From here on everything is known: what is noted stays.
    registers[layout.BUFFERED] = buffered
    if gap:
        registers[layout.GAPS] += 1
        flags |= layout.LOST << from_server
    if place >= 0:
        if transition & layout.COUNTED:
            counted[place] += 1
            registers[layout.ANOMALIES] = 1
        if judgement >= 0:
            note_finding(
                rows, number, slot, judgement, asked if transition & layout.ANSWERS else -1, slots, registers, findings
            )
        if transition & layout.QUESTION_SET:
            slots[slot, layout.SLOT_ASKED] = rows[number, layout.ROW_TIME]
            # Sooner than the next sweep only if the record is much older than the ones before it.
            given_up = rows[number, layout.ROW_TIME] + registers[layout.PATIENCE]
            registers[layout.FIRST_ASKED] = min(registers[layout.FIRST_ASKED], rows[number, layout.ROW_TIME])
            registers[layout.SWEEP] = min(registers[layout.SWEEP], given_up)
            registers[layout.DUE] = min(registers[layout.DUE], given_up)
            halves[slot, 2 * layout.SLOT_CALL] = registers[layout.CALL]
    if tcp_flags & _SYN and not from_server:
        halves[slot, layout.HALF_INITIAL] = sequence
    slots[slot, layout.SLOT_STATE] = state
    slots[slot, ours] = position
    if not visible or gap:
        history[slot, layout.HISTORY_ORIGIN + from_server] = origin
    if length:
        history[slot, layout.HISTORY_LAST + from_server] = length << 32 | scratch[layout.CHECKSUM]
    elif not visible:
        history[slot, layout.HISTORY_LAST + from_server] = 0
    if acknowledged > slots[slot, layout.SLOT_ACKNOWLEDGED + 1 - from_server]:
        slots[slot, layout.SLOT_ACKNOWLEDGED + 1 - from_server] = acknowledged
    if ends:
        flags |= layout.CLOSED
    touch(slots, halves, registers, slot, flags)
    return layout.DONE


@exported
def run(rows: Words, start: int, arrays: Arrays) -> tuple[int, int]:
    """Take records from row `start` on; return why it stopped and the row at which it did.

    DONE means that all were taken. Of the row at which it stopped nothing has been noted but that its time is now
    and that it has a slot (whose number is in the registers).
    """
    (
        slots,
        halves,
        history,
        buckets,
        registers,
        states,
        payload_index,
        payloads,
        transition_keys,
        transitions,
        counted,
        judgement_keys,
        judgements,
        scratch,
        findings,
    ) = arrays
    room = findings.shape[0]
    for number in range(start, rows.shape[0]):
        if number + _AHEAD < rows.shape[0]:
            fetch_bucket(rows, number + _AHEAD, slots, buckets)
        time = rows[number, layout.ROW_TIME]
        if time < 0:
            return layout.ALONE, number
        if time > registers[layout.NOW]:
            if time >= registers[layout.DUE]:
                return layout.ADVANCE, number
            registers[layout.NOW] = time
            if not expire(slots, halves, buckets, registers, states, registers[layout.IDLE]):
                return layout.EXPIRE, number
        attributes = rows[number, layout.ROW_LENGTHS] >> 24 & 0xFF
        if attributes & _UDP:
            return layout.ALONE, number
        if registers[layout.FINDINGS] == room:
            return layout.FULL, number
        slot = slot_of(rows, number, attributes & _FROM_SERVER, slots, halves, buckets, registers, states)
        if slot < 0:
            return layout.MAKE_ROOM, number
        registers[layout.SLOT] = slot
        if slot == 0 and attributes & ~_PLAIN:
            return layout.ALONE, number
        if slot:
            if slots[slot, layout.SLOT_FLAGS] & layout.SCALAR:
                return layout.HAND_OVER, number
            code = follow(
                rows,
                number,
                slot,
                slots,
                halves,
                history,
                buckets,
                registers,
                states,
                payload_index,
                payloads,
                transition_keys,
                transitions,
                counted,
                judgement_keys,
                judgements,
                scratch,
                findings,
            )
            if code != layout.DONE:
                return code, number
        registers[layout.ORDER] += 1
    return layout.DONE, rows.shape[0]
