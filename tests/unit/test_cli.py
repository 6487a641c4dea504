"""The command line as its user meets it: results, exit statuses, and errors in one line."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from inspector.capture.writer import CaptureWriter
from inspector.cli import main
from inspector.commands import attach
from inspector.config import Config
from inspector.inspection.upkeep import changes
from inspector.record import pack_record
from tests.build import pdu
from tests.build.connection import Wire
from tests.build.epm import SAMR, map_request, map_response, tcp_tower
from tests.conftest import NOBODY


def run(
    *arguments: str | Path, user: int | None = None, stdin: bytes | None = None
) -> subprocess.CompletedProcess[str]:
    """Run the command, as another user if asked to."""
    done = subprocess.run(
        [sys.executable, "-m", "inspector", *map(str, arguments)],
        capture_output=True,
        input=stdin,
        user=user,
        group=user,
        check=False,
        timeout=120,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    return subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())


def error_of(done: subprocess.CompletedProcess[str]) -> str:
    """Return the one line of an error which ended a command."""
    assert done.returncode == 1, done
    lines = done.stderr.splitlines()
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("epm-inspector: ")
    return lines[0]


def write_capture(path: Path, offered: Sequence[str] = ("10.11.2.7",)) -> Path:
    """Write a conversation for each offered address."""
    with CaptureWriter(path, {1: "test0"}) as writer:
        for number, address in enumerate(offered):
            wire = Wire(client_port=5000 + number).open().client(pdu.bind()).server(pdu.bind_ack())
            wire.client(pdu.request(map_request(tcp_tower(SAMR)), call_id=2))
            wire.server(pdu.response(map_response([tcp_tower(SAMR, 49152, address)]), call_id=2))
            for segment in wire.segments:
                writer.write(pack_record(segment))
    return path


def test_read_json_is_findings_and_nothing_else(tmp_path: Path) -> None:
    """One finding per line on standard output; the summary goes to standard error."""
    path = write_capture(tmp_path / "a.pcapng", ["10.11.2.7", "10.11.2.2"])
    done = run("read", "--json", path)
    findings = [json.loads(line) for line in done.stdout.splitlines()]
    assert [finding["verdict"] for finding in findings] == ["mismatch", "match"]
    assert {finding["source"] for finding in findings} == {str(path)}
    assert "mismatch" in done.stderr
    assert done.returncode == 0


def test_read_table(tmp_path: Path) -> None:
    """A person sees service, asked, offered, verdict and why, and a summary."""
    done = run("read", write_capture(tmp_path / "a.pcapng"))
    assert done.returncode == 0
    (row,) = [line for line in done.stdout.splitlines() if "SAMR" in line]
    for cell in ("10.1.1.1", "10.11.2.2", "10.11.2.7:49152", "mismatch", "a strict RPC filter drops this answer"):
        assert cell in row
    assert "packets seen" in done.stdout
    assert done.stderr == ""


@pytest.mark.parametrize(("verdict", "status"), [("mismatch", 3), ("match", 0), ("fault,mismatch", 3), ("wrong", 2)])
def test_fail_on(tmp_path: Path, verdict: str, status: int) -> None:
    """Status 3 where such a verdict was found; a verdict that does not exist is a mistake of the command line."""
    done = run("read", "--json", "--fail-on", verdict, write_capture(tmp_path / "a.pcapng"))
    assert done.returncode == status


def test_configuration_is_used(tmp_path: Path) -> None:
    """A declared pool turns mismatch into pooled."""
    config = tmp_path / "c.toml"
    config.write_text('[[vip]]\naddress = "10.11.2.2"\npool = ["10.11.2.7"]\n')
    done = run("read", "--json", "--config", config, write_capture(tmp_path / "a.pcapng"))
    assert json.loads(done.stdout)["verdict"] == "pooled"
    config.write_text("ports = 5")
    assert "ports" in error_of(run("read", "--config", config, tmp_path / "a.pcapng"))


def test_truncated_capture_gives_what_it_has(tmp_path: Path) -> None:
    """Findings up to the cut, a warning, and status 0."""
    path = write_capture(tmp_path / "a.pcapng", ["10.11.2.7", "10.11.2.2"])
    path.write_bytes(path.read_bytes()[:-30])
    done = run("read", "--json", path)
    assert (done.returncode, len(done.stdout.splitlines())) == (0, 1)
    assert "warning" in done.stderr
    assert str(path) in done.stderr


def test_several_files_do_not_mix(tmp_path: Path) -> None:
    """The same connection in two files is two conversations, one that two sides saw where it is followed."""
    paths = [write_capture(tmp_path / name) for name in ("a.pcapng", "b.pcapng")]
    assert len(run("read", "--json", *paths).stdout.splitlines()) == 1
    done = run("read", "--json", "--no-follow-up", *paths)
    assert [json.loads(line)["source"] for line in done.stdout.splitlines()] == [str(path) for path in paths]


def test_standard_input(tmp_path: Path) -> None:
    """A dash is standard input."""
    data = write_capture(tmp_path / "a.pcapng").read_bytes()
    assert json.loads(run("read", "--json", "-", stdin=data).stdout)["verdict"] == "mismatch"


def test_not_a_capture(tmp_path: Path) -> None:
    """The file is named, and what it is not."""
    path = tmp_path / "letter.txt"
    path.write_text("Dear colleague,")
    assert "letter.txt" in error_of(run("read", path))
    assert "No such file" in error_of(run("read", tmp_path / "none.pcap"))


def test_a_reader_that_goes_ends_the_command_quietly(tmp_path: Path) -> None:
    """`epm-inspector read ... | head` says nothing about pipes."""
    path = write_capture(tmp_path / "a.pcapng", ["10.11.2.7"] * 2000)
    command = f"{sys.executable} -m inspector read --json {path} | head -1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert (len(done.stdout.splitlines()), done.stderr) == (1, "")


FILE = """
interfaces = ["eth0", "eth1"]
mode = "tc"
netns = "blue"
findings_json = true
findings_journal = true
tunnels = true
keep_credentials = true
drop_all = true
write = "/of/the/file"
"""


def attached_with(
    monkeypatch: pytest.MonkeyPatch, config: Path, *arguments: str
) -> tuple[attach.AttachArguments, Callable[[], Config]]:
    """Return what `attach` is run with, and what reads its configuration again."""
    begun: list[attach.AttachArguments] = []
    monkeypatch.setattr(attach, "run", lambda given: begun.append(given) or 0)
    assert main(["attach", "--config", str(config), *arguments]) == 0
    [given] = begun
    return given, given.load


def test_attach_by_the_file_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything that the command line can say can be in the file."""
    config = tmp_path / "c.toml"
    config.write_text(FILE)
    given, load = attached_with(monkeypatch, config)
    assert (given.interfaces, given.mode, given.netns) == (["eth0", "eth1"], "tc", "blue")
    assert (given.json, given.drop_all, given.write) == (True, True, Path("/of/the/file"))
    assert (given.config.tunnels, given.config.findings_journal, given.config.keep_credentials) == (True, True, True)
    assert load() == given.config


