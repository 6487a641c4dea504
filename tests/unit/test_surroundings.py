"""The command where its surroundings are poor or hostile: one line each, and the exit status that belongs to it."""

from __future__ import annotations

import http.server
import json
import os
import shlex
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.conftest import unavailable
from tests.unit.test_cli import write_capture

HOSTILE = os.fsdecode(b"a\xff\x1b[31m\xe2\x80\xae\xe2\x81\xa6\n.pcapng")
ESCAPED = "a\\xff\\x1b[31m\\u202e\\u2066\\n.pcapng"
COMMAND = f"{shlex.quote(sys.executable)} -m inspector"


def shell(script: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a line of bash in a folder, in which EPM is the command; its output is decoded leniently."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(
        ["bash", "-c", script.replace("EPM", COMMAND)], cwd=folder, env=environment, capture_output=True, check=False
    )
    texts = (one.decode(errors="backslashreplace") for one in (done.stdout, done.stderr))
    return subprocess.CompletedProcess(done.args, done.returncode, *texts)


@pytest.mark.parametrize(
    ("script", "status", "said"),
    [
        ("EPM read a.pcapng >&-", 1, "standard output cannot be written: Bad file descriptor"),
        ("EPM read --json a.pcapng >&-", 1, "standard output cannot be written: Bad file descriptor"),
        ("EPM read --json a.pcapng >/dev/full", 1, "standard output cannot be written: No space left on device"),
        ("EPM status --json --runtime-directory none >&-", 1, "no inspector is running"),
        ("EPM --version >&-", 1, "standard output cannot be written: Bad file descriptor"),
        ("EPM --help >/dev/full", 1, "No space left on device"),
        ("EPM read a.pcapng 2>&- >/dev/null", 0, ""),
        ("EPM read none.pcapng 2>&-", 1, ""),
        ("EPM read none.pcapng 2>/dev/full", 1, ""),
        ("EPM read none.pcapng <&- >&- 2>&-", 1, ""),
        ("EPM nonsense >&- 2>&-", 2, ""),
        ("ulimit -n 12; EPM read --json a.pcapng > out", 0, ""),
        ("ulimit -n 12; EPM attach lo", 1, "limit of open files is 12"),
        ("ulimit -n 12; EPM check lo", 1, "limit of open files is 12"),
        ("ulimit -n 12; EPM demo", 1, "limit of open files is 12"),
        ("ulimit -n 12; EPM top --runtime-directory none", 1, "no inspector is running"),
    ],
)
def test_streams_and_descriptors(tmp_path: Path, script: str, status: int, said: str) -> None:
    """Streams that are closed or full, and hardly any descriptors: no traceback, no other file gets the findings."""
    write_capture(tmp_path / "a.pcapng")
    before = (tmp_path / "a.pcapng").read_bytes()
    done = shell(script, tmp_path)
    assert done.returncode == status, done
    assert "Traceback" not in done.stderr
    assert sum(said in line for line in done.stderr.splitlines()) == (1 if said else len(done.stderr.splitlines()))
    assert sum(line.startswith("epm-inspector: ") for line in done.stderr.splitlines()) <= 1
    assert (tmp_path / "a.pcapng").read_bytes() == before


def test_a_file_name_is_escaped_wherever_it_is_shown(tmp_path: Path) -> None:
    """Controls, marks of direction, a line's end, bytes that are no UTF-8: in errors, warnings and findings."""
    path = write_capture(tmp_path / HOSTILE, ["10.11.2.7", "10.11.2.2"])
    path.write_bytes(path.read_bytes()[:-30])
    done = shell(f"EPM read --json {shlex.quote(HOSTILE)}", tmp_path)
    assert [json.loads(line)["source"] for line in done.stdout.splitlines()] == [ESCAPED]
    [warning] = [line for line in done.stderr.splitlines() if "warning" in line]
    assert "\\x1b[31m\\u202e\\u2066\\n.pcapng" in warning
    path.write_text("no capture")
    for script in (f"EPM read {shlex.quote(HOSTILE)}", f"EPM read --config {shlex.quote(HOSTILE)} x"):
        done = shell(script, tmp_path)
        [line] = done.stderr.removesuffix("\n").split("\n")
        assert done.returncode == 1
        assert line.isprintable()
        assert "\\x1b[31m\\u202e\\u2066\\n.pcapng" in line


