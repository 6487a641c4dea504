"""The command `status`, against servers which say what they like of themselves."""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from rich.text import Text

from inspector.cli import main
from inspector.commands.status import NOT_RUNNING
from inspector.http.http1 import Response
from inspector.http.server import MetricsServer

if TYPE_CHECKING:
    from collections.abc import Iterator

INTERFACE = {
    "name": "eth0",
    "netns": None,
    "attached": True,
    "since": "2026-11-23T20:11:02.123456789Z",
    "explanation": "native XDP",
    "hook": "xdp",
    "mode": "native",
    "program_id": 7,
    "program_tag": "0123456789abcdef",
    "packets": {"to_server": 3, "from_server": 4},
    "lost": {"compact_full": 1, "bulk_full": 0, "copy": 1},
}


@contextlib.contextmanager
def inspector(directory: Path, pid: int, body: bytes, status: int = 200) -> Iterator[None]:
    """Serve an answer to /status on the socket of that process id."""
    directory.mkdir(mode=0o700, exist_ok=True)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(directory / f"{pid}.sock"))
    listener.listen()
    server = MetricsServer("127.0.0.1", 0, {"/status": lambda: Response(status, body)})
    server.add(listener)
    with server:
        yield


def said(pid: int, *interfaces: dict[str, Any]) -> bytes:
    """Return the answer of an inspector with these interfaces."""
    return json.dumps({"pid": pid, "interfaces": interfaces}).encode()


def test_none_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is said plainly, with where was looked, and in the exit status."""
    assert main(["status", "--runtime-directory", str(tmp_path)]) == NOT_RUNNING
    assert capsys.readouterr() == ("", f"no inspector is running (looked in {tmp_path})\n")
    assert main(["status", "--json", "--runtime-directory", str(tmp_path / "none")]) == NOT_RUNNING
    assert capsys.readouterr().out == "[]\n"


def test_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A row for each interface of each inspector, in columns; what is not known is a dash, and a reason follows."""
    missing = {"name": "eth1", "netns": "inner", "attached": False, "explanation": "it was deleted", "since": None}
    with (
        inspector(tmp_path, 12, said(12, INTERFACE, missing)),
        inspector(tmp_path, 123456, said(123456, INTERFACE | {"name": "uplink", "lost": None})),
    ):
        assert main(["status", "--runtime-directory", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [re.split(r" {2,}", line.strip()) for line in lines[:4]] == [
        ["PID", "INTERFACE", "HOOK", "MODE", "PROGRAM ID", "TAG", "SINCE (UTC)", "PACKETS", "LOST"],
        ["12", "eth0", "xdp", "native", "7", "0123456789abcdef", "2026-11-23 20:11:02", "7", "2"],
        ["12", "eth1@inner", "-", "-", "-", "-", "-", "-", "-"],
        ["123456", "uplink", "xdp", "native", "7", "0123456789abcdef", "2026-11-23 20:11:02", "7", "-"],
    ]
    assert lines[4:] == ["eth1@inner: not attached: it was deleted"]
    assert lines[0].index("HOOK") == lines[1].index("xdp") == lines[3].index("xdp")


@pytest.mark.parametrize("decoder", ["compiled", "interpreted"])
def test_which_decoder_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str], decoder: str) -> None:
    """It is said of each process, whatever its version calls it; older versions do not say it."""
    newer = json.dumps({"pid": 12, "decoder": decoder, "interfaces": [INTERFACE]}).encode()
    with inspector(tmp_path, 12, newer), inspector(tmp_path, 13, said(13, INTERFACE)):
        assert main(["status", "--runtime-directory", str(tmp_path)]) == 0
    assert capsys.readouterr().out.splitlines()[3:] == [f"process 12: decoder: {decoder}"]


