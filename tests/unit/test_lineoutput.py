"""Lines in a file that is rotated, emptied, removed, on a disk that fills up; lines to standard output."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from inspector.errors import OutputError
from inspector.output.lineoutput import LineFile, LineOutput
from tests.build.disk import small_disk
from tests.conftest import require_tools

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parents[2]


def opened(path: Path, said: list[str] | None = None) -> LineFile:
    """Open a file of lines."""
    return LineFile(path, (said if said is not None else []).append)


def test_it_appends(tmp_path: Path) -> None:
    """What was there stays, and each write is in the file when it returns."""
    path = tmp_path / "findings.jsonl"
    path.write_text("old\n")
    lines = opened(path)
    assert lines.write(b"1\n2\n")
    assert path.read_text() == "old\n1\n2\n"
    assert lines.write(b"3\n")
    lines.close()
    assert path.read_text() == "old\n1\n2\n3\n"
    opened(tmp_path / "new" / "f").write(b"x\n")
    assert (tmp_path / "new" / "f").stat().st_mode & 0o777 == 0o640


def test_a_part_of_a_line_that_was_left(tmp_path: Path) -> None:
    """A process that was killed, or ended with its disk full, left half a line: what follows are whole lines."""
    path = tmp_path / "findings.jsonl"
    path.write_text("1\n{2")
    lines = opened(path)
    assert path.read_text() == "1\n{2"
    assert lines.write(b"3\n")
    assert lines.write(b"4\n")
    assert path.read_text() == "1\n{2\n3\n4\n"
    assert lines.lost == 0


@pytest.mark.parametrize("told", [False, True])
def test_rename_and_create(tmp_path: Path, told: bool) -> None:
    """Lines go to the file of the name, whether somebody says that it is another one now or not."""
    path = tmp_path / "findings.jsonl"
    lines = opened(path)
    lines.write(b"1\n")
    path.rename(tmp_path / "findings.jsonl.1")
    if told:
        lines.reopen()
    lines.write(b"2\n")
    path.rename(tmp_path / "findings.jsonl.2")
    path.touch(0o600)
    if told:
        lines.reopen()
    lines.write(b"3\n")
    path.unlink()
    lines.write(b"4\n")
    assert [(tmp_path / f"findings.jsonl{end}").read_text() for end in (".1", ".2", "")] == ["1\n", "2\n", "4\n"]
    assert lines.lost == 0


def test_copy_and_truncate(tmp_path: Path) -> None:
    """After the file was emptied lines begin at its beginning: no hole of zeros."""
    path = tmp_path / "findings.jsonl"
    lines = opened(path)
    lines.write(b"1\n" * 1000)
    os.truncate(path, 0)
    lines.write(b"2\n")
    assert path.read_bytes() == b"2\n"


@pytest.mark.parametrize("way", ["create", "copytruncate", "nocreate"])
def test_logrotate(tmp_path: Path, way: str) -> None:
    """The real program, several times, while lines are written: each line is in exactly one file, and whole.

    (What is written between its copying and its truncating is lost, as its manual says: not while nothing is.)
    """
    require_tools(["logrotate"])
    path, settings = tmp_path / "findings.jsonl", tmp_path / "rotate.conf"
    settings.write_text(f"{path} {{\n rotate 10\n {way}\n missingok\n}}\n")
    settings.chmod(0o600)
    tmp_path.chmod(0o755)
    lines, number, expected = opened(path), 0, []
    for _ in range(3):
        for _ in range(100):
            number += 1
            expected.append(f"line {number}")
            lines.write(f"line {number}\n".encode())
        command = ["logrotate", "--force", "--state", str(tmp_path / "state"), str(settings)]
        subprocess.run(command, check=True, capture_output=True)
    lines.write(b"last\n")
    files = [path, *(tmp_path / f"findings.jsonl.{age}" for age in (1, 2, 3))]
    assert [line for file in reversed(files) for line in file.read_text().splitlines()] == [*expected, "last"]


@pytest.mark.usefixtures("root")
def test_a_full_disk(tmp_path: Path) -> None:
    """Lines are lost, counted and spoken of once; readers never see a part of a line with another behind it."""
    said: list[str] = []
    with small_disk(tmp_path / "disk") as disk:
        path = disk.path / "findings.jsonl"
        lines = opened(path, said)
        line = b"x" * 999 + b"\n"
        for _ in range(100):
            assert lines.write(line * 3)
        size = path.stat().st_size
        whole, begun = divmod(size, len(line))
        assert whole
        assert begun, "the disk was full in the middle of a line"
        assert lines.lost == 300 - whole - 1
        disk.remount("size=128k")
        lines.write(line)
        assert path.read_bytes() == line * (whole + 2), "the line that was begun, and the next"
        assert lines.lost == 300 - whole - 1
    assert said == [
        f"{path} cannot be written: No space left on device; inspection continues, losses are counted in the metrics",
        f"{path} can be written again",
    ]


@pytest.mark.usefixtures("root")
def test_a_line_that_was_begun_is_finished_where_it_was_begun(tmp_path: Path) -> None:
    """Not in another file, and not in one that was emptied."""
    with small_disk(tmp_path / "disk") as disk:
        path = disk.path / "findings.jsonl"
        lines = opened(path)
        lines.write(b"y" * 100_000 + b"\n")
        assert path.stat().st_size < 100_000
        os.truncate(path, 0)
        lines.write(b"1\n")
        assert path.read_bytes() == b"1\n"
        assert lines.lost == 1
        lines.write(b"y" * 100_000 + b"\n")
        path.rename(disk.path / "rotated")
        (disk.path / "rotated").unlink()
        lines.write(b"2\n")
        assert path.read_bytes() == b"2\n"
        assert lines.lost == 2


@pytest.mark.usefixtures("root")
@pytest.mark.parametrize("problem", ["full", "ro"])
def test_a_start_on_a_bad_disk(tmp_path: Path, problem: str) -> None:
    """A service starts all the same, and writes when it can."""
    said: list[str] = []
    with small_disk(tmp_path / "disk") as disk:
        path = disk.path / "findings.jsonl"
        if problem == "full":
            path.touch()
            disk.fill()
        else:
            disk.remount("ro")
        lines = opened(path, said)
        lines.write(b"1\n" * 5000)
        lost = lines.lost
        assert lost
        assert len(said) == 1
        if problem == "full":
            disk.make_room()
        else:
            disk.remount("rw")
        lines.write(b"2\n")
        assert lines.lost == lost
        assert path.read_bytes().splitlines()[-1] == b"2"
        assert len(said) == 2
        lines.close()


def test_mistakes_are_errors_at_the_start_only(tmp_path: Path) -> None:
    """One line when it begins; when the folder vanishes meanwhile lines are lost, and counted, until it is back."""
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    for path in (tmp_path, tmp_path / "none" / "of" / "these", tmp_path / "pipe"):
        with pytest.raises(OutputError, match=rf"^{path}: cannot be written: [^\n]+$"):
            opened(path)
    os.close(reader)
    (tmp_path / "d").mkdir()
    lines = opened(tmp_path / "d" / "f")
    lines.write(b"1\n")
    (tmp_path / "d").rename(tmp_path / "e")
    lines.write(b"2\n3\n")
    assert lines.lost == 2
    (tmp_path / "d").mkdir()
    lines.write(b"4\n")
    assert (tmp_path / "d" / "f").read_text() == "4\n"
    (tmp_path / "d" / "f").unlink()
    os.mkfifo(tmp_path / "d" / "f")
    lines.write(b"5\n")
    assert lines.lost == 3


def test_a_pipe_that_is_closed_and_one_that_is_slow() -> None:
    """A reader that has gone is told of; a slow one is waited for, also where the pipe says that it would block."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    output = LineOutput(writing, "standard output", print)
    received = bytearray()

    def read() -> None:
        while piece := os.read(reading, 1 << 14):
            received.extend(piece)

    reader = threading.Thread(target=read)
    reader.start()
    line = b"z" * 999 + b"\n"
    assert output.write(line * 1000)
    os.close(writing)
    reader.join()
    assert received == line * 1000
    os.close(reading)
    reading, writing = os.pipe()
    os.close(reading)
    assert not LineOutput(writing, "standard output", print).write(b"1\n")
    os.close(writing)


