"""Captures that are compressed or in archives, and the folders and patterns that name them."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import lzma
import os
import tarfile
import zipfile
from typing import TYPE_CHECKING

import pytest

from inspector.capture import archive as archive_module
from inspector.capture import stored, tarstream
from inspector.capture.archive import MAXIMUM_MEMBERS, members_of
from inspector.capture.pcap import read_packets
from inspector.errors import CaptureError, CaptureTruncatedError
from inspector.reading.inputs import find_inputs
from tests.build.bounds import peak_below
from tests.build.capture_files import pcap

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from pathlib import Path

    from inspector.capture.stored import PieceReader


def capture(text: bytes) -> bytes:
    """Return a capture of one packet."""
    return pcap("<", [(1, 0, text)])


def noise(length: int) -> bytes:
    """Return bytes that cannot be compressed."""
    return hashlib.shake_128(b"noise").digest(length)


def content_of(path: Path) -> list[bytes]:
    """Return the packets of a file."""
    return [bytes(packet.data) for packet in read_packets(path)]


def write_tar(path: Path, members: list[tuple[str, bytes]], mode: str) -> None:
    """Write a tar archive."""
    with tarfile.open(path, f"w:{mode}") as archive:  # type: ignore[call-overload]  # the mode is a parameter
        for name, content in members:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


@pytest.mark.parametrize("compress", [bz2.compress, lzma.compress, gzip.compress])
def test_compressed(tmp_path: Path, compress: Callable[[bytes], bytes]) -> None:
    """Recognised by first bytes, also several streams behind each other; cut or damaged is said."""
    content = capture(noise(5000))
    path = tmp_path / "a.pcap"
    path.write_bytes(compress(content[:700]) + compress(content[700:]))
    assert content_of(path) == [content[40:]]
    path.write_bytes(compress(content)[:-30])
    with pytest.raises(CaptureTruncatedError, match="the compressed data end early"):
        content_of(path)
    damaged = bytearray(compress(content))
    damaged[2000:2010] = bytes(10)
    path.write_bytes(damaged)
    with pytest.raises(CaptureError, match=r"a\.pcap: (the compressed data are damaged|cannot be read: Invalid data)"):
        content_of(path)


def test_xz_with_padding_and_a_large_dictionary(tmp_path: Path) -> None:
    """Padding between streams is allowed; a dictionary that takes more than `xz -9` does is refused."""
    content = capture(b"one")
    path = tmp_path / "a.pcap.xz"
    path.write_bytes(lzma.compress(content[:20]) + bytes(8) + lzma.compress(content[20:]) + bytes(4))
    assert content_of(path) == [b"one"]
    filters = [{"id": lzma.FILTER_LZMA2, "dict_size": 512 << 20}]
    path.write_bytes(lzma.compress(content, filters=filters))
    with pytest.raises(CaptureError, match="damaged: Memory usage limit"):
        content_of(path)


MEMBERS = [("trace/1.pcap", capture(b"one")), ("trace/2.pcap", capture(b"two")), ("readme.txt", b"Dear colleague,")]


def write_archive(path: Path, members: list[tuple[str, bytes]]) -> None:
    """Write an archive of the kind that its name says."""
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in members:
                archive.writestr(name, content)
        return
    write_tar(path, members, {".tar": "", ".tgz": "gz", ".bz2": "bz2", ".xz": "xz"}[path.suffix])


@pytest.mark.parametrize("name", ["a.zip", "a.tar", "a.tgz", "a.tar.bz2", "a.tar.xz"])
def test_archives(tmp_path: Path, name: str) -> None:
    """Each capture in it is a file of its own; what is none is left out, with a note."""
    path = tmp_path / name
    write_archive(path, MEMBERS)
    inputs = find_inputs([path])
    assert inputs.files == [path / "trace/1.pcap", path / "trace/2.pcap"]
    assert [content_of(file) for file in inputs.files] == [[b"one"], [b"two"]]
    # In another order, and again.
    assert [content_of(file) for file in reversed(inputs.files)] == [[b"two"], [b"one"]]
    assert inputs.notes == [f"{path}: 1 files in it are no captures: left out"]
    assert inputs.failed == []
    assert find_inputs([path / "trace/2.pcap"]).files == [path / "trace/2.pcap"]
    with pytest.raises(CaptureError, match=r"has no member trace/3\.pcap"):
        content_of(path / "trace/3.pcap")


@pytest.mark.parametrize("name", ["a.zip", "a.tgz"])
def test_names_lead_nowhere(tmp_path: Path, name: str) -> None:
    """Whatever a member is called, nothing but the archive is read."""
    path = tmp_path / name
    (tmp_path / "secret.pcap").write_bytes(capture(b"secret"))
    names = ["../secret.pcap", f"{tmp_path}/secret.pcap", "./../../x.pcap", "a//b.pcap"]
    write_archive(path, [(one, capture(str(number).encode())) for number, one in enumerate(names)])
    found = find_inputs([path]).files
    assert all(file.is_relative_to(path) for file in found)
    assert [content_of(file) for file in found] == [[b"0"], [b"1"], [b"2"], [b"3"]] or found[0] == found[1]
    assert all(b"secret" not in content_of(file) for file in found)


def test_links_and_holes_in_tar(tmp_path: Path) -> None:
    """Only files are read: no links, no devices."""
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w") as archive:
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE):
            member = tarfile.TarInfo(f"x{kind.decode()}.pcap")
            member.type, member.linkname = kind, "/etc/passwd"
            archive.addfile(member)
    assert find_inputs([path]).failed == [f"{path}: no file is in this archive"]


def test_a_compressed_tar_is_read_in_one_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Members in their order cost one decompression, however many there are."""
    path = tmp_path / "a.tgz"
    write_archive(path, [(f"{number}.pcap", capture(noise(60_000))) for number in range(40)])
    files = find_inputs([path]).files
    opened: list[Path] = []
    original = stored.open_pieces

    def opening(archive: Path) -> AbstractContextManager[PieceReader]:
        opened.append(archive)
        return original(archive)

    monkeypatch.setattr(tarstream, "open_pieces", opening)
    assert sum(len(content_of(file)) for file in files) == 40
    assert len(opened) == 1


