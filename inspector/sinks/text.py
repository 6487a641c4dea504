"""Text laid out in columns of a terminal."""

from __future__ import annotations

from itertools import zip_longest
from typing import TYPE_CHECKING

from rich.cells import cell_len, set_cell_size

if TYPE_CHECKING:
    from collections.abc import Sequence


def fold(text: str, width: int) -> list[str]:
    """Return text in lines of at most `width` cells, broken at spaces where possible; at least one line."""
    lines = [""]
    for word in text.split(" "):
        if lines[-1] and cell_len(lines[-1]) + 1 + cell_len(word) <= width:
            lines[-1] += " " + word
            continue
        pieces = _chop(word, width)
        lines[len(lines) if lines[-1] else len(lines) - 1 :] = pieces
    return lines


def columns(cells: Sequence[str], widths: Sequence[int]) -> list[str]:
    """Return the lines of one row: every cell folded into its column, columns a space apart."""
    folded = [fold(cell, width) for cell, width in zip(cells, widths, strict=True)]
    return [
        " ".join(set_cell_size(part, width) for part, width in zip(parts, widths, strict=True)).rstrip()
        for parts in zip_longest(*folded, fillvalue="")
    ]


def _chop(word: str, width: int) -> list[str]:
    """Return a word in pieces of at most `width` cells (characters may take none, one or two)."""
    pieces, size = [""], 0
    for character in word:
        cells = cell_len(character)
        if size + cells > width and pieces[-1]:
            pieces.append("")
            size = 0
        pieces[-1] += character
        size += cells
    return pieces
