"""Text laid out in columns of a terminal."""

from __future__ import annotations

import functools
from itertools import zip_longest
from typing import TYPE_CHECKING, Final

from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.table import Table

# Wider than any table: nothing that is searched is folded.
_UNFOLDED: Final = 1 << 16


def fold(text: str, width: int) -> list[str]:
    """Return text in lines of at most `width` cells (2 or more), broken at spaces where possible; at least one."""
    if cell_len(text) <= width:
        return [text]
    return [line.plain.rstrip() for line in Text(text).wrap(_plain_console(), width, overflow="fold")]


def columns(cells: Sequence[str], widths: Sequence[int]) -> list[str]:
    """Return the lines of one row: every cell folded into its column, columns a space apart."""
    folded = [fold(cell, width) for cell, width in zip(cells, widths, strict=True)]
    return [
        " ".join(set_cell_size(part, width) for part, width in zip(parts, widths, strict=True)).rstrip()
        for parts in zip_longest(*folded, fillvalue="")
    ]


def table_text(table: Table, *, terminal: bool) -> str:
    """Return a table as text: folded to the terminal's width with colours, or unfolded and nothing but text.

    The text is for the caller to write: rich ends the process where the reader of a pipe has gone.
    """
    console = _terminal_console() if terminal else _plain_console()
    with console.capture() as capture:
        console.print(table)
    return capture.get()


def _terminal_console() -> Console:
    return Console(force_terminal=True, highlight=False, markup=False, emoji=False)


@functools.cache
def _plain_console() -> Console:
    return Console(force_terminal=False, color_system=None, width=_UNFOLDED, highlight=False, markup=False, emoji=False)
