"""The running command while its interfaces and its configuration change: lines, metrics, findings, and its end."""

from __future__ import annotations

import contextlib
import os
import pty
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest
from pyroute2 import IPRoute

from inspector.capture.frames import build_frame
from inspector.live.process.namespaces import inside
from tests.build import pdu
from tests.build.connection import Wire
from tests.build.epm import SAMR, map_request, map_response, tcp_tower
from tests.kernel.command import Command, attach, start
from tests.kernel.conftest import Cable, lay
from tests.kernel.objects import force_detach, links_of
from tests.kernel.running import PATIENCE_SECONDS, ROOT
from tests.lab.scenario import free_address

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.kernel]

POOLED = '[[vip]]\naddress = "10.11.2.2"\npool = ["10.11.2.7"]\n'


def ask(cable: Cable, *client_ports: int, port: int = 135) -> None:
    """Let clients ask 10.11.2.2 for SAMR, each in a connection of its own, and be sent to 10.11.2.7."""
    frames = []
    for client_port in client_ports:
        wire = Wire(client_port=client_port, server_port=port).open().client(pdu.bind()).server(pdu.bind_ack())
        wire.client(pdu.request(map_request(tcp_tower(SAMR)), call_id=2))
        wire.server(pdu.response(map_response([tcp_tower(SAMR, 49152, "10.11.2.7")]), call_id=2))
        frames += [build_frame(segment) for segment in wire.segments]
    cable.send_frame(*frames)


def verdicts(command: Command) -> list[str]:
    """Return the verdicts of the findings so far."""
    return [finding["verdict"] for finding in command.findings]


def said(command: Command, *parts: str) -> bool:
    """Return whether some line so far has all these parts."""
    return any(all(part in line for part in parts) for line in command.lines)


@pytest.fixture
def running(cable: Cable, tmp_path: Path) -> Iterator[Command]:
    """Return the command, attached to both interfaces of the near side, with an empty configuration."""
    (tmp_path / "c.toml").write_text("")
    options = ["--netns", cable.here, "--mode", "generic", "--config", str(tmp_path / "c.toml")]
    with attach(tmp_path, [cable.near, "lo"], *options) as command:
        yield command


def test_an_interface_goes_and_returns(cable: Cable, running: Command) -> None:
    """Told in a line each, seen in metrics, /status and /healthz; findings go on, and nothing is unaccounted for."""
    ask(cable, 5000)
    running.wait_for(lambda: len(running.findings) == 1)
    with inside(cable.here), IPRoute() as rtnetlink:
        rtnetlink.link("del", index=cable.device().index)
    running.wait_for(lambda: said(running, "near: interface deleted"))
    running.wait_for(lambda: running.metric("program_attached", interface="near") == 0)
    assert running.metric("program_attached", interface="lo") == 1
    assert running.metric("attachments_lost_total", interface="near", reason="interface_deleted") == 1
    running.wait_for(lambda: running.status()["interfaces"][0]["attached"] is False)
    assert running.status()["interfaces"][0]["program_id"] is None
    assert running.get("/healthz") == "reading; attached to 1 of 2 interfaces\n"
    lay(cable)
    running.wait_for(lambda: said(running, "near: attached again: generic XDP"))
    running.wait_for(lambda: running.metric("program_attached", interface="near", hook="xdp", mode="generic") == 1)
    assert running.metric("reattachments_total", interface="near") == 1
    ask(cable, 5001)
    running.wait_for(lambda: len(running.findings) == 2)
    assert {finding["source"] for finding in running.findings} == {cable.near}
    running.wait_for(lambda: running.metric("records_consumed_total") == 12)
    running.wait_for(lambda: running.metric("packets_total", interface="near") == 12)
    assert running.metric("packets_matched_total") == running.metric("ring_submitted_total") == 12
    assert [line for line in running.lines if line.startswith("near:")] == [
        "near: interface deleted; waiting for an interface of this name",
        next(line for line in running.lines if "attached again" in line),
    ]
    assert running.stop() == 0


