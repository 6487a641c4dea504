"""Events of Windows' TCP: the client's side of the story, from a trace and from a listing of it."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest

from inspector import cli
from inspector.capture.eventtrace import Event
from inspector.capture.frames import build_frame
from inspector.capture.stackevents import TCPIP, StackKind, is_listing, read_event, read_line
from inspector.capture.windows import read_windows
from inspector.reading.stackview import StackView
from tests.bench.conversations import conversation
from tests.build import eventtrace as build

CLIENT, SERVER = "10.1.1.1", "10.11.2.2"
TCB = 0xFFFFFA8004C3A010
MS = 1_000_000


def pair(port: int = 135, client_port: int = 50012) -> bytes:
    """Return both addresses."""
    return build.address(CLIENT, client_port) + build.address(SERVER, port)


def block_first(number: int, at: int, port: int = 135, block: int = TCB, client_port: int = 50012) -> build.Made:
    """Return an event that begins with the control block."""
    return build.of_tcp(at, number, struct.pack("<Q", block) + pair(port, client_port) + bytes(8))


def block_last(
    number: int, at: int, port: int = 135, status: int = 0, block: int = TCB, client_port: int = 50012
) -> build.Made:
    """Return an event that ends with the control block."""
    return build.of_tcp(at, number, pair(port, client_port) + struct.pack("<IIIQ", status, 4711, 1, block))


def numbered(number: int, at: int, count: int, block: int = TCB) -> build.Made:
    """Return an event with a number of bytes: 1074 received, 1159 posted, 1332 sent."""
    between = {1074: b"", 1159: "x\0".encode("utf-16-le"), 1332: bytes(8), 1073: bytes(12)}[number]
    return build.of_tcp(at, number, struct.pack("<Q", block) + between + struct.pack("<II", count, 1))


REFUSED_BIND = [
    block_first(1002, 0),
    block_last(1033, 2 * MS),
    numbered(1159, 3 * MS, 72),
    numbered(1332, 3 * MS, 72),
    numbered(1074, 25 * MS, 24),
    block_last(1038, 25 * MS + 400_000),
]
FAILED_LATER = [
    block_first(1002, 30 * MS, 49155, 9, 50013),
    block_first(1186, 1030 * MS, 49155, 9, 50013),
    block_last(1034, 9030 * MS, 49155, 0xC00000B5, 9, 50013),
]
LINES = [
    (
        f"{CLIENT}:50012 to {SERVER}:135: connected, 72 bytes sent, 24 received, closed by the client 0.4 ms later: "
        "less than a bind_ack has: what a bind_nak looks like from here"
    ),
    f"{CLIENT}:50013 to {SERVER}:49155: not connected: timed out (status 0xC00000B5) after 2 SYNs, after 9.0 s",
]


def lines_of(path: Path) -> tuple[list[str], list[str]]:
    """Return the lines on connections without their start, and the notes."""
    view = StackView({135})
    notes = read_windows(path, view)
    return [line.removeprefix("as the client's TCP saw it: ") for line in view.lines()], notes


def test_a_refused_bind_and_a_filtered_port(tmp_path: Path) -> None:
    """What the client's machine knows, with no packet recorded."""
    path = tmp_path / "a.etl"
    path.write_bytes(build.trace(REFUSED_BIND, FAILED_LATER))
    assert lines_of(path) == (LINES, [])


