"""Each benchmark runs once, small, so that none rots; figures are printed by `make bench`, never asserted."""

from __future__ import annotations

import pytest

from tests.bench import pipeline_rate, read_speed, xdp_cost
from tests.conftest import require_tools

pytestmark = pytest.mark.bench


@pytest.mark.usefixtures("bpf")
def test_xdp_cost(monkeypatch: pytest.MonkeyPatch) -> None:
    """The program's costs and their ratios to the empty one are measured."""
    monkeypatch.setattr(xdp_cost, "REPETITIONS", 20_000)
    figures = xdp_cost.measure()
    assert {"xdp_empty_ns", "xdp_non_epm_ns", "xdp_map_response_ns"} <= set(figures)


@pytest.mark.usefixtures("bpf")
def test_pipeline_rate() -> None:
    """Every conversation that goes into the ring comes out as a finding."""
    assert pipeline_rate.measure(500)["pipeline_lost"] == 0


def test_read_speed() -> None:
    """Both programs read the same file."""
    require_tools(["tshark"])
    assert read_speed.measure(100)["read_vs_tshark"] > 0
