"""Files that `read --follow-up` is given together are compared with each other, and each question is told once."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from inspector import cli
from inspector.config import Config
from inspector.reading.sighting import survey_files
from tests.cases import gateways  # noqa: F401  # registers its cases
from tests.cases.case import CASES

FOLLOWING = Config(follow_up=True)


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Return the captures of both ports of a gateway that swallows two answers."""
    monkeypatch.chdir(tmp_path)
    case = CASES["07a-strict-silent"]
    for name, content in zip(case.names, case.captures(), strict=True):
        Path(name).write_bytes(content)
    return [Path(name) for name in case.names]


def read(files: list[Path], capsys: pytest.CaptureFixture[str], *options: str) -> str:
    """Return what `read --follow-up --json` prints."""
    assert cli.main(["read", "--json", "--follow-up", *options, *map(str, files)]) == 0
    return capsys.readouterr().out


def test_the_order_of_the_files_does_not_matter(files: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    """Which side is nearer to the servers is seen in the packets."""
    assert read(files, capsys) == read(files[::-1], capsys)


def test_several_processes_say_the_same(files: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    """What the files say of each other goes to the processes that read them."""
    assert read(files, capsys, "--jobs", "2") == read(files, capsys, "--jobs", "1")


def test_each_question_is_counted_once(files: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    """The summary counts what is shown: two answers, both undelivered; alone each file tells its part."""
    together = json.loads(read(files, capsys, "--summary"))
    assert (together["verdicts"], together["outcomes"]) == ({"mismatch": 2}, {"undelivered": 2})
    clients = json.loads(read(files[:1], capsys, "--summary"))
    assert clients["verdicts"] == {"unanswered": 2}


def test_without_follow_ups_nothing_is_compared(files: list[Path]) -> None:
    """Plain `read` looks through no file twice."""
    assert not survey_files(files, Config(follow_up=False)).ties
    assert survey_files(files, FOLLOWING).ties


def test_what_can_be_read_once_is_not_compared(files: list[Path]) -> None:
    """Standard input would be used up by looking through it."""
    assert not survey_files([*files, Path("-")], FOLLOWING).ties


def test_a_file_that_is_cut_off_is_compared_as_far_as_it_goes(files: list[Path]) -> None:
    """Reading it warns of that, looking through it beforehand does not. Its end was the proof of the second loss."""
    files[0].write_bytes(files[0].read_bytes()[:-10])
    assert len(survey_files(files, FOLLOWING).ties.dropped) == 1
    files[0].write_bytes(b"no capture at all")
    assert not survey_files(files, FOLLOWING).ties
