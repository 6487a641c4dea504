"""What people and programs read: rows, state, summary, progress, JSON lines."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from dataclasses import replace
from ipaddress import IPv4Address, ip_address
from pathlib import Path
from uuid import UUID

import pytest
from rich.cells import cell_len

from inspector.escape import harmless
from inspector.model import Direction, Finding, OfferedEndpoint, RpcInterface, Verdict
from inspector.output.console import REDRAWS_PER_SECOND, Console, Tally
from inspector.output.jsonl import JsonLines, StreamLines
from inspector.output.progress import DELAY_SECONDS, show_progress
from inspector.output.text import columns, fold
from tests.build.blocks import batch_of

MAPI = RpcInterface(UUID("a4f1db00-ca47-1067-b31f-00dd010662da"), 0, 81, "MAPI")
WHY = "the answer names 10.11.2.7, another server than the 10.11.2.2 that was asked: a strict RPC filter drops it"
OFFERED = OfferedEndpoint(MAPI, "ncacn_ip_tcp", IPv4Address("10.11.2.7"), 41376, None, Verdict.MISMATCH, WHY)
FINDING = Finding(
    time_ns=1_700_000_000_123_456_789,
    source="eth0",
    direction=Direction.FROM_SERVER,
    client=ip_address("10.1.1.1"),
    client_port=33654,
    asked=ip_address("10.11.2.2"),
    asked_raw=ip_address("10.11.2.2"),
    server_port=135,
    operation="ept_map",
    call_id=2,
    transfer_syntax="ndr20",
    status=0,
    verdict=Verdict.MISMATCH,
    why=WHY,
    requested=MAPI,
    mappings=(OFFERED,),
)
UNANSWERED = replace(FINDING, verdict=Verdict.UNANSWERED, why="no answer", mappings=())
TALLY = Tally(
    seen=12,
    decoded=7,
    lost={"compact_full": 3, "copy": 0},
    verdicts={Verdict.MISMATCH: 2, Verdict.MATCH: 5},
    anomalies={"stream_gap": 1},
)


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep what the developer's terminal wishes out of the results."""
    monkeypatch.setenv("TERM", "xterm-256color")
    for name in ("NO_COLOR", "FORCE_COLOR", "COLORTERM", "COLUMNS", "LINES"):
        monkeypatch.delenv(name, raising=False)


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        """Return True."""
        return True


def plain(*findings: Finding) -> list[str]:
    """Return the lines shown where there is no terminal."""
    stream = io.StringIO()
    console = Console(stream)
    for finding in findings:
        assert console.show(batch_of(finding))
    return stream.getvalue().splitlines()


def on_terminal(*findings: Finding, width: int = 80) -> str:
    """Return what a terminal is sent."""
    stream = Terminal()
    console = Console(stream, width=width)
    for finding in findings:
        console.show(batch_of(finding))
    return stream.getvalue()


def visible(sent: str) -> list[str]:
    """Return lines without the codes for colours."""
    from rich.text import Text

    return Text.from_ansi(sent).plain.splitlines()


def test_a_row_without_a_terminal() -> None:
    """One header, one line per mapping, no colours, the whole reason."""
    lines = plain(FINDING, UNANSWERED)
    assert lines == [
        "TIME (UTC)   CLIENT          ASKED           OFFERED               SERVICE       VERDICT        WHY",
        f"22:13:20.123 10.1.1.1        10.11.2.2       10.11.2.7:41376       MAPI 0.81     mismatch       {WHY}",
        "22:13:20.123 10.1.1.1        10.11.2.2       -                     MAPI 0.81     unanswered     no answer",
    ]


