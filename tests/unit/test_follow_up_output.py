"""What became of answers, as people and programs get it: rows, lines, counts, exit status."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from ipaddress import ip_address
from typing import TYPE_CHECKING

import pytest

from inspector import cli
from inspector.consequence import AnswerReference, Cause, Consequence, Endpoint, FindingKind, Outcome, Target
from inspector.decode.batch import FindingBatch
from inspector.model import Finding, Verdict
from inspector.output.console import Console, Tally
from inspector.output.jsonform import lines_of
from tests.cases.dialogue import CLIENT, OTHER_DIP, SAMR, VIP, called, mapped
from tests.cases.network import Network
from tests.unit.test_console import FINDING, OFFERED, UNANSWERED

if TYPE_CHECKING:
    from pathlib import Path

REFUSED = Consequence(
    Outcome.REFUSED,
    Target.ASKED,
    Endpoint(ip_address("10.11.2.2"), 41376),
    Cause.PORTS_NOT_PUBLISHED,
    "publish the port",
    ("a reset after 2 ms",),
    AnswerReference("2023-11-14T22:13:20.123456789Z", 33654, 2, None),
)
LATER = replace(FINDING, kind=FindingKind.FOLLOW_UP, why="it was refused", consequence=REFUSED)
REACHED = replace(LATER, why="it got through", consequence=replace(REFUSED, outcome=Outcome.REACHED, cause=None))


def rows(*findings: Finding) -> list[tuple[str, str]]:
    """Return verdict and reason of each row."""
    stream = io.StringIO()
    with Console(stream, terminal=False, header=False) as console:
        console.show(FindingBatch.of(findings))
    return [(line[81:95].strip(), line[96:]) for line in stream.getvalue().splitlines()]


def test_an_outcome_that_is_known_soon_has_the_answer_s_row() -> None:
    """One that hurts stands in the place of the verdict; one that does not is said behind it."""
    assert rows(replace(FINDING, follow_up=LATER)) == [
        ("refused", f"it was refused (ports not published; publish the port); mismatch: {OFFERED.why}")
    ]
    assert rows(replace(FINDING, follow_up=REACHED)) == [("mismatch", f"{OFFERED.why}; it got through")]


def test_a_later_outcome_has_a_row_of_its_own() -> None:
    """With the outcome where the verdict stands otherwise, also where nobody was hurt."""
    assert rows(FINDING, LATER, REACHED) == [
        ("mismatch", OFFERED.why),
        ("refused", "it was refused (ports not published; publish the port)"),
        ("reached", "it got through"),
    ]


def test_of_several_mappings_one_was_followed() -> None:
    """The row of the port that the client went to says what became of it."""
    other = replace(OFFERED, port=1, verdict=Verdict.MATCH, why="another port")
    found = rows(replace(FINDING, mappings=(other, OFFERED), follow_up=LATER))
    assert [verdict for verdict, _ in found] == ["match", "refused"]


def test_a_cause_without_an_outcome() -> None:
    """It is said of the answer itself; an unknown one is not named."""
    slow = replace(UNANSWERED, consequence=Consequence(cause=Cause.SLOW_SERVER, remedy="look at its load"))
    unknown = replace(UNANSWERED, consequence=Consequence(cause=Cause.UNKNOWN, remedy="route it"))
    assert rows(slow, unknown) == [
        ("unanswered", "no answer (slow server; look at its load)"),
        ("unanswered", "no answer (route it)"),
    ]


def test_json_has_a_line_for_each_kind() -> None:
    """The answer's line first, without what became of it; then the follow-up's, which refers to it."""
    answer, later = map(json.loads, lines_of(replace(FINDING, follow_up=LATER)))
    assert answer == FINDING.as_dict()
    assert later == LATER.as_dict()
    assert (answer["kind"], later["kind"], later["outcome"]) == ("answer", "follow_up", "refused")
    assert "frame" not in later["answer"]


def test_outcomes_are_counted_in_the_summary() -> None:
    """Below the verdicts, where there are any."""
    stream = io.StringIO()
    Console(stream, terminal=False).summary(Tally(outcomes={Outcome.REACHED: 2, Outcome.REFUSED: 1}))
    assert [line.split() for line in stream.getvalue().splitlines()[5:8]] == [
        ["outcomes", "3"],
        ["reached", "2"],
        ["refused", "1"],
    ]


@pytest.fixture
def capture(tmp_path: Path) -> Path:
    """Return a capture in which one client is refused, and another gets through once."""
    network = Network()
    mapped(network, VIP, SAMR, (OTHER_DIP, 49155))
    network.connect(CLIENT, VIP, 49155).refused()
    mapped(network, VIP, SAMR, (OTHER_DIP, 49155), client="10.20.1.16")
    called(network, VIP, 49155, SAMR, client="10.20.1.16")
    network.connect("10.20.1.16", VIP, 49155).syns(3)
    path = tmp_path / "capture.pcapng"
    path.write_bytes(network.scenes[0].capture())
    return path


@pytest.mark.parametrize(("words", "status"), [("refused", 3), ("denied", 0), ("denied,mismatch", 3)])
def test_fail_on_takes_outcomes(capture: Path, words: str, status: int) -> None:
    """As it takes verdicts, also together."""
    assert cli.main(["read", "--follow-up", "--fail-on", words, str(capture)]) == status


def test_outcomes_need_follow_ups(capture: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A status that could never come is refused."""
    with pytest.raises(SystemExit):
        cli.main(["read", "--no-follow-up", "--fail-on", "refused,mismatch", str(capture)])
    assert "--fail-on refused: outcomes need follow-up" in capsys.readouterr().err


