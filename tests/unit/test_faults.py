"""The table of faults names tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
NAMED = re.compile(r"`(tests/[a-z_/]+\.py)(?:::([a-z_0-9]+))?`")


def test_every_row_names_tests_that_exist() -> None:
    """Each row of each table has at least one."""
    rows = [line for line in (ROOT / "docs" / "faults.md").read_text().splitlines() if line.startswith("| ")]
    rows = [row for row in rows if not row.startswith("| fault |")]
    assert rows
    for row in rows:
        named = NAMED.findall(row)
        assert named, row
        for path, name in named:
            text = (ROOT / path).read_text()
            assert not name or f"def {name}(" in text, f"{path}::{name}"