def test_a_row_for_each_mapping() -> None:
    """With the mapping's own verdict and reason."""
    pipe = OfferedEndpoint(None, "ncacn_np", None, None, "\\PIPE\\lsass", Verdict.NO_ADDRESS, "a named pipe")
    http = OfferedEndpoint(
        RpcInterface(UUID(int=0xAB << 120), 1), "ncacn_http", None, 593, None, Verdict.NO_ADDRESS, "no address"
    )
    portless = OfferedEndpoint(MAPI, "ncacn_ip_tcp", IPv4Address("10.11.2.7"), None, None, Verdict.MALFORMED, "no port")
    rows = plain(replace(FINDING, mappings=(OFFERED, pipe, http, portless)))[1:]
    assert [row.split()[3:7] for row in rows] == [
        ["10.11.2.7:41376", "MAPI", "0.81", "mismatch"],
        ["\\PIPE\\lsass", "MAPI", "0.81", "no_address"],
        ["ncacn_http:593", "ab000000", "1.0", "no_address"],
        ["10.11.2.7", "MAPI", "0.81", "malformed"],
    ]


def test_what_the_server_notes_beside_an_unknown_interface() -> None:
    """Stands in place of the UUID's start; a well-known name stays."""
    unknown = replace(OFFERED, interface=RpcInterface(UUID(int=0xAB << 120), 1), annotation="Backup agent")
    rows = plain(replace(FINDING, mappings=(unknown, replace(OFFERED, annotation="Exchange"))))[1:]
    assert ["Backup agent 1.0" in rows[0], "MAPI 0.81" in rows[1]] == [True, True]


def test_eighty_columns_are_enough() -> None:
    """Facts on one line, verdict and reason folded below it; nothing is lost."""
    lines = visible(on_terminal(FINDING, UNANSWERED))
    assert max(map(cell_len, lines)) <= 80
    assert lines[0].split() == ["TIME", "(UTC)", "CLIENT", "ASKED", "OFFERED", "SERVICE"]
    assert lines[1].split() == ["VERDICT:", "WHY"]
    assert lines[2] == "22:13:20.123 10.1.1.1        10.11.2.2       10.11.2.7:41376       MAPI 0.81"
    folded = " ".join(line.strip() for line in lines[3:5])
    assert folded == f"mismatch: {WHY}"
    assert lines[6].strip() == "unanswered: no answer"


@pytest.mark.parametrize("width", [30, 60, 80, 100, 131, 132, 200])
def test_ipv6_fits_any_width(width: int) -> None:
    """Long addresses are folded within their columns."""
    client = ip_address("2001:0:a0b:86e8:388e:fcb:4337:1876")
    lines = visible(on_terminal(replace(FINDING, client=client), width=width))
    assert "2001:0:a0b:86e8" in lines[2 if width < 132 else 1]
    assert all(cell_len(line) <= max(width, 80) for line in lines)


def test_a_wide_terminal_has_one_line() -> None:
    """From 132 columns on the verdict and the beginning of the reason are in the row."""
    lines = visible(on_terminal(FINDING, width=240))
    assert len(lines) == 2
    assert lines[1].endswith(WHY)


@pytest.mark.parametrize("width", [80, 240])
def test_verdicts_have_colours_on_terminals_only(width: int) -> None:
    """Bold red for a mismatch; and the colour ends with the word."""
    assert "\x1b[1;31mmismatch" in on_terminal(FINDING, width=width)
    assert "\x1b" not in "".join(plain(FINDING))


def test_every_verdict_can_be_shown() -> None:
    """A verdict without a style would end the process."""
    for verdict in Verdict:
        finding = replace(FINDING, verdict=verdict, mappings=(replace(OFFERED, verdict=verdict),))
        assert str(verdict) in "".join(plain(finding))
        assert str(verdict) in "".join(visible(on_terminal(finding)))


HOSTILE = "\x1b[2J\x1b]0;owned\x07[bold red]\u202egnp.exe\r\n\t\x9b31m\udc80"


@pytest.mark.parametrize("render", [lambda finding: "\n".join(plain(finding)), on_terminal])
def test_hostile_text_is_shown_and_does_nothing(render: object) -> None:
    """Control characters, marks of direction and markup in names from the wire come out as text."""
    bad = replace(OFFERED, address=None, endpoint=HOSTILE, why=HOSTILE, interface=replace(MAPI, name=HOSTILE))
    assert callable(render)
    sent = render(replace(FINDING, mappings=(bad,)))
    for forbidden in ("\x1b[2J", "\x1b]0", "\x07", "\u202e", "\r", "\t", "\x9b", "\udc80"):
        assert forbidden not in sent
    assert r"\x1b[2J\x1b]0;owned\x07[bold red]\u202egnp.exe\r\n\t\x9b31m\udc80" in "".join(visible(sent)[1:]).replace(
        " ", ""
    ).replace("[boldred]", "[bold red]")


