"""Play a scenario: build it, record what crosses the gateway's ports while clients visit, and read the recordings."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from inspector.errors import LaboratoryError
from inspector.lab import processes
from inspector.lab.gateway import Laboratory

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from inspector.lab.scenarios.table import Scenario

_PATIENCE_SECONDS: Final = 10.0
_READ_SECONDS: Final = 60.0
# What was sent last may still be on its way.
_SETTLE_SECONDS: Final = 0.3


def play(scenario: Scenario, folder: Path) -> list[Path]:
    """Build a scenario's laboratory, record, let the clients visit, and remove it; return the captures in `folder`.

    Raises LaboratoryError where something of it cannot be had here.
    """
    captures = {port: folder / f"{port}.pcap" for port in scenario.ports}
    with Laboratory(nat64=scenario.nat64) as laboratory, contextlib.ExitStack() as recorders:
        scenario.prepare(laboratory)
        for port, capture in captures.items():
            recorders.enter_context(recorded(laboratory, port, capture))
        scenario.visit(laboratory)
        time.sleep(_SETTLE_SECONDS)
        recorders.close()
    return list(captures.values())


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
    """Return what `epm-inspector read --follow-up` prints of the captures, with the scenario's configuration."""
    settings = captures[0].parent / "config.toml"
    settings.write_text(scenario.settings)
    names = [capture.name for capture in captures]
    command = [sys.executable, "-m", "inspector", "read", "--follow-up", "--config", settings.name, *options, *names]
    done = subprocess.run(  # noqa: S603 - this program itself
        command,
        cwd=settings.parent,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])},
        capture_output=True,
        text=True,
        timeout=_READ_SECONDS,
        check=False,
    )
    if done.returncode != 0:
        raise LaboratoryError(f"reading the captures: {done.stderr.strip()}")
    return done.stdout


def findings_of(scenario: Scenario, captures: Sequence[Path]) -> list[dict[str, Any]]:
    """Return the findings of the captures as JSON has them."""
    return [json.loads(line) for line in read(scenario, captures, "--json").splitlines()]
