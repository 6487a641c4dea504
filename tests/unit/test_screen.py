"""The full-screen view, driven by its keys as on a terminal of 80 columns and 24 lines."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from textual.widgets import DataTable, Input, Static
from textual.worker import WorkerState

from inspector.commands.top import remote
from inspector.errors import RunningError
from inspector.http.http1 import Response
from inspector.http.server import MetricsServer
from inspector.liveview import screen
from inspector.liveview.screen import Screen, finding_rows, offer_rows, state_lines
from inspector.liveview.view import Source, View, look
from tests.unit.test_console import FINDING
from tests.unit.test_follow_up_output import LATER
from tests.unit.test_page import HURT, OFFER, STATE

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from textual.pilot import Pilot

MATCH = OFFER | {"asked": "10.11.2.3", "offered": "10.11.2.3", "verdict": "match", "answers": 1000}
SECOND = "2026-11-25T09:00:{:02d}.000000000Z"


@dataclass
class Inspector:
    """A running inspector which answers what a test sets; each answer is a second and ten mismatches later."""

    seconds: int = 10
    error: str = ""
    state: dict[str, Any] = field(default_factory=lambda: dict(STATE))
    asked: int = 0
    hurt: list[dict[str, Any]] = field(default_factory=list)

    def ask(self, path: str) -> Any:
        """Answer a request."""
        if self.error:
            raise RunningError(self.error)
        if path == "/status":
            self.asked += 1
            self.seconds += 1
            return self.state | {"time": SECOND.format(self.seconds), "records_consumed": 100 * self.seconds}
        if path == "/outcomes":
            return {"hurt": self.hurt}
        if path == "/offers":
            return {"offers": [OFFER | {"answers": 10 * self.seconds}, MATCH]}
        return [FINDING.as_dict()]

    @property
    def source(self) -> Source:
        """The inspector as the view has it."""
        return Source("process 42", self.ask)


def drive(
    inspectors: list[Inspector], steps: Callable[[Pilot[None]], Awaitable[None]], size: tuple[int, int] = (80, 24)
) -> None:
    """Run the view of these inspectors through the steps of a test."""
    sources = [one.source for one in inspectors]

    async def run() -> None:
        async with Screen(sources, look(sources[0])).run_test(size=size) as pilot:
            await pilot.pause()
            await steps(pilot)

    asyncio.run(run())


def rows(pilot: Pilot[None], name: str) -> list[list[str]]:
    """Return what is in a table."""
    table = pilot.app.query_one(f"#{name}", DataTable)
    return [[str(cell) for cell in table.get_row_at(number)] for number in range(table.row_count)]


def state(pilot: Pilot[None]) -> str:
    """Return the lines above the tables."""
    return str(pilot.app.query_one("#state", Static).render())


async def until(pilot: Pilot[None], condition: Callable[[], bool]) -> None:
    """Wait until something shows."""
    for _ in range(200):
        if condition():
            return
        await pilot.pause(0.05)
    raise AssertionError(pilot.app.export_screenshot())


@pytest.fixture(autouse=True)
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the view ask often."""
    monkeypatch.setattr(screen, "INTERVAL_S", 0.05)


def test_what_is_shown() -> None:
    """State, offers with most answers first, findings; rates once there are two views; all in 80 columns."""

    async def steps(pilot: Pilot[None]) -> None:
        await until(pilot, lambda: "records 100/s" in state(pilot))
        assert "eth1@inner: not attached: it has gone" in state(pilot)
        assert "lost 7" in state(pilot)
        first, second = rows(pilot, "offers")
        assert first == ["10.11.2.3", "MAPI", "10.11.2.3", "match", "1,000", "0.0"]
        assert second[:4] == ["10.11.2.2", "MAPI", "10.11.2.7", "mismatch"]
        assert second[5] == "10.0"
        assert rows(pilot, "findings") == [["22:13:20", "mismatch", "10.1.1.1", "10.11.2.2", "10.11.2.7", "MAPI"]]
        assert sum(one.width + 2 for one in screen.OFFERS) <= 80

    drive([Inspector()], steps)


