"""What `attach --write` appends to: kept over restarts, bounded, whole on a full disk and after a kill."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from inspector.capture.capturefile import CaptureFile
from inspector.capture.pcap import read_records
from inspector.errors import OutputError
from inspector.record import KernelCounter, unpack_record
from tests.build.capture_files import interface, section
from tests.build.disk import small_disk
from tests.conftest import require_tools
from tests.unit.test_capture_writer import segment, tshark

if TYPE_CHECKING:
    from inspector.model import Segment

ROOT = Path(__file__).parents[2]
MANY = 1 << 40


def opened(path: Path, said: list[str] | None = None, *, max_bytes: int = MANY, files: int = 3) -> CaptureFile:
    """Open a file for packets."""
    warn = (said if said is not None else []).append
    return CaptureFile(path, {4: "outer"}, warn, max_bytes=max_bytes, files=files, comment="of a test")


def numbered(number: int, size: int = 100) -> Segment:
    """Return a segment that can be told from others."""
    return segment(number.to_bytes(4, "big") + bytes(size - 4))


def write(file: CaptureFile, *numbers: int, size: int = 100) -> None:
    """Write segments, now."""
    for number in numbers:
        file.write(numbered(number, size))
    file.flush()


def kept(*paths: Path) -> list[int]:
    """Return the numbers of the segments in files, each of which must be whole."""
    return [
        int.from_bytes(unpack_record(record).payload[:4], "big")
        for path in paths
        for record in read_records(path, ports={135}, counters=[0] * len(KernelCounter))
    ]


def test_a_restart_keeps_what_was_there(tmp_path: Path) -> None:
    """Another section is appended; tshark and `read` see the packets of all, and the mode is that of the others."""
    path = tmp_path / "a.pcapng"
    for start in (1, 3, 5):
        file = opened(path)
        write(file, start, start + 1)
        file.close()
    assert kept(path) == [1, 2, 3, 4, 5, 6]
    assert [row[:2] for row in tshark(path, "frame.interface_name", "tcp.checksum.status")] == [["outer", "1"]] * 6
    assert path.stat().st_mode & 0o777 == 0o640
    assert file.lost == 0


def test_it_is_a_capture_from_the_start(tmp_path: Path) -> None:
    """Before there is any packet, and before the first flush."""
    file = opened(tmp_path / "a.pcapng")
    assert kept(tmp_path / "a.pcapng") == []
    assert tshark(tmp_path / "a.pcapng", "frame.number") == []
    file.close()


@pytest.mark.parametrize("content", [b"not a capture at all", b"\xd4\xc3\xb2\xa1" + bytes(20), b"short", b"\n\r"])
def test_another_file_is_left_alone(tmp_path: Path, content: bytes) -> None:
    """What is there and cannot be appended to is an error, at the start; nothing of it is changed."""
    path = tmp_path / "precious"
    path.write_bytes(content)
    with pytest.raises(OutputError, match=r"^[^\n]*precious: cannot be written: it is there already, and no pcapng"):
        opened(path)
    assert path.read_bytes() == content
    with pytest.raises(OutputError, match="Is a directory"):
        opened(tmp_path)
    with pytest.raises(OutputError, match="No such file"):
        opened(tmp_path / "none" / "a.pcapng")


def test_only_one_inspector_writes(tmp_path: Path) -> None:
    """Two would cut each other's blocks."""
    file = opened(tmp_path / "a.pcapng")
    with pytest.raises(OutputError, match="another inspector writes to it"):
        opened(tmp_path / "a.pcapng")
    file.close()
    opened(tmp_path / "a.pcapng").close()


@pytest.mark.parametrize("order", ["<", ">"])
def test_every_partial_block_is_taken_off(tmp_path: Path, order: str) -> None:
    """Wherever a kill cut the last block, also behind a file of the other byte order; and nothing else is."""
    path = tmp_path / "a.pcapng"
    path.write_bytes(section(order) + interface(order))
    for number in (1, 2):
        file = opened(path)
        write(file, number)
        file.close()
    content = path.read_bytes()
    for size in range(4, len(content)):
        path.write_bytes(content[:size])
        before = kept_of_whole_blocks(path)
        said: list[str] = []
        file = opened(path, said)
        write(file, 9)
        file.close()
        assert kept(path) == [*before, 9]
        assert len(said) <= 1
        assert all("were taken off" in line for line in said)


