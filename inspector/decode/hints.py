"""What is one instruction in C: `hints.pxd` has the same functions for compiled code.

Integers are read in the machine's order, which is that of little-endian PDUs on all machines in use.
"""

from __future__ import annotations

from typing import Final

_ALL: Final = (1 << 64) - 1


def short_at(data: memoryview, at: int) -> int:
    """Return the 16-bit integer at an offset."""
    return data[at] | data[at + 1] << 8


def long_at(data: memoryview, at: int) -> int:
    """Return the 32-bit integer at an offset."""
    return int.from_bytes(data[at : at + 4], "little")


def hyper_at(data: memoryview, at: int) -> int:
    """Return the 64-bit integer at an offset."""
    return int.from_bytes(data[at : at + 8], "little")


def mix(value: int, word: int, multiplier: int) -> int:
    """Return a hash of what was hashed before and one more word; good in its upper bits."""
    value = ((value ^ (word & _ALL)) * multiplier) & _ALL
    return value ^ value >> 29


def tag_of(secret: int, multiplier: int, high: int, low: int, server_high: int, server_low: int, ports: int) -> int:
    """Return the hash of a connection, 32 bits, from the words of both addresses and both ports."""
    value = mix(mix(mix(secret, low, multiplier), server_low, multiplier), ports, multiplier)
    # Both are 0 in IPv4.
    if high | server_high:
        value = mix(mix(value, high, multiplier), server_high, multiplier)
    return mix(value, 0, multiplier) >> 32


# Of these, code that is not compiled has no use.


def fetch(_address: object) -> None:
    """Ask for the cache line of an address that is written soon."""


def fetch_row(_address: object) -> None:
    """Ask for the first cache lines of a row that is read soon."""


def copy(_to: object, _source: object, _count: int) -> None:
    """Copy bytes from one address to another."""


def same(_one: object, _other: object, _count: int) -> bool:
    """Return whether the bytes at two addresses are equal."""
    raise NotImplementedError


def view_of(_batch: object, _view: object) -> None:
    """Open the buffer of an object whose bytes stand one after the other."""


def close_view(_view: object) -> None:
    """Let go of it."""