def test_a_stream_that_cannot_say_everything() -> None:
    """What the encoding lacks is escaped, on terminals and elsewhere."""
    for terminal in (True, False):
        binary = io.BytesIO()
        stream = io.TextIOWrapper(binary, encoding="ascii")
        console = Console(stream, terminal=terminal, width=100)
        console.show(batch_of(replace(FINDING, mappings=(replace(OFFERED, address=None, endpoint="Grüße→"),))))
        stream.flush()
        assert rb"Gr\xfc\xdfe\u2192" in binary.getvalue()


def test_wide_characters_keep_the_columns() -> None:
    """Characters of two cells are counted as such."""
    lines = columns(["漢字漢字", "next"], [4, 4])
    assert lines == ["漢字 next", "漢字"]
    assert fold("漢字", 3) == ["漢", "字"]
    assert columns(["漢", "x"], [1, 1])[0].endswith("x")


def test_folding() -> None:
    """At spaces where possible, within words where not; empty text has one line."""
    assert fold("", 5) == [""]
    assert fold("one two three", 7) == ["one two", "three"]
    assert fold("abcdefghij kl", 4) == ["abcd", "efgh", "ij", "kl"]
    assert fold("a bcdefgh", 4) == ["a", "bcde", "fgh"]


def test_harmless_leaves_text_alone() -> None:
    """Only what does not print is escaped."""
    assert harmless("Grüße, [bold] \\PIPE\\lsass 漢字") == "Grüße, [bold] \\PIPE\\lsass 漢字"
    assert harmless("a\0b\x7f") == "a\\x00b\\x7f"


def test_state_is_redrawn_seldom() -> None:
    """Ten thousand updates within a second are a few redraws; the line shows the counts."""
    stream, clock = Terminal(), Clock()
    console = Console(stream, width=100, clock=clock)
    console.status(TALLY)
    assert "seen 12  decoded 7  " in "".join(visible(stream.getvalue()))
    assert "lost 3" in stream.getvalue()
    assert "mismatch 2" in stream.getvalue()
    sizes = set()
    for _ in range(10_000):
        clock.now += 0.0001
        console.status(replace(TALLY, seen=99))
        sizes.add(len(stream.getvalue()))
    assert 2 <= len(sizes) <= REDRAWS_PER_SECOND + 2
    console.close()


def test_rows_go_on_above_the_state() -> None:
    """A row while the line of state is shown stays; the line is gone in the end."""
    stream = Terminal()
    with Console(stream, width=100) as console:
        console.status(TALLY)
        console.show(batch_of(FINDING))
    assert "10.11.2.7:41376" in stream.getvalue()
    assert stream.getvalue().endswith("\x1b[2K")


def test_no_state_without_a_terminal() -> None:
    """A file gets no line that is drawn over."""
    stream = io.StringIO()
    with Console(stream) as console:
        console.status(TALLY)
    assert stream.getvalue() == ""


@pytest.mark.parametrize("stream", [io.StringIO(), Terminal()])
def test_summary(stream: io.StringIO) -> None:
    """Seen, decoded, lost by reason, findings by verdict, anomalies; zeros of single reasons are left out."""
    console = Console(stream, width=80)
    console.status(TALLY)
    assert console.summary(TALLY)
    shown = [line.split() for line in visible(stream.getvalue())]
    assert shown[-9:] == [
        ["packets", "seen", "12"],
        ["records", "decoded", "7"],
        ["records", "lost", "3"],
        ["compact_full", "3"],
        ["findings", "7"],
        ["match", "5"],
        ["mismatch", "2"],
        ["anomalies", "1"],
        ["stream_gap", "1"],
    ]


