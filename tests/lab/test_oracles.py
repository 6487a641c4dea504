"""Independent decoders read the laboratory's captures and agree with the findings, field by field."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.conftest import require_tools
from tests.lab import impacket_oracle, tshark_oracle
from tests.lab.scenario import read

if TYPE_CHECKING:
    from pathlib import Path

    from tests.lab.scenario import Scenario

pytestmark = pytest.mark.lab


@pytest.fixture(params=["written", "wire"])
def capture(request: pytest.FixtureRequest, scenario: Scenario) -> Path:
    """Return one capture of the scenario: the inspector's own, and tcpdump's."""
    path: Path = getattr(scenario, request.param)
    return path


def findings_of(capture: Path) -> list[dict[str, Any]]:
    """Return what the inspector reads in a capture."""
    return [json.loads(line) for line in read(capture).splitlines()]


def same_keys(mappings: list[dict[str, Any]], others: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return mappings with only those keys which others have: names and verdicts are the inspector's own."""
    known = {key for other in others for key in other}
    return [{key: mapping.get(key) for key in known} for mapping in mappings]


def test_tshark_agrees(capture: Path) -> None:
    """Flow, call, operation, status, transfer syntax, request, every mapping, time and latency are tshark's, too."""
    require_tools(["tshark"])
    expected = tshark_oracle.answers_of(capture)
    findings = findings_of(capture)
    assert len(expected) > 40
    for answer, finding in zip(expected, findings, strict=True):
        assert finding.pop("latency_ms") == pytest.approx(answer.pop("latency_ms"), abs=1e-6)
        finding["mappings"] = same_keys(finding["mappings"], answer["mappings"])
        if answer["requested"] is not None:
            finding["requested"].pop("name")
        assert {key: finding.get(key) for key in answer} == answer


def test_impacket_agrees(capture: Path) -> None:
    """Call, status and every mapping are those which impacket decodes from the same bytes."""
    require_tools(["tshark"])
    expected = impacket_oracle.answers_of(tshark_oracle.pdus_of(capture))
    findings = findings_of(capture)
    assert len(expected) > 40
    for answer, finding in zip(expected, findings, strict=True):
        finding["mappings"] = same_keys(finding["mappings"], answer["mappings"])
        assert {key: finding[key] for key in answer} == answer