@pytest.mark.parametrize("option", ["--jobs", "nonsense", "--fail-on"])
def test_the_command_line_is_escaped(tmp_path: Path, option: str) -> None:
    """What is quoted of it."""
    done = shell(f"EPM read a {option} {shlex.quote(HOSTILE)} {shlex.quote('--' + HOSTILE)}", tmp_path)
    assert done.returncode in (1, 2)
    assert all(line.isprintable() for line in done.stderr.splitlines())
    assert "\x1b" not in done.stderr


@pytest.mark.parametrize(
    "script",
    [
        "read --jobs 0 x", "read --jobs 999999 x", f"read --jobs {'9' * 5000} x", "read --jobs nan x",
        "demo --seconds inf", "demo --seconds nan", "demo --seconds -1", "demo --seconds 1e300",
        "read --config '' x", "attach --output '' lo", "attach --write '' lo", "attach --evidence '' lo",
        "attach --runtime-directory '' lo", "read ''", f"attach --listen 127.0.0.1:{'9' * 5000} lo",
        "attach --listen a..b:80 lo",
    ],
)  # fmt: skip
def test_the_command_line_has_bounds(tmp_path: Path, script: str) -> None:
    """Numbers as in the configuration; an empty path is never the current folder."""
    done = shell(f"EPM {script}", tmp_path)
    assert done.returncode == 2, done.stderr
    assert "error: argument" in done.stderr.splitlines()[-1]
    assert len(done.stderr.splitlines()[-1]) < 500


def test_more_is_said_where_it_is_asked_for(tmp_path: Path) -> None:
    """`--verbose` shows the configuration in force, and where an error comes from."""
    (tmp_path / "c.toml").write_text("ports = [1135]")
    for options, more in (("", False), ("--verbose", True)):
        done = shell(f"EPM read {options} --config c.toml none.pcapng", tmp_path)
        assert done.returncode == 1
        assert ("ports=[1135]" in done.stderr) is more
        assert ("Traceback" in done.stderr) is more
        assert "epm-inspector: none.pcapng: No such file or directory" in done.stderr.splitlines()


class _Evil(http.server.BaseHTTPRequestHandler):
    """Answers everything with a reason and a body that would colour a terminal."""

    def do_GET(self) -> None:
        """Answer."""
        self.wfile.write(b"HTTP/1.1 \x1b[31m200\x1b]0;title\x07 \xe2\x80\xae\r\n\r\n\x1b[2J")

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
        """Say nothing."""


def test_top_escapes_what_another_machine_says(tmp_path: Path) -> None:
    """The address on the command line, and what the server at an address answers."""
    done = shell(f"EPM top --url {shlex.quote('http://' + HOSTILE)}", tmp_path)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert done.stderr.strip().isprintable()
    with http.server.HTTPServer(("127.0.0.1", 0), _Evil) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        done = shell(f"EPM top --url http://127.0.0.1:{server.server_port}", tmp_path)
        server.shutdown()
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "\\x1b[31m" in done.stderr
    assert done.stderr.strip().isprintable()


# PR_SET_MDWE with PR_MDWE_REFUSE_EXEC_GAIN (prctl(2), Linux 6.3): what systemd's MemoryDenyWriteExecute does.
_WITHOUT_NEW_CODE = """
import ctypes, sys
if ctypes.CDLL(None).prctl(65, 1, 0, 0, 0): sys.exit(9)
from inspector import cli
from inspector.decode import is_compiled
sys.exit(cli.main(["read", "--json", "a.pcapng"]) if is_compiled() else 8)
"""


def test_memory_need_not_be_written_and_executed(tmp_path: Path) -> None:
    """The limits of a service, or SELinux, may refuse such memory: compiled code does without."""
    write_capture(tmp_path / "a.pcapng")
    done = shell(f"{shlex.quote(sys.executable)} -c {shlex.quote(_WITHOUT_NEW_CODE)}", tmp_path)
    if done.returncode == 9:
        unavailable("this kernel cannot forbid it")
    assert (done.returncode, done.stderr) == (0, shell("EPM read --json a.pcapng", tmp_path).stderr)
    assert done.stdout == shell("EPM read --json a.pcapng", tmp_path).stdout != ""
