"""`epm-inspector status` of inspectors that really run: what it says is what the kernel says."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
import urllib.error
import urllib.request
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from inspector.cli import main
from inspector.commands.status import NOT_RUNNING
from inspector.commands.top import find_sources
from inspector.inspection.runtime import find_running
from inspector.live.process.namespaces import inside
from inspector.liveview.screen import offer_rows
from inspector.liveview.view import look
from tests.kernel import frames
from tests.kernel.command import attach, start
from tests.kernel.process import ask_and_answer, inspecting
from tests.kernel.running import PATIENCE_SECONDS

if TYPE_CHECKING:
    from tests.kernel.conftest import Cable

pytestmark = [pytest.mark.kernel]

COUNTED = {"lost", "verdicts", "outcomes", "causes", "anomalies"}
DOCUMENT = Path(__file__).parents[2] / "docs" / "status.md"


def keys_of(value: object) -> set[str]:
    """Return all keys of an object and of those in it, but for what is counted by name."""
    if isinstance(value, list):
        return {key for one in value for key in keys_of(one)}
    if not isinstance(value, dict):
        return set()
    inner = {key for name, one in value.items() if name not in COUNTED for key in keys_of(one)}
    return set(value) | inner


def test_status(cable: Cable, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Interfaces with hook, mode, program id and tag as the kernel has them, packets as they were sent."""
    with attach(tmp_path, [cable.near, "lo"], "--netns", cable.here, "--mode", "generic") as command:
        for _ in range(3):
            cable.send_frame(frames.FRAMES["response"])
        command.wait_for(lambda: command.status()["records_consumed"] == 3)
        state = command.status()
        assert (state["pid"], state["configuration"]) == (command.process.pid, None)
        assert state["decoder"] == "compiled"
        assert any(line == "decoder: compiled" for line in command.lines)
        assert state["started"] < state["interfaces"][0]["since"] < state["time"]
        near, loopback = state["interfaces"]
        assert (near["name"], near["netns"], near["hook"], near["mode"]) == (cable.near, cable.here, "xdp", "generic")
        assert (near["index"], near["attached"]) == (cable.device().index, True)
        assert cable.device().xdp_program_ids == {"generic": near["program_id"]}
        assert near["packets"] == state["packets"] == {"to_server": 0, "from_server": 3}
        assert (loopback["name"], loopback["index"], loopback["matched"]) == ("lo", 1, 0)
        assert (state["matched"], state["submitted"], sum(state["lost"].values())) == (3, 3, 0)
        assert main(["status", "--runtime-directory", str(command.runtime_directory)]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert lines[3:] == [f"process {command.process.pid}: decoder: compiled"]
        row = lines[1].split()
        assert row[:6] == [
            str(command.process.pid),
            f"{cable.near}@{cable.here}",
            "xdp",
            "generic",
            str(near["program_id"]),
            near["program_tag"],
        ]
        assert row[-2:] == ["3", "0"]


def test_every_key_is_documented(cable: Cable, tmp_path: Path) -> None:
    """docs/status.md names every key there is."""
    text = DOCUMENT.read_text()
    with attach(tmp_path, [cable.near], "--netns", cable.here) as command:
        missing = {key for key in keys_of(command.status()) if f"`{key}`" not in text}
    assert missing == set()


def test_all_that_run_are_found(cable: Cable, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two inspectors on different interfaces, in one table; they leave one by one, and nothing stays."""
    shared = tmp_path / "shared"
    with contextlib.ExitStack() as stack:
        commands = []
        for interface in (cable.near, "lo"):
            folder = tmp_path / interface
            folder.mkdir()
            options = ["--netns", cable.here, "--runtime-directory", str(shared)]
            commands.append(stack.enter_context(attach(folder, [interface], *options)))
        looked = ["status", "--json", "--runtime-directory", str(shared)]
        assert main(looked) == 0
        found = {one["pid"]: one["interfaces"][0]["name"] for one in json.loads(capsys.readouterr().out)}
        assert found == {commands[0].process.pid: cable.near, commands[1].process.pid: "lo"}
        assert commands[0].stop() == 0
        assert main(looked) == 0
        assert [one["pid"] for one in json.loads(capsys.readouterr().out)] == [commands[1].process.pid]
        assert commands[1].stop(signal.SIGINT) == 0
        assert main(looked) == NOT_RUNNING
        assert list(shared.iterdir()) == []


def test_killed(cable: Cable, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """After SIGKILL its socket is left, is not taken for a running inspector, and is removed."""
    with attach(tmp_path, [cable.near], "--netns", cable.here) as command:
        command.stop(signal.SIGKILL)
        assert [one.name for one in command.runtime_directory.iterdir()] == [f"{command.process.pid}.sock"]
        assert main(["status", "--runtime-directory", str(command.runtime_directory)]) == NOT_RUNNING
        assert "no inspector is running" in capsys.readouterr().err
        assert list(command.runtime_directory.iterdir()) == []


def test_no_place_for_the_socket(cable: Cable, tmp_path: Path) -> None:
    """A place that was chosen and cannot be used ends the start, and nothing stays attached."""
    (tmp_path / "run").write_text("a file")
    with start(tmp_path, [cable.near], "--netns", cable.here) as command:
        assert command.process.wait(PATIENCE_SECONDS) == 1
        assert command.lines[-1].startswith(f"epm-inspector: cannot listen on {tmp_path}/run/")
        assert cable.programs() == []


def test_what_people_look_at(cable: Cable, tmp_path: Path) -> None:
    """A mismatch on the wire is on the page, among the findings and the offers, and in the view of `top`."""
    with inspecting(cable, tmp_path, "--runtime-directory", str(tmp_path / "run")) as inspector:
        inspector.wait_until_attached()
        port = ask_and_answer(cable, "10.11.2.7")
        [source] = find_sources(tmp_path / "run")
        inspector.wait_for(lambda: bool(look(source).findings))
        view = look(source)
        [finding] = view.findings
        assert (finding["verdict"], finding["client_port"], finding["asked"]) == ("mismatch", port, cable.far_address)
        assert finding == inspector.findings[0]
        assert offer_rows(view, None) == [(cable.far_address, "SAMR", "10.11.2.7", "mismatch", 1, 0.0)]
        [running], _ = find_running(tmp_path / "run")
        page = running.ask("/").decode()
        assert f"<br>{cable.far_address}</td><td>SAMR</td>" in page
        assert f"{cable.far_address} was asked, the tower says 10.11.2.7" in page


def test_a_main_loop_that_hangs_is_seen(cable: Cable, tmp_path: Path) -> None:
    """While nobody takes its findings the metrics answer, and say since when it waits; then it goes on, whole."""
    reading, writing = os.pipe()
    with open(reading, "rb") as pipe, inspecting(cable, tmp_path, output=writing) as inspector:  # noqa: PTH123 - a pipe
        os.close(writing)
        inspector.wait_until_attached()

        def behind() -> float:
            return time.time() - inspector.samples()["last_round_timestamp_seconds",]

        assert behind() < 5
        asked = 0
        while behind() < 3:
            ask_and_answer(cable, "10.11.2.7")
            asked += 1
        with inside(cable.here), pytest.raises(urllib.error.HTTPError) as unhealthy:
            inspector.wait_for(
                lambda: urllib.request.urlopen(f"http://{inspector.address}/healthz", timeout=10).status != 200
            )
        assert unhealthy.value.code == 503
        told = (json.loads(pipe.readline()) for _ in iter(int, 1))
        found = islice((one["verdict"] for one in told if one["kind"] == "answer"), asked)
        assert list(found) == ["mismatch"] * asked
        inspector.wait_for(lambda: behind() < 5)
        assert inspector.stop() == 0
