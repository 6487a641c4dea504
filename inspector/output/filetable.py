"""The table of `read`: the date and file above the rows; on a terminal equal rows and long listings are folded."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final, TextIO

from rich.text import Text

from inspector.escape import harmless
from inspector.model import format_time
from inspector.output.console import Console
from inspector.output.folding import Folding, shown_of
from inspector.output.rows import rows_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from inspector.decode.batch import FindingBatch
    from inspector.model import Finding
    from inspector.output.rows import Row

_REPEATED_SHOWN: Final = 20
_MADE_PER_SECOND: Final = 1000


class FileTable(Console):
    """A console whose rows are those of files; a line says of which file and day the rows below it are."""

    def __init__(
        self,
        stream: TextIO,
        *,
        terminal: bool | None = None,
        width: int | None = None,
        rows_per_second: int | None = None,
        clock: Callable[[], float] | None = None,
        header: bool = True,
    ) -> None:
        more = {} if clock is None else {"clock": clock}
        super().__init__(stream, terminal=terminal, width=width, rows_per_second=rows_per_second, header=header, **more)
        self._folding = Folding() if self.terminal else None
        self._below = ("", "")
        self._made_second = self._made = 0

    def show(self, batch: FindingBatch) -> bool:
        """Show findings, as `Console.show` does."""
        shown = 0
        for finding in batch.findings():
            if not self._has_room() or not self._may_make():
                break
            self._show_finding(finding)
            shown += 1
        self.leave_out(sum(count * max(len(template.mappings), 1) for template, count in batch[shown:].counts()))
        return self.open

    def close(self) -> None:
        """Say which rows there were more than once, and what was left out."""
        repeated = list(self._folding.take()) if self._folding is not None else []
        if repeated and self.open:
            self._write([Text("rows that said the same again", "bold")])
            for row, count, last in repeated[:_REPEATED_SHOWN]:
                self._write([Text(f"  {count:>6} times, the last at {last}: {row}")])
            if len(repeated) > _REPEATED_SHOWN:
                self._write([Text(f"  ... and {len(repeated) - _REPEATED_SHOWN} other rows", "dim")])
        super().close()

    def show_lines(self, heading: str, lines: Iterable[str]) -> None:
        """Show lines below a heading; nothing where there are none."""
        for number, line in enumerate(lines):
            if not number:
                self._write([Text(heading, "bold")])
            self._write([Text(self._harmless(line))])

    def _may_make(self) -> bool:
        """Return whether another finding may be made in this second, only to be folded; the others are left out."""
        if self._rows_per_second is None:
            return True
        second = int(self._clock())
        if second != self._made_second:
            self._made_second, self._made = second, 0
        self._made += 1
        return self._made <= _MADE_PER_SECOND

    def _show_finding(self, finding: Finding) -> None:
        self._begin()
        below = (finding.source, format_time(finding.time_ns)[:10])
        if below != self._below:
            self._below = below
            self._write([Text(f"-- {self._harmless(below[0])}, {below[1]}", "dim")])
        rest = ""
        if self._folding is not None:
            mappings, rest = shown_of(finding.mappings, finding.verdict)
            if rest:
                finding = replace(finding, mappings=tuple(mappings))
        for row in rows_of(finding):
            self._show_row(row)
        if rest:
            self._write([Text(rest, "dim")])

    def _show_row(self, row: Row) -> None:
        clean = self._clean(row)
        if self._folding is not None:
            key = " ".join((*clean.cells[1:], str(clean.verdict), clean.why))
            if not self._folding.is_new(key, clean.cells[0]):
                return
        if self._may_show_row():
            self._write(self._layout(clean))

    def _harmless(self, text: str) -> str:
        encoding = getattr(self._stream, "encoding", None) or "utf-8"
        return harmless(text).encode(encoding, "backslashreplace").decode(encoding)
