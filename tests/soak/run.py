"""One inspector, round after round: traffic, then something happens to the interface; what it takes up is noted."""

from __future__ import annotations

import itertools
import signal
import time
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pyroute2 import IPRoute

from inspector.live.process.namespaces import inside
from tests.kernel.conftest import lay, wait_until_up
from tests.kernel.looking import delete, set_link
from tests.kernel.process import inspecting
from tests.kernel.test_storm import Honest, Usage, storm, total, wait_until_read

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from tests.kernel.conftest import Cable
    from tests.kernel.process import Inspector
    from tests.kernel.test_storm import Samples

RATE: Final = 4000
"""Forged frames a second, on which nothing is lost."""

_PAUSE_S: Final = 0.05
WARM_UP: Final = 6
"""Rounds which are the beginning: compiled code is loaded, labels are learned, tables and files fill."""
_GROWTH: Final = 0.05
_SLACK: Final = 4 << 20
_CONFIG: Final = """
[limits]
connections = 20000
idle_seconds = 5
unanswered_seconds = 2
gap_seconds = 0.5

[evidence]
most_files = 50
"""


@dataclass(frozen=True)
class Round:
    """What the inspector took up after a round, and what had been counted by then."""

    seconds: float
    memory: int
    descriptors: int
    threads: int
    series: int
    matched: int
    lost: int
    responses: int
    honest: int


@dataclass
class Soak:
    """The inspector with its interfaces and files, the clients who mean well, and what was noted."""

    cable: Cable
    folder: Path
    inspector: Inspector
    round_s: float
    warm_up: int = WARM_UP
    honest: Honest = field(default_factory=Honest)
    rounds: list[Round] = field(default_factory=list)
    began: float = field(default_factory=time.monotonic)

    def turn(self, number: int) -> None:
        """Let traffic flow, every fifth time as fast as it goes; then let something happen, and note how it stands."""
        rate = () if number % 5 == 1 else ("--rate", str(RATE))
        seconds = self.round_s / 4 if not rate else self.round_s
        with storm(self.cable, seconds, "--seed", str(number), *rate), self.honest.talking(self.cable, _PAUSE_S):
            time.sleep(seconds)
        self.rounds.append(self._note(wait_until_read(self.inspector)))
        (down_and_up, made_anew, renamed, reloaded)[number % 4](self)
        self.inspector.wait_for(lambda: total(self.inspector.samples(), "program_attached") == 1)

    def _note(self, samples: Samples) -> Round:
        check_equations(samples)
        process = Path(f"/proc/{self.inspector.process.pid}")
        return Round(
            round(time.monotonic() - self.began, 1),
            Usage.of(self.inspector.process.pid).memory,
            len(list((process / "fd").iterdir())),
            len(list((process / "task").iterdir())),
            len(samples),
            total(samples, "packets_matched_total"),
            total(samples, "ring_lost_total"),
            total(samples, "responses_total"),
            len(self.honest.ports),
        )


def check_equations(samples: Samples) -> None:
    """Every packet that was matched is submitted or lost, and what was submitted is read."""
    matched, lost = total(samples, "packets_matched_total"), total(samples, "ring_lost_total")
    submitted, consumed = total(samples, "ring_submitted_total"), total(samples, "records_consumed_total")
    assert (matched, submitted) == (submitted + lost, consumed), (matched, submitted, lost, consumed)


def down_and_up(soak: Soak) -> None:
    """Take the interface down and up again."""
    set_link(soak.cable.here, soak.cable.near, state="down")
    time.sleep(0.2)
    set_link(soak.cable.here, soak.cable.near, state="up")
    wait_until_up(soak.cable)


def made_anew(soak: Soak) -> None:
    """Delete both interfaces, make others of their names, and wait until the program is there."""
    before = total(soak.inspector.samples(), "reattachments_total")
    delete(soak.cable.here, soak.cable.near)
    lay(soak.cable)
    soak.inspector.wait_for(lambda: total(soak.inspector.samples(), "reattachments_total") > before)


def renamed(soak: Soak) -> None:
    """Give the interface another name, and its own again."""
    for old, new in itertools.pairwise((soak.cable.near, "elsewhere", soak.cable.near)):
        with inside(soak.cable.here), IPRoute() as rtnetlink:
            rtnetlink.link("set", index=rtnetlink.link_lookup(ifname=old)[0], ifname=new)
        time.sleep(0.2)


def reloaded(soak: Soak) -> None:
    """Have the configuration read again, and the file of findings rotated away."""
    output = soak.folder / "findings.jsonl"
    output.replace(soak.folder / "findings.jsonl.1")
    before = soak.inspector.samples()["config_last_reload_success_timestamp_seconds",]
    soak.inspector.process.send_signal(signal.SIGHUP)
    key = ("config_last_reload_success_timestamp_seconds",)
    soak.inspector.wait_for(lambda: soak.inspector.samples()[key] > before)


@contextmanager
def soaking(cable: Cable, folder: Path, round_s: float, warm_up: int) -> Iterator[Soak]:
    """Run an inspector as on a gateway: metrics, findings in a file, evidence, a configuration."""
    config = folder / "config.toml"
    config.write_text(_CONFIG)
    options = ("--config", config, "--output", folder / "findings.jsonl", "--evidence", folder / "evidence")
    with inspecting(cable, folder, *map(str, options)) as inspector:
        inspector.wait_until_attached()
        yield Soak(cable, folder, inspector, round_s, warm_up)


def verdicts(soak: Soak) -> dict[str, bool]:
    """Say what a long run shows, of the rounds after the warm-up: the second half of them against the first."""
    later = soak.rounds[soak.warm_up :]
    first, second = later[: len(later) // 2], later[len(later) // 2 :]

    def grows(of: Callable[[Round], int], which: Callable[[Iterable[int]], int] = max, slack: float = 0) -> bool:
        return which(map(of, second)) > which(map(of, first)) + slack

    # Tables that are full are emptied and fill again: it is the least that a leak makes more of.
    least = min(one.memory for one in first)
    return {
        "memory is flat": not grows(lambda one: one.memory, min, _SLACK + _GROWTH * least),
        "memory is bounded": max(one.memory for one in later) < 2 * least,
        "descriptors are flat": not grows(lambda one: one.descriptors),
        "threads are flat": not grows(lambda one: one.threads),
        "series are flat": not grows(lambda one: one.series),
        "honest conversations were found": found_all(soak),
    }


def found_all(soak: Soak) -> bool:
    """Say whether every honest conversation was found, but for those which may be among what the bursts lost."""
    at_risk = sum(
        later.honest - earlier.honest
        for earlier, later in itertools.pairwise([Round(*[0] * len(fields(Round))), *soak.rounds])
        if later.lost > earlier.lost
    )
    return soak.honest.found(soak.inspector, soak.cable) >= len(set(soak.honest.ports)) - at_risk > 0
