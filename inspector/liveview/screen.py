"""The full-screen view of `epm-inspector top`, made with Textual.

From above to below: how the inspector stands, who is hurt, what was offered, the last findings.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar, Final

from rich.text import Text
from textual.app import App
from textual.containers import Vertical
from textual.widgets import DataTable, Footer, Input, Static

from inspector.errors import RunningError
from inspector.escape import harmless
from inspector.liveview.view import View, look

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from textual.app import ComposeResult
    from textual.binding import BindingType

    from inspector.liveview.view import Source

INTERVAL_S: Final = 1.0
_LATELY_S: Final = 600

_NOTHING: Final = "-"
_STYLES: Final = {
    "match": "green",
    "unspecified": "green",
    "pooled": "green",
    "other_family": "green",
    "reached": "green",
    "no_address": "",
    "mismatch": "yellow",
    "not_registered": "yellow",
    "sealed": "yellow",
    "malformed": "yellow",
    "one_way": "yellow",
}
_BAD: Final = "bold red"

Row = tuple[str | int | float, ...]


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table: its heading, and the characters it may take."""

    heading: str
    width: int
    right: bool = False


HURT: Final = (
    Column("SINCE", 6),
    Column("ASKED", 15),
    Column("SERVICE", 8),
    Column("OUTCOME", 12),
    Column("CAUSE", 19),
    Column("TIMES", 6, right=True),
)
OFFERS: Final = (
    Column("ASKED", 15),
    Column("SERVICE", 8),
    Column("OFFERED", 15),
    Column("VERDICT", 14),
    Column("ANSWERS", 9, right=True),
    Column("PER S", 6, right=True),
)
FINDINGS: Final = (
    Column("TIME", 8),
    Column("VERDICT", 14),
    Column("CLIENT", 15),
    Column("ASKED", 15),
    Column("OFFERED", 15),
    Column("SERVICE", 8),
)


_COLUMNS: Final = {"hurt": HURT, "offers": OFFERS, "findings": FINDINGS}
_AS_GIVEN: Final = -1
"""In the place of a column's number: the order in which the inspector gives rows."""


