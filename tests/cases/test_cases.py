"""The cases, read with their follow-ups: each is told as the table wants it, and nothing else is called harm."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from inspector import cli
from inspector.consequence import HARMFUL
from tests.cases.all import CASES, EXPECTED_OF_ALL
from tests.cases.case import Case
from tests.cases.expected import NEVER

NOT_YET = {"09": "bindings of DCOM answers are not decoded"}
"""Cases that are not told as the table wants it, with the reason. None is hidden: one that passes fails the test."""


def told(case: Case, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> list[Any]:
    """Return what `read --follow-up --json` says of a case's captures, read together."""
    monkeypatch.chdir(folder)
    for name, content in zip(case.names, case.captures(), strict=True):
        Path(name).write_bytes(content)
    Path("case.toml").write_text(case.config)
    assert cli.main(["read", "--json", "--follow-up", "--config", "case.toml", *case.names]) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def _each_case() -> list[Any]:
    return [
        pytest.param(
            number,
            id=number,
            marks=[pytest.mark.xfail(strict=True, reason=NOT_YET[number])] if number in NOT_YET else [],
        )
        for number in sorted(CASES)
    ]


@pytest.mark.parametrize("number", _each_case())
def test_a_case_is_told(
    number: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Kind, verdict, outcome, target, cause and words; as often as it happened."""
    findings = told(CASES[number], tmp_path, monkeypatch, capsys)
    shown = "\n".join(json.dumps(finding) for finding in findings)
    for expected in EXPECTED_OF_ALL[number]:
        fitting = [finding for finding in findings if expected.fits(finding)]
        wanted = expected.times
        assert len(fitting) == wanted if wanted is not None else fitting, f"{expected}\n{shown}"
    assert not {finding["verdict"] for finding in findings} & NEVER.get(number, frozenset()), shown


@pytest.mark.parametrize("number", sorted(CASES))
def test_nothing_else_is_called_harm(
    number: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """No outcome that hurts a client but those of the table."""
    expected = {one.outcome for one in EXPECTED_OF_ALL[number]} & HARMFUL
    findings = told(CASES[number], tmp_path, monkeypatch, capsys)
    assert {finding.get("outcome") for finding in findings} & HARMFUL <= expected


@pytest.mark.parametrize(
    ("number", "word", "status"),
    [
        ("27", "unanswered", 3), ("27", "timed_out", 3), ("41", "rejected", 3), ("04", "timed_out", 3),
        ("32", "unanswered", 0), ("47", "unanswered", 0), ("healthy-scan", "unanswered", 0), ("39", "refused", 0),
    ],
)  # fmt: skip
def test_the_exit_status_follows_verdicts_and_outcomes(
    number: str, word: str, status: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A connection that came to nothing counts with both; what only the capture lacks counts with neither."""
    (tmp_path / "one.pcapng").write_bytes(CASES[number].captures()[0])
    assert cli.main(["read", "--follow-up", "--summary", "--fail-on", word, str(tmp_path / "one.pcapng")]) == status
    capsys.readouterr()


def test_healthy_variants_are_there() -> None:
    """Networks that only look unusual: the test above holds for them."""
    assert len([number for number in CASES if number.startswith("healthy-")]) >= 18


def test_the_servers_side_of_a_balancing_gateway_alone_is_no_match(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What the client wrote into its own request says that packets are translated before they are seen there."""
    monkeypatch.chdir(tmp_path)
    Path("servers.pcapng").write_bytes(CASES["20a-balancer"].captures()[1])
    assert cli.main(["read", "--json", "--follow-up", "servers.pcapng"]) == 0
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    told = {(one["verdict"], one.get("cause")) for one in found if one["kind"] == "answer"}
    assert told == {("mismatch", "destination_nat")}
