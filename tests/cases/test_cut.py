"""Captures that keep only the beginning of each packet: what `read` says, and with which status it ends."""

from __future__ import annotations

from pathlib import Path

import pytest

from inspector import cli
from tests.cases.all import CASES

_ADVICE = "; capture again with whole packets (tcpdump -s 0)"


def _read(number: str, *options: str, folder: Path) -> int:
    (folder / "one.pcapng").write_bytes(CASES[number].captures()[0])
    return cli.main(["read", "--json", *options, str(folder / "one.pcapng")])


@pytest.mark.parametrize(
    ("options", "unread"), [([], "2 answers"), (["--no-follow-up"], "4 packets")], ids=["follow-up", "plain"]
)
@pytest.mark.parametrize("fail_on", [False, True])
def test_a_cut_capture_is_told_in_one_line(
    options: list[str],
    unread: str,
    fail_on: bool,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Standard error has the bytes kept, what could not be read and what to do; `--fail-on` has a status for it."""
    arguments = [*options, *(["--fail-on", "mismatch"] if fail_on else [])]
    assert _read("46", *arguments, folder=tmp_path) == (4 if fail_on else 0)
    told = [line for line in capsys.readouterr().err.splitlines() if "warning" in line]
    assert len(told) == 1
    kept = "one.pcapng: the capture keeps 96 bytes of each packet"
    assert told[0].endswith(f"{kept}: {unread} could not be read{_ADVICE}")


def test_what_was_found_goes_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A verdict that was asked for is status 3 in a cut capture, too."""
    (tmp_path / "cut.pcapng").write_bytes(CASES["46"].captures()[0])
    (tmp_path / "whole.pcapng").write_bytes(CASES["03"].captures()[0])
    files = [str(tmp_path / name) for name in ("cut.pcapng", "whole.pcapng")]
    assert cli.main(["read", "--fail-on", "mismatch", *files]) == 3
    assert "could not be read" in capsys.readouterr().err


def test_whole_packets_are_no_warning(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing was cut."""
    assert _read("03", "--fail-on", "fault", folder=tmp_path) == 0
    assert "warning" not in capsys.readouterr().err
