"""`epm-inspector attach` as its user runs it: a process of its own, on interfaces of the cable."""

from __future__ import annotations

import contextlib
import urllib.request
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from inspector.inspection.runtime import find_running
from inspector.lab.scrape import scrape
from tests.kernel.running import PATIENCE_SECONDS, Running, begin
from tests.lab.scenario import free_address

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from prometheus_client import Metric


@dataclass
class Command(Running):
    """The running command, and what it answers."""

    address: str

    @property
    def runtime_directory(self) -> Path:
        """Where its socket is."""
        return self.folder / "run"

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


@contextlib.contextmanager
def attach(folder: Path, interfaces: Sequence[str], *options: str) -> Iterator[Command]:
    """Run `epm-inspector attach` until it is attached, and to the end of the block; its files are in `folder`."""
    with start(folder, interfaces, *options) as command:
        command.wait_until_attached()
        yield command


@contextlib.contextmanager
def start(folder: Path, interfaces: Sequence[str], *options: str) -> Iterator[Command]:
    """Start the command without waiting for anything; it is killed at the end of the block if it still runs."""
    address = free_address()
    own = ("--listen", address, "--runtime-directory", str(folder / "run"))
    with begin(folder, [*own, *options, *interfaces]) as process:
        try:
            yield Command(process, folder, address)
        finally:
            process.kill()
