"""Evidence of the demonstration's scenario, and the findings in a file: what `attach` leaves behind."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from tests.lab.scenario import read
from tests.lab.test_scenario import OF_THE_PLACE, samples, total, without

if TYPE_CHECKING:
    from tests.lab.scenario import Scenario

pytestmark = pytest.mark.lab


def proved(scenario: Scenario) -> list[dict[str, Any]]:
    """Return the findings which name a file."""
    return [finding for finding in scenario.findings if "evidence" in finding]


def test_the_first_mismatches_have_files(scenario: Scenario) -> None:
    """Two of this one client, which are there and nothing else; every other mismatch was counted."""
    assert [finding["verdict"] for finding in proved(scenario)] == ["mismatch"] * 2
    assert sorted(finding["evidence"] for finding in proved(scenario)) == sorted(
        path.name for path in scenario.evidence.iterdir()
    )
    mismatches = sum(finding["verdict"] == "mismatch" for finding in scenario.findings)
    assert total(scenario, "epm_inspector_evidence_files_total") == 2
    assert samples(scenario, "epm_inspector_evidence_left_out_total") == [({"reason": "client_limit"}, mismatches - 2)]
    assert "evidence: 2 files written" in scenario.log


def test_reading_a_file_gives_its_finding(scenario: Scenario) -> None:
    """The same line, but for source and evidence, and it is the last."""
    for finding in proved(scenario):
        *_, last = without(OF_THE_PLACE, read(scenario.evidence / finding["evidence"]))
        assert [last] == without(OF_THE_PLACE, json.dumps(finding))


def test_wireshark_sees_the_conversation(scenario: Scenario) -> None:
    """From the SYN through bind and question to the answer, both directions, and the verdict on that one."""
    for finding in proved(scenario):
        fields = ("_ws.col.Info", "ip.src", "frame.interface_name", "frame.comment")
        chosen = [argument for field in fields for argument in ("-e", field)]
        done = subprocess.run(
            ["tshark", "-n", "-r", scenario.evidence / finding["evidence"], "-Tfields", *chosen],
            capture_output=True,
            text=True,
            check=True,
        )
        rows = [line.split("\t") for line in done.stdout.splitlines()]
        steps = ["[SYN]", "[SYN, ACK]", "Bind", "Bind_ack", "Map request", "Map response"]
        assert [step in info for step, (info, *_) in zip(steps, rows, strict=True)] == [True] * 6, rows
        assert [source for _, source, *_ in rows] == ["10.1.1.1", "10.11.2.2"] * 3
        assert len({interface for _, _, interface, _ in rows}) == 2
        assert [comment for *_, comment in rows] == [""] * 5 + [f"mismatch: {finding['why']}"]


def test_the_file_has_what_standard_output_had(scenario: Scenario) -> None:
    """Byte for byte, and nothing was lost."""
    assert scenario.appended.read_text() == scenario.output
    assert total(scenario, "epm_inspector_findings_lost_total") == 0
