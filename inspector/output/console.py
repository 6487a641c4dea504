"""Findings and counts for a person: rows as they come, a line of state on a terminal, a summary at the end.

On a terminal rows are folded to its width and verdicts have colours; elsewhere each row is one
line and nothing but text, so that it can be searched.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Self, TextIO

from rich.console import Console as RichConsole
from rich.live import Live
from rich.text import Text

from inspector.consequence import Outcome
from inspector.escape import harmless
from inspector.model import Verdict
from inspector.output.jsonl import write_or_close
from inspector.output.rows import Row, rows_of
from inspector.output.text import columns, fold, table_text

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from rich.table import Table

    from inspector.decode.batch import FindingBatch

REDRAWS_PER_SECOND: Final = 4

_HEADINGS: Final = ("TIME (UTC)", "CLIENT", "ASKED", "OFFERED", "SERVICE", "VERDICT", "WHY")
_WIDTHS: Final = (12, 15, 15, 21, 13, 14)
"""Cells of each column but the last, which has the rest: an IPv4 address and port fit."""
_FACTS: Final = 5
_INDENT: Final = _WIDTHS[0] + 1
_VERDICT_AT: Final = sum(_WIDTHS[:_FACTS]) + _FACTS
_WIDE: Final = 132
"""From this many cells on a row is one line; below, verdict and reason go into lines of their own."""
_NARROWEST_REASON: Final = 20
# Cells of the closing table: names, and counts.
_COUNTED: Final = 28
_COUNT: Final = 10

_STYLES: Final[dict[Verdict | Outcome, str]] = {
    Verdict.MATCH: "green",
    Verdict.MISMATCH: "bold red",
    Verdict.POOLED: "yellow",
    Verdict.OTHER_FAMILY: "yellow",
    Verdict.UNSPECIFIED: "green",
    Verdict.UNROUTABLE: "red",
    Verdict.NO_ADDRESS: "dim",
    Verdict.NOT_REGISTERED: "yellow",
    Verdict.REJECTED: "bold magenta",
    Verdict.FAULT: "magenta",
    Verdict.UNANSWERED: "magenta",
    Verdict.OPEN: "dim",
    Verdict.SEALED: "cyan",
    Verdict.MALFORMED: "red",
    Verdict.ONE_WAY: "dim",
    Outcome.REACHED: "green",
    Outcome.REFUSED: "bold red",
    Outcome.TIMED_OUT: "bold red",
    Outcome.UNREACHABLE: "bold red",
    Outcome.WRONG_SERVER: "bold red",
    Outcome.DENIED: "bold magenta",
    Outcome.BROKEN: "bold red",
    Outcome.UNDELIVERED: "bold red",
    Outcome.NOT_FOLLOWED: "dim",
}


@dataclass(frozen=True, slots=True)
class Tally:
    """Counts of a run: packets seen, records decoded, lost, findings by verdict, anomalies, outcomes, unread files.

    `taken_off` are packets by what they were in, `not_looked_into` those by what they may be in.
    """

    seen: int = 0
    decoded: int = 0
    lost: Mapping[str, int] = field(default_factory=dict)
    verdicts: Mapping[Verdict, int] = field(default_factory=dict)
    anomalies: Mapping[str, int] = field(default_factory=dict)
    outcomes: Mapping[Outcome, int] = field(default_factory=dict)
    unread_files: int = 0
    taken_off: Mapping[str, int] = field(default_factory=dict)
    not_looked_into: Mapping[str, int] = field(default_factory=dict)


class Console:
    """Shows findings on a text stream.

    `terminal` and `width` are found out unless given; `header` is whether there is one above
    the first row. On a terminal at most `rows_per_second` rows are shown (all, if None): what is
    left out is said, and counted elsewhere. Every method is to be called from one thread.
    """

    def __init__(
        self,
        stream: TextIO,
        *,
        terminal: bool | None = None,
        width: int | None = None,
        rows_per_second: int | None = None,
        clock: Callable[[], float] = time.monotonic,
        header: bool = True,
    ) -> None:
        self._stream = stream
        self.terminal = stream.isatty() if terminal is None else terminal
        self.rich = RichConsole(
            file=stream, force_terminal=self.terminal, width=width, highlight=False, markup=False, emoji=False
        )
        self.open = True
        self._clock = clock
        self._rows_per_second = rows_per_second if self.terminal else None
        self._second = 0
        self._rows_in_second = 0
        self._left_out = 0
        self._has_header = not header
        self._live: Live | None = None
        self._last_redraw = float("-inf")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def show(self, batch: FindingBatch) -> bool:
        """Show findings, a row for each mapping; return False once nobody reads any more.

        Those which would be left out are counted without being made.
        """
        shown = 0
        for finding in batch.findings():
            if self._rows_per_second is not None and not self._has_room():
                break
            self._begin()
            for row in rows_of(finding):
                if self._may_show_row():
                    self._write(self._layout(self._clean(row)))
            shown += 1
        self._left_out += sum(count * max(len(template.mappings), 1) for template, count in batch[shown:].counts())
        return self.open

    def show_text(self, text: str) -> bool:
        """Show rows which another console has laid out, one without header; return what `show` does."""
        self._begin()
        if self.open:
            self.open = write_or_close(self._stream, text)
        return self.open

    def leave_out(self, rows: int) -> None:
        """Say, when there is time, that so many rows more were not shown."""
        self._left_out += rows

    def status(self, tally: Tally) -> None:
        """Show a line of state below the rows: on a terminal only, redrawn a few times a second at most."""
        now = self._clock()
        if not self.terminal or self.rich.is_dumb_terminal or now - self._last_redraw < 1 / REDRAWS_PER_SECOND:
            return
        self._last_redraw = now
        if self._live is None:
            self._live = Live(console=self.rich, auto_refresh=False, transient=True)
            self._live.start()
        self._live.update(_state(tally), refresh=True)

    def summary(self, tally: Tally) -> bool:
        """Show the closing table, in place of the line of state; return False if nobody reads any more."""
        self.close()
        self._write([Text("summary", "bold")])
        self._write_table(_summary(tally))
        return self.open

    def close(self) -> None:
        """Take the line of state away, and say what was left out."""
        if self._live is not None:
            self._live.stop()
            self._live = None
        self._tell_left_out()

    def _begin(self) -> None:
        if not self._has_header:
            self._has_header = True
            self._write(self._header())

    def _write(self, lines: list[Text]) -> None:
        if self.terminal:
            self.rich.print(Text("\n").join(lines), soft_wrap=True)
        elif self.open:
            self.open = write_or_close(self._stream, "".join(f"{line.plain.rstrip()}\n" for line in lines))

    def _write_table(self, table: Table) -> None:
        if self.terminal:
            self.rich.print(table)
        elif self.open:
            self.open = write_or_close(self._stream, table_text(table, terminal=False))

    def _clean(self, row: Row) -> Row:
        """Return a row that neither the terminal nor the stream's encoding stumbles over."""
        encoding = getattr(self._stream, "encoding", None) or "utf-8"
        *cells, why = (
            harmless(text).encode(encoding, "backslashreplace").decode(encoding) for text in (*row.cells, row.why)
        )
        return Row(tuple(cells), row.verdict, why)

    def _has_room(self) -> bool:
        """Return whether another row may be shown in this second."""
        if self._rows_per_second is None:
            return True
        second = int(self._clock())
        if second != self._second:
            self._second, self._rows_in_second = second, 0
            self._tell_left_out()
        return self._rows_in_second < self._rows_per_second

    def _may_show_row(self) -> bool:
        if not self._has_room():
            self._left_out += 1
            return False
        self._rows_in_second += 1
        return True

    def _tell_left_out(self) -> None:
        if self._left_out:
            self._write([Text(f"... {self._left_out} more rows not shown: too many a second; all are counted", "dim")])
            self._left_out = 0

    def _header(self) -> list[Text]:
        if not self.terminal or self.rich.width >= _WIDE:
            return [Text(_one_line(_HEADINGS), "bold")]
        return [
            Text(_one_line(_HEADINGS[:_FACTS]), "bold"),
            Text(f"{'':{_INDENT}}{_HEADINGS[-2]}: {_HEADINGS[-1]}", "bold"),
        ]

    def _layout(self, row: Row) -> list[Text]:
        """Return the lines of a row."""
        style = _STYLES[row.verdict]
        if not self.terminal:
            return [Text(_one_line((*row.cells, str(row.verdict), row.why)))]
        if self.rich.width >= _WIDE:
            widths = (*_WIDTHS, self.rich.width - _VERDICT_AT - _WIDTHS[-1] - 1)
            lines = [Text(line) for line in columns((*row.cells, str(row.verdict), row.why), widths)]
            lines[0].stylize(style, _VERDICT_AT, _VERDICT_AT + _WIDTHS[-1])
            return lines
        reason = fold(f"{row.verdict}: {row.why}", max(self.rich.width - _INDENT, _NARROWEST_REASON))
        lines = [Text(line) for line in columns(row.cells, _WIDTHS[:_FACTS])]
        below = [Text(f"{'':{_INDENT}}{line}") for line in reason]
        below[0].stylize(style, _INDENT, _INDENT + len(row.verdict))
        return [*lines, *below]


