"""The folder of evidence: names, bounds, and what is there after a kill, on a full disk, beside another inspector."""

from __future__ import annotations

import errno
import os
import re
import subprocess
import sys
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from inspector.errors import OutputError
from inspector.evidence.folder import EvidenceFolder, file_name
from tests.build.disk import small_disk
from tests.unit.test_metrics import finding

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parents[2]


def name(number: int) -> str:
    """Return the name of a file, each later than the one before."""
    return f"20261125T0216{number:02}.589458500Z_10.1.1.1_10.11.2.2.pcapng"


def opened(path: Path, *, files: int = 100, size: int = 1 << 20, warn: Callable[[str], None] = print) -> EvidenceFolder:
    """Open a folder with these bounds."""
    return EvidenceFolder(path, files, size, warn)


def names(path: Path) -> list[str]:
    """Return what is in a folder."""
    return sorted(one.name for one in path.iterdir())


@pytest.mark.parametrize(
    ("client", "vip", "number", "expected"),
    [
        ("10.1.1.1", "10.11.2.2", 0, "20231114T221320.000000000Z_10.1.1.1_10.11.2.2.pcapng"),
        ("2001:db8::1", "10.11.2.2", 3, "20231114T221320.000000000Z_2001-db8--1_10.11.2.2_3.pcapng"),
        ("::", "::1", 0, "20231114T221320.000000000Z_--_--1.pcapng"),
    ],
)
def test_names_are_safe_everywhere(client: str, vip: str, number: int, expected: str) -> None:
    """Time, client, VIP; nothing that a file system, a shell or a URL minds."""
    one = replace(finding(asked=vip), client=ip_address(client), time_ns=1_700_000_000_000_000_000)
    assert file_name(one, number) == expected
    assert re.fullmatch(r"[0-9A-Za-z._-]+", file_name(one, number))


def test_the_oldest_goes_first(tmp_path: Path) -> None:
    """Bounded by number and by size, over restarts; what has other names is not ours and stays."""
    (tmp_path / "notes.pcapng").write_bytes(b"x" * 10_000)
    folder = opened(tmp_path, files=3)
    for number in range(5):
        folder.write(name(number), b"x" * 10)
    assert names(tmp_path) == [*map(name, (2, 3, 4)), "notes.pcapng"]
    folder.close()
    folder = opened(tmp_path, files=3, size=25)
    assert names(tmp_path) == [*map(name, (3, 4)), "notes.pcapng"]
    folder.write(name(5), b"x" * 10)
    folder.write(name(6), b"x" * 24)
    assert names(tmp_path) == [name(6), "notes.pcapng"]
    folder.write(name(7), b"x" * 100)
    assert names(tmp_path) == [name(7), "notes.pcapng"], "the newest stays whatever its size"


def test_a_file_takes_the_place_of_one_of_its_name(tmp_path: Path) -> None:
    """As when the same capture is read twice: one file, counted once."""
    folder = opened(tmp_path, size=25)
    for content in (b"1" * 12, b"2" * 12, b"3" * 12):
        folder.write(name(1), content)
        folder.write(name(2), content)
    assert [(tmp_path / name(number)).read_bytes() for number in (1, 2)] == [b"3" * 12] * 2
    assert (tmp_path / name(1)).stat().st_mode & 0o777 == 0o640


def test_others_may_take_files_or_the_folder_away(tmp_path: Path) -> None:
    """Removed files are not missed, and a folder that was moved is made anew."""
    folder = opened(tmp_path / "a" / "b", files=2)
    folder.write(name(1), b"x")
    folder.write(name(2), b"x")
    (tmp_path / "a" / "b" / name(1)).unlink()
    folder.write(name(3), b"x")
    assert names(tmp_path / "a" / "b") == [name(2), name(3)]
    (tmp_path / "a").rename(tmp_path / "c")
    folder.write(name(4), b"x")
    assert names(tmp_path / "a" / "b") == [name(4)]
    folder.reopen()
    (tmp_path / "c" / "b" / name(2)).rename(tmp_path / "a" / "b" / name(2))
    folder.write(name(5), b"x")
    assert names(tmp_path / "a" / "b") == [name(4), name(5)], "the older by time of writing is gone"


KILLED_WHILE_WRITING = """
import os, sys, time
from pathlib import Path
from inspector.evidence.folder import EvidenceFolder
folder = EvidenceFolder(Path(sys.argv[1]), 10, 1 << 20, print)
folder.write(sys.argv[2], b"whole")
fsync = os.fsync
def hang(descriptor):
    print("writing", flush=True)
    time.sleep(600)
os.fsync = hang
folder.write(sys.argv[3], b"x" * 100_000)
"""


def test_a_kill_leaves_whole_files_only(tmp_path: Path) -> None:
    """The file that was being written is not there under its name, and its remains go at the next start."""
    arguments = [sys.executable, "-c", KILLED_WHILE_WRITING, str(tmp_path), name(1), name(2)]
    with subprocess.Popen(
        arguments, stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": str(ROOT)}
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "writing\n"
        with pytest.raises(OutputError, match=r"^[^\n]*: locked by another inspector[^\n]*$"):
            opened(tmp_path)
        child.kill()
    assert names(tmp_path) == [f".{name(2)}.part", name(1)]
    (tmp_path / ".other.part").touch()
    opened(tmp_path)
    assert names(tmp_path) == [".other.part", name(1)]
    assert (tmp_path / name(1)).read_bytes() == b"whole"


@pytest.mark.usefixtures("root")
def test_a_full_disk(tmp_path: Path) -> None:
    """Writing fails and leaves nothing behind; with room it works again."""
    with small_disk(tmp_path / "disk") as disk:
        folder = opened(disk.path)
        folder.write(name(1), b"x")
        disk.fill()
        with pytest.raises(OSError, match="No space left"):
            folder.write(name(2), b"x" * 20_000)
        assert names(disk.path) == [name(1), "ballast"]
        disk.make_room()
        folder.write(name(2), b"x" * 20_000)
        assert names(disk.path) == [name(1), name(2)]


@pytest.mark.usefixtures("root")
@pytest.mark.parametrize("problem", ["full", "read-only"])
def test_a_start_on_a_bad_disk(tmp_path: Path, problem: str) -> None:
    """It is said, and the folder is used as soon as it can be: a service must start."""
    said: list[str] = []
    with small_disk(tmp_path / "disk") as disk:
        (disk.path / "evidence").mkdir()
        if problem == "full":
            disk.fill()
        else:
            disk.remount("ro")
        folder = opened(disk.path / "evidence", warn=said.append)
        (line,) = said
        assert "evidence cannot be written: " in line
        with pytest.raises(OSError, match=r"No space left|Read-only file system"):
            folder.write(name(1), b"x")
        if problem == "full":
            disk.make_room()
        else:
            disk.remount("rw")
        folder.write(name(1), b"x")
        assert names(disk.path / "evidence") == [name(1)]
        folder.close()


def test_mistakes_are_errors(tmp_path: Path) -> None:
    """A file in the place of the folder, or of one above it: one line, at once."""
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(OutputError, match=r"^[^\n]*: evidence cannot be written: [^\n]*$"):
            opened(path)


def test_a_file_system_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some know none for folders: then there is none, and everything else works."""

    def refuse(_descriptor: int, _operation: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", refuse)
    opened(tmp_path).write(name(1), b"x")
    assert names(tmp_path) == [name(1)]
