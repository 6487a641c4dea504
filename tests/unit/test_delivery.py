"""Where findings of a running inspection go, by command line and configuration."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING

import pytest

from inspector.cli import _load_attach, make_parser
from inspector.config import Config
from inspector.errors import OutputError
from inspector.inspection.delivery import Delivery
from inspector.losses import Loss
from inspector.model import Verdict
from tests.build.blocks import batch_of
from tests.unit.test_console import FINDING
from tests.unit.test_evidence import inspect, storm
from tests.unit.test_journal import Batches, Daemon

if TYPE_CHECKING:
    from pathlib import Path


def test_every_place_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Standard output, file and journal have the same findings, alone and in batches."""
    daemon = Daemon(tmp_path / "socket")
    monkeypatch.setattr("inspector.inspection.delivery.SOCKET", daemon.path)
    path = tmp_path / "new" / "findings.jsonl"
    config = Config(findings_file=path, findings_journal=True, journal_verdicts=[Verdict.MISMATCH])
    with Delivery(json=True, config=config, warn=print) as delivery:
        findings = inspect(Batches(delivery), [storm(9)])  # type: ignore[arg-type]
        delivery.show(batch_of(FINDING))
        assert dict(delivery.losses()) == dict.fromkeys(set(Loss) - {Loss.CAPTURE_FAILED}, 0)
    lines = path.read_text()
    assert capfd.readouterr().out == lines
    expected = [finding.as_dict() for finding in (*findings, FINDING)]
    assert [json.loads(line) for line in lines.splitlines()] == expected
    assert [json.loads(entry["EPM_FINDING"][0]) for entry in daemon.entries()] == expected
    daemon.socket.close()


def test_rotation_by_hand(tmp_path: Path) -> None:
    """`reopen` goes to a new file at once."""
    path = tmp_path / "findings.jsonl"
    with Delivery(json=False, config=Config(findings_file=path), warn=print) as delivery:
        delivery.show(batch_of(FINDING))
        path.rename(tmp_path / "old")
        delivery.reopen()
        delivery.show(batch_of(FINDING))
        delivery.show(batch_of(FINDING))
    assert [len(one.read_text().splitlines()) for one in (tmp_path / "old", path)] == [1, 2]


def test_the_table_is_for_people(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Into a file or the journal of a service no table goes where findings go elsewhere; the summary comes still."""
    for config, rows in ((Config(), 1), (Config(findings_file=tmp_path / "f"), 0)):
        with Delivery(json=False, config=config, warn=print) as delivery:
            delivery.show(batch_of(FINDING))
        assert capsys.readouterr().out.count("MAPI") == rows


def test_what_cannot_be_opened_is_an_error(tmp_path: Path) -> None:
    """At the start, in one line."""
    with pytest.raises(OutputError, match="Is a directory"):
        Delivery(json=True, config=Config(findings_file=tmp_path), warn=print)


class Gone(io.StringIO):
    """A terminal that has gone."""

    encoding = "utf-16"

    def write(self, _text: str) -> int:
        """Refuse."""
        raise OSError(5, "Input/output error")


@pytest.mark.parametrize("json_lines", [True, False])
def test_a_terminal_that_has_gone(monkeypatch: pytest.MonkeyPatch, json_lines: bool) -> None:
    """It is said once, and the inspection goes on."""
    said: list[str] = []
    monkeypatch.setattr("sys.stdout", Gone())
    with Delivery(json=json_lines, config=Config(), warn=said.append) as delivery:
        for _ in range(3):
            delivery.show(batch_of(FINDING))
        inspect(Batches(delivery), [storm(3)])  # type: ignore[arg-type]
    (line,) = said
    assert line.endswith("output disabled, inspection continues")


def test_the_command_line_goes_before_the_file(tmp_path: Path) -> None:
    """Options say where; the configuration says it without them."""
    path = tmp_path / "c.toml"
    path.write_text('findings_file = "a"\n[evidence]\ndirectory = "b"\nmost_files = 7\n')
    parser = make_parser()
    config = _load_attach(parser.parse_args(["attach", "eth0", "--config", str(path)]))
    assert (str(config.findings_file), config.findings_journal, str(config.evidence.directory)) == ("a", False, "b")
    options = ["--output", "c", "--journal", "--evidence", "d"]
    config = _load_attach(parser.parse_args(["attach", "eth0", "--config", str(path), *options]))
    assert (str(config.findings_file), config.findings_journal, str(config.evidence.directory)) == ("c", True, "d")
    assert config.evidence.most_files == 7
