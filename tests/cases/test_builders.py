"""The builders of the cases: captures that are the same each time, and that a reader reads without doubt."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from inspector import cli
from inspector.consequence import FindingKind
from inspector.errors import Anomaly
from inspector.model import Verdict
from tests.cases.all import CASES, EXPECTED, EXPECTED_OF_ALL
from tests.cases.case import Case

PARTS_UNSEEN = {"16b-mtu", "32", "46"}
"""Cases whose captures lack parts of conversations, on purpose."""
ODD = {"08a-original": (Anomaly.BIND_NOT_SEEN,)}
"""The bind_nak of the original case answers a call that was no bind."""
FOLLOWED = ("01", "09", "18", "19", "21", "22", "41", "49", "51", "55", "16b-mtu", "18b-device", "20a-balancer")
"""Cases of which the verdicts, too, need what follows the answer."""


def findings_of(case: Case, folder: Path, capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    """Return what `read --json` says of a case's captures."""
    for name, content in zip(case.names, case.captures(), strict=True):
        (folder / name).write_bytes(content)
    (folder / "case.toml").write_text(case.config)
    arguments = ["read", "--json", "--config", str(folder / "case.toml")]
    cli.main([*arguments, *(str(folder / name) for name in case.names)])
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_cases_and_expectations_are_the_same() -> None:
    """34 captures and 13 pairs, each with what is expected of it and with a description."""
    assert set(CASES) == set(EXPECTED_OF_ALL)
    shown = [case for case in CASES.values() if not case.variant]
    assert [case.gateway for case in shown].count(True) == 13
    assert len(shown) == 34 + 13
    assert [number for number, case in CASES.items() if not case.build.__doc__] == []


def test_a_case_is_the_same_each_time() -> None:
    """No clock, no chance."""
    assert {number: case.captures() for number, case in CASES.items()} == {
        number: case.captures() for number, case in CASES.items()
    }


@pytest.mark.parametrize("number", sorted(set(EXPECTED) - PARTS_UNSEEN))
def test_a_case_is_read_without_doubt(number: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Sequence numbers, acknowledgments and PDUs fit: no anomaly but those which the case is about."""
    found = {anomaly for finding in findings_of(CASES[number], tmp_path, capsys) for anomaly in finding["anomalies"]}  # type: ignore[attr-defined]
    assert found <= {Anomaly.REQUEST_NOT_SEEN, *ODD.get(number, ())}


@pytest.mark.parametrize("number", sorted(set(EXPECTED) - set(FOLLOWED)))
def test_answers_have_their_verdicts(number: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Verdicts of answers need no follow-up, but in the cases named above."""
    expected = {one.verdict for one in EXPECTED[number] if one.kind is FindingKind.ANSWER}
    found = {Verdict(str(finding["verdict"])) for finding in findings_of(CASES[number], tmp_path, capsys)}
    assert expected <= found
