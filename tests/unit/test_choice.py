"""Which tests are run: the list of what is left to the nightly run, and where the others go."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.choice import Entry, entries, reason_of, scope_of, stale

ROOT = Path(__file__).parents[2]
LISTED = [Entry(("tests/a.py", "tests/b.py::test_one"), ("tests/a.py::test_kept",), "it takes long")]


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("tests/a.py::test_other", "it takes long"),
        ("tests/a.py::test_kept[1]", None),
        ("tests/b.py::test_one[2]", "it takes long"),
        ("tests/b.py::test_two", None),
    ],
)
def test_an_entry_leaves_out_what_begins_with_its_names(name: str, why: str | None) -> None:
    """But what begins with those that are kept."""
    assert reason_of(name, LISTED) == why


def test_an_entry_that_fits_no_test_is_found() -> None:
    """A test that got another name would be run, or left out, unnoticed."""
    assert stale(["tests/a.py::test_kept", "tests/b.py::test_two"], LISTED) == ["tests/b.py::test_one"]


def test_every_entry_of_the_list_has_a_reason_and_keeps_part_of_what_it_leaves_out() -> None:
    """What is kept is part of what is left out, or the entry would say nothing."""
    for entry in entries():
        assert entry.why
        assert all(kept.startswith(entry.names) for kept in entry.but)


@pytest.mark.parametrize(
    ("name", "scope"),
    [
        ("tests/kernel/test_life.py::test_renamed[tc]", "machine"),
        ("tests/lab/test_nat64.py::test_a", "machine"),
        ("tests/unit/test_cli.py::test_a[x::y]", "tests/unit/test_cli.py"),
    ],
)
def test_what_takes_the_machine_for_itself_is_in_one_process(name: str, scope: str) -> None:
    """All else is spread by file."""
    assert scope_of(name) == scope


@pytest.mark.parametrize("processes", [[], ["-n", "2"]], ids=["alone", "two processes"])
def test_what_was_left_out_is_said(processes: list[str]) -> None:
    """The closing line has the number, the reasons come before it, in one process as in several."""
    command = [sys.executable, "-m", "pytest", "--brief", "-p", "no:cacheprovider", *processes]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    done = subprocess.run(
        [*command, "tests/soak", "tests/vm/test_results.py"],
        cwd=ROOT, env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    *before, last = done.stdout.splitlines()
    assert " passed, 7 deselected in " in last
    assert "    7  benchmarks that measure for long, and the soak" in before
