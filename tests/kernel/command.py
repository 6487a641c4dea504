"""`epm-inspector attach` as its user runs it: a process of its own, on interfaces of the cable."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from inspector.lab.scrape import scrape
from inspector.runtime import find_running
from tests.lab.scenario import free_address

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from prometheus_client import Metric

ROOT = Path(__file__).parents[2]
PATIENCE_SECONDS = 60.0


@dataclass
class Command:
    """The running command: what it printed, and what it answers."""

    process: subprocess.Popen[bytes]
    address: str
    folder: Path

    @property
    def runtime_directory(self) -> Path:
        """Where its socket is."""
        return self.folder / "run"

    @property
    def lines(self) -> list[str]:
        """What it said on standard error so far."""
        return (self.folder / "err.txt").read_text().splitlines()

    @property
    def findings(self) -> list[dict[str, Any]]:
        """The findings it printed so far."""
        return [json.loads(line) for line in (self.folder / "out.jsonl").read_text().splitlines()]

    def status(self) -> dict[str, Any]:
        """Return what it says of itself on its socket."""
        [running], hidden = find_running(self.runtime_directory)
        assert hidden == []
        answer = running.ask_json("/status")
        assert isinstance(answer, dict)
        return answer

    def get(self, path: str) -> str:
        """Return what it answers on its address."""
        with urllib.request.urlopen(f"http://{self.address}{path}", timeout=PATIENCE_SECONDS) as answer:
            return str(answer.read().decode())

    def metric(self, name: str, **labels: str) -> float:
        """Return a sample of the metric (its name without prefix), the sum of all with these labels."""
        families: dict[str, Metric] = scrape(self.address)
        samples = [sample for family in families.values() for sample in family.samples]
        chosen = [s.value for s in samples if s.name == f"epm_inspector_{name}" and labels.items() <= s.labels.items()]
        return sum(chosen)

    def wait_for(self, condition: Callable[[], bool], seconds: float = PATIENCE_SECONDS) -> None:
        """Return when the condition holds; fail with what the command said when it does not come to hold in time."""
        deadline = time.monotonic() + seconds
        while not condition():
            assert self.process.poll() is None, self.lines
            assert time.monotonic() < deadline, self.lines
            time.sleep(0.02)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal and return the exit status."""
        self.process.send_signal(number)
        return self.process.wait(PATIENCE_SECONDS)


@contextlib.contextmanager
def attach(folder: Path, interfaces: Sequence[str], *options: str) -> Iterator[Command]:
    """Run `epm-inspector attach` until it is attached, and to the end of the block; its files are in `folder`."""
    with start(folder, interfaces, *options) as command:
        command.wait_for(lambda: any(line.startswith("metrics http") for line in command.lines))
        yield command


@contextlib.contextmanager
def start(folder: Path, interfaces: Sequence[str], *options: str) -> Iterator[Command]:
    """Start the command without waiting for anything; it is killed at the end of the block if it still runs."""
    address = free_address()
    arguments = ["--json", "--listen", address, "--runtime-directory", str(folder / "run"), *options, *interfaces]
    with (folder / "out.jsonl").open("w") as out, (folder / "err.txt").open("w") as err:
        process = subprocess.Popen(
            [sys.executable, "-m", "inspector", "attach", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
    with process:
        try:
            yield Command(process, address, folder)
        finally:
            process.kill()