def test_the_command_line_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over each key, in both directions of a switch; also when the file is read again."""
    config = tmp_path / "c.toml"
    config.write_text(FILE)
    options = ("--mode", "native", "--netns", "", "--write", "/of/the/line", "--no-json", "--no-drop-all")
    switches = ("--no-journal", "--no-tunnels", "--no-keep-credentials")
    given, load = attached_with(monkeypatch, config, *options, *switches, "eth7")
    assert (given.interfaces, given.mode, given.netns) == (["eth7"], "native", None)
    assert (given.json, given.drop_all, given.write) == (False, False, Path("/of/the/line"))
    assert (given.config.tunnels, given.config.findings_journal, given.config.keep_credentials) == (False, False, False)
    config.write_text(FILE.replace("eth1", "eth2"))
    assert changes(given.config, load()) == ([], [])
    config.write_text("")
    given, _ = attached_with(monkeypatch, config, "--json", "--drop-all", "eth7")
    assert (given.mode, given.netns, given.json, given.drop_all, given.write) == ("auto", None, True, True, None)


def test_a_key_that_has_gone_needs_a_restart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A running inspection goes on where its interfaces are no longer in the file."""
    config = tmp_path / "c.toml"
    config.write_text('interfaces = ["eth0"]\n')
    given, load = attached_with(monkeypatch, config)
    config.write_text("ports = [135]\n")
    assert changes(given.config, load()) == (["ports"], ["interfaces"])


