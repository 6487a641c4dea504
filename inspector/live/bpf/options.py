"""What the kernel program is told before it is attached: struct epm_options."""

from __future__ import annotations

import socket
from itertools import count
from typing import TYPE_CHECKING, Final

import numpy as np

from inspector.errors import LiveError
from inspector.record import INTERFACE_BITS, INTERFACES, OPTIONS_DTYPE, PORT_ENDPOINT, PORT_SERVED

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

ENDPOINT_PORTS: Final = np.uint64(sum(PORT_ENDPOINT << 2 * number for number in range(32)))
"""In each word of `ports`, the bits that make a port an endpoint's."""

# The golden ratio: its multiples spread well; those of the odd numbers that follow are tried where two indexes meet.
_FIRST_FACTOR: Final = 0x9E3779B1


def pack_options(interface_indexes: Sequence[int], ports: Collection[int], current: bytes | None = None) -> bytes:
    """Return `struct epm_options` for these interfaces (the first 16 have counters of their own) and ports.

    An index of 0 is that of an interface which is not there now. Ports of endpoints stay as in `current`.
    """
    options = np.zeros((), OPTIONS_DTYPE)
    known = interface_indexes[:INTERFACES]
    number_of = {index: number for number, index in reversed(list(enumerate(known))) if index}
    factor, places = _places(list(number_of))
    options["interface_index"][: len(known)] = known
    options["interface_factor"] = factor
    options["interface_number"][places] = list(number_of.values())
    if current is not None:
        options["ports"] = np.frombuffer(current, OPTIONS_DTYPE)[0]["ports"] & ENDPOINT_PORTS
    for port in ports:
        if not 0 < port < 1 << 16:
            raise LiveError(f"{port} is no port of TCP or UDP")
        read = socket.htons(port)
        options["ports"][read >> 5] |= np.uint64(PORT_SERVED << (read & 31) * 2)
    return options.tobytes()


def _places(indexes: Sequence[int]) -> tuple[int, list[int]]:
    """Return a factor with which no two of these indexes, all different, come to the same place, and the places."""
    for factor in count(_FIRST_FACTOR, 2):
        places = [(index * factor & 0xFFFFFFFF) >> (32 - INTERFACE_BITS) for index in indexes]
        if len(set(places)) == len(places):
            return factor & 0xFFFFFFFF, places
    raise AssertionError("numbers do not end")
