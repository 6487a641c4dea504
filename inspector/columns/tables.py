"""Compiled operations on the slots of connections: find, take, give back, touch. See `inspector.columns.layout`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from inspector.columns import layout
from inspector.compiled import compiled, exported

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Words = npt.NDArray[np.int64]
    Halves = npt.NDArray[np.int32]

# An odd number with bits all over (of the golden ratio): multiplication mixes upwards.
_MIX = -7046029254386353131


@compiled
def mix(value: int, word: int) -> int:
    """Return a hash of what was hashed before and one more word; good in its upper bits."""
    value = (value ^ word) * _MIX
    return value ^ ((value >> 29) & 0x7FFFFFFFF)


@compiled
def bucket_of(secret: int, high: int, low: int, server_high: int, server_low: int, ports: int, buckets: Halves) -> int:
    """Return the bucket of a connection: `buckets` is a power of two of slot numbers."""
    value = mix(mix(mix(secret, low), server_low), ports)
    # Both are 0 in IPv4.
    if high | server_high:
        value = mix(mix(value, high), server_high)
    return ((value * _MIX) >> 34) & (buckets.shape[0] - 1)


@exported
def find(
    slots: Words, halves: Halves, buckets: Halves, high: int, low: int, server_high: int, server_low: int, ports: int
) -> int:
    """Return the slot of a connection, or 0."""
    secret = slots[0, layout.SECRET]
    slot = buckets[bucket_of(secret, high, low, server_high, server_low, ports, buckets)]
    while slot:
        if (
            slots[slot, layout.SLOT_PORTS] == ports
            and slots[slot, layout.SLOT_CLIENT + 1] == low
            and slots[slot, layout.SLOT_SERVER + 1] == server_low
            and slots[slot, layout.SLOT_CLIENT] == high
            and slots[slot, layout.SLOT_SERVER] == server_high
        ):
            return slot
        slot = halves[slot, layout.HALF_CHAIN]
    return 0


@compiled
def link(halves: Halves, registers: Words, slot: int) -> None:
    """Put a slot at the newest end of the order of last touch."""
    newest = registers[layout.NEWEST]
    halves[slot, layout.HALF_OLDER] = newest
    halves[slot, layout.HALF_NEWER] = 0
    if newest:
        halves[newest, layout.HALF_NEWER] = slot
    else:
        registers[layout.OLDEST] = slot
    registers[layout.NEWEST] = slot


@compiled
def unlink(halves: Halves, registers: Words, slot: int) -> None:
    """Take a slot out of that order."""
    older, newer = halves[slot, layout.HALF_OLDER], halves[slot, layout.HALF_NEWER]
    if older:
        halves[older, layout.HALF_NEWER] = newer
    else:
        registers[layout.OLDEST] = newer
    if newer:
        halves[newer, layout.HALF_OLDER] = older
    else:
        registers[layout.NEWEST] = older


@exported
def take(
    slots: Words,
    halves: Halves,
    buckets: Halves,
    registers: Words,
    high: int,
    low: int,
    server_high: int,
    server_low: int,
    ports: int,
    interface: int,
) -> int:
    """Return a new slot for a connection, at the newest end; there must be room, which the caller sees to."""
    slot = registers[layout.FREE_SLOT]
    if slot:
        registers[layout.FREE_SLOT] = halves[slot, layout.HALF_CHAIN]
    else:
        registers[layout.HIGH_WATER] += 1
        slot = registers[layout.HIGH_WATER]
    for word in range(layout.SLOT_WORDS):
        slots[slot, word] = 0
    slots[slot, layout.SLOT_CLIENT] = high
    slots[slot, layout.SLOT_CLIENT + 1] = low
    slots[slot, layout.SLOT_SERVER] = server_high
    slots[slot, layout.SLOT_SERVER + 1] = server_low
    slots[slot, layout.SLOT_PORTS] = ports
    slots[slot, layout.SLOT_LAST] = registers[layout.NOW]
    halves[slot, layout.HALF_INTERFACE] = interface
    bucket = bucket_of(slots[0, layout.SECRET], high, low, server_high, server_low, ports, buckets)
    halves[slot, layout.HALF_CHAIN] = buckets[bucket]
    buckets[bucket] = slot
    link(halves, registers, slot)
    registers[layout.FAST] += 1
    return slot


@exported
def give_back(slots: Words, halves: Halves, buckets: Halves, registers: Words, slot: int) -> None:
    """Forget a slot, whichever path its connection belongs to."""
    if not slots[slot, layout.SLOT_FLAGS] & layout.SCALAR:
        unlink(halves, registers, slot)
        registers[layout.FAST] -= 1
    bucket = bucket_of(
        slots[0, layout.SECRET],
        slots[slot, layout.SLOT_CLIENT],
        slots[slot, layout.SLOT_CLIENT + 1],
        slots[slot, layout.SLOT_SERVER],
        slots[slot, layout.SLOT_SERVER + 1],
        slots[slot, layout.SLOT_PORTS],
        buckets,
    )
    following = halves[slot, layout.HALF_CHAIN]
    if buckets[bucket] == slot:
        buckets[bucket] = following
    else:
        before = buckets[bucket]
        while halves[before, layout.HALF_CHAIN] != slot:
            before = halves[before, layout.HALF_CHAIN]
        halves[before, layout.HALF_CHAIN] = following
    slots[slot, layout.SLOT_FLAGS] = layout.FREE | layout.CLOSED
    slots[slot, layout.SLOT_STATE] = 0
    halves[slot, layout.HALF_CHAIN] = registers[layout.FREE_SLOT]
    registers[layout.FREE_SLOT] = slot


@exported
def leave(slots: Words, halves: Halves, registers: Words, slot: int) -> None:
    """Mark a slot as the scalar path's."""
    unlink(halves, registers, slot)
    registers[layout.FAST] -= 1
    slots[slot, layout.SLOT_FLAGS] |= layout.SCALAR
    slots[slot, layout.SLOT_STATE] = 0


