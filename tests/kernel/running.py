"""A running `epm-inspector attach`: what it prints, how to wait for it and how to end it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tests.build.account import let_in

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

ROOT: Final = Path(__file__).parents[2]
PATIENCE_SECONDS: Final = 60.0


@dataclass
class Running:
    """The process; its files are in `folder`."""

    process: subprocess.Popen[bytes]
    folder: Path

    @property
    def lines(self) -> list[str]:
        """What it said on standard error so far."""
        return (self.folder / "errors").read_text().splitlines()

    @property
    def findings(self) -> list[dict[str, Any]]:
        """The findings it printed so far; a line that is being written is none yet."""
        return [json.loads(line) for line in (self.folder / "findings").open() if line.endswith("\n")]

    def wait_for(self, condition: Callable[[], bool], seconds: float = PATIENCE_SECONDS) -> None:
        """Return when the condition holds; fail with what the command said when it does not come to hold in time."""
        deadline = time.monotonic() + seconds
        while not condition():
            assert self.process.poll() is None, self.lines
            assert time.monotonic() < deadline, self.lines
            time.sleep(0.02)

    def wait_until_attached(self) -> None:
        """Return when it inspects."""
        self.wait_for(lambda: any(line.startswith("metrics http") for line in self.lines))

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal and return the exit status."""
        self.process.send_signal(number)
        return self.process.wait(PATIENCE_SECONDS)


def begin(
    folder: Path,
    options: Sequence[str],
    *,
    prefix: Sequence[str] = (),
    variables: Mapping[str, str] | None = None,
    output: int | None = None,
) -> subprocess.Popen[bytes]:
    """Start the command with these options, begun by `prefix`; its findings go to a descriptor, `output`, or a file."""
    let_in(folder)
    with (folder / "findings").open("wb") as out, (folder / "errors").open("wb") as err:
        return subprocess.Popen(
            [*prefix, sys.executable, "-m", "inspector", "attach", "--json", *options],
            stdin=subprocess.DEVNULL,
            stdout=out if output is None else output,
            stderr=err,
            env={**os.environ, "PYTHONPATH": str(ROOT), **(variables or {})},
        )