class Screen(App[None]):
    """Looks at the first of several inspectors, `first` being what it said already."""

    CSS: ClassVar[str] = """
    #state { height: auto; padding: 0 1; }
    #filter { display: none; height: 3; }
    #filter.shown { display: block; }
    DataTable { height: 1fr; scrollbar-size: 1 1; }
    #hurt { display: none; }
    #hurt.shown { display: block; }
    .title { padding: 0 1; text-style: bold; }
    """
    TITLE = "epm-inspector"
    ENABLE_COMMAND_PALETTE = False
    BINDINGS: ClassVar[list[BindingType]] = [
        ("q", "quit", "quit"),
        ("p", "pause", "pause"),
        ("s", "sort", "sort"),
        ("r", "reverse", "reverse"),
        ("slash", "filter", "filter"),
        ("escape", "clear", "all"),
        ("n", "next", "next"),
        ("tab", "focus_next", "table"),
    ]

    def __init__(self, sources: Sequence[Source], first: View) -> None:
        super().__init__()
        self._sources = sources
        self._number = 0
        self._before: View | None = None
        self._view = first
        self._trouble = ""
        self._paused = False
        self._wanted = ""
        # By table: number of the column, and whether the greatest comes first.
        self._order = {"hurt": (_AS_GIVEN, False), "offers": (4, True), "findings": (0, True)}

    def compose(self) -> ComposeResult:
        """Yield the parts, from above to below."""
        yield Static(id="state")
        yield Input(placeholder="text to look for; Enter keeps it, Escape shows all", id="filter")
        with Vertical():
            yield Static(id="harm", classes="title")
            yield _table("hurt")
            yield Static("What was offered", classes="title")
            yield _table("offers")
            yield Static("Last findings", classes="title")
            yield _table("findings")
        yield Footer()

    def on_mount(self) -> None:
        """Show what is known, and begin to ask."""
        self._draw()
        self.query_one("#offers", DataTable).focus()
        self.set_interval(INTERVAL_S, self._ask)

    def _ask(self) -> None:
        if not self._paused:
            self.run_worker(self._look, thread=True, exclusive=True)

    def _look(self) -> None:
        """Ask the inspector; in a thread of its own, since the answer may take seconds."""
        number = self._number
        try:
            view: View | None = look(self._sources[number])
            trouble = ""
        except RunningError as error:
            view, trouble = None, str(error)
        self.call_from_thread(self._take, number, view, trouble)

    def _take(self, number: int, view: View | None, trouble: str) -> None:
        """Show an answer, unless another inspector is wanted or nothing is to change any more."""
        # An answer may come while the view closes, when there are no tables any more.
        if not self.is_running or number != self._number or self._paused:
            return
        self._trouble = trouble
        if view is not None and view.seconds != self._view.seconds:
            same = view.state.get("started") == self._view.state.get("started")
            # Counts of one that was started anew begin anew.
            self._before, self._view = self._view if same else None, view
        self._draw()

    def _draw(self) -> None:
        self.query_one("#state", Static).update(self._state())
        self.query_one("#harm", Static).update(harm_title(self._view))
        self.query_one("#hurt", DataTable).set_class(bool(self._view.hurt), "shown")
        self._fill("hurt", hurt_rows(self._view))
        self._fill("offers", offer_rows(self._view, self._before))
        self._fill("findings", finding_rows(self._view.findings))

    def _fill(self, name: str, rows: Iterable[Row]) -> None:
        """Put rows into a table, those that are wanted, in order; the cursor stays where it is."""
        table, columns = self.query_one(f"#{name}", DataTable), _COLUMNS[name]
        column, descending = self._order[name]
        chosen = [row for row in rows if self._wanted in " ".join(map(str, row)).lower()]
        if column != _AS_GIVEN:
            chosen.sort(key=lambda row: row[column], reverse=descending)
        cursor = table.cursor_coordinate
        table.clear(columns=True)
        for number, one in enumerate(columns):
            mark = ("v" if descending else "^") if number == column else ""
            table.add_column(one.heading + mark, width=one.width)
        for row in chosen:
            table.add_row(*(_cell(value, one) for value, one in zip(row, columns, strict=True)))
        table.cursor_coordinate = cursor

    def _state(self) -> Text:
        """Return the state of the inspector, in a few lines."""
        lines = state_lines(self._view, self._before)
        name = self._sources[self._number].name
        if len(self._sources) > 1:
            name += f" ({self._number + 1} of {len(self._sources)})"
        notes = [f"filter: {self._wanted}"] if self._wanted else []
        notes += ["PAUSED"] if self._paused else []
        title = "  ".join([f"epm-inspector {self._view.state.get('version')}, {name}", *notes])
        text = Text(harmless(title), style="bold")
        if self._trouble:
            text.append(f"\n{harmless(self._trouble)}; below is what it said last", style=_BAD)
        for line, style in lines:
            text.append("\n")
            text.append(line, style=style)
        text.no_wrap, text.overflow = True, "ellipsis"
        return text

    def action_pause(self) -> None:
        """Stop asking, or go on."""
        self._paused = not self._paused
        self._draw()

    def action_sort(self) -> None:
        """Order the table which has the focus by its next column."""
        name = self._focused_table()
        columns = _COLUMNS[name]
        column, _ = self._order[name]
        column = (column + 1) % len(columns)
        self._order[name] = column, columns[column].right
        self._draw()

    def action_reverse(self) -> None:
        """Turn the order of that table round."""
        name = self._focused_table()
        column, descending = self._order[name]
        self._order[name] = column, not descending
        self._draw()

    def action_filter(self) -> None:
        """Let the user type what to look for."""
        field = self.query_one("#filter", Input)
        field.add_class("shown")
        field.focus()

    def action_clear(self) -> None:
        """Show all rows."""
        self.query_one("#filter", Input).value = ""
        self._end_filter("")

    def on_input_changed(self, event: Input.Changed) -> None:
        """Show what fits while it is typed."""
        self._wanted = event.value.lower()
        self._draw()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Keep what was typed, and give the keys back to the tables."""
        self._end_filter(event.value)

    def _end_filter(self, wanted: str) -> None:
        self._wanted = wanted.lower()
        self.query_one("#filter", Input).remove_class("shown")
        self.query_one("#offers", DataTable).focus()
        self._draw()

    def action_next(self) -> None:
        """Look at the next inspector of this machine."""
        self._number = (self._number + 1) % len(self._sources)
        self._before, self._paused = None, False
        self._ask()

    def _focused_table(self) -> str:
        return next((name for name in _COLUMNS if self.query_one(f"#{name}", DataTable).has_focus), "offers")


def _table(name: str) -> DataTable[Text]:
    table: DataTable[Text] = DataTable(id=name, cursor_type="row", zebra_stripes=True)
    for column in _COLUMNS[name]:
        table.add_column(column.heading, width=column.width)
    return table


def _cell(value: str | float, column: Column) -> Text:
    if isinstance(value, int | float):
        text = f"{value:,}" if isinstance(value, int) else f"{value:,.1f}"
    else:
        text = harmless(str(value))
    style = _STYLES.get(text, _BAD) if column.heading in ("VERDICT", "OUTCOME") else ""
    return Text(text, style=style, justify="right" if column.right else "left", no_wrap=True)


def is_anybody_hurt(view: View) -> bool:
    """Return whether a client was hurt lately."""
    return any(datetime.fromisoformat(one["last"]).timestamp() >= view.seconds - _LATELY_S for one in view.hurt)


def harm_title(view: View) -> Text:
    """Return the title above those who are hurt; where nobody is, that is said."""
    outcomes = view.state.get("outcomes") or {}
    reached = outcomes.get("reached", 0)
    if is_anybody_hurt(view):
        return Text("Who is hurt", style=_BAD)
    if view.hurt:
        return Text(f"Who was hurt; nobody in the last {_LATELY_S // 60} minutes", style="yellow")
    if reached:
        return Text(f"Nobody is hurt: {reached:,} connections to what was offered got through", style="green")
    return Text("Nobody is hurt, as far as was seen: no connection to what was offered")


def hurt_rows(view: View) -> list[Row]:
    """Return a row for each kind of harm; what began on another day has the month and day of that."""
    today = view.state["time"][:10]
    return [
        (
            one["since"][11:16] if one["since"].startswith(today) else one["since"][5:10],
            one["asked"],
            one["service"] or "port 135",
            one["outcome"],
            one["cause"],
            one["count"],
        )
        for one in view.hurt
    ]


def offer_rows(view: View, before: View | None) -> list[Row]:
    """Return a row for each kind of offer, with answers a second since the view before."""
    known = {_key(offer): offer["answers"] for offer in before.offers} if before is not None else {}
    elapsed = view.seconds - before.seconds if before is not None else 0
    rows: list[Row] = []
    for offer in view.offers:
        asked, service, offered, verdict = (part or _NOTHING for part in _key(offer))
        more = max(offer["answers"] - known.get(_key(offer), 0), 0) if elapsed > 0 else 0
        rows.append((asked, service, offered, verdict, offer["answers"], more / elapsed if more else 0.0))
    return rows


def _key(offer: Mapping[str, Any]) -> tuple[str, str | None, str | None, str]:
    return offer["asked"], offer["service"], offer["offered"], offer["verdict"]


def finding_rows(findings: Iterable[Mapping[str, Any]]) -> list[Row]:
    """Return a row for each finding, with its outcome in the place of the verdict where there is one."""
    rows: list[Row] = []
    for finding in findings:
        mappings = finding.get("mappings", [])
        worst = [one for one in mappings if one["verdict"] == finding["verdict"]] or mappings
        offered = next((one["address"] for one in worst if one["address"]), None)
        names = [(finding.get("requested") or {}).get("name"), *(one["name"] for one in mappings)]
        service = next(filter(None, names), None)
        time, word = finding["time"][11:19], finding.get("outcome") or finding["verdict"]
        rows.append((time, word, finding["client"], finding["asked"], offered or _NOTHING, service or _NOTHING))
    return rows


def state_lines(view: View, before: View | None) -> list[tuple[str, str]]:
    """Return lines about an inspector's state with their styles: interfaces, packets and rings, outcomes, verdicts."""
    state = view.state
    lines = []
    interfaces = state["interfaces"]
    for group in (interfaces[number : number + 2] for number in range(0, len(interfaces), 2)):
        bad = not all(one["attached"] for one in group)
        lines.append(("  ".join(map(_interface, group)), _BAD if bad else ""))
    lost = sum(state["lost"].values())
    ring = state["ring"]
    fill = 100 * ring["used_bytes"] / ring["size_bytes"] if ring["size_bytes"] else 0
    packets = _rate(view, before, lambda one: sum(one["packets"].values()))
    records = _rate(view, before, lambda one: one["records_consumed"])
    text = f"packets {packets}/s  records {records}/s  lost {lost:,}  ring {fill:.0f} %"
    lines.append((f"{text}  connections {state['tracked_connections']:,}", _BAD if lost else ""))
    outcomes = [f"{outcome} {count:,}" for outcome, count in (state.get("outcomes") or {}).items() if count]
    if outcomes:
        lines.append(("  ".join(outcomes), _BAD if is_anybody_hurt(view) else ""))
    counts = [f"{verdict} {count:,}" for verdict, count in state["verdicts"].items() if count]
    anomalies = sum(state["anomalies"].values())
    lines.append(("  ".join([*counts, *([f"anomalies {anomalies:,}"] if anomalies else [])]) or "no answer so far", ""))
    return [(harmless(line), style) for line, style in lines]


def _interface(one: Mapping[str, Any]) -> str:
    name = one["name"] if one["netns"] is None else f"{one['name']}@{one['netns']}"
    if not one["attached"]:
        return f"{name}: not attached: {one['explanation']}"
    return f"{name}: {one['hook']}, {one['mode']}, since {one['since'][11:19]}"


def _rate(view: View, before: View | None, of: Any) -> str:
    """Return how many a second of something that is counted, a dash where that is not known yet."""
    if before is None or view.seconds <= before.seconds:
        return _NOTHING
    return f"{max(of(view.state) - of(before.state), 0) / (view.seconds - before.seconds):,.0f}"
