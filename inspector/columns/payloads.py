"""Compiled recognition of payloads: what does not matter of their bytes is masked, the rest is looked up.

Nothing hangs on the value of a call id (12.6.3.1 of C706), only on which of them are equal; nothing on an
allocation hint; and of the pointers (referents) of a canonical map request or response nothing but that they are
not null, and in a response differ from each other. Windows counts its referents, others draw them by lot.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from inspector.columns import layout
from inspector.columns.tables import mix
from inspector.compiled import compiled, exported

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Words = npt.NDArray[np.int64]
    Halves = npt.NDArray[np.int32]

LENGTH_MASK: Final = 0xFFFF
FROM_SERVER: Final = 1 << 16
MASKED: Final = 1 << 17

_LITTLE_ENDIAN: Final = 0x10  # of the data representation's first byte
_LOW: Final = 0xFFFFFFFF
_HIGH: Final = -1 << 32
_TOWER_LENGTH: Final = 75
_TOWER: Final = _TOWER_LENGTH | _TOWER_LENGTH << 32  # conformance and length


@compiled
def _is_plain(words: Words, length: int) -> bool:
    """Whether a PDU is version 5.x, little-endian, one fragment, without object UUID or verifier, and all there is."""
    first, second = words[layout.KEPT_PAYLOAD], words[layout.KEPT_PAYLOAD + 1]
    return (
        first & 0xFF == 5
        and (first >> 24) & 0xFF == 3
        and (first >> 32) & 0xFF == _LITTLE_ENDIAN
        and second & 0xFFFF == length
        and (second >> 16) & 0xFFFF == 0
    )


@compiled
def _mask_narrow_response(words: Words, towers: int) -> bool:
    """Mask the referents of a canonical map response in NDR20; return whether it was one.

    Of the PDU, number of towers at 44, offset 52, actual count 56, referents from 60, the first tower's
    conformance and length behind them.
    """
    at = layout.KEPT_PAYLOAD
    second = words[at + 8] & _LOW
    if (
        words[at + 5] >> 32 & _LOW != towers
        or words[at + 6] >> 32 != 0
        or words[at + 7] & _LOW != towers
        or words[at + 7] >> 32 == 0
    ):
        return False
    if towers == 1:
        if words[at + 8] != _TOWER:
            return False
    else:
        if second == 0 or second == words[at + 7] >> 32 & _LOW:
            return False
        if words[at + 8] >> 32 != _TOWER_LENGTH or words[at + 9] & _LOW != _TOWER_LENGTH:
            return False
        words[at + 8] = words[at + 8] & _HIGH | 2
    words[at + 7] = words[at + 7] & _LOW | 1 << 32
    return True


@compiled
def _mask_wide_response(words: Words, towers: int) -> bool:
    """Mask the referents of a canonical map response in NDR64; return whether it was one.

    Of the PDU, number of towers at 44, offset 56, actual count 64, referents from 72, the first tower's
    conformance and length behind them.
    """
    at = layout.KEPT_PAYLOAD
    tower = at + 9 + towers
    if words[at + 5] >> 32 & _LOW != towers or words[at + 7] != 0 or words[at + 8] != towers or words[at + 9] == 0:
        return False
    if words[tower] != _TOWER_LENGTH or words[tower + 1] & _LOW != _TOWER_LENGTH:
        return False
    if towers == 2:
        if words[at + 10] == 0 or words[at + 10] == words[at + 9]:
            return False
        words[at + 10] = 2
    words[at + 9] = 1
    return True


@compiled
def _mask_response(words: Words, length: int) -> bool:
    """Mask the referents of a canonical map response of one or two towers; return whether it was one."""
    if length == 152:
        return _mask_narrow_response(words, 1)
    if length == 240:
        return _mask_narrow_response(words, 2)
    if length == 172:
        return _mask_wide_response(words, 1)
    if length == 268:
        return _mask_wide_response(words, 2)
    return False


@compiled
def _mask_request(words: Words, length: int) -> bool:
    """Mask the referents of a canonical map request; return whether it was one.

    Of the PDU, operation number at 22, object's referent 24; in NDR20 the tower's referent at 44, conformance and
    length behind it; in NDR64 at 48, 56 and 64.
    """
    at = layout.KEPT_PAYLOAD
    if words[at + 2] >> 48 & 0xFFFF != 3:
        return False
    if length == 156:
        if words[at + 6] != _TOWER or words[at + 3] & _LOW == 0 or words[at + 5] >> 32 == 0:
            return False
        words[at + 3] = words[at + 3] & _HIGH | 1
        words[at + 5] = words[at + 5] & _LOW | 2 << 32
        return True
    if length == 168:
        if words[at + 7] != _TOWER_LENGTH or words[at + 8] & _LOW != _TOWER_LENGTH:
            return False
        if words[at + 3] == 0 or words[at + 6] == 0:
            return False
        words[at + 3] = 1
        words[at + 6] = 2
        return True
    return False


@compiled
def read_payload(rows: Words, number: int, length: int, from_server: int, words: Words) -> int:
    """Copy a record's payload into `words`, masked, as a kept payload has it, and return its call id.

    The bytes of the last word which are not the payload's become 0. Behind them stands the payload's checksum, as
    `inspector.wire.checksum` computes it.
    """
    count = (length + 7) >> 3
    for word in range(count):
        words[layout.KEPT_PAYLOAD + word] = rows[number, layout.ROW_PAYLOAD + word]
    if length & 7:
        words[layout.KEPT_PAYLOAD + count - 1] &= (1 << ((length & 7) * 8)) - 1
    total = 0
    for word in range(count):
        value, key = words[layout.KEPT_PAYLOAD + word], layout.CHECKSUM_KEYS + 2 * word
        total += (words[key] + (value & _LOW)) * (words[key + 1] + (value >> 32 & _LOW))
    words[layout.CHECKSUM] = total >> 32 & _LOW
    meta = length | from_server * FROM_SERVER
    call_id = 0
    if length >= 16:
        call_id = words[layout.KEPT_PAYLOAD + 1] >> 32 & _LOW
        words[layout.KEPT_PAYLOAD + 1] &= _LOW
        if not words[layout.KEPT_PAYLOAD] >> 32 & _LITTLE_ENDIAN:
            call_id = call_id >> 24 | call_id >> 8 & 0xFF00 | (call_id & 0xFF00) << 8 | (call_id & 0xFF) << 24
    if length >= 24 and _is_plain(words, length):
        kind = words[layout.KEPT_PAYLOAD] >> 16 & 0xFF
        if (kind == 2 and from_server and _mask_response(words, length)) or (
            kind == 0 and not from_server and _mask_request(words, length)
        ):
            words[layout.KEPT_PAYLOAD + 2] &= _HIGH
            meta |= MASKED
    words[layout.KEPT_META] = meta
    return call_id


@compiled
def payload_hash(words: Words) -> int:
    """Return the hash of a masked payload."""
    count = ((words[layout.KEPT_META] & LENGTH_MASK) + 7) >> 3
    # Two chains of multiplications, which the processor follows side by side.
    first = words[layout.KEPT_META]
    second = count
    for number in range(0, count - 1, 2):
        first = mix(first, words[layout.KEPT_PAYLOAD + number])
        second = mix(second, words[layout.KEPT_PAYLOAD + number + 1])
    if count & 1:
        first = mix(first, words[layout.KEPT_PAYLOAD + count - 1])
    return mix(first, second) >> 20


@compiled
def find_payload(words: Words, index: Halves, payloads: Words) -> int:
    """Return the number of a kept payload, or 0; `index` is a power of two of numbers, never full."""
    mask = index.shape[0] - 1
    count = (((words[layout.KEPT_META] & LENGTH_MASK) + 7) >> 3) + layout.KEPT_PAYLOAD
    at = payload_hash(words) & mask
    while index[at]:
        number = index[at]
        same = payloads[number, layout.KEPT_META] == words[layout.KEPT_META]
        word = layout.KEPT_PAYLOAD
        while same and word < count:
            same = payloads[number, word] == words[word]
            word += 1
        if same:
            return number
        at = (at + 1) & mask
    return 0


@exported
def keep_payload(words: Words, index: Halves, payloads: Words, number: int) -> None:
    """Keep a masked payload, which is not kept yet, under a number."""
    mask = index.shape[0] - 1
    at = payload_hash(words) & mask
    while index[at]:
        at = (at + 1) & mask
    index[at] = number
    for word in range(payloads.shape[1]):
        payloads[number, word] = words[word]


@exported
def place_of(keys: Words, key: int) -> int:
    """Return where a key stands in a table of keys (0: nothing), or where it would: a power of two, never full."""
    mask = keys.shape[0] - 1
    at = (mix(key, 1) >> 20) & mask
    while keys[at] != 0 and keys[at] != key:
        at = (at + 1) & mask
    return at


@compiled
def judgement_place(keys: Words, high: int, low: int, outcome: int, interface: int) -> int:
    """Return the same for keys of four words: asked address, outcome with server port (never 0), interface."""
    mask = keys.shape[0] - 1
    at = (mix(mix(low, outcome), high ^ interface) >> 20) & mask
    while keys[at, 2] != 0 and (
        keys[at, 2] != outcome or keys[at, 1] != low or keys[at, 0] != high or keys[at, 3] != interface
    ):
        at = (at + 1) & mask
    return at
