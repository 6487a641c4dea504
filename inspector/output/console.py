"""Findings and counts for a person: rows as they come, a line of state on a terminal, a summary at the end.

On a terminal rows are folded to its width and verdicts have colours; elsewhere each row is one
line and nothing but text, so that it can be searched.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple, Self, TextIO

from rich.console import Console as RichConsole
from rich.live import Live
from rich.text import Text

from inspector.consequence import HARMFUL, Cause, Consequence, FindingKind, Outcome
from inspector.dcom import Role
from inspector.escape import harmless
from inspector.model import Finding, OfferedEndpoint, RpcInterface, Verdict, format_time
from inspector.output.jsonl import write_or_close
from inspector.output.text import columns, fold, table_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

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


class Row(NamedTuple):
    """The cells of one row without its verdict, and that; an outcome that hurts stands in its place."""

    cells: tuple[str, ...]
    verdict: Verdict | Outcome
    why: str


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


def rows_of(finding: Finding) -> Iterator[Row]:
    """Yield a row for each mapping, or one for the finding where there is none."""
    head = (format_time(finding.time_ns)[11:23], str(finding.client), str(finding.server))
    if not finding.mappings:
        yield Row((*head, "-", _service(finding.requested)), *_result(finding, finding.verdict, finding.why))
    followed, led = _followed(finding), _leading(finding)
    for mapping in _shown(finding):
        cells = (*head, _offered(mapping), _service(mapping.interface or finding.requested, mapping.annotation))
        word: Verdict | Outcome = mapping.verdict
        why = mapping.why
        if mapping is followed:
            # The worst mapping's reason is the finding's, with what is known of the answer itself.
            own = finding.why if finding.kind is not FindingKind.ANSWER or finding.why.startswith(why) else why
            word, why = _result(finding, mapping.verdict, own)
        elif mapping is led:
            why = finding.why
        proved = finding.evidence is not None and mapping.verdict is finding.verdict
        yield Row(cells, word, f"{why} [{finding.evidence}]" if proved else why)


def _shown(finding: Finding) -> tuple[OfferedEndpoint, ...]:
    """Return the mappings that have rows: bindings of resolvers only where the answer has no others."""
    bindings = tuple(one for one in finding.mappings if one.binding is None or one.binding.role is Role.EXPORTER)
    return bindings or finding.mappings


def _leading(finding: Finding) -> OfferedEndpoint | None:
    """Return the binding of a DCOM answer whose row says what the finding says of all."""
    if finding.dcom is None:
        return None
    return next((one for one in _shown(finding) if one.verdict is finding.verdict), None)


def _followed(finding: Finding) -> OfferedEndpoint | None:
    """Return the mapping whose row says what became of the answer: where the client went, else one of its verdict."""
    about = finding.follow_up or finding
    if about.consequence is None or not finding.mappings:
        return None
    if about.consequence.endpoint is not None:
        found = [mapping for mapping in finding.mappings if mapping.port == about.consequence.endpoint.port]
    else:
        found = [mapping for mapping in finding.mappings if mapping.verdict is finding.verdict]
    return found[0] if found else finding.mappings[0]


def _result(finding: Finding, verdict: Verdict, why: str) -> tuple[Verdict | Outcome, str]:
    """Return what a row says: an outcome that hurts stands before the verdict, any other after it."""
    later = finding.follow_up
    consequence = finding.consequence
    if later is None or later.consequence is None:
        outcome = finding.outcome
        shown = outcome is not None and (outcome in HARMFUL or finding.kind is not FindingKind.ANSWER)
        return (outcome if outcome is not None and shown else verdict), f"{why}{_cause(consequence)}"
    if later.outcome in HARMFUL:
        return later.outcome, f"{later.why}{_cause(later.consequence)}; {verdict}: {why}"
    return verdict, f"{why}{_cause(consequence)}; {later.why}"


def _cause(consequence: Consequence | None) -> str:
    """Return a cause in words and what to do, in brackets; nothing where there is neither."""
    if consequence is None or consequence.cause is None:
        return ""
    cause = str(consequence.cause).replace("_", " ") if consequence.cause is not Cause.UNKNOWN else None
    words = "; ".join(filter(None, (cause, consequence.remedy)))
    return f" ({words})" if words else ""


def _offered(mapping: OfferedEndpoint) -> str:
    """Return where a mapping leads: address or name and port, or the name of a pipe or local endpoint."""
    if mapping.address is not None:
        address = f"[{mapping.address}]" if mapping.address.version == 6 else str(mapping.address)
        return str(mapping.address) if mapping.port is None else f"{address}:{mapping.port}"
    if mapping.binding is not None and mapping.binding.host:
        return mapping.binding.host if mapping.port is None else f"{mapping.binding.host}:{mapping.port}"
    if mapping.endpoint:
        return mapping.endpoint
    return mapping.protocol if mapping.port is None else f"{mapping.protocol}:{mapping.port}"


def _service(interface: RpcInterface | None, annotation: str | None = None) -> str:
    """Return an interface's name, else what the server notes beside it, else the start of its UUID; and the version."""
    if interface is None:
        return annotation or "-"
    return f"{interface.name or annotation or str(interface.uuid)[:8]} {interface.version}"


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