def test_a_forced_detachment_is_undone(cable: Cable, running: Command) -> None:
    """The program comes back, is counted, and goes with the process all the same."""
    [program_id] = cable.programs()
    for link in links_of(program_id):
        force_detach(link)
    assert cable.programs() == []
    running.wait_for(lambda: cable.programs() == [program_id])
    running.wait_for(lambda: running.metric("reattachments_total") == 2)
    assert running.metric("attachments_lost_total", reason="detached") == 2
    assert said(running, "near: another process detached the program")
    assert said(running, "lo: another process detached the program")
    ask(cable, 5000)
    running.wait_for(lambda: verdicts(running) == ["mismatch"])
    running.stop(signal.SIGKILL)
    deadline = time.monotonic() + 5
    while cable.programs() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert cable.programs() == []


def test_a_pool_is_declared(cable: Cable, running: Command) -> None:
    """After SIGHUP what was a mismatch is pooled; a bad file changes nothing and says so; a good one sets it right."""
    path = running.folder / "c.toml"
    assert running.metric("config_last_reload_successful") == 1
    ask(cable, 5000)
    running.wait_for(lambda: verdicts(running) == ["mismatch"])
    path.write_text(POOLED)
    running.process.send_signal(signal.SIGHUP)
    running.wait_for(lambda: said(running, f"{path} reloaded; changed: vip"))
    ask(cable, 5001)
    running.wait_for(lambda: verdicts(running) == ["mismatch", "pooled"])
    read_at = running.metric("config_last_reload_success_timestamp_seconds")
    path.write_text("ports = [135")
    running.process.send_signal(signal.SIGHUP)
    running.wait_for(lambda: said(running, f"previous configuration kept: {path}: not valid TOML"))
    assert running.metric("config_last_reload_successful") == 0
    assert running.metric("config_last_reload_success_timestamp_seconds") == read_at
    running.wait_for(lambda: running.status()["last_reload_successful"] is False)
    ask(cable, 5002)
    running.wait_for(lambda: verdicts(running) == ["mismatch", "pooled", "pooled"])
    path.write_text("tunnels = true\n")
    running.process.send_signal(signal.SIGHUP)
    running.wait_for(lambda: said(running, "changed: vip; restart required for: tunnels"))
    assert running.metric("config_last_reload_successful") == 1
    ask(cable, 5003)
    running.wait_for(lambda: verdicts(running) == ["mismatch", "pooled", "pooled", "mismatch"])
    assert running.stop() == 0


BAD_FILES = {
    "infinite": "[limits]\nidle_seconds = inf",
    "1e300": "[limits]\nidle_seconds = 1e300",
    "1e11": "[limits]\nidle_seconds = 1e11",
    "nested": f"ports = {'[' * 3000}",
    "digits": f"learned_vips = {'9' * 5000}",
    "parts": f"a{'.a' * 2000} = 1",
    "two": '[[vip]]\naddress = "10.0.0.1"\n[[vip]]\naddress = "64:ff9b::10.0.0.1"',
    "binary": "\0",
}


def test_no_file_ends_the_service(running: Command) -> None:
    """SIGHUP with any file: one line, the configuration from before stays, the process lives, the manager is told."""
    path = running.folder / "c.toml"
    path.write_text("ports = [1135]")
    running.process.send_signal(signal.SIGHUP)
    running.wait_for(lambda: said(running, "changed: ports"))
    for number, text in enumerate(BAD_FILES.values()):
        path.write_text(text)
        running.process.send_signal(signal.SIGHUP)
        running.wait_for(lambda n=number: sum("previous configuration kept" in line for line in running.lines) == n + 1)
    path.unlink()
    path.mkdir()
    running.process.send_signal(signal.SIGHUP)
    running.wait_for(lambda: said(running, "previous configuration kept", "Is a directory"))
    assert running.metric("config_last_reload_successful") == 0
    path.rmdir()
    path.write_text("ports = [1135]")
    running.process.send_signal(signal.SIGHUP)
    running.wait_for(lambda: said(running, "nothing changed"))
    assert sum("c.toml" in line for line in running.lines) == len(BAD_FILES) + 3
    assert running.stop() == 0


