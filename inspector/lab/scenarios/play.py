"""Play a scenario: build it, record and inspect what crosses the gateway's ports while clients visit."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from inspector.errors import LaboratoryError
from inspector.lab import processes
from inspector.lab.gateway import Laboratory
from inspector.lab.scenarios.expected import complaints

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from inspector.lab.scenarios.table import Scenario

_PATIENCE_SECONDS: Final = 10.0
_READ_SECONDS: Final = 60.0
_ATTACH_SECONDS: Final = 120.0
_POLL_SECONDS: Final = 0.1
# What was sent last may still be on its way.
_SETTLE_SECONDS: Final = 0.3
# Silence is an outcome after ten seconds.
_LATEST_SECONDS: Final = 25.0
_HARMLESS_SECONDS: Final = 11.5

LIVE: Final = "attach.jsonl"
WRITTEN: Final = "written.pcapng"


class Played(NamedTuple):
    """What is left of a scenario: the captures of the ports, what `attach` said, and what it wrote."""

    captures: list[Path]
    live: list[dict[str, Any]]
    written: Path


def play(scenario: Scenario, folder: Path) -> Played:
    """Build a scenario's laboratory, record and inspect, let the clients visit, and remove it; files are in `folder`.

    Raises LaboratoryError where something of it cannot be had here.
    """
    captures = {port: folder / f"{port}.pcap" for port in scenario.ports}
    with Laboratory(nat64=scenario.nat64) as laboratory, contextlib.ExitStack() as running:
        scenario.prepare(laboratory)
        for port, capture in captures.items():
            running.enter_context(recorded(laboratory, port, capture))
        inspector = running.enter_context(_inspected(laboratory, scenario, folder))
        scenario.visit(laboratory)
        time.sleep(_SETTLE_SECONDS)
        _wait_for(inspector, scenario, folder)
        running.close()
    return Played(list(captures.values()), live_findings(folder), folder / WRITTEN)


def live_findings(folder: Path) -> list[dict[str, Any]]:
    """Return what `attach` has said of a scenario that was played with this folder."""
    return [json.loads(line) for line in (folder / LIVE).read_text().splitlines(keepends=True) if line.endswith("\n")]


@contextlib.contextmanager
def _inspected(laboratory: Laboratory, scenario: Scenario, folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Attach an inspector to both directions of the ports, and end it."""
    errors = folder / "attach.err"
    options = ["--json", "--mode", "tc", "--netns", laboratory.names["gateway"], "--listen", "127.0.0.1:0"]
    options += ["--runtime-directory", str(laboratory.folder / "run"), "--config", str(_settings(scenario, folder))]
    options += ["--write", str(folder / WRITTEN), "--user", "root"]
    command = [sys.executable, "-m", "inspector", "attach", *options, *scenario.ports]
    with (folder / LIVE).open("w") as output, errors.open("w") as log:
        inspector = laboratory.start(
            None, command, stdin=subprocess.DEVNULL, stdout=output, stderr=log, env=_environment()
        )
    try:
        deadline = time.monotonic() + _ATTACH_SECONDS
        while "metrics http" not in errors.read_text():
            if inspector.poll() is not None or time.monotonic() > deadline:
                raise LaboratoryError(f"the inspector is not attached: {errors.read_text().strip()[-500:]}")
            time.sleep(_POLL_SECONDS)
        yield inspector
    finally:
        processes.stop(inspector)


def _wait_for(inspector: subprocess.Popen[str], scenario: Scenario, folder: Path) -> None:
    """Return when the inspector has said all that is expected; of silence it speaks late, of health never.

    A false alarm would come as late as a true one.
    """
    began = time.monotonic()
    while inspector.poll() is None and time.monotonic() < began + _LATEST_SECONDS:
        missing = complaints(scenario.expected_live, live_findings(folder))
        if not missing and (not scenario.is_harmless or time.monotonic() > began + _HARMLESS_SECONDS):
            return
        time.sleep(_POLL_SECONDS)


@contextlib.contextmanager
def recorded(laboratory: Laboratory, port: str, capture: Path) -> Iterator[None]:
    """Record all packets of a port of the gateway, both directions."""
    program = processes.find_program("tcpdump", "tcpdump")
    command = [program, "-i", port, "-n", "--immediate-mode", "-U", "-s", "0", "-B", "16384", "-w", str(capture)]
    # Root's tcpdump would give itself another user's rights, who may not write here.
    recorder = laboratory.start("gateway", [*command, "-Z", "root"], stderr=subprocess.PIPE)
    with recorder:
        try:
            if not any("listening on" in line for line in recorder.stderr or ()):
                raise LaboratoryError(f"tcpdump cannot record {port}")
            yield
        finally:
            recorder.send_signal(signal.SIGINT)
            recorder.communicate(timeout=_PATIENCE_SECONDS)


def read(scenario: Scenario, captures: Sequence[Path], *options: str) -> str:
    """Return what `epm-inspector read` prints of the captures, with the scenario's configuration."""
    settings = _settings(scenario, captures[0].parent)
    names = [capture.name for capture in captures]
    command = [sys.executable, "-m", "inspector", "read", "--config", settings.name, *options, *names]
    done = subprocess.run(  # noqa: S603 - this program itself
        command,
        cwd=settings.parent,
        env=_environment(),
        capture_output=True,
        text=True,
        timeout=_READ_SECONDS,
        check=False,
    )
    if done.returncode != 0:
        raise LaboratoryError(f"reading the captures: {done.stderr.strip()}")
    return done.stdout


def _settings(scenario: Scenario, folder: Path) -> Path:
    """Write the configuration of a scenario's inspectors."""
    settings = folder / "config.toml"
    settings.write_text(scenario.settings)
    return settings


def _environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])}


def findings_of(scenario: Scenario, captures: Sequence[Path]) -> list[dict[str, Any]]:
    """Return the findings of the captures as JSON has them."""
    return [json.loads(line) for line in read(scenario, captures, "--json").splitlines()]
