"""The parts of the compiled loop which look something up: a connection's slot, a payload's step, its judgement."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from inspector.columns import layout
from inspector.columns.payloads import find_payload, judgement_place, place_of, read_payload
from inspector.columns.tables import bucket_of, find, give_back, take
from inspector.compiled import inlined, prefetch
from inspector.record import Attribute

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Words = npt.NDArray[np.int64]
    Halves = npt.NDArray[np.int32]

_LOW: Final = 0xFFFFFFFF
_SYN: Final = 2
_ACK: Final = 16
_FROM_SERVER: Final = int(Attribute.FROM_SERVER)


@inlined
def ports_of(rows: Words, number: int, from_server: int) -> int:
    """Return the client's port, and the server's above it."""
    source, destination = rows[number, layout.ROW_PORTS] & 0xFFFF, rows[number, layout.ROW_PORTS] >> 16 & 0xFFFF
    return destination | source << 16 if from_server else source | destination << 16


@inlined
def fetch_bucket(rows: Words, number: int, slots: Words, buckets: Halves) -> None:
    """Ask for the bucket of a record that comes soon: of many connections, few are in the processor's caches."""
    from_server = rows[number, layout.ROW_LENGTHS] >> 24 & _FROM_SERVER
    client, server = (
        (layout.ROW_DESTINATION, layout.ROW_SOURCE) if from_server else (layout.ROW_SOURCE, layout.ROW_DESTINATION)
    )
    bucket = bucket_of(
        slots[0, layout.SECRET],
        rows[number, client],
        rows[number, client + 1],
        rows[number, server],
        rows[number, server + 1],
        ports_of(rows, number, from_server),
        buckets,
    )
    prefetch(buckets, bucket)


@inlined
def slot_of(
    rows: Words,
    number: int,
    from_server: int,
    slots: Words,
    halves: Halves,
    buckets: Halves,
    registers: Words,
    states: Words,
) -> int:
    """Return the slot of a record's connection, a new one if there was none; 0: nothing to know it by; -1: no room."""
    client, server = (
        (layout.ROW_DESTINATION, layout.ROW_SOURCE) if from_server else (layout.ROW_SOURCE, layout.ROW_DESTINATION)
    )
    ports = ports_of(rows, number, from_server)
    slot = find(
        slots,
        halves,
        buckets,
        rows[number, client],
        rows[number, client + 1],
        rows[number, server],
        rows[number, server + 1],
        ports,
    )
    lengths = rows[number, layout.ROW_LENGTHS]
    if slot or not (lengths & 0xFFFF or lengths >> 16 & _SYN):
        return slot
    if registers[layout.FAST] + registers[layout.ELSEWHERE] >= registers[layout.LIMIT]:
        oldest = registers[layout.OLDEST]
        flags = slots[oldest, layout.SLOT_FLAGS]
        if not oldest or registers[layout.OLDEST_ELSEWHERE] < flags >> layout.ORDER_SHIFT:
            return -1
        if states[slots[oldest, layout.SLOT_STATE], layout.STATE_WAITING]:
            return -1
        registers[layout.EVICTED] += not flags & layout.CLOSED
        give_back(slots, halves, buckets, registers, oldest)
    interface = lengths >> 32 & _LOW
    high, low, server_high, server_low = (
        rows[number, client],
        rows[number, client + 1],
        rows[number, server],
        rows[number, server + 1],
    )
    return take(slots, halves, buckets, registers, high, low, server_high, server_low, ports, interface)


@inlined
def step_of(
    rows: Words,
    number: int,
    length: int,
    from_server: int,
    state: int,
    call: int,
    registers: Words,
    states: Words,
    payload_index: Halves,
    payloads: Words,
    transition_keys: Words,
    transitions: Words,
    scratch: Words,
) -> int:
    """Return the place of the transition which a payload means in a state, or minus the reason why there is none.

    The payload's call id comes back in the registers.
    """
    if length > (rows.shape[1] - layout.ROW_PAYLOAD) * 8 or length > layout.LONGEST_PAYLOAD:
        return -layout.HAND_OVER
    call_id = read_payload(rows, number, length, from_server, scratch)
    registers[layout.CALL] = call_id
    payload = find_payload(scratch, payload_index, payloads)
    if payload == 0:
        return -layout.NEW_PAYLOAD
    if payloads[payload, layout.KEPT_REFUSED]:
        return -layout.HAND_OVER
    same = 1 if states[state, layout.STATE_WAITING] and call == call_id else 0
    key = state << 33 | payload << 1 | same
    place = place_of(transition_keys, key)
    if transition_keys[place] == 0:
        registers[layout.MISSING] = key
        return -layout.NEW_TRANSITION
    if transitions[place] & layout.REFUSED:
        return -layout.HAND_OVER
    return place


@inlined
def judgement_of(
    slot: int,
    transition: int,
    interface: int,
    slots: Words,
    registers: Words,
    judgement_keys: Words,
    judgements: Halves,
) -> int:
    """Return the number of the judgement on a transition's outcome, or -1: what is missing is in the registers."""
    high, low = slots[slot, layout.SLOT_SERVER], slots[slot, layout.SLOT_SERVER + 1]
    outcome = transition >> layout.OUTCOME_SHIFT | slots[slot, layout.SLOT_PORTS] >> 16 << 32
    place = judgement_place(judgement_keys, high, low, outcome, interface)
    if judgement_keys[place, 2] == 0:
        registers[layout.MISSING] = place
        registers[layout.MISSING + 1] = outcome
        registers[layout.INTERFACE] = interface
        return -1
    return judgements[place]


@inlined
def note_finding(
    rows: Words, number: int, slot: int, judgement: int, asked: int, slots: Words, registers: Words, findings: Words
) -> None:
    """Write one finding's row."""
    at = registers[layout.FINDINGS]
    findings[at, layout.FOUND_JUDGEMENT] = judgement
    findings[at, layout.FOUND_CLIENT] = slots[slot, layout.SLOT_CLIENT]
    findings[at, layout.FOUND_CLIENT + 1] = slots[slot, layout.SLOT_CLIENT + 1]
    findings[at, layout.FOUND_PORT] = slots[slot, layout.SLOT_PORTS] & 0xFFFF
    findings[at, layout.FOUND_CALL] = registers[layout.CALL]
    findings[at, layout.FOUND_TIME] = rows[number, layout.ROW_TIME]
    findings[at, layout.FOUND_ASKED] = asked
    registers[layout.FINDINGS] += 1


@inlined
def restart(
    rows: Words, number: int, slot: int, tcp_flags: int, slots: Words, halves: Halves, buckets: Halves, registers: Words
) -> int:
    """Return the flags of a slot for a record of a closed connection: a new one in its place, if it opens one."""
    flags = slots[slot, layout.SLOT_FLAGS]
    sequence = rows[number, layout.ROW_SEQUENCES] & _LOW
    initial = halves[slot, layout.HALF_INITIAL] & _LOW
    if tcp_flags & (_SYN | _ACK) != _SYN or (flags & layout.HAS_INITIAL and initial == sequence):
        return flags
    client, server = slots[slot, layout.SLOT_CLIENT], slots[slot, layout.SLOT_SERVER]
    client_low, server_low = slots[slot, layout.SLOT_CLIENT + 1], slots[slot, layout.SLOT_SERVER + 1]
    ports = slots[slot, layout.SLOT_PORTS]
    give_back(slots, halves, buckets, registers, slot)
    take(
        slots, halves, buckets, registers, client, client_low, server, server_low, ports,
        rows[number, layout.ROW_LENGTHS] >> 32 & _LOW,
    )  # fmt: skip
    return 0
