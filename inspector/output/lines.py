# cython: boundscheck=True, wraparound=False, initializedcheck=False
"""Compiled writing of JSON lines: a template's text with what differs between findings, as time and client.

The lines are, byte for byte, those that `json.dumps` makes of the findings.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import cython

from inspector.decode import hints
from inspector.output import layout

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from inspector.decode.batch import Columns


def hextet(high: int, low: int, number: int) -> int:
    """Return one of the eight groups of an address, whose words are in network byte order."""
    word = high if number < 4 else low
    shift = (number & 3) * 16
    return (word >> shift & 0xFF) << 8 | word >> shift + 8 & 0xFF


class LineWriter:
    """Writes into a buffer; `at` is where the next byte goes."""

    def __init__(self, output: npt.NDArray[np.uint8]) -> None:
        self.out = output.data
        self.at = 0

    def write(
        self,
        columns: Columns,
        templates: npt.NDArray[np.int64],
        text: npt.NDArray[np.uint8],
        pieces: npt.NDArray[np.int64],
        start: int,
    ) -> int:
        """Write lines for the rows of a batch from `start` on; return the row at which it stopped.

        `templates` has, by template number, the first of VARIANTS rows of `pieces`, each PIECES + 1 offsets in `text`.
        It stops where there might be no room for the next line, and before a latency that is written in another way.
        """
        self.at = 0
        self.numbers = columns.templates.data
        self.clients = columns.clients.data
        self.ports = columns.ports.data
        self.calls = columns.calls.data
        self.times = columns.times.data
        self.asked = columns.asked.data
        self.frames = columns.frames.data
        self.templates = templates.data
        self.text = text.data
        self.pieces = pieces.data
        first = cython.cast(cython.longlong, start)
        with cython.nogil:
            stopped = self.loop(first)
        return int(stopped)

    def loop(self, start: int) -> int:
        """Do what `write` says."""
        second = cython.cast(cython.longlong, -1)
        second_at = cython.cast(cython.longlong, 0)
        rows = self.numbers.shape[0]
        size = self.out.shape[0]
        for row in range(start, rows):
            template = self.templates[self.numbers[row]]
            time_ns = self.times[row]
            asked = self.asked[row]
            latency = cython.cast(cython.longlong, -1)
            if asked >= 0 and asked <= time_ns:
                latency = time_ns - asked
            if (latency > 0 and latency < layout.SHORTEST_LATENCY) or latency >= layout.LONGEST_LATENCY:
                return row
            frame = self.frames[row]
            if latency < 0:
                template += 1
            if frame <= 0:
                template += 2
            if self.at + self.pieces[template, layout.PIECES] - self.pieces[template, 0] + layout.LONGEST > size:
                return row
            self.put_piece(template, 0)
            if time_ns // layout.SECOND == second:
                self.repeat(second_at, layout.SECOND_LENGTH)
            else:
                second = time_ns // layout.SECOND
                second_at = self.at
                self.put_second(second)
            self.put_fraction(time_ns)
            self.put_piece(template, 1)
            self.put_address(self.clients[row, 0], self.clients[row, 1])
            self.put_piece(template, 2)
            self.put_number(self.ports[row])
            self.put_piece(template, 3)
            self.put_number(self.calls[row])
            self.put_piece(template, 4)
            if frame > 0:
                self.put_number(frame)
            self.put_piece(template, 5)
            if latency >= 0:
                self.put_milliseconds(latency)
            self.put_piece(template, 6)
        return rows

    def put_piece(self, template: int, number: int) -> int:
        """Copy a piece of a text. Copying its last byte first checks both ends."""
        start = self.pieces[template, number]
        length = self.pieces[template, number + 1] - start
        if length > 0:
            self.out[self.at + length - 1] = self.text[start + length - 1]
            if cython.compiled:
                hints.copy(cython.address(self.out[self.at]), cython.address(self.text[start]), length - 1)
            else:
                self.out[self.at : self.at + length] = self.text[start : start + length]
            self.at += length
        return 0

    def repeat(self, start: int, length: int) -> int:
        """Write again what was written at `start`."""
        for offset in range(length):
            self.out[self.at + offset] = self.out[start + offset]
        self.at += length
        return 0

    def put_byte(self, value: int) -> int:
        """Write a byte."""
        self.out[self.at] = value
        self.at += 1
        return 0

    def put_fixed(self, value: int, digits: int) -> int:
        """Write a number in that many digits."""
        end = self.at + digits
        for place in range(digits):
            self.out[end - 1 - place] = layout.ZERO + value % 10
            value //= 10
        self.at = end
        return 0

    def put_number(self, value: int) -> int:
        """Write a number which is not negative."""
        digits = cython.cast(cython.longlong, 1)
        limit = cython.cast(cython.longlong, 10)
        while value >= limit and digits < 18:
            digits += 1
            limit *= 10
        return self.put_fixed(value, digits)

    def put_second(self, seconds: int) -> int:
        """Write date and time of day as in RFC 3339, in UTC.

        The date is counted in years that begin in March, of which 400 are 146097 days.
        """
        days = seconds // layout.DAY + 719468
        of_day = seconds % layout.DAY
        era = days // 146097
        day = days % 146097
        year = (day - day // 1460 + day // 36524 - day // 146096) // 365
        day -= 365 * year + year // 4 - year // 100
        month = (5 * day + 2) // 153
        day -= (153 * month + 2) // 5
        year += era * 400
        if month < 10:
            month += 3
        else:
            month -= 9
            year += 1
        self.put_fixed(year, 4)
        self.put_byte(45)
        self.put_fixed(month, 2)
        self.put_byte(45)
        self.put_fixed(day + 1, 2)
        self.put_byte(84)
        self.put_fixed(of_day // 3600, 2)
        self.put_byte(layout.COLON)
        self.put_fixed(of_day // 60 % 60, 2)
        self.put_byte(layout.COLON)
        return self.put_fixed(of_day % 60, 2)

    def put_fraction(self, time_ns: int) -> int:
        """Write the rest of a time, in nine digits."""
        self.put_byte(46)
        self.put_fixed(time_ns % layout.SECOND, 9)
        return self.put_byte(90)

    def put_ipv6(self, high: int, low: int) -> int:
        """Write an IPv6 address as in RFC 5952, without dots."""
        best = cython.cast(cython.longlong, -1)
        best_length = cython.cast(cython.longlong, 1)
        start = cython.cast(cython.longlong, 0)
        while start < 8:
            end = start
            while end < 8 and hextet(high, low, end) == 0:
                end += 1
            if end - start > best_length:
                best = start
                best_length = end - start
            start = end + 1
        number = cython.cast(cython.longlong, 0)
        while number < 8:
            if number == best:
                self.put_byte(layout.COLON)
                self.put_byte(layout.COLON)
                number += best_length
                continue
            if number and number != best + best_length:
                self.put_byte(layout.COLON)
            value = hextet(high, low, number)
            shift = cython.cast(cython.longlong, 12)
            while shift and value >> shift == 0:
                shift -= 4
            while shift >= 0:
                digit = value >> shift & 15
                self.put_byte(layout.ZERO + digit if digit < 10 else layout.LETTER + digit)
                shift -= 4
            number += 1
        return 0

    def put_address(self, high: int, low: int) -> int:
        """Write an address of 16 bytes, IPv4 as ::ffff:a.b.c.d."""
        if high != 0 or low & layout.LOW != layout.MAPPED:
            return self.put_ipv6(high, low)
        for number in range(4):
            if number:
                self.put_byte(46)
            self.put_number(low >> 32 + 8 * number & 0xFF)
        return 0

    def put_milliseconds(self, time_ns: int) -> int:
        """Write a time in milliseconds as Python writes a float."""
        self.put_number(time_ns // 1000000)
        self.put_byte(46)
        self.put_fixed(time_ns % 1000000, 6)
        kept = cython.cast(cython.longlong, 5)
        while kept and self.out[self.at - 1] == layout.ZERO:
            self.at -= 1
            kept -= 1
        return 0