@pytest.mark.parametrize(
    ("events", "wanted"),
    [
        ([*REFUSED_BIND[:4], block_last(1039, 9000 * MS)], "aborted by the client: nothing came back: a mute endpoint"),
        ([*REFUSED_BIND[:4], numbered(1074, 5 * MS, 60), block_last(1038, 9000 * MS)], "what a swallowed answer looks"),
        (
            [*REFUSED_BIND[:4], numbered(1074, 5 * MS, 400), block_last(1038, 6 * MS)],
            "400 received, closed by the client",
        ),
        (REFUSED_BIND[:4], "72 bytes sent, 0 received, open when the trace ended"),
        ([block_first(1002, 0), block_first(1183, MS)], "not connected: refused (RST), after 1.0 ms"),
        ([block_first(1002, 0), block_last(1045, 21_000 * MS)], "not connected: no answer in time, after 21.0 s"),
        ([*REFUSED_BIND[:3], block_first(1184, 4 * MS)], "0 received, reset in the server's name: nothing came"),
        ([*REFUSED_BIND[:3], block_last(1046, 4 * MS)], "given up, since the server did not answer"),
        (
            [
                *REFUSED_BIND[:5],
                build.of_tcp(26 * MS, 1352, struct.pack("<QQQ", TCB, 720, 240)),
                block_last(1038, 27 * MS),
            ],
            "720 bytes sent, 240 received",
        ),
        (
            [
                *REFUSED_BIND[:3],
                build.of_tcp(4 * MS, 1157, struct.pack("<QQQQIQIIII", TCB, 1, 1, 24, 0, 24, 0, 0, 0, 0)),
                build.of_tcp(5 * MS, 1176, struct.pack("<Q", TCB)),
            ],
            "72 bytes sent, 24 received, ended by the server 1.0 ms later",
        ),
    ],
)
def test_stories(tmp_path: Path, events: list[build.Made], wanted: str) -> None:
    """How a connection to port 135 ended, and what that looks like."""
    path = tmp_path / "a.etl"
    path.write_bytes(build.trace(events))
    [line] = lines_of(path)[0]
    assert wanted in line


def test_others_are_left_out(tmp_path: Path) -> None:
    """Connections to other servers, failed or not; those of a control block that is used again are two."""
    path = tmp_path / "a.etl"
    other = block_last(1034, MS, 445, 0xC0000236, 77)
    again = [one._replace(after_ns=one.after_ns + 100 * MS) for one in REFUSED_BIND]
    path.write_bytes(build.trace([other]))
    assert lines_of(path)[0] == []
    path.write_bytes(build.trace(REFUSED_BIND + again))
    assert lines_of(path)[0] == [LINES[0], LINES[0]]


def test_events_that_are_not_whole() -> None:
    """Each event cut at each length, and of a system with pointers of 4 bytes."""
    for one in REFUSED_BIND + FAILED_LATER:
        for length in range(len(one.data)):
            assert len(read_event(Event(0, TCPIP, one.number, 0, 0, 0, 0, 8, one.data[:length]))) <= 1
    data = struct.pack("<III", 5, 24, 1)
    [found] = read_event(Event(3, TCPIP, 1074, 0, 0, 0, 0, 4, data))
    assert (found.block, found.kind, found.value, found.time_ns) == (5, StackKind.RECEIVED, 24, 3)


LISTING = f"""\
[0]1B38.0A1C::2012/10/01-10:00:00.100000000 [Microsoft-Windows-TCPIP]TCP: Tcb 0xFFFFFA8004C3A010 (local={CLIENT}:50012 remote={SERVER}:135) requested to connect.
[0]1B38.0A1C::2012/10/01-10:00:00.102000000 [Microsoft-Windows-TCPIP]TCP: connection 0xFFFFFA8004C3A010 (local={CLIENT}:50012 remote={SERVER}:135) connect completed. PID = 4711.
[0]1B38.0A1C::2012/10/01-10:00:00.103000000 [Microsoft-Windows-TCPIP]TCP: connection 0xFFFFFA8004C3A010: Sent data with number of bytes = 72 and Sequence number = 3001.
[1]0000.0000::2012/10/01-10:00:00.125000000 [Microsoft-Windows-TCPIP]TCP: connection 0xFFFFFA8004C3A010: Received data with number of bytes = 24. ThSeq = 77.
[0]1B38.0A1C::2012/10/01-10:00:00.125400000 [Microsoft-Windows-TCPIP]TCP: connection 0xFFFFFA8004C3A010 (local={CLIENT}:50012 remote={SERVER}:135) close issued.
[0]1B38.0A1C::2012/10/01-10:00:00.130000000 [Microsoft-Windows-TCPIP]TCP: Tcb 0x9 (local={CLIENT}:50013 remote={SERVER}:49155) requested to connect.
[0]1B38.0A1C::2012/10/01-10:00:01.130000000 [Microsoft-Windows-TCPIP]TCP: connection 0x9 (local={CLIENT}:50013 remote={SERVER}:49155) retransmitting connect attempt, RexmitCount = 1.
[0]1B38.0A1C::2012/10/01-10:00:09.130000000 [Microsoft-Windows-TCPIP]TCP: connection 0x9 (local={CLIENT}:50013 remote={SERVER}:49155) connect attempt failed with status = 0xC00000B5.
"""  # noqa: E501 - lines as they are printed
_COLUMNS = "Frame Number\tTime Of Day\tTime Offset\tProcess Name\tSource\tDestination\tProtocol Name\tDescription\n"
NETWORK_MONITOR = _COLUMNS + "".join(
    f"{number}\t{line.split('-')[1][:18]} AM\t0.1\toutlook.exe\t\t\tTCPIP\tTCPIP:TCP: {line.split('TCP: ')[1]}\n"
    for number, line in enumerate(LISTING.splitlines(), 1)
)
DASHED = LISTING.replace("2012/10/01", "2012-10-01").replace("-10:", " 10:")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le"])
@pytest.mark.parametrize("text", [LISTING, NETWORK_MONITOR, DASHED])
def test_a_listing_says_the_same(tmp_path: Path, text: str, encoding: str) -> None:
    """As `netsh trace convert`, `pktmon etl2txt` and Network Monitor print it."""
    path = tmp_path / "a.txt"
    path.write_bytes(text.encode(encoding))
    assert is_listing(path.read_bytes()[:512])
    assert lines_of(path) == (LINES, [])