def kept_of_whole_blocks(path: Path) -> list[int]:
    """Return the segments whose blocks are whole: those before the end was cut."""
    found = []
    content = path.read_bytes()
    for number in (1, 2):
        at = content.find(number.to_bytes(4, "big") + bytes(96))
        # Behind the frame are its padding and the block's length.
        if at >= 0 and len(content) >= at + 100 + 2 + 4:
            found.append(number)
    return found


def test_damage_in_the_middle_is_kept_aside(tmp_path: Path) -> None:
    """More behind the last whole block than a block can be: nobody knows what it is, so another file is begun."""
    path = tmp_path / "a.pcapng"
    file = opened(path)
    write(file, 1)
    file.close()
    damaged = path.read_bytes() + bytes(2 << 20)
    path.write_bytes(damaged)
    said: list[str] = []
    file = opened(path, said)
    write(file, 2)
    file.close()
    assert kept(path) == [2]
    assert (tmp_path / "a.pcapng.1").read_bytes() == damaged
    assert len(said) == 1
    assert "damaged at byte" in said[0]


@pytest.mark.parametrize("files", [1, 2, 4])
def test_it_is_bounded(tmp_path: Path, files: int) -> None:
    """No file is longer than said, no more than said are there; the newest packets are, in order and without a hole."""
    path = tmp_path / "a.pcapng"
    for start in range(0, 300, 60):
        file = opened(path, max_bytes=5000, files=files)
        write(file, *range(start, start + 60))
        file.close()
        assert file.lost == 0
    found = sorted(tmp_path.iterdir(), reverse=True)
    assert [one.name for one in found] == [f"a.pcapng.{number}" for number in range(files - 1, 0, -1)] + ["a.pcapng"]
    assert all(2000 < one.stat().st_size <= 5000 for one in found[:-1])
    assert path.stat().st_size <= 5000
    assert all(one.stat().st_mode & 0o777 == 0o640 for one in found)
    numbers = kept(*found)
    assert numbers == list(range(300 - len(numbers), 300))


def test_fewer_files_than_before(tmp_path: Path) -> None:
    """Those which are too many go at the next rotation; others' files stay."""
    (tmp_path / "a.pcapng.txt").touch()
    for files in (6, 2):
        file = opened(tmp_path / "a.pcapng", max_bytes=1000, files=files)
        write(file, *range(40))
        file.close()
    assert sorted(one.name for one in tmp_path.iterdir()) == ["a.pcapng", "a.pcapng.1", "a.pcapng.txt"]


@pytest.mark.parametrize("size", [100, 60_000])
def test_a_packet_longer_than_the_bound(tmp_path: Path, size: int) -> None:
    """Is alone in its file."""
    file = opened(tmp_path / "a", max_bytes=10, files=3)
    write(file, *range(6), size=size)
    file.close()
    assert kept(*sorted(tmp_path.iterdir(), reverse=True)) == [3, 4, 5]


def test_renamed_removed_emptied(tmp_path: Path) -> None:
    """Whatever logrotate does: each file is a capture of its own, and none is lost."""
    path = tmp_path / "a.pcapng"
    file = opened(path)
    write(file, 1)
    path.rename(tmp_path / "moved")
    write(file, 2)
    path.rename(tmp_path / "told")
    file.reopen()
    write(file, 3)
    os.truncate(path, 0)
    write(file, 4)
    assert kept(tmp_path / "moved", tmp_path / "told", path) == [1, 2, 4]
    path.unlink()
    write(file, 5)
    file.close()
    assert kept(path) == [5]
    assert file.lost == 0