def test_bombs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Archives that expand enormously take neither memory nor time."""
    monkeypatch.setattr(archive_module, "_HELD", 1 << 20)
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_BZIP2) as archive, archive.open("a.pcap", "w") as member:
        member.write(capture(b""))
        for _ in range(60):
            member.write(bytes(1 << 20))
    with peak_below(64 << 20), pytest.raises(CaptureError, match="out of proportion"):
        content_of(path / "a.pcap")
    monkeypatch.setattr(stored, "_HELD", 1 << 20)
    path = tmp_path / "b.pcap.bz2"
    path.write_bytes(bz2.compress(capture(b"") + bytes(60 << 20)))
    with peak_below(64 << 20), pytest.raises(CaptureError, match="out of proportion"):
        content_of(path)


def test_a_header_of_a_tar_that_asks_for_memory(tmp_path: Path) -> None:
    """The name of a member may take as many bytes as its header says: no more than a packet has."""
    path = tmp_path / "a.tar"
    member = tarfile.TarInfo("././@LongLink")
    member.type, member.size = tarfile.GNUTYPE_LONGNAME, 1 << 33
    path.write_bytes(member.tobuf(tarfile.GNU_FORMAT) + bytes(4096))
    with peak_below(64 << 20):
        assert "the archive is damaged" in find_inputs([path]).failed[0]


def test_too_many_members(tmp_path: Path) -> None:
    """An archive of more files than anybody reads is refused."""
    path = tmp_path / "a.tar"
    write_archive(path, [("a.pcap", b"")] * (MAXIMUM_MEMBERS + 1))
    with pytest.raises(CaptureError, match=f"more than {MAXIMUM_MEMBERS} members"):
        members_of(path)


def test_encrypted_and_damaged_zip(tmp_path: Path) -> None:
    """Both are one line that names the member, or the archive."""
    path = tmp_path / "a.zip"
    write_archive(path, MEMBERS)
    content = bytearray(path.read_bytes())
    for signature, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.find(signature) + at] |= 1
    path.write_bytes(content)
    with pytest.raises(CaptureError, match=r"a\.zip/trace/1\.pcap: is encrypted"):
        content_of(path / "trace/1.pcap")
    assert content_of(path / "trace/2.pcap") == [b"two"]
    path.write_bytes(content[:-40])
    assert "a.zip: the archive is damaged" in find_inputs([path]).failed[0]


def test_folders_and_patterns(tmp_path: Path) -> None:
    """Captures at any depth in the order of their names; other files are counted, and what is named is always tried."""
    (tmp_path / "b").mkdir()
    (tmp_path / "a.pcap").write_bytes(capture(b"one"))
    (tmp_path / "b" / "without suffix").write_bytes(capture(b"two"))
    (tmp_path / "b" / "page.pcap").write_bytes(b"<html>")
    (tmp_path / "b" / "notes.txt").write_bytes(b"Dear colleague,")
    (tmp_path / "b" / "index.html").write_bytes(b"<html>")
    write_archive(tmp_path / "c.zip", MEMBERS)
    os.mkfifo(tmp_path / "pipe")
    inputs = find_inputs([tmp_path])
    assert [str(file.relative_to(tmp_path)) for file in inputs.files] == [
        "a.pcap",
        "c.zip/trace/1.pcap",
        "c.zip/trace/2.pcap",
        "b/page.pcap",
        "b/without suffix",
    ]
    assert inputs.notes[-1] == f"{tmp_path}: 2 files in it are no captures: left out"
    assert find_inputs([tmp_path / "*" / "*.pcap"]).files == [tmp_path / "b" / "page.pcap"]
    assert len(find_inputs([tmp_path / "**" / "*.pcap"]).files) == 2
    assert find_inputs([tmp_path / "*.cap"]).failed == [f"{tmp_path}/*.cap: no file matches"]
    (tmp_path / "odd[1].pcap").write_bytes(capture(b"three"))
    assert find_inputs([tmp_path / "odd[1].pcap"]).files == [tmp_path / "odd[1].pcap"]
    (tmp_path / "empty").mkdir()
    assert find_inputs([tmp_path / "empty"]).failed == [f"{tmp_path}/empty: no file is in this folder"]