@pytest.mark.parametrize("where", ["option", "file"])
def test_the_summary_as_json(capture: Path, where: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Outcomes beside verdicts; the option or the key of the configuration asks for them."""
    settings = tmp_path / "settings.toml"
    settings.write_text("follow_up = true\n" if where == "file" else "")
    option = ["--follow-up"] if where == "option" else []
    assert cli.main(["read", "--json", "--summary", *option, "--config", str(settings), str(capture)]) == 0
    counts = json.loads(capsys.readouterr().out)
    assert counts["outcomes"] == {"reached": 1, "refused": 1, "timed_out": 1}
    assert (counts["findings"], counts["verdicts"]) == (2, {"mismatch": 2})


def test_without_it_nothing_is_followed(capture: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The same findings as ever, of one kind."""
    assert cli.main(["read", "--json", "--no-follow-up", str(capture)]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["kind"] for line in lines] == ["answer", "answer"]
    assert not {"outcome", "cause"} & {key for line in lines for key in line}
    assert all(line["frame"] for line in lines)


def test_several_processes_give_the_same(capture: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Findings and counts of files that are read at once."""
    outputs = []
    for jobs in ("1", "2"):
        for options in (["--json"], ["--json", "--summary"]):
            assert cli.main(["read", "--follow-up", "--jobs", jobs, *options, str(capture), str(capture)]) == 0
            outputs.append(capsys.readouterr().out)
    assert outputs[:2] == outputs[2:]
    assert "follow_up" in outputs[0]


def test_a_file_that_is_cut_short(capture: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """What was read counts, with a warning."""
    cut = tmp_path / "cut.pcapng"
    cut.write_bytes(capture.read_bytes()[:-30])
    assert cli.main(["read", "--follow-up", "--json", str(cut)]) == 0
    shown = capsys.readouterr()
    assert "refused" in shown.out
    assert "ends within a packet" in shown.err


def test_evidence_is_of_answers(capture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A mismatch has one file, whatever came of it."""
    folder = tmp_path / "evidence"
    assert cli.main(["read", "--follow-up", "--json", "--evidence", str(folder), str(capture)]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [("evidence" in line, line["kind"]) for line in lines] == [
        (True, "answer"),
        (False, "follow_up"),
        (True, "answer"),
        (False, "follow_up"),
        (False, "follow_up"),
    ]
    assert len(list(folder.glob("*.pcapng"))) == 2