@pytest.mark.parametrize(
    "line",
    [
        "TCP: connection 0x9 (local=nonsense remote=10.0.0.1:135) close issued.",
        "TCP: connection 0x9 (local=1.2.3.4:5 remote=1.2.3.4:x) close issued.",
        "TCP: connection zz: close issued",
        "[0]0004.0008::2012/10/01-10:00:00.1 [Microsoft-Windows-TCPIP]TCP: connection 0x9 something else",
        "[0]0004.0008::2012/13/41-10:00:00.1 [Microsoft-Windows-TCPIP]TCP: connection 0x9 close issued",
        "",
    ],
)
def test_lines_of_no_interest(line: str) -> None:
    """Nothing, whatever they are."""
    assert read_line(line) is None


def test_ipv6_and_american_dates() -> None:
    """An address has a scope; a port is behind the brackets; a time is in the afternoon."""
    found = read_line(
        "10/06/2012-10:00:00.5 TCP: Tcb 0x9 (local=[fe80::1%11]:5000 remote=[2001:db8::2]:135) requested to connect."
    )
    assert found is not None
    assert (str(found.local), str(found.remote)) == ("[fe80::1]:5000", "[2001:db8::2]:135")
    assert found.time_ns == 1_349_517_600_500_000_000
    found = read_line("7\t1:02:03.004 PM\tTCP: connection 0x9 close issued.")
    assert found is not None
    assert found.time_ns == (13 * 3600 + 2 * 60 + 3) * 1_000_000_000 + 4_000_000


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Packets and events of one trace; a listing alone; the summary has both."""
    frames = [build.of_ndis(number * MS, build_frame(one)) for number, one in enumerate(conversation(0).segments)]
    trace, listing = tmp_path / "a.etl", tmp_path / "b.txt"
    trace.write_bytes(build.trace(frames, REFUSED_BIND))
    listing.write_text(LISTING)
    assert cli.main(["read", "--json", "--summary", str(trace), str(listing)]) == 0
    captured = capsys.readouterr()
    summary = json.loads(captured.out)
    assert sum(summary["verdicts"].values()) == 1
    assert [line.removeprefix("as the client's TCP saw it: ") for line in summary["client_view"]] == [LINES[0], *LINES]
    assert f"{trace}: as the client's TCP saw it: {LINES[0]}" in captured.err


def test_what_is_in_neither(tmp_path: Path) -> None:
    """A trace without packets, one that dropped some, and a listing of something else."""
    path = tmp_path / "a.etl"
    path.write_bytes(build.trace([build.Made(0, build.OTHER, 1, b"")]))
    assert "no packets are in this trace" in lines_of(path)[1][0]
    path.write_bytes(build.trace([build.of_pktmon(0, b"x" * 60, group=1)._replace(number=170)]))
    assert lines_of(path)[1] == ["packets that Windows itself dropped (pktmon): 1"]
    path.write_bytes(build.trace([build.of_ndis(0, b"x" * 60)]) + build.buffer(b"", flags=0x40))
    assert lines_of(path)[1] == ["not read: buffers that are compressed: 1"]
    path = tmp_path / "a.txt"
    path.write_text("[0]0004.0008::2012/10/01-10:00:00.1 [Microsoft-Windows-DNS-Client]Query\n")
    assert lines_of(path)[1] == ["no events of TCP connections are in this listing"]
