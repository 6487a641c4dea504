"""The long run, shortly: that it works, that all of its claims are looked at, and that each can fail."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING
from unittest.mock import Mock

import pytest

from tests.soak import __main__ as soak
from tests.soak.run import Round, verdicts

if TYPE_CHECKING:
    from pathlib import Path

ROUND = Round(1.0, 100 << 20, 20, 5, 300, 10_000, 0, 1000, 10)


@pytest.mark.kernel
@pytest.mark.usefixtures("bpf", "root")
def test_a_short_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Rounds with everything in them, at whose end all holds."""
    monkeypatch.setattr(soak, "RESULTS", tmp_path / "soak.json")
    soak.soak(0, 0.4, warm_up=2)
    found = json.loads((tmp_path / "soak.json").read_text())
    assert all(found["results"].values())
    assert len(found["rounds"]) == 6
    assert found["rounds"][-1]["honest"] > 5


@pytest.mark.parametrize(
    ("claim", "later"),
    [
        ("memory is flat", replace(ROUND, memory=120 << 20)),
        ("memory is bounded", replace(ROUND, memory=201 << 20)),
        ("descriptors are flat", replace(ROUND, descriptors=21)),
        ("threads are flat", replace(ROUND, threads=6)),
        ("series are flat", replace(ROUND, series=301)),
    ],
)
def test_growth_is_noticed(claim: str, later: Round) -> None:
    """What is more at the end than in the first half after the warm-up is said to grow, and nothing else."""
    # What comes and goes is no leak, and what comes once is bounded.
    halves = {"memory is flat": [later, later], "memory is bounded": [ROUND, later]}
    run = Mock(rounds=[ROUND] * 4 + halves.get(claim, [ROUND, later]), warm_up=2)
    run.honest.ports, run.honest.found.return_value = [1, 2, 3], 3
    assert [text for text, holds in verdicts(run).items() if not holds] == [claim]


def test_lost_conversations_are_noticed() -> None:
    """Where nothing was lost every honest conversation must be found; those of a round with loss may not be."""
    run = Mock(rounds=[ROUND] * 5 + [replace(ROUND, lost=5, honest=12)], warm_up=2)
    run.honest.ports, run.honest.found.return_value = list(range(12)), 10
    assert verdicts(run)["honest conversations were found"]
    run.honest.found.return_value = 9
    assert not verdicts(run)["honest conversations were found"]
