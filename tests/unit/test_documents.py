"""What documents promise exists: the tests that the table of faults names, the scenarios of the laboratory."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from inspector.lab.scenarios.table import SCENARIOS

ROOT = Path(__file__).parents[2]


def test_every_test_in_the_table_of_faults_exists() -> None:
    """docs/faults.md names tests by file and function; each row has at least one."""
    text = (ROOT / "docs" / "faults.md").read_text()
    rows = [line for line in text.splitlines() if line.startswith("| ") and not line.startswith("| fault ")]
    assert rows
    for row in rows:
        named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", row)
        assert named, f"no test: {row}"
        for file, function in named:
            tree = ast.parse((ROOT / file).read_text())
            assert function in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}, (file, function)


def test_every_scenario_is_in_the_table_of_the_laboratory() -> None:
    """docs/laboratory.md has one row for each, in the order of the table in the code."""
    text = (ROOT / "docs" / "laboratory.md").read_text()
    assert re.findall(r"^\| `([\w-]+)` \|", text, re.MULTILINE) == list(SCENARIOS)