def test_who_is_hurt_comes_first() -> None:
    """With outcome, cause, how often and since when, in the inspector's order; in 80 columns and 24 lines."""
    other = HURT | {"service": None, "outcome": "timed_out", "cause": "mapper_down", "count": 1234}
    other["since"] = "2026-11-23T10:00:00.000000000Z"
    state_of = STATE | {"outcomes": STATE["outcomes"] | {"refused": 9, "timed_out": 1234, "reached": 3}}

    async def steps(pilot: Pilot[None]) -> None:
        assert rows(pilot, "hurt") == [
            ["08:59", "10.11.2.2", "MAPI", "refused", "ports_not_published", "9"],
            ["11-23", "10.11.2.2", "port 135", "timed_out", "mapper_down", "1,234"],
        ]
        assert "Who is hurt" in str(pilot.app.query_one("#harm", Static).render())
        assert "reached 3  refused 9  timed_out 1,234" in state(pilot)
        tables = [pilot.app.query_one(f"#{name}", DataTable) for name in ("hurt", "offers", "findings")]
        assert all(table.size.height >= 3 for table in tables)
        assert [table.region.y for table in tables] == sorted(table.region.y for table in tables)
        assert sum(one.width + 2 for one in screen.HURT) < 80, "no room for a scroll bar"
        tables[0].focus()
        await pilot.press("s", "s", "s", "s", "s", "s", "r")
        await until(pilot, lambda: [row[5] for row in rows(pilot, "hurt")] == ["9", "1,234"])

    drive([Inspector(state=state_of, hurt=[HURT, other])], steps)


def test_nobody_is_hurt() -> None:
    """One line says so, and the table makes room; a mismatch by itself is no harm."""
    well = STATE | {"outcomes": STATE["outcomes"] | {"reached": 1000}}

    async def steps(pilot: Pilot[None]) -> None:
        title = pilot.app.query_one("#harm", Static)
        assert str(title.render()) == "Nobody is hurt: 1,000 connections to what was offered got through"
        assert not pilot.app.query_one("#hurt", DataTable).display
        assert screen._cell("mismatch", screen.OFFERS[3]).style == "yellow"
        await pilot.press("q")

    drive([Inspector(state=well)], steps)


def test_harm_that_is_over() -> None:
    """It stays in the table, and the title says that it has ended."""
    over = HURT | {"last": "2026-11-25T08:40:00.000000000Z"}

    async def steps(pilot: Pilot[None]) -> None:
        title = str(pilot.app.query_one("#harm", Static).render())
        assert title == "Who was hurt; nobody in the last 10 minutes"
        assert rows(pilot, "hurt")
        await pilot.press("q")

    drive([Inspector(hurt=[over])], steps)


def test_pause() -> None:
    """While it is paused nothing is asked and nothing changes; then it goes on."""
    inspector = Inspector()

    async def steps(pilot: Pilot[None]) -> None:
        await pilot.press("p")
        await until(pilot, lambda: "PAUSED" in state(pilot))
        await pilot.pause(0.2)
        asked = inspector.asked
        await pilot.pause(0.3)
        assert inspector.asked == asked
        await pilot.press("p")
        await until(pilot, lambda: inspector.asked > asked)
        assert "PAUSED" not in state(pilot)

    drive([inspector], steps)


def test_sort() -> None:
    """`s` goes through the columns of the table that has the focus, `r` turns the order round."""

    async def steps(pilot: Pilot[None]) -> None:
        await pilot.press("s", "s")
        await until(pilot, lambda: [row[0] for row in rows(pilot, "offers")] == ["10.11.2.2", "10.11.2.3"])
        await pilot.press("r")
        await until(pilot, lambda: [row[0] for row in rows(pilot, "offers")] == ["10.11.2.3", "10.11.2.2"])
        await pilot.press("tab", "s")
        table = pilot.app.query_one("#findings", DataTable)
        await until(pilot, lambda: any("VERDICT^" in str(column.label) for column in table.columns.values()))

    drive([Inspector()], steps)


def test_filter() -> None:
    """Rows that hold what is typed stay; Enter keeps it, Escape shows all, and other keys are keys again."""

    async def steps(pilot: Pilot[None]) -> None:
        await pilot.press("slash", *"mism")
        await until(pilot, lambda: [row[3] for row in rows(pilot, "offers")] == ["mismatch"])
        await pilot.press("enter")
        assert not pilot.app.query_one("#filter", Input).has_focus
        assert "filter: mism" in state(pilot)
        await pilot.press("escape")
        await until(pilot, lambda: len(rows(pilot, "offers")) == 2)
        await pilot.press("slash", *"nothing like it")
        await until(pilot, lambda: rows(pilot, "offers") == [])

    drive([Inspector()], steps)


def test_an_inspector_that_goes_and_returns() -> None:
    """What it said last stays, with the reason; when it is there again the view goes on, with rates of the new one."""
    inspector = Inspector()

    async def steps(pilot: Pilot[None]) -> None:
        inspector.error = "the inspector with process id 42 cannot be asked: it has gone"
        await until(pilot, lambda: "it has gone; below is what it said last" in state(pilot))
        assert len(rows(pilot, "offers")) == 2
        inspector.error = ""
        inspector.state["started"] = SECOND.format(30)
        await until(pilot, lambda: "below is what" not in state(pilot))
        await until(pilot, lambda: "records 100/s" in state(pilot))

    drive([inspector], steps)


