"""How far the reading of a long file has come, shown on a terminal while it lasts."""

from __future__ import annotations

import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, TextIO

from rich.console import Console as RichConsole
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from inspector.escape import harmless

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from inspector.output.console import Console

DELAY_SECONDS: Final = 0.5
"""Files read within this time show no progress."""


@contextmanager
def show_progress(
    name: str,
    *,
    console: Console | None = None,
    stream: TextIO | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[Callable[[int, int | None], None] | None]:
    """Give a function to be called with bytes read and their total (None where unknown), or None.

    Where `console` shows rows on a terminal, the bar is drawn below them; otherwise on `stream`
    (standard error), if that is a terminal; otherwise nowhere, and there is no function.
    """
    target = stream or sys.stderr
    if console is not None and console.terminal:
        rich = console.rich
    elif target.isatty():
        rich = RichConsole(file=target)
    else:
        yield None
        return
    bar = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        TimeRemainingColumn(),
        console=rich,
        transient=True,
    )
    task = bar.add_task(harmless(name), total=None)
    began = clock()

    def update(done: int, total: int | None) -> None:
        if not bar.live.is_started and clock() - began >= DELAY_SECONDS:
            bar.start()
        bar.update(task, completed=done, total=total)

    try:
        yield update
    finally:
        if bar.live.is_started:
            bar.stop()


class Shares:
    """The progress of several files as one: `update` is called with the sum of what was read of all of them.

    `sizes` are their lengths; where one is None, so is the total.
    """

    def __init__(self, update: Callable[[int, int | None], None] | None, sizes: Sequence[int | None]) -> None:
        self._update = update
        self._done = 0
        self._of = [0] * len(sizes)
        known = [size for size in sizes if size is not None]
        self._total = sum(known) if len(known) == len(sizes) else None

    def of(self, number: int) -> Callable[[int, int | None], None]:
        """Return a function that takes the progress of one file."""
        return lambda done, _total: self.report(number, done)

    def report(self, number: int, done: int) -> None:
        """Note that `done` bytes of a file were read."""
        self._done += done - self._of[number]
        self._of[number] = done
        if self._update is not None:
            self._update(self._done, self._total)
