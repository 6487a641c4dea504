"""`epm-inspector status`: the inspectors which run on this machine, as they say of themselves."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from inspector.errors import RunningError
from inspector.escape import harmless
from inspector.inspection.runtime import directories, find_running

if TYPE_CHECKING:
    from rich.table import Table

_LOG: Final = logging.getLogger(__name__)

NOT_RUNNING: Final = 3
"""Exit status where no inspector runs, as the Linux Standard Base has it for services."""

_HEADINGS: Final = ("PID", "INTERFACE", "HOOK", "MODE", "PROGRAM ID", "TAG", "SINCE (UTC)", "PACKETS", "LOST")
_TO_THE_RIGHT: Final = frozenset({"PID", "PROGRAM ID", "PACKETS", "LOST"})
_UNKNOWN: Final = "-"


def run(directory: Path | None, *, json_output: bool) -> int:
    """Run the command; returns 3 where no inspector runs, 1 where one cannot be asked or may be hidden."""
    running, hidden = find_running(directory)
    states: list[dict[str, Any]] = []
    failures = list(hidden)
    for one in running:
        try:
            states.append(_checked(one.ask_json("/status"), one.pid))
        except RunningError as error:
            failures.append(error)
    if json_output:
        print(json.dumps(states, indent=2))
    elif states:
        _show(states)
    for failure in failures:
        _LOG.error("%s", failure)
    if not running and not hidden:
        looked = ", ".join(map(str, [directory] if directory is not None else directories()))
        _LOG.info("no inspector is running (looked in %s)", looked)
        return NOT_RUNNING
    return 1 if failures else 0


def _checked(state: Any, pid: int) -> dict[str, Any]:
    """Return what an inspector said if it has the form of a status, whatever its version."""
    if isinstance(state, dict) and isinstance(state.get("interfaces"), list):
        return state
    raise RunningError(f"the inspector with process id {pid} sent an unexpected /status (another version?)")


def _show(states: Sequence[Mapping[str, Any]]) -> None:
    """Print a row for each interface; below the table decoders, outcomes, and why an interface has no program."""
    interfaces = [(state, one) for state in states for one in state["interfaces"] if isinstance(one, dict)]
    from inspector.output.text import table_text

    table = _table(_row(state, one) for state, one in interfaces)
    print(table_text(table, terminal=sys.stdout.isatty()), end="")
    for state in states:
        if "decoder" in state:
            print(harmless(f"process {state.get('pid')}: decoder: {state['decoder']}"))
        for name in ("outcomes", "causes"):
            counts = _counts(state.get(name))
            if counts:
                print(harmless(f"process {state.get('pid')}: {name}: {counts}"))
    for _, interface in interfaces:
        if not interface.get("attached"):
            print(harmless(f"{_name(interface)}: not attached: {interface.get('explanation')}"))


def _row(state: Mapping[str, Any], interface: Mapping[str, Any]) -> tuple[str, ...]:
    since = interface.get("since")
    cells = (
        state.get("pid"),
        _name(interface),
        interface.get("hook"),
        interface.get("mode"),
        interface.get("program_id"),
        interface.get("program_tag"),
        since[:19].replace("T", " ") if isinstance(since, str) else None,
        _sum(interface.get("packets")),
        _sum(interface.get("lost")),
    )
    return tuple(_UNKNOWN if cell is None else harmless(str(cell)) for cell in cells)


def _name(interface: Mapping[str, Any]) -> str:
    """Return an interface's name, with its namespace as in `ip netns` where it is in another."""
    netns = interface.get("netns")
    return f"{interface.get('name')}" if netns is None else f"{interface.get('name')}@{netns}"


def _counts(counts: Any) -> str:
    """Return counts by name in words, those which are not 0; nothing where there are none."""
    if not isinstance(counts, dict):
        return ""
    return ", ".join(f"{name} {count}" for name, count in counts.items() if isinstance(count, int) and count)


def _sum(counts: Any) -> int | None:
    if not isinstance(counts, dict):
        return None
    return sum(count for count in counts.values() if isinstance(count, int))


def _table(rows: Iterable[Sequence[str]]) -> Table:
    """Return the rows below their headings, numbers to the right."""
    # Only for a person: rich takes longer to load than the inspectors to answer.
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="")
    for heading in _HEADINGS:
        table.add_column(heading, justify="right" if heading in _TO_THE_RIGHT else "left", overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    return table