def test_a_pool_is_declared_while_compiled_code_judges(cable: Cable, running: Command) -> None:
    """The same with records by the hundred, for which findings have templates."""
    for number, text in enumerate(("", POOLED)):
        (running.folder / "c.toml").write_text(text)
        running.process.send_signal(signal.SIGHUP)
        running.wait_for(lambda n=number: sum("reloaded; " in line for line in running.lines) == n + 1)
        # Records gather, so that they are one block when reading goes on.
        running.process.send_signal(signal.SIGSTOP)
        ask(cable, *range(5000 + 100 * number, 5100 + 100 * number))
        running.process.send_signal(signal.SIGCONT)
        running.wait_for(lambda n=number: len(running.findings) == 100 * (n + 1))
    assert verdicts(running) == ["mismatch"] * 100 + ["pooled"] * 100
    assert running.metric("responses_total", verdict="pooled") == 100


def test_ports_change(cable: Cable, running: Command) -> None:
    """The kernel program serves the ports of the file that was read last."""
    (running.folder / "c.toml").write_text("ports = [1135]")
    running.process.send_signal(signal.SIGHUP)
    running.wait_for(lambda: said(running, "changed: ports"))
    ask(cable, 5000)
    ask(cable, 5001, port=1135)
    running.wait_for(lambda: len(running.findings) == 1)
    assert running.findings[0]["server_port"] == 1135
    running.wait_for(lambda: running.metric("packets_total", interface="near") == 6)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_end_while_it_starts(cable: Cable, tmp_path: Path, number: signal.Signals) -> None:
    """A signal before it is attached ends it at once, and nothing stays behind; SIGHUP does not end it."""
    with start(tmp_path, [cable.near], "--netns", cable.here) as command:
        # The socket of the metrics is there before the program is compiled.
        command.wait_for(lambda: bool(handles(command, signal.SIGHUP)))
        command.process.send_signal(signal.SIGHUP)
        command.process.send_signal(number)
        assert command.process.wait(PATIENCE_SECONDS) in (0, 130)
        assert cable.programs() == []
        assert list(tmp_path.glob("run/*")) == []


def handles(command: Command, number: signal.Signals) -> int:
    """Return whether the process has a handler for a signal (proc(5), SigCgt)."""
    with open(f"/proc/{command.process.pid}/status") as status:  # noqa: PTH123 - a file of the kernel
        caught = next(int(line.split()[1], 16) for line in status if line.startswith("SigCgt"))
    return caught >> (number - 1) & 1


@pytest.mark.parametrize("protected", [False, True], ids=["plain", "nohup"])
def test_the_terminal_goes(cable: Cable, tmp_path: Path, protected: bool) -> None:
    """Closing its terminal ends an inspection in good order, unless nohup keeps it; SIGHUP alone does not."""
    leader, follower = pty.openpty()
    run = tmp_path / "run"
    attaching = [sys.executable, "-m", "inspector", "attach", "--netns", cable.here, cable.near]
    with contextlib.ExitStack() as stack:
        process = subprocess.Popen(
            [
                *(["nohup"] if protected else []),
                *attaching,
                "--listen",
                free_address(),
                "--runtime-directory",
                str(run),
            ],
            stdin=follower,
            stdout=follower,
            stderr=follower,
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            start_new_session=True,
            # The first terminal which a session's leader opens becomes its own.
            preexec_fn=lambda: os.close(os.open(os.ttyname(0), os.O_RDWR)),
        )
        stack.callback(process.wait)
        stack.callback(process.kill)
        os.close(follower)
        wait_for_socket(run, process)
        process.send_signal(signal.SIGHUP)
        time.sleep(0.5)
        assert process.poll() is None
        os.close(leader)
        if protected:
            time.sleep(1.5)
            assert process.poll() is None
            assert len(cable.programs()) == 1
            process.terminate()
        assert process.wait(PATIENCE_SECONDS) == 0
        assert cable.programs() == []
        assert list(run.iterdir()) == []


def wait_for_socket(directory: Path, process: subprocess.Popen[bytes]) -> None:
    """Wait until the command is attached, which its socket shows."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not (directory.exists() and list(directory.iterdir())):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
