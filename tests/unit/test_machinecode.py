"""Compiled code that was kept: loaded without its compiler, called with what it is made for and nothing else."""

from __future__ import annotations

import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from inspector import codecache, machinecode
from inspector.columns import layout, tables
from inspector.live.rings.scan import count_like
from tests.golden.store import GOLDEN

if TYPE_CHECKING:
    from pathlib import Path

_CAPTURE = str(GOLDEN / "traces" / "calls-alter-context.pcapng")
# As with a file of more than a megabyte.
_READ = """
import sys
from inspector import codecache
{before}
from inspector.capture import blocks
blocks.COMPILED_FROM = 0
from inspector import cli, pipeline
pipeline.COLUMNS_FROM = 1
status = cli.main(["read", "--json", sys.argv[1]])
print("numba" in sys.modules, file=sys.stderr)
sys.exit(status)
"""


def arrays(slots: int = 4) -> tuple[Any, Any, Any, Any]:
    """Return slots, the same as halves, buckets and registers of an empty table."""
    words = np.zeros((slots, layout.SLOT_WORDS), np.int64)
    return words, words.view(np.int32), np.zeros(8, np.int32), np.zeros(layout.REGISTERS, np.int64)


def test_calls_reach_the_arrays() -> None:
    """What is passed is what the code sees; what it writes is there; results are what they should be."""
    slots, halves, buckets, registers = arrays()
    assert tables.find(slots, halves, buckets, 1, 2, 3, 4, 5) == 0
    slot = tables.take(slots, halves, buckets, registers, 1, 2, 3, 4, 5, 6)
    assert slot == 1
    assert slots[1, :5].tolist() == [1, 2, 3, 4, 5]
    assert tables.find(slots, halves, buckets, 1, 2, 3, 4, 5) == slot
    assert tables.find(slots, halves, buckets, 1, 2, 3, 4, np.int64(6)) == 0  # type: ignore[arg-type]
    assert tables.expire(slots, halves, buckets, registers, np.zeros((1, 2), np.int64), 1) is True
    assert tables.leave(slots, halves, registers, slot) is None  # type: ignore[func-returns-value]


def test_other_arrays_of_the_same_function() -> None:
    """Arrays are told apart by what they are, not by where they were passed before."""
    for _ in range(100):
        one, other = arrays(), arrays(slots=9)
        tables.take(*one, 1, 2, 3, 4, 5, 6)
        assert tables.find(*one[:3], 1, 2, 3, 4, 5) == 1
        assert tables.find(*other[:3], 1, 2, 3, 4, 5) == 0


@pytest.mark.parametrize(
    "wrong",
    [
        (np.zeros(8, np.int64), 0, 0, 1, 1),
        (np.zeros((2, 4), np.uint64), 0, 0, 1, 1),
        (np.zeros(8, np.uint64)[::2], 0, 0, 1, 1),
        (np.zeros(8, np.uint64), 0, 0, 1),
        (np.zeros(8, np.uint64), 0, 0, 1, 1, 1),
        (8, 0, 0, 1, 1),
        (np.zeros(8, np.uint64), 0.5, 0, 1, 1),
        (np.zeros(8, np.uint64), np.zeros(1, np.uint64), 0, 1, 1),
    ],
    ids=["type", "dimensions", "strides", "too few", "too many", "no array", "no integer", "no number"],
)
def test_what_the_code_is_not_made_for(wrong: tuple[Any, ...]) -> None:
    """Other types would be read as what they are not: they are refused, and the next call is as good as ever."""
    with pytest.raises(TypeError):
        count_like(*wrong)
    assert count_like(np.full(8, 7, np.uint64), 7, 0, 1, 8) == 8


def test_many_threads() -> None:
    """Calls of one function in many threads do not take each other's arguments."""
    wrong: list[int] = []

    def call(length: int) -> None:
        words = np.full(length, 7, np.uint64)
        wrong.extend(found for _ in range(500) if (found := count_like(words, 7, 0, 1, length)) != length)

    threads = [threading.Thread(target=call, args=(length,)) for length in range(300, 308)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_code_of_another_processor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was made for one processor has another name than what is made for another."""
    names = codecache.names_in(tmp_path)
    assert names == codecache.names_in(tmp_path)
    monkeypatch.setenv("NUMBA_CPU_NAME", "generic")
    assert set(names).isdisjoint(codecache.names_in(tmp_path))
    assert not codecache.is_kept()


@pytest.mark.parametrize("table", ["", "{", "{}"], ids=["empty", "cut short", "of nothing"])
def test_damaged_code(table: str, tmp_path: Path) -> None:
    """Files that are damaged are refused with an error that says so, not with the end of the process."""
    code, table_path = codecache.names_in(tmp_path)
    code.write_bytes(b"not an object file")
    table_path.write_text(table)
    with pytest.raises(ValueError, match=r"\S"):
        machinecode.load(code, table_path)


def _read(before: str) -> tuple[bytes, str]:
    done = subprocess.run(
        [sys.executable, "-c", _READ.format(before=before), _CAPTURE], capture_output=True, check=True, timeout=240
    )
    return done.stdout, done.stderr.decode().splitlines()[-1]


def test_the_compiler_is_loaded_only_to_compile() -> None:
    """Kept code does what numba's own does in the process that compiles, and needs no compiler."""
    assert codecache.load() is not None
    kept, compiler_was_loaded = _read("")
    assert compiler_was_loaded == "False"
    made_here, compiler_was_loaded = _read("codecache.begin_to_make()")
    assert compiler_was_loaded == "True"
    assert kept == made_here != b""
