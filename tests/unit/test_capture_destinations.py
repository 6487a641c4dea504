"""What `attach --write` may name besides a plain file of its own: FIFOs, devices, folders that are closed to it."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from inspector.live.process.account import acting_as, find_account

if TYPE_CHECKING:
    pass
from tests.unit.test_capture_file import kept, opened, write


def test_a_fifo(tmp_path: Path) -> None:
    """Without a reader packets are held and then lost; a reader gets a capture from its start, and so does the next."""
    path = tmp_path / "fifo"
    os.mkfifo(path)
    said: list[str] = []
    file = opened(path, said)
    assert len(said) == 1
    assert "nobody reads it" in said[0]
    for start in (1, 11):
        found: list[bytes] = []
        reader = threading.Thread(target=lambda found=found: found.append(path.read_bytes()))
        reader.start()
        deadline = 200
        while file._descriptor is None and deadline:
            write(file)
            deadline -= 1
            threading.Event().wait(0.01)
        write(file, start, start + 1)
        file._close()
        reader.join(10)
        (tmp_path / "copy").write_bytes(found[0])
        assert kept(tmp_path / "copy") == [start, start + 1]
    for number in range(1000):
        write(file, number, size=5000)
    assert file.lost > 500
    file.close()
    assert path.exists()


def test_a_slow_reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What its reader does not take is lost, by whole blocks, and the inspection is not held up for long."""
    monkeypatch.setattr("inspector.capture.capturefile._WAIT_S", 0.01)
    path = tmp_path / "fifo"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    said: list[str] = []
    file = opened(path, said)
    for number in range(400):
        write(file, number, size=5000)
    assert file.lost > 100
    assert ["its reader does not keep up" in line for line in said] == [True]
    content = bytearray()
    os.set_blocking(reader, True)
    thread = threading.Thread(
        target=lambda: [content.extend(data) for data in iter(lambda: os.read(reader, 65536), b"")]
    )
    thread.start()
    while file._rest or file._pending:
        file.flush()
    write(file, 1000)
    file.close()
    thread.join(10)
    os.close(reader)
    (tmp_path / "copy").write_bytes(content)
    found = kept(tmp_path / "copy")
    assert found == sorted(found)
    assert found[-1] == 1000
    assert len(found) + file.lost == 401


def test_devices(tmp_path: Path) -> None:
    """/dev/null takes everything, /dev/full nothing, and neither gets another name."""
    del tmp_path
    for name, lost in (("/dev/null", 0), ("/dev/full", 3)):
        said: list[str] = []
        file = opened(Path(name), said, max_bytes=1)
        write(file, 1, 2, 3)
        file.close()
        assert (file.lost, len(said)) == (lost, bool(lost))


@pytest.mark.usefixtures("root", "nobody")
def test_a_folder_that_is_closed_to_the_account(tmp_path: Path) -> None:
    """Root opened the file in a folder of its own, and goes on as another account: what is open is written to."""
    (tmp_path / "closed").mkdir(mode=0o700)
    path = tmp_path / "closed" / "a.pcapng"
    said: list[str] = []
    file = opened(path, said)
    with acting_as(find_account("nobody")):
        write(file, 1, 2)
        write(file, 3)
        file.close()
    assert kept(path) == [1, 2, 3]
    assert (file.lost, said) == (0, [])
