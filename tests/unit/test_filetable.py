"""The table of `read`, and which findings it shows."""

from __future__ import annotations

import io
from dataclasses import replace
from ipaddress import ip_address, ip_network
from uuid import UUID

import pytest

from inspector import cli
from inspector.consequence import Outcome
from inspector.model import Finding, OfferedEndpoint, RpcInterface, Verdict
from inspector.output.filetable import FileTable
from inspector.reading.selection import Selection
from tests.bench.conversations import write_capture
from tests.build.blocks import batch_of
from tests.unit.test_console import FINDING, OFFERED, UNANSWERED, visible

DAY_NS = 86_400_000_000_000
OTHERS = OfferedEndpoint(None, "ncacn_np", None, None, "\\PIPE\\x", Verdict.NO_ADDRESS, "a named pipe")


def shown(*findings: Finding, terminal: bool) -> list[str]:
    """Return the lines of a table."""
    stream = io.StringIO()
    table = FileTable(stream, terminal=terminal, width=200)
    table.show(batch_of(*findings))
    table.close()
    return visible(stream.getvalue()) if terminal else stream.getvalue().splitlines()


@pytest.mark.parametrize("terminal", [False, True])
def test_file_and_day_stand_above_their_rows(terminal: bool) -> None:
    """Once for rows in a row; rows have the time of day."""
    later = replace(FINDING, time_ns=FINDING.time_ns + DAY_NS)
    lines = shown(FINDING, UNANSWERED, later, replace(later, source="b\x1b[1m"), terminal=terminal)
    assert [line.rstrip() for line in lines if line.startswith("--")] == [
        "-- eth0, 2023-11-14",
        "-- eth0, 2023-11-15",
        "-- b\\x1b[1m, 2023-11-15",
    ]


def test_equal_rows_are_counted_on_a_terminal() -> None:
    """The first is shown; how often again, and when the last time, comes at the end. Elsewhere all are rows."""
    findings = [replace(FINDING, time_ns=FINDING.time_ns + number) for number in range(0, 9 * 10**9, 10**9)]
    lines = shown(*findings, replace(FINDING, client=ip_address("10.1.1.2")), terminal=True)
    assert sum("10.1.1.1 " in line and line.startswith("22:13") for line in lines) == 1
    assert sum("10.1.1.2 " in line for line in lines) == 1
    [again] = [line for line in lines if "times, the last at" in line]
    assert "8 times, the last at 22:13:28.123: 10.1.1.1 10.11.2.2 10.11.2.7:41376 MAPI 0.81 mismatch" in again
    assert sum("mismatch" in line for line in shown(*findings, terminal=False)) == 9


def test_long_listings_are_folded_on_a_terminal() -> None:
    """Mappings of the finding's verdict come first; the others are counted by verdict."""
    finding = replace(FINDING, mappings=(*[OTHERS] * 300, OFFERED, replace(OTHERS, verdict=Verdict.UNSPECIFIED)))
    lines = shown(finding, terminal=True)
    assert any("mismatch" in line for line in lines)
    assert any("... and 294 more of this answer: 293 no_address, 1 unspecified" in line for line in lines)
    assert len(shown(finding, terminal=False)) == 302 + 2


@pytest.mark.parametrize(
    ("selection", "taken"),
    [
        (Selection(), True),
        (Selection(words=frozenset({Verdict.MISMATCH, Outcome.REFUSED})), True),
        (Selection(words=frozenset({Verdict.FAULT})), False),
        (Selection(clients=(ip_network("10.1.0.0/16"),)), True),
        (Selection(clients=(ip_network("2001:db8::/32"), ip_network("10.1.1.2/32"))), False),
        (Selection(vips=(ip_network("10.11.2.2"),)), True),
        (Selection(vips=(ip_network("10.11.2.7"),)), False),
        (Selection(services=frozenset({"mapi"})), True),
        (Selection(services=frozenset({"a4f1db00"})), True),
        (Selection(services=frozenset({"a4f1db"})), False),
        (Selection(services=frozenset({"nspi"})), False),
        (Selection(services=frozenset({"mapi"}), words=frozenset({Verdict.MATCH})), False),
    ],
)
def test_selection(selection: Selection, taken: bool) -> None:
    """Of each kind one must fit."""
    assert selection.takes(FINDING) is taken


def test_any_mapping_of_a_listing_may_be_the_one() -> None:
    """By service and by verdict."""
    unknown = replace(OTHERS, interface=RpcInterface(UUID(int=5), 1))
    finding = replace(FINDING, requested=None, mappings=(unknown, OFFERED))
    assert Selection(services=frozenset({"mapi"})).takes(finding)
    assert Selection(words=frozenset({Verdict.NO_ADDRESS})).takes(finding)


@pytest.mark.parametrize("follow_up", ["--follow-up", "--no-follow-up"])
@pytest.mark.parametrize("jobs", ["1", "2"])
def test_the_command_counts_what_it_shows(
    tmp_path: object, capsys: pytest.CaptureFixture[str], follow_up: str, jobs: str
) -> None:
    """Summary and status are those of the selected findings."""
    path = f"{tmp_path}/a.pcapng"
    from pathlib import Path

    write_capture(Path(path), 3)
    options = ["read", follow_up, "--jobs", jobs, "--fail-on", "mismatch", "--client"]
    client = "10.100.0.0"
    assert cli.main([*options, client, path, path]) == 3
    output = capsys.readouterr().out
    assert output.count("mismatch  ") == output.count(f"{client} ") + 1
    assert cli.main([*options, "10.99.0.0/16", path, path]) == 0
    output = capsys.readouterr().out
    assert "findings                               0" in output
    with pytest.raises(SystemExit):
        cli.main([*options, "10.99", path])