@pytest.mark.parametrize("cut", range(13))
def test_every_place_where_a_write_may_end(monkeypatch: pytest.MonkeyPatch, cut: int) -> None:
    """After a write of any length whole lines are lost or kept, and a line that was begun is completed."""
    taken = bytearray()
    room = cut
    write = os.write

    def write_some(descriptor: int, data: memoryview) -> int:
        nonlocal room
        if descriptor != -7:
            return write(descriptor, data)
        if not room:
            raise OSError(errno.ENOSPC, "No space left on device")
        count = min(room, len(data), 3)
        taken.extend(data[:count])
        room -= count
        return count

    monkeypatch.setattr(os, "write", write_some)
    output = LineOutput(-7, "somewhere", lambda _: None)
    for lines, more in ((b"aaa\nbbb\nccc\n", 0), (b"ddd\n", 1), (b"eee\n", 100), (b"fff\n", 100)):
        room += more
        output.write(lines)
    written = taken.decode().splitlines()
    assert written[-1] == "fff"
    assert [line for line in written if len(line) != 3] == []
    assert len(written) + output.lost == 6
    assert sorted(written) == written


FULL_STANDARD_OUTPUT = """
import sys
from inspector.inspection.delivery import Delivery
from inspector.config import Config
from tests.build.blocks import batch_of
from tests.unit.test_console import FINDING
warned = []
with Delivery(json={json}, config=Config(), warn=warned.append) as delivery:
    for _ in range(200):
        delivery.show(batch_of(FINDING))
    lost = dict(delivery.losses())
print(len(warned), warned[0], sum(lost.values()), file=sys.stderr)
"""


@pytest.mark.usefixtures("root")
@pytest.mark.parametrize("json", [True, False])
def test_standard_output_on_a_full_disk(tmp_path: Path, json: bool) -> None:
    """It is said once, the inspection goes on, and nothing is complained of at the end."""
    with small_disk(tmp_path / "disk") as disk, (disk.path / "out").open("w") as out:
        disk.fill()
        done = subprocess.run(
            [sys.executable, "-c", FULL_STANDARD_OUTPUT.format(json=json)],
            stdout=out,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
        )
        assert done.returncode == 0, done.stderr
        count, *warning = done.stderr.split()
        assert (count, warning[:5]) == ("1", ["standard", "output", "cannot", "be", "written:"])
        assert json == (int(warning[-1]) > 50)


def test_nothing_is_called_twice() -> None:
    """Closing and opening anew what has no name changes nothing."""
    output: LineOutput = LineOutput(1, "standard output", print)
    closing: list[Callable[[], None]] = [output.reopen, output.close]
    for call in closing:
        call()
    assert output.lost == 0
