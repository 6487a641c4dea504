"""The compiled look at a ring: its records lie in another processor's cache, and are fetched before they are needed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from inspector.compiled import exported, prefetch

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

_LINE_WORDS: Final = 8
# So many entries ahead: a line takes as long to come as some entries to be looked at.
_AHEAD: Final = 12
# Of an entry: beyond are only the longest payloads.
_MOST_LINES: Final = 4


@exported
def count_like(words: npt.NDArray[np.uint64], header: int, word: int, width: int, most: int) -> int:
    """Return how many entries in a row, up to `most`, have this header, the first being at `word`, `width` words each.

    Their lines are asked for on the way, so that they are near when they are read.
    """
    lines = min((width + _LINE_WORDS - 1) // _LINE_WORDS, _MOST_LINES)
    for number in range(most):
        at = word + number * width
        if number + _AHEAD < most:
            for line in range(lines):
                prefetch(words, at + _AHEAD * width + line * _LINE_WORDS)
        if words[at] & 0xFFFFFFFF != header:
            return number
    return most
