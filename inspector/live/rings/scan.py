# cython: boundscheck=True, wraparound=False
"""The compiled search of a ring: its records are in another processor's cache, and are fetched before use."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cython

from inspector.decode import hints, layout

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


def count_like(words: npt.NDArray[np.uint64], header: int, word: int, width: int, most: int) -> int:
    """Return how many consecutive entries, up to `most`, have this header, the first being at `word`.

    Entries are `width` words long. Their cache lines are fetched some entries ahead.
    """
    return count(words.data, header, word, width, most)


def count(words: memoryview, header: int, at: int, width: int, most: int) -> int:
    """Do what `count_like` says."""
    for number in range(most):
        if cython.compiled and number + layout.ROW_AHEAD < most:
            hints.fetch_row(cython.address(words[at + layout.ROW_AHEAD * width]))
        if words[at] & layout.LOW != header:
            return number
        at += width
    return most