def test_rows_beyond_reading_are_left_out_and_said() -> None:
    """Only on a terminal, only if asked for, and never silently."""
    stream, clock = Terminal(), Clock()
    console = Console(stream, width=100, rows_per_second=3, clock=clock)
    for _ in range(10):
        console.show(batch_of(UNANSWERED))
    assert stream.getvalue().count("no answer") == 3
    clock.now += 1
    console.show(batch_of(UNANSWERED))
    assert stream.getvalue().count("no answer") == 4
    assert stream.getvalue().count("... 7 more rows") == 1
    for _ in range(4):
        console.show(batch_of(UNANSWERED))
    console.summary(TALLY)
    assert "... 2 more rows" in stream.getvalue()
    file = io.StringIO()
    console = Console(file, rows_per_second=3, clock=clock)
    for _ in range(10):
        console.show(batch_of(UNANSWERED))
    assert file.getvalue().count("no answer") == 10


def test_json_lines() -> None:
    """One line per finding, keys in order, ASCII only, flushed at once."""

    class Stream(io.StringIO):
        flushed = ""

        def flush(self) -> None:
            self.flushed = self.getvalue()

    stream = Stream()
    lines = JsonLines(StreamLines(stream))
    bad = replace(FINDING, why="\x1b[2J\u2028\udc80 ü\n")
    assert lines.show(batch_of(bad))
    assert stream.flushed == stream.getvalue()
    (line,) = stream.getvalue().splitlines()
    assert line.isascii()
    assert line.isprintable()
    assert ": " not in line.replace(WHY, "")
    assert list(json.loads(line)) == list(bad.as_dict())
    assert json.loads(line) == bad.as_dict()


READER_GOES = """
import sys
from tests.unit.test_console import FINDING
from inspector.output.console import Console
from inspector.output.jsonl import JsonLines, StreamLines
from tests.build.blocks import batch_of
sink = {sink}
shown = 0
while sink.show(batch_of(FINDING)):
    shown += 1
    assert shown < 100000
assert not sink.show(batch_of(FINDING))
print("clean", file=sys.stderr)
"""


@pytest.mark.parametrize("sink", ["JsonLines(StreamLines(sys.stdout))", "Console(sys.stdout)"])
def test_a_reader_that_goes_ends_it_cleanly(sink: str) -> None:
    """As with `| head -1`: no traceback, no complaint at exit."""
    root = Path(__file__).parents[2]
    with subprocess.Popen(
        [sys.executable, "-c", READER_GOES.format(sink=sink)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=root,
        env=os.environ | {"PYTHONPATH": str(root)},
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == "clean\n"
        assert process.wait() == 0


def test_progress_only_on_a_terminal_and_only_if_it_lasts() -> None:
    """No function at all elsewhere; nothing drawn for short files; a bar with the file's name for long ones."""
    with show_progress("a.pcap", stream=io.StringIO()) as update:
        assert update is None
    stream, clock = Terminal(), Clock()
    with show_progress("a.pcap", stream=stream, clock=clock) as update:
        assert update is not None
        update(1, 10)
    assert stream.getvalue() == ""
    with show_progress("[red]\x1b[2J.pcap", stream=stream, clock=clock) as update:
        assert update is not None
        clock.now += DELAY_SECONDS
        update(1_000_000, 10_000_000)
        update(2_000_000, None)
    assert "[red]\\x1b[2J.pcap" in "".join(visible(stream.getvalue()))


def test_progress_below_the_rows() -> None:
    """Where rows are on a terminal the bar is drawn there; a file of rows has none."""
    stream, clock = Terminal(), Clock()
    console = Console(stream, width=100)
    with show_progress("a.pcap", console=console, stream=io.StringIO(), clock=clock) as update:
        assert update is not None
        clock.now += DELAY_SECONDS
        update(5_000_000, 10_000_000)
        console.show(batch_of(FINDING))
    assert "a.pcap" in stream.getvalue()
    assert "10.11.2.7:41376" in stream.getvalue()
    with show_progress("a.pcap", console=Console(io.StringIO()), stream=io.StringIO()) as update:
        assert update is None