def test_a_symbolic_link(tmp_path: Path) -> None:
    """The file it leads to is rotated, beside itself."""
    (tmp_path / "disk").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "disk" / "a")
    file = opened(tmp_path / "link", max_bytes=10)
    write(file, 1, 2)
    file.close()
    assert sorted(one.name for one in (tmp_path / "disk").iterdir()) == ["a", "a.1"]
    assert kept(tmp_path / "link") == [2]


def test_a_full_disk(tmp_path: Path) -> None:
    """Whole blocks only, at any time; what found no room is counted, and it goes on when there is room again."""
    said: list[str] = []
    with small_disk(tmp_path / "disk", 4096) as disk:
        path = disk.path / "a.pcapng"
        file = opened(path, said)
        write(file, 0)
        disk.fill()
        for number in range(1, 400):
            write(file, number, size=5000)
            kept(path)
        assert file.lost > 150
        assert len(said) == 1
        assert "No space left on device" in said[0]
        disk.make_room()
        write(file, *range(700, 720))
        before = len(said)
        file.close()
        found = kept(path)
        assert found[-20:] == list(range(700, 720))
        assert before == 2
        assert len(found) + file.lost == 420
        assert "packets before these could not be written" in tshark_comments(path)
    assert said[-1].endswith("can be written again")


def tshark_comments(path: Path) -> str:
    """Return what the sections of a file say, as capinfos shows it."""
    require_tools(["capinfos"])
    return subprocess.run(["capinfos", "-k", path], capture_output=True, text=True, check=True).stdout


def test_a_full_disk_at_the_start(tmp_path: Path) -> None:
    """The inspection begins without; every packet is in the file, or counted."""
    said: list[str] = []
    with small_disk(tmp_path / "disk", 256) as disk:
        disk.fill()
        path = disk.path / "a.pcapng"
        file = opened(path, said)
        for number in range(60):
            write(file, number, size=30_000)
        assert len(said) == 1
        lost = file.lost
        assert lost
        disk.make_room()
        # What is held is more than there is room for.
        write(file, 100, size=100)
        file.close()
        assert len(kept(path)) + file.lost == 61
        for option in ("ro", "rw"):
            disk.remount(option)
            again = opened(path, said, max_bytes=10, files=2)
            write(again, 7)
            again.close()
            assert again.lost == (option == "ro")
        assert kept(path) == [7]


def test_blocks_written_in_part_are_taken_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However much of a block finds room: the file ends with a whole one, and is gone on with."""
    path = tmp_path / "a.pcapng"
    real, room = os.write, 0

    def write_some(descriptor: int, data: memoryview) -> int:
        nonlocal room
        count = min(room, len(data), 37)
        if not count:
            raise OSError(errno.ENOSPC, "No space left on device")
        room -= count
        return real(descriptor, data[:count])

    file = opened(path)
    monkeypatch.setattr(os, "write", write_some)
    for number in range(200):
        room = number * 3
        write(file, number)
        content = path.read_bytes()
        monkeypatch.setattr(os, "write", real)
        assert kept(path) == list(range(len(kept(path))))
        assert path.read_bytes() == content
        monkeypatch.setattr(os, "write", write_some)
    monkeypatch.setattr(os, "write", real)
    file.close()
    assert kept(path) == list(range(200))


KILLED = """
import os, sys
from pathlib import Path
from tests.unit.test_capture_file import numbered, opened
file = opened(Path(sys.argv[1]), max_bytes=200_000)
for number in range(1_000_000):
    file.write(numbered(number, 1000))
    file.flush()
    if number == 50:
        print("begun", flush=True)
"""


def test_kill_9(tmp_path: Path) -> None:
    """At any time: the next one goes on, and every packet is there once up to the one that was cut."""
    path = tmp_path / "a.pcapng"
    for _ in range(5):
        with subprocess.Popen(
            [sys.executable, "-c", KILLED, path], cwd=ROOT, stdout=subprocess.PIPE, text=True
        ) as writer:
            assert writer.stdout is not None
            assert writer.stdout.readline() == "begun\n"
            writer.kill()
        file = opened(path)
        write(file, 1)
        file.close()
        assert kept(path)[-1] == 1
        assert file.lost == 0