def test_several_inspectors() -> None:
    """`n` looks at the next, and after the last at the first."""
    other = Inspector(state=STATE | {"version": "2.0"})

    async def steps(pilot: Pilot[None]) -> None:
        assert "(1 of 2)" in state(pilot)
        await pilot.press("n")
        await until(pilot, lambda: "epm-inspector 2.0" in state(pilot))
        await pilot.press("n")
        await until(pilot, lambda: "epm-inspector 1.0" in state(pilot))

    drive([Inspector(), other], steps)


def test_narrow_and_short() -> None:
    """A terminal of any size is drawn on, and the view can be left."""

    async def steps(pilot: Pilot[None]) -> None:
        await pilot.resize_terminal(20, 5)
        await pilot.resize_terminal(200, 60)
        await until(pilot, lambda: rows(pilot, "offers") != [])
        await pilot.press("q")
        await until(pilot, lambda: not pilot.app.is_running)

    drive([Inspector()], steps)


def test_an_answer_while_it_closes(monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer that arrives after the tables have gone is left alone: no traceback for who leaves the view."""
    closing = threading.Event()
    ends = []

    class Slow(Inspector):
        def ask(self, path: str) -> Any:
            if path == "/status" and self.asked:
                assert closing.wait(10)
            return super().ask(path)

    async def on_unmount(part: Input) -> None:
        closing.set()
        for worker in part.app.workers:
            await worker.wait()
            ends.append(worker.state)

    async def steps(pilot: Pilot[None]) -> None:
        await pilot.press("n")
        assert len(pilot.app.workers) == 1

    # Nothing is asked but by the key: a second question would take the place of the one that waits.
    monkeypatch.setattr(screen, "INTERVAL_S", 60)
    monkeypatch.setattr(Input, "on_unmount", on_unmount, raising=False)
    drive([Slow()], steps)
    assert ends == [WorkerState.SUCCESS]


def test_rows_of_what_is_missing() -> None:
    """Findings without mappings or request, offers without service or address; hostile text is harmless."""
    unanswered = {key: value for key, value in FINDING.as_dict().items() if key not in ("requested", "mappings")}
    assert finding_rows([unanswered]) == [("22:13:20", "mismatch", "10.1.1.1", "10.11.2.2", "-", "-")]
    assert finding_rows([LATER.as_dict()])[0][1] == "refused"
    view = View(STATE, [OFFER | {"service": None, "offered": None}], [])
    assert offer_rows(view, None) == [("10.11.2.2", "-", "-", "mismatch", 3, 0.0)]
    evil = STATE | {"interfaces": [STATE["interfaces"][0] | {"name": "\x1b[2Jeth"}]}
    assert "\x1b" not in "".join(text for text, _ in state_lines(View(evil, [], []), None))


@pytest.mark.parametrize("answer", [[], {}, {"time": "yesterday"}, STATE | {"interfaces": None}])
def test_what_is_no_inspector(answer: Any) -> None:
    """Something else that answers in JSON is named, with what may be the reason."""
    with pytest.raises(RunningError, match="of another version"):
        look(Source("it", lambda path: {"/offers": {"offers": []}, "/outcomes": {"hurt": []}}.get(path, answer)))


def test_one_on_another_machine() -> None:
    """It is asked over HTTP by the address of its metrics; what goes wrong is a line."""
    inspector = Inspector()
    routes = {
        path: (lambda path=path: Response(200, json.dumps(inspector.ask(path)).encode()))
        for path in ("/status", "/offers", "/outcomes")
    }
    with MetricsServer("127.0.0.1", 0, routes | {"/findings": lambda: Response(200, b"[]")}) as server:
        assert look(remote(f"127.0.0.1:{server.port}/metrics")).state["version"] == "1.0"
        with pytest.raises(RunningError, match="404"):
            remote(server.url).ask("/elsewhere")
    with pytest.raises(RunningError, match="cannot be asked"):
        look(remote(server.url))


def test_other_commands_do_not_load_it() -> None:
    """The view's library is loaded by `top` alone, when there is something to look at."""
    code = "import sys; from inspector import cli; cli.main(sys.argv[1:]); print('textual' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code, "top", "--url", "127.0.0.1:1"], capture_output=True, text=True, check=True
    )
    assert done.stdout == "False\n"
    assert "cannot be asked" in done.stderr


def test_without_its_library() -> None:
    """One line names the package that is missing, as the extra asks for it, before any inspector is asked."""
    code = "import sys; sys.modules['textual'] = None; from inspector import cli; sys.exit(cli.main(sys.argv[1:]))"
    done = subprocess.run([sys.executable, "-c", code, "top", "--url", "127.0.0.1:1"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "")
    [line] = done.stderr.splitlines()
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    [wanted] = project["optional-dependencies"]["top"]
    assert line.endswith(f"the Python package textual is not installed; install it: pip install '{wanted}'")
    assert not any(one.startswith("textual") for one in project["dependencies"])
