"""Compiled making of JSON lines: the text of a judgement with the time, client, call id and latency of each finding.

What comes out is, byte for byte, what `json.dumps` makes of the finding.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from inspector.compiled import compiled, exported, intrinsic

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Bytes = npt.NDArray[np.uint8]
    Words = npt.NDArray[np.int64]

# Words of a batch's rows, as in `inspector.columns.layout`, which this module must not know.
FOUND_JUDGEMENT: Final = 0
FOUND_CLIENT: Final = 1
FOUND_PORT: Final = 3
FOUND_CALL: Final = 4
FOUND_TIME: Final = 5
FOUND_ASKED: Final = 6

PIECES: Final = 6
"""Pieces of a text: before the time, the client, its port, the call id and the latency, and the rest."""

LONGEST: Final = 128
"""More characters than what differs can have: time 30, address 39, port 5, call id 10, latency 17."""

_SECOND: Final = 1_000_000_000
_SECOND_LENGTH: Final = 19  # of its text
_DAY: Final = 86400
_LOW: Final = 0xFFFFFFFF
_MAPPED: Final = 0xFFFF0000
# Python writes shorter times with an exponent, and of longer ones the last digits are not exact.
_SHORTEST_LATENCY: Final = 100
_LONGEST_LATENCY: Final = 10**15
_ZERO: Final = 48
_COLON: Final = 58
_LETTER: Final = 97 - 10


def _copy_bytes(_typing: Any, out: Any, _at: Any, text: Any, _start: Any, _length: Any) -> Any:
    """Copy bytes of `text` from `_start` on to `_at` of `out`."""
    from numba.core import cgutils, types

    # It has no types.
    raw_memcpy: Any = cgutils.raw_memcpy

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        target, source = (
            builder.gep(context.make_array(signature.args[which])(context, builder, arguments[which]).data, [at])
            for which, at in ((0, arguments[1]), (2, arguments[3]))
        )
        raw_memcpy(builder, target, source, arguments[4], 1)
        return context.get_dummy_value()

    return types.void(out, types.int64, text, types.int64, types.int64), generate


copy_bytes: Any = intrinsic(_copy_bytes)


@compiled
def put_fixed(out: Bytes, at: int, value: int, digits: int) -> int:
    """Write a number with so many digits; return where it ends."""
    for place in range(at + digits - 1, at - 1, -1):
        out[place] = _ZERO + value % 10
        value //= 10
    return at + digits


@compiled
def put_number(out: Bytes, at: int, value: int) -> int:
    """Write a number which is not negative; return where it ends."""
    digits, limit = 1, 10
    while value >= limit and digits < 18:
        digits += 1
        limit *= 10
    return put_fixed(out, at, value, digits)


@compiled
def put_second(out: Bytes, at: int, seconds: int) -> int:
    """Write date and time of day as RFC 3339 has them, in UTC; return where they end.

    The date is counted in years that begin in March, of which 400 are 146097 days.
    """
    days, of_day = seconds // _DAY + 719468, seconds % _DAY
    era, day = days // 146097, days % 146097
    year = (day - day // 1460 + day // 36524 - day // 146096) // 365
    day -= 365 * year + year // 4 - year // 100
    month = (5 * day + 2) // 153
    day -= (153 * month + 2) // 5
    at = put_fixed(out, at, era * 400 + year + (month >= 10), 4)
    out[at] = 45
    at = put_fixed(out, at + 1, month + 3 if month < 10 else month - 9, 2)
    out[at] = 45
    at = put_fixed(out, at + 1, day + 1, 2)
    out[at] = 84
    at = put_fixed(out, at + 1, of_day // 3600, 2)
    out[at] = _COLON
    at = put_fixed(out, at + 1, of_day // 60 % 60, 2)
    out[at] = _COLON
    return put_fixed(out, at + 1, of_day % 60, 2)


@compiled
def put_fraction(out: Bytes, at: int, time_ns: int) -> int:
    """Write the rest of a time, in nine digits; return where it ends."""
    out[at] = 46
    at = put_fixed(out, at + 1, time_ns % _SECOND, 9)
    out[at] = 90
    return at + 1


@compiled
def hextet(high: int, low: int, number: int) -> int:
    """Return one of the eight groups of an address, whose words are in the byte order of the network."""
    word = high if number < 4 else low
    shift = number % 4 * 16
    return (word >> shift & 0xFF) << 8 | word >> shift + 8 & 0xFF


@compiled
def put_ipv6(out: Bytes, at: int, high: int, low: int) -> int:
    """Write an IPv6 address as RFC 5952 has it, without dots; return where it ends."""
    best, best_length, start = -1, 1, 0
    while start < 8:
        end = start
        while end < 8 and hextet(high, low, end) == 0:
            end += 1
        if end - start > best_length:
            best, best_length = start, end - start
        start = end + 1
    number = 0
    while number < 8:
        if number == best:
            out[at] = _COLON
            out[at + 1] = _COLON
            at += 2
            number += best_length
            continue
        if number and number != best + best_length:
            out[at] = _COLON
            at += 1
        value = hextet(high, low, number)
        shift = 12
        while shift and value >> shift == 0:
            shift -= 4
        while shift >= 0:
            digit = value >> shift & 15
            out[at] = _ZERO + digit if digit < 10 else _LETTER + digit
            at += 1
            shift -= 4
        number += 1
    return at


@compiled
def put_address(out: Bytes, at: int, high: int, low: int) -> int:
    """Write an address of 16 bytes, IPv4 as ::ffff:a.b.c.d; return where it ends."""
    if high != 0 or low & _LOW != _MAPPED:
        return put_ipv6(out, at, high, low)
    for shift in (32, 40, 48, 56):
        at = put_number(out, at, low >> shift & 0xFF)
        if shift < 56:
            out[at] = 46
            at += 1
    return at


@compiled
def put_milliseconds(out: Bytes, at: int, time_ns: int) -> int:
    """Write a time in milliseconds as Python writes a float; return where it ends."""
    at = put_number(out, at, time_ns // 1_000_000)
    out[at] = 46
    at = put_fixed(out, at + 1, time_ns % 1_000_000, 6)
    kept = 5
    while kept and out[at - 1] == _ZERO:
        at -= 1
        kept -= 1
    return at


@compiled
def put_piece(out: Bytes, at: int, text: Bytes, pieces: Words, template: int, number: int) -> int:
    """Copy one piece of a text; return where it ends."""
    start = pieces[template, number]
    length: int = pieces[template, number + 1] - start
    copy_bytes(out, at, text, start, length)
    return at + length


@exported
def write_lines(rows: Words, templates: Words, text: Bytes, pieces: Words, start: int, out: Bytes) -> tuple[int, int]:
    """Write lines for rows from `start` on; return the row at which it stopped and how many bytes were written.

    `templates` has, by number of judgement, the first of two rows of `pieces`: with latency, and without. These are
    PIECES + 1 offsets in `text`. It stops where `out` might not hold the next line, and before a latency that is
    written in another way.
    """
    at, second, second_at = 0, -1, 0
    for number in range(start, rows.shape[0]):
        template = templates[rows[number, FOUND_JUDGEMENT]]
        time_ns, asked = rows[number, FOUND_TIME], rows[number, FOUND_ASKED]
        has_latency = 0 <= asked <= time_ns
        latency = time_ns - asked
        if has_latency and (0 < latency < _SHORTEST_LATENCY or latency >= _LONGEST_LATENCY):
            return number, at
        if not has_latency:
            template += 1
        if at + pieces[template, PIECES] - pieces[template, 0] + LONGEST > out.shape[0]:
            return number, at
        at = put_piece(out, at, text, pieces, template, 0)
        if time_ns // _SECOND == second:
            copy_bytes(out, at, out, second_at, _SECOND_LENGTH)
        else:
            second, second_at = time_ns // _SECOND, at
            put_second(out, at, second)
        at = put_fraction(out, at + _SECOND_LENGTH, time_ns)
        at = put_piece(out, at, text, pieces, template, 1)
        at = put_address(out, at, rows[number, FOUND_CLIENT], rows[number, FOUND_CLIENT + 1])
        at = put_piece(out, at, text, pieces, template, 2)
        at = put_number(out, at, rows[number, FOUND_PORT])
        at = put_piece(out, at, text, pieces, template, 3)
        at = put_number(out, at, rows[number, FOUND_CALL])
        at = put_piece(out, at, text, pieces, template, 4)
        if has_latency:
            at = put_milliseconds(out, at, latency)
        at = put_piece(out, at, text, pieces, template, 5)
    return rows.shape[0], at
