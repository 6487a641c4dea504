"""docs/compatibility.md names exactly what there is: metrics, routes, keys of /status, exit statuses, options."""

from __future__ import annotations

import argparse
import ast
import inspect
import re
from collections import Counter
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from prometheus_client import CollectorRegistry

from inspector import cli
from inspector.commands import attach, check, read, status, top
from inspector.http.overview import Overview
from inspector.http.routes import Routes
from inspector.inspection.snapshot import Beginning, take_snapshot
from inspector.live.attach.interfaces import InterfaceState
from inspector.metrics.families import Families
from inspector.metrics.updates import Metrics
from tests.build.capture_files import pcap
from tests.cases.dialogue import DIP, MAPI, VIP, mapped
from tests.cases.network import Network

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "compatibility.md").read_text(encoding="utf-8")
MISMATCH = ROOT / "tests" / "golden" / "traces" / "calls-alter-context.pcapng"


def section(heading: str) -> str:
    """Return the text of the section with this heading."""
    return PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]


def rows(heading: str) -> list[list[str]]:
    """Return the cells of the table in a section, without the two lines of its head."""
    lines = [line for line in section(heading).splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def words(text: str) -> list[str]:
    """Return everything between backticks."""
    return re.findall(r"`([^`]+)`", text)


def test_every_metric_is_named_with_type_and_labels() -> None:
    """The table of metrics is what the registry has, apart from those of the client library."""
    registry = CollectorRegistry()
    labels = {one._name: one._labelnames for one in vars(Families(registry)).values() if hasattr(one, "_labelnames")}
    found = {}
    for family in registry.collect():
        if not family.name.startswith("process_"):
            suffix = {"counter": "_total", "info": "_info"}.get(family.type, "")
            of_info = tuple(family.samples[0].labels) if family.type == "info" else ()
            found[family.name + suffix] = family.type, tuple(labels.get(family.name, of_info))
    named = {f"epm_inspector_{words(row[0])[0]}": (row[1], tuple(words(row[2]))) for row in rows("Metrics")}
    assert named == found


def test_every_route_is_named() -> None:
    """The table of routes is the server's own."""
    table = Routes(Metrics(CollectorRegistry()), Overview()).table()
    assert sorted(words(row[0])[0] for row in rows("HTTP routes")) == sorted(table)


def snapshot() -> dict[str, Any]:
    """Return /status of an inspector with one interface, which is not attached."""
    state = InterfaceState("eth0", 2, None, None, 0, "not attached yet")
    upkeep: Any = SimpleNamespace(file=None, read_ns=0, valid=True)
    session: Any = SimpleNamespace(ring_usage=lambda: (0, 1), interfaces=(state,), consumed=0)
    pipeline: Any = SimpleNamespace(tracked_connections=0, verdicts=Counter())
    beginning = Beginning(0, "http://127.0.0.1:10135/metrics")
    return take_snapshot(beginning, upkeep, session, pipeline, Overview(), {}, {})


def test_every_key_of_status_is_named() -> None:
    """Both lists of keys are those of the object, in its order."""
    whole, of_interface = section("Status").split("Keys of each object in `interfaces`:")
    state = snapshot()
    assert words(whole.partition("meanings.")[2]) == list(state)
    assert words(of_interface) == list(state["interfaces"][0])


def options_of(parser: argparse.ArgumentParser) -> list[str]:
    """Return the options of a command, apart from those for help."""
    return [one for action in parser._actions for one in action.option_strings if one not in ("-h", "--help")]


def test_every_option_is_named() -> None:
    """Each command has a list, which is that of its parser."""
    commands = next(one for one in cli.make_parser()._actions if isinstance(one, argparse._SubParsersAction)).choices
    named = [words(item) for item in re.split(r"^- ", section("Options"), flags=re.MULTILINE)[1:]]
    assert {item[0]: item[1:] for item in named} == {name: options_of(one) for name, one in commands.items()}


def statuses(module: ModuleType) -> set[int]:
    """Return the numbers which the function `run` of a command may return, as far as it names them."""
    found = set()
    for node in ast.walk(ast.parse(inspect.getsource(module.run))):
        if isinstance(node, ast.Return) and node.value is not None:
            for part in ast.walk(node.value):
                value = getattr(module, part.id, None) if isinstance(part, ast.Name) else getattr(part, "value", None)
                found |= {value} if type(value) is int else set()
    return found


@pytest.mark.parametrize("module", [attach, check, read, status, top])
def test_no_command_ends_with_another_status(module: ModuleType) -> None:
    """What `run` returns is in the table, for every command or for this one."""
    name = module.__name__.rpartition(".")[2]
    allowed = {int(row[1]) for row in rows("Exit statuses") if row[0] == "every command" or words(row[0]) == [name]}
    assert statuses(module) <= allowed


def interrupted(_: object) -> int:
    """Do as if Ctrl-C was pressed."""
    raise KeyboardInterrupt


def ends(arguments: list[str]) -> int | str | None:
    """Return the exit status of a command line."""
    try:
        return cli.main(arguments)
    except SystemExit as end:
        return end.code


def of_interrupt(folder: Path, monkeypatch: pytest.MonkeyPatch) -> int | str | None:
    """Return the status after Ctrl-C."""
    monkeypatch.setattr(read, "run", interrupted)
    return ends(["read", str(folder / "empty.pcap")])


CASES: dict[tuple[str, int], Callable[[Path, pytest.MonkeyPatch], int | str | None]] = {
    ("every command", 0): lambda folder, _: ends(["read", str(folder / "empty.pcap")]),
    ("every command", 1): lambda folder, _: ends(["read", str(folder / "missing.pcap")]),
    ("every command", 2): lambda _folder, _: ends(["read", "--no-such-option"]),
    ("every command", 130): of_interrupt,
    ("`read`", 3): lambda _folder, _: ends(["read", "--fail-on", "mismatch", str(MISMATCH)]),
    ("`read`", 4): lambda folder, _: ends(["read", "--fail-on", "mismatch", str(folder / "cut.pcapng")]),
    ("`status`", 3): lambda folder, _: ends(["status", "--runtime-directory", str(folder)]),
}


def test_every_exit_status_has_a_case() -> None:
    """Each row of the table is shown below, and nothing else."""
    assert {(row[0], int(row[1])) for row in rows("Exit statuses")} == set(CASES)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case[0].strip('`').replace(' ', '-')}-{case[1]}")
def test_exit_status(case: tuple[str, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A command line ends with the status of the row."""
    (tmp_path / "empty.pcap").write_bytes(pcap("<", []))
    network = Network()
    mapped(network, VIP, MAPI, (DIP, 59531))
    (tmp_path / "cut.pcapng").write_bytes(network.scenes[0].capture(snap_length=96))
    assert CASES[case](tmp_path, monkeypatch) == case[1]
