"""A short run of every fuzz target: its corpus, what was ever found, and some minutes' worth of mutations in small."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from resource import RUSAGE_SELF, getrusage

import pytest

from tests.choice import BRIEF_DIVISOR
from tests.fuzz.seed import CORPUS, seeds
from tests.fuzz.targets import TARGETS

ROOT = Path(__file__).parents[2]
RUNS = int(os.environ.get("FUZZ_RUNS", "20000"))
_MOST_MIB = 2048
# Targets which take longer, one in so many runs: `answer` and `dcom` measure memory, `capture` reads a file in three
# ways.
SLOWER = {"answer": 8, "dcom": 8, "capture": 10, "windows": 4}


@pytest.mark.parametrize("name", TARGETS)
def test_corpus(name: str) -> None:
    """Seeds and former findings give a value, need-more or an anomaly."""
    inputs = sorted((CORPUS / name).iterdir())
    assert inputs
    for path in inputs:
        TARGETS[name](path.read_bytes())


@pytest.mark.parametrize("name", TARGETS)
def test_seeds_are_what_their_script_writes(name: str) -> None:
    """The committed seeds are those of the builders."""
    for number, data in enumerate(seeds()[name]):
        assert (CORPUS / name / f"seed{number:02}").read_bytes() == data


@pytest.mark.timeout(300 * max(1, RUNS // 20_000))
@pytest.mark.parametrize("name", TARGETS)
def test_short_run(name: str, tmp_path: Path, pytestconfig: pytest.Config) -> None:
    """Coverage-guided mutations find nothing new (FUZZ_RUNS sets how many)."""
    pytest.importorskip("atheris", reason="the fuzzer has no package for this Python")
    runs = RUNS // SLOWER.get(name, 1) // (BRIEF_DIVISOR if pytestconfig.getoption("brief") else 1)
    run = subprocess.run(
        [
            sys.executable,
            "-m",
            "tests.fuzz",
            name,
            f"-runs={runs}",
            "-seed=1",
            f"-artifact_prefix={tmp_path}/",
            # The fuzzer looks at the highest size of its process, and a child begins with that of its parent.
            f"-rss_limit_mb={getrusage(RUSAGE_SELF).ru_maxrss // 1024 + _MOST_MIB}",
            str(tmp_path),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr[-3000:]
    assert f"Done {runs} runs" in run.stderr
