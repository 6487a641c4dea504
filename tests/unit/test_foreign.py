"""Captures of other formats: named, and read by way of Wireshark's editcap within bounds."""

from __future__ import annotations

import gzip
import shutil
import subprocess
from pathlib import Path

import pytest

from inspector.capture import foreign
from inspector.capture.kinds import kind_of
from inspector.capture.pcap import read_packets
from inspector.errors import CaptureError, CaptureTruncatedError
from tests.bench.conversations import write_capture
from tests.build.account import let_in
from tests.conftest import require_tools

# What editcap writes of Ethernet packets and reads again from a pipe, with the words that name it.
FORMATS = {
    "5views": "InfoVista 5View",
    "commview-ncf": "CommView",
    "k12text": "K12 text",
    "lanalyzer": "LANalyzer",
    "modpcap": "modified pcap",
    "netmon1": "Network Monitor 1.x",
    "netmon2": "Network Monitor 2.x",
    "nettl": "HP-UX nettl",
    "ngsniffer": "Sniffer (DOS)",
    "ngwsniffer_1_1": "NetXray or Sniffer",
    "ngwsniffer_2_0": "NetXray or Sniffer",
    "snoop": "snoop",
    "visual": "Visual Networks",
}


# The start of a pcapng file, written by a shell.
SECTION = r"printf '\n\r\r\n\034\0\0\0\115\074\053\032\001\0\0\0\377\377\377\377\377\377\377\377\034\0\0\0'"


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    """Return a pcapng file of 3 conversations."""
    path = tmp_path / "plain.pcapng"
    write_capture(path, 3)
    return path


def converted(plain: Path, kind: str) -> Path:
    """Return the file in another format."""
    require_tools(["editcap"])
    # CommView's captures have no magic.
    target = plain.with_name(f"trace of {kind}.{'ncf' if kind == 'commview-ncf' else 'cap'}")
    subprocess.run(["editcap", "-T", "ether", "-F", kind, plain, target], check=True)
    return target


def frames(path: Path) -> list[bytes]:
    """Return the frames of a file."""
    return [bytes(packet.data) for packet in read_packets(path)]


@pytest.mark.parametrize("kind", FORMATS)
def test_formats_that_editcap_reads(plain: Path, kind: str) -> None:
    """The frames are those of the file which it was made from."""
    assert frames(converted(plain, kind)) == frames(plain)


@pytest.mark.parametrize(("kind", "name"), FORMATS.items())
def test_without_editcap(plain: Path, kind: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message names the format and the command that converts it, ready for a shell."""
    path = converted(plain, kind)
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with pytest.raises(CaptureError) as caught:
        frames(path)
    message = str(caught.value)
    assert name in message
    command = message.partition("convert it with: ")[2]
    subprocess.run(["bash", "-c", command], check=True)
    assert frames(Path(f"{path}.pcapng")) == frames(plain)


def test_compressed(plain: Path) -> None:
    """Network Monitor's format needs a file in which any place can be reached: it is copied."""
    path = converted(plain, "netmon2")
    packed = path.with_suffix(".gz")
    packed.write_bytes(gzip.compress(path.read_bytes()))
    assert frames(packed) == frames(plain)


def test_cut_short(plain: Path) -> None:
    """What comes before counts, as with pcap."""
    path = converted(plain, "snoop")
    path.write_bytes(path.read_bytes()[:-30])
    found: list[bytes] = []
    with pytest.raises(CaptureTruncatedError, match="cut short"):
        found.extend(bytes(packet.data) for packet in read_packets(path))
    path.write_bytes(path.read_bytes()[:6])
    with pytest.raises(CaptureError, match="is no capture file"):
        frames(path)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.pcap", b"<!DOCTYPE HTML><html><title>Sign in</title>", "is an HTML page and no capture; fetch"),
        ("a.pcap", b"\xef\xbb\xbf\r\n <html>", "is an HTML page"),
        ("a.pcap", "<html>".encode("utf-16"), "is an HTML page"),
        ("a.pcap", b"version https://git-lfs.github.com/spec/v1\noid sha256:", "is a Git LFS pointer .*: git lfs pull"),
        ("a.pcap", b"7z\xbc\xaf\x27\x1c" + bytes(30), "is a 7-Zip archive; unpack it"),
        ("a.cab", b"MSCF" + bytes(30), "is a cabinet archive; unpack it"),
        ("a.etl", b"\x00\x00\x01\x00" + bytes(100), "is no Windows event trace .*: pktmon"),
        ("a.pcap", b"%PDF-1.7" + bytes(100), "is a PDF document"),
    ],
)
def test_no_capture_by_name(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    """What is often sent in place of a capture is named, with what leads on."""
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(CaptureError, match=rf"^[^\n]*{name}: {message}[^\n]*$"):
        frames(path)


def fake_tool(folder: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put a script in editcap's place, and return a capture that it would be given."""
    let_in(folder)
    tool = folder / "editcap"
    tool.write_text(f"#!/bin/sh\n{script}\n")
    tool.chmod(0o755)
    monkeypatch.setattr(shutil, "which", lambda _: str(tool))
    path = folder / "a.cap"
    path.write_bytes(b"snoop\0\0\0" + bytes(100))
    return path


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("exec yes '                                      '", "a section without byte order"),
        (f"{SECTION}; exec yes ''", "damaged"),
        ("echo 'editcap: no such thing' >&2; exit 1", "is a snoop capture: editcap: no such thing"),
        ("while :; do :; done", "is a snoop capture: editcap ended early"),
        ("x=aaaaaaaa; while :; do x=$x$x; done", "is a snoop capture"),
    ],
)
def test_the_converter_is_bounded(tmp_path: Path, script: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever it does, in memory, time or output, it ends, and so does reading; with one line."""
    monkeypatch.setattr(foreign, "_SECONDS", 1)
    with pytest.raises(CaptureError, match=rf"^[^\n]*a\.cap: [^\n]*{message}"):
        frames(fake_tool(tmp_path, script, monkeypatch))


@pytest.mark.usefixtures("root")
def test_the_converter_has_no_privileges(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of root it is nobody, in no group, and does not see who started it."""
    script = 'echo "editcap: $(id -u) $(id -g) $(id -G) $HOME $(pwd) ${SECRET:--}" >&2; exit 1'
    monkeypatch.setenv("SECRET", "told")
    with pytest.raises(CaptureError, match=r"editcap: 65534 65534 65534 /nonexistent / -$"):
        frames(fake_tool(tmp_path, script, monkeypatch))


def test_output_in_proportion(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Packets without end are not read for ever."""
    monkeypatch.setattr(foreign, "_WRITTEN", 1 << 20)
    # A block of a type to be skipped.
    block = "printf '\\377\\0\\0\\0\\014\\0\\0\\0\\014\\0\\0\\0'"
    path = fake_tool(tmp_path, f"{SECTION}; while :; do {block}; done", monkeypatch)
    with pytest.raises(CaptureError, match="out of proportion to its size"):
        frames(path)


def test_unknown_bytes_are_of_no_kind() -> None:
    """Text and zeros are not taken for anything."""
    assert kind_of(b"Dear colleague,", Path("a.pcap")) is None
    assert kind_of(bytes(512), Path("a.cap")) is None