@exported
def come_back(slots: Words, halves: Halves, registers: Words, slot: int, flags: int) -> None:
    """Take a slot back from the scalar path, with its flags; it is the one that was touched last."""
    slots[slot, layout.SLOT_FLAGS] = flags | registers[layout.ORDER] << layout.ORDER_SHIFT
    slots[slot, layout.SLOT_LAST] = registers[layout.NOW]
    link(halves, registers, slot)
    registers[layout.FAST] += 1


@compiled
def touch(slots: Words, halves: Halves, registers: Words, slot: int, flags: int) -> None:
    """Note that a connection was touched by the record being read, and its flags."""
    slots[slot, layout.SLOT_LAST] = registers[layout.NOW]
    slots[slot, layout.SLOT_FLAGS] = flags | (registers[layout.ORDER] + 1) << layout.ORDER_SHIFT
    if registers[layout.NEWEST] != slot:
        unlink(halves, registers, slot)
        link(halves, registers, slot)


@exported
def expire(slots: Words, halves: Halves, buckets: Halves, registers: Words, states: Words, idle: int) -> bool:
    """Forget connections that were silent for `idle`; False where the next of them has an open question."""
    slot = registers[layout.OLDEST]
    while slot and slots[slot, layout.SLOT_LAST] + idle <= registers[layout.NOW]:
        if states[slots[slot, layout.SLOT_STATE], layout.STATE_WAITING]:
            return False
        give_back(slots, halves, buckets, registers, slot)
        slot = registers[layout.OLDEST]
    return True


@exported
def sweep(slots: Words, registers: Words, states: Words, asked_until: int, found: Words) -> int:
    """Write the slots whose question was asked up to then into `found`; return how many."""
    if registers[layout.FIRST_ASKED] > asked_until:
        return 0
    count = 0
    first_asked = 0x7FFFFFFFFFFFFFFF
    for slot in range(1, registers[layout.HIGH_WATER] + 1):
        if not states[slots[slot, layout.SLOT_STATE], layout.STATE_WAITING]:
            continue
        if slots[slot, layout.SLOT_ASKED] <= asked_until:
            found[count] = slot
            count += 1
        else:
            first_asked = min(first_asked, slots[slot, layout.SLOT_ASKED])
    registers[layout.FIRST_ASKED] = first_asked
    return count