def _one_line(cells: tuple[str, ...]) -> str:
    """Return cells padded to their columns; a longer one pushes the rest on."""
    padded = [f"{cell:{width}}" for cell, width in zip(cells, _WIDTHS, strict=False)]
    return " ".join((*padded, *cells[len(_WIDTHS) :]))


def _state(tally: Tally) -> Text:
    """Return the line of state."""
    text = Text(f"seen {tally.seen}  decoded {tally.decoded}  ", no_wrap=True, overflow="ellipsis")
    lost = sum(tally.lost.values())
    text.append(f"lost {lost}", "bold red" if lost else "")
    for verdict in Verdict:
        if tally.verdicts.get(verdict):
            text.append(f"  {verdict} {tally.verdicts[verdict]}", _STYLES[verdict])
    return text


def _summary(tally: Tally) -> Table:
    """Return the closing table: what is counted, parts of a count below it, and the counts to the right."""
    # Loaded once a run has ended, for which nobody waits.
    from rich.table import Table

    table = Table(box=None, show_header=False, padding=(0, 0, 0, 2))
    table.add_column(min_width=_COUNTED)
    table.add_column(justify="right", min_width=_COUNT)

    def add(name: str, count: int, style: str = "") -> None:
        table.add_row(Text(name), Text(str(count)), style=style)

    if tally.unread_files:
        add("files not read", tally.unread_files, "bold red")
    lost = sum(tally.lost.values())
    add("packets seen", tally.seen)
    add("records decoded", tally.decoded)
    add("records lost", lost, "bold red" if lost else "")
    for reason, count in tally.lost.items():
        if count:
            add(f"  {harmless(reason)}", count)
    add("findings", sum(tally.verdicts.values()))
    for verdict in Verdict:
        if tally.verdicts.get(verdict):
            add(f"  {verdict}", tally.verdicts[verdict], _STYLES[verdict])
    if tally.outcomes:
        add("outcomes", sum(tally.outcomes.values()))
        for outcome in Outcome:
            if tally.outcomes.get(outcome):
                add(f"  {outcome}", tally.outcomes[outcome], _STYLES[outcome])
    for heading, counts in (("carried in", tally.taken_off), ("not looked into", tally.not_looked_into)):
        if counts:
            add(heading, sum(counts.values()))
            for name, count in sorted(counts.items()):
                add(f"  {name}", count)
    add("anomalies", sum(tally.anomalies.values()))
    for reason, count in sorted(tally.anomalies.items()):
        if count:
            add(f"  {harmless(reason)}", count)
    return table
