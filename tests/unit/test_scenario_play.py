"""A scenario whose server ended by itself is another scenario: it is played again, a few times. Needs no laboratory."""

from __future__ import annotations

import contextlib
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from inspector.errors import LaboratoryError
from inspector.lab.scenarios import play as playing
from inspector.lab.scenarios.table import Scenario

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SCENARIO = Scenario("Nothing happens.", (), prepare=lambda _laboratory: None, visit=lambda _laboratory: None)


def rebuilt(monkeypatch: pytest.MonkeyPatch, *statuses: tuple[int | None, int | None]) -> Iterator[Any]:
    """Replace the laboratory by one whose mapper has these states before and after the visit, each time it is built."""
    states = iter(statuses)

    @contextlib.contextmanager
    def laboratory(*, nat64: bool) -> Iterator[Any]:  # noqa: ARG001 - the signature is the laboratory's
        polls = iter(next(states))
        yield SimpleNamespace(mapper=SimpleNamespace(poll=lambda: next(polls)))

    monkeypatch.setattr(playing, "Laboratory", laboratory)
    monkeypatch.setattr(playing, "recorded", lambda *_arguments: contextlib.nullcontext())
    monkeypatch.setattr(playing, "_SETTLE_SECONDS", 0.0)
    return states


def test_a_server_that_ended_by_itself_is_tried_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The second recording counts."""
    left = rebuilt(monkeypatch, (None, -11), (None, None))
    assert [path.name for path in playing.play(SCENARIO, tmp_path)] == ["clients0.pcap", "servers0.pcap"]
    assert list(left) == []


def test_a_server_that_the_scenario_ended_is_not(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """It was gone before the visit: that is the scenario."""
    left = rebuilt(monkeypatch, (-9, -9), (None, None))
    playing.play(SCENARIO, tmp_path)
    assert len(list(left)) == 1


def test_a_server_that_ends_each_time_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The error has its status."""
    rebuilt(monkeypatch, *[(None, -11)] * 3)
    with pytest.raises(LaboratoryError, match="ended by itself, with status -11, each of 3 times"):
        playing.play(SCENARIO, tmp_path)