def test_what_answers_led_to(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Outcomes and causes that were met, in a line each; an inspector that says nonsense of them has no line."""
    state = {"pid": 12, "interfaces": [INTERFACE], "outcomes": {"reached": 7, "refused": 2, "denied": 0}}
    newer = json.dumps(state | {"causes": {"ports_not_published": 2}}).encode()
    other = json.dumps(state | {"pid": 13, "outcomes": [1], "causes": {"x": "y"}}).encode()
    with inspector(tmp_path, 12, newer), inspector(tmp_path, 13, other):
        assert main(["status", "--runtime-directory", str(tmp_path)]) == 0
    assert capsys.readouterr().out.splitlines()[3:] == [
        "process 12: outcomes: reached 7, refused 2",
        "process 12: causes: ports_not_published 2",
    ]


LONG = "an-interface-with-a-name-of-its-own-" + "x" * 100


def test_a_table_that_is_searched_is_not_folded(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a terminal a row is one line, whatever its length, and has no colours, whatever the environment says."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "60")
    with inspector(tmp_path, 12, said(12, INTERFACE | {"name": LONG})):
        assert main(["status", "--runtime-directory", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert LONG in lines[1]
    assert "\x1b" not in "".join(lines)


def test_a_table_fits_its_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cells are folded within their columns, and nothing is left out."""
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    with inspector(tmp_path, 12, said(12, INTERFACE | {"name": LONG})):
        assert main(["status", "--runtime-directory", str(tmp_path)]) == 0
    lines = Text.from_ansi(capsys.readouterr().out).plain.splitlines()
    assert len(lines) > 2
    assert max(map(len, lines)) <= 80
    # The column of interfaces, put together again.
    [heading] = [line for line in lines if "INTERFACE" in line]
    start, end = heading.index("INTERFACE"), heading.index("HOOK")
    assert "".join(line[start:end].strip() for line in lines) == f"INTERFACE{LONG}"


def test_a_reader_that_goes_ends_it_quietly(tmp_path: Path) -> None:
    """`epm-inspector status | head -1` says nothing about pipes, and is no failure."""
    code = "import sys; from inspector import cli; sys.exit(cli.main(sys.argv[1:]))"
    with inspector(tmp_path, 12, said(12, INTERFACE)):
        reading, writing = os.pipe()
        os.close(reading)
        command = [sys.executable, "-c", code, "status", "--runtime-directory", str(tmp_path)]
        done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, check=False)
        os.close(writing)
    assert (done.returncode, done.stderr) == (0, b"")


def test_rich_is_loaded_for_a_table_only(tmp_path: Path) -> None:
    """For programs, who ask often, it would take longer to load than to answer."""
    code = "import sys; from inspector import cli; cli.main(sys.argv[1:]); sys.exit('rich' in sys.modules)"
    command = [sys.executable, "-c", code, "status", "--json", "--runtime-directory", str(tmp_path)]
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0


def test_json_is_what_they_say(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An array of all, unchanged, also what this version does not know."""
    with inspector(tmp_path, 5, b'{"interfaces": [], "pid": 5, "later": {"a": [1]}}'):
        assert main(["status", "--json", "--runtime-directory", str(tmp_path)]) == 0
    assert json.loads(capsys.readouterr().out) == [{"interfaces": [], "pid": 5, "later": {"a": [1]}}]


@pytest.mark.parametrize(
    ("body", "status", "complaint"),
    [(b"{", 200, "no JSON"), (b"[]", 200, "unexpected /status"), (b"", 503, "answers 503")],
)
def test_one_that_answers_wrongly_hides_no_other(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], body: bytes, status: int, complaint: str
) -> None:
    """The others are shown; the one is named on standard error, and in the exit status."""
    with inspector(tmp_path, 12, said(12, INTERFACE)), inspector(tmp_path, 13, body, status):
        assert main(["status", "--runtime-directory", str(tmp_path)]) == 1
    captured = capsys.readouterr()
    assert len(captured.out.splitlines()) == 2
    [line] = captured.err.splitlines()
    assert line.startswith("epm-inspector: the inspector with process id 13 ")
    assert complaint in line


def test_names_cannot_move_the_cursor(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What another process says is shown as text."""
    with inspector(tmp_path, 12, said(12, {"name": "\x1b[2Jeth0", "explanation": "\x1b]0;x\a"})):
        assert main(["status", "--runtime-directory", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert out.isascii()
    assert "\x1b" not in out
