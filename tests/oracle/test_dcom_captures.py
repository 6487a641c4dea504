"""Answers of DCOM in whole captures: each that tshark dissects is found, and told of behind a translation.

`DCOM_CAPTURES` names directories of other captures, with `:` between them.
"""

from __future__ import annotations

import os
from pathlib import Path
from shutil import copy

import pytest

from tests.cases.all import CASES
from tests.conftest import require_tools
from tests.golden.store import GOLDEN
from tests.oracle.dcom_captures import rows_of
from tests.oracle.test_dcom import DIFFERENT, TRACES


@pytest.fixture
def directories(tmp_path: Path) -> list[Path]:
    """Return the directories: the golden traces and cases that have such answers, and what the environment names."""
    for name in set(TRACES) - set(DIFFERENT):
        copy(GOLDEN / "traces" / f"{name}.pcapng", tmp_path)
    for number in ("09", "12"):
        for name, capture in zip(CASES[number].names, CASES[number].captures(), strict=True):
            (tmp_path / name).write_bytes(capture)
    others = os.environ.get("DCOM_CAPTURES", "")
    return [tmp_path, *map(Path, filter(None, others.split(os.pathsep)))]


def test_every_answer_is_found_and_told_of(directories: list[Path]) -> None:
    """With equal bindings; and each that names the server is a mismatch where the address in the header is another."""
    require_tools(["tshark"])
    rows = rows_of(directories)
    assert [row for row in rows if row.found != row.answers or row.mismatching != row.naming] == []
    assert sum(row.answers for row in rows) >= 8
    assert sum(row.naming for row in rows) >= 5
    assert "09.pcapng" in {row.name for row in rows}
