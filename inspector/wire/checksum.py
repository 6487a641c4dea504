"""Checksums of delivered bytes, which nobody can forge who does not know the keys of this process.

The sum of products (k[2i] + low half)(k[2i + 1] + high half) modulo 2^64 over the words of the data, its upper 32
bits: two different texts of one length have the same with a probability of about 2^-32, whatever they are (multilinear
hashing by halves, Lemire and Kaser, "Strongly universal string hashing is fast", 2014). `inspector.decode.streams`
computes the same in compiled code.
"""

from __future__ import annotations

import os
from typing import Final

import numpy as np

WORD: Final = 8
# Two PDUs of the greatest length; what is longer is compared as far.
_WORDS: Final = 16384
KEYS: Final = np.frombuffer(os.urandom(_WORDS * 2 * WORD), "<u8")
"""uint64[2 n]: for each word of 8 bytes two keys."""


def checksum(data: bytes) -> int:
    """Return the checksum of bytes, below 2^32; the last word is filled with zeros."""
    data = data[: _WORDS * WORD]
    count = -(-len(data) // WORD)
    halves = np.frombuffer(data.ljust(count * WORD, b"\0"), "<u4") + KEYS[: 2 * count]
    return int(np.dot(halves[::2], halves[1::2])) >> 32