def test_no_interface_is_a_mistake_of_the_command_line(tmp_path: Path) -> None:
    """Status 2, which a service manager does not try again; both places for the names are said."""
    config = tmp_path / "c.toml"
    config.write_text('mode = "tc"\n')
    for arguments in ((), ("--config", config)):
        done = run("attach", *arguments)
        assert (done.returncode, done.stdout) == (2, "")
        words = ("no interface is named", "IFACE", "'interfaces'", "--config")
        assert [one for one in words if one not in done.stderr.splitlines()[-1]] == []


@pytest.mark.usefixtures("nobody", "bpf")
def test_attach_without_privileges() -> None:
    """The capabilities that are missing are named."""
    message = error_of(run("attach", "lo", user=NOBODY))
    for capability in ("CAP_BPF", "CAP_NET_ADMIN", "CAP_PERFMON"):
        assert capability in message


@pytest.mark.usefixtures("root", "bpf")
def test_attach_to_no_such_interface() -> None:
    """The interface is named."""
    assert "nothere0" in error_of(run("attach", "nothere0", "--listen", "127.0.0.1:0"))


@pytest.mark.usefixtures("root", "bpf")
def test_port_taken() -> None:
    """Address and port are named, before anything is attached."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert f"127.0.0.1:{port}" in error_of(run("attach", "lo", "--listen", f"127.0.0.1:{port}"))


@pytest.mark.usefixtures("root", "bpf")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_attach_until_a_signal(number: signal.Signals) -> None:
    """Attached and healthy, then detached with a summary and status 0."""
    command = [sys.executable, "-m", "inspector", "attach", "lo", "--mode", "generic", "--listen", "127.0.0.1:0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert process.stderr.readline().startswith("attached lo: ")
        url = process.stderr.readline().removeprefix("metrics ").strip()
        # A line that is in the stream's buffer already is not among what `communicate` returns.
        assert process.stderr.readline() == "decoder: compiled\n"
        with urllib.request.urlopen(url, timeout=10) as answer:
            assert b'epm_inspector_program_attached{hook="xdp",interface="lo",mode="generic"} 1.0' in answer.read()
        with urllib.request.urlopen(url.replace("metrics", "healthz"), timeout=10) as answer:
            assert answer.status == 200
        process.send_signal(number)
        output, errors = process.communicate(timeout=20)
    assert (process.returncode, errors) == (0, "")
    assert "packets seen" in output


@pytest.mark.usefixtures("root", "bpf")
def test_check() -> None:
    """Everything is looked at, then proved; status 0 when nothing stands in the way."""
    done = run("check", "lo", "--mode", "generic")
    assert done.returncode == 0, done.stdout
    for name in ("capabilities", "kernel", "toolchain", "interface", "hook", "attach", "program", "detach"):
        assert name in done.stdout
    assert run("check", "nothere0").returncode == 1


def test_read_keeps_evidence(tmp_path: Path) -> None:
    """Each mismatch names its file; a folder that another process has is an error in one line."""
    path, folder = write_capture(tmp_path / "a.pcapng", ["10.11.2.7", "10.11.2.2", "10.11.2.9"]), tmp_path / "e"
    done = run("read", "--json", "--no-follow-up", "--evidence", folder, "--jobs", "2", path, path)
    named = [json.loads(line).get("evidence") for line in done.stdout.splitlines()]
    assert [name is not None for name in named] == [True, False, True, False, False, False]
    assert sorted(one.name for one in folder.iterdir()) == sorted(name for name in named if name)
    assert f"evidence: 2 files written to {folder}; mismatches without a file: 2 client_limit" in done.stderr
    again = run("read", "--json", "--no-follow-up", folder / str(named[0]))
    assert json.loads(again.stdout)["why"] == json.loads(done.stdout.splitlines()[0])["why"]
    assert "evidence cannot be written" in error_of(run("read", "--evidence", path, path))
