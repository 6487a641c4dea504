"""What a file is by its first bytes, where it is neither pcap nor pcapng: a name for messages, and what leads on.

The first bytes are those which Wireshark's writers of each format produce.
"""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Final, NamedTuple

from inspector.capture.eventtrace import is_event_trace
from inspector.capture.stackevents import is_listing

HEAD: Final = 512
"""Bytes that `kind_of` needs: a tar archive says what it is at byte 257."""


class Kind(NamedTuple):
    """A kind of file; `advice` is what to do with one, None for one that can be read (by editcap with `options`)."""

    name: str
    advice: str | None = None
    options: tuple[str, ...] = ()


_ETHERNET: Final = ("-T", "ether")
# These say of each packet what it is: converted as Ethernet, which nearly all are.
_OF_ANY_LINK: Final = frozenset({"an HP-UX nettl trace", "a K12 text trace"})
_UNPACK: Final = "unpack it and read the captures in it"
_CAPTURES: Final = (
    (b"GMBU", "a Network Monitor 2.x capture"),
    (b"RTSS", "a Network Monitor 1.x capture"),
    (b"snoop\0\0\0", "a snoop capture"),
    (b"\x34\xcd\xb2\xa1", "a capture of the modified pcap format"),
    (b"\xa1\xb2\xcd\x34", "a capture of the modified pcap format"),
    (b"TRSNIFF data    \x1a", "a Sniffer (DOS) capture"),
    (b"XCP\0", "a NetXray or Sniffer (Windows) capture"),
    (b"VL\0\0", "a NetXray capture"),
    (b"\x05VNF", "a Visual Networks capture"),
    (b"\xaa\xaa\xaa\xaa", "an InfoVista 5View capture"),
    (b"TR\0d\0", "an HP-UX nettl trace"),
    (b"ObserverPktBuffer", "a Viavi Observer capture"),
    (b"\x7fver", "an OmniPeek capture"),
    (b"\x01\x10\x4c\0\x01\x05Trace", "a LANalyzer capture"),
    (b"iptrace ", "an AIX iptrace capture"),
    (b"+---------+---------------+", "a K12 text trace"),
)
_PDF: Final = Kind("a PDF document", "ask for the capture file itself")
_OTHERS: Final = (
    (b"version https://git-lfs.", Kind("a Git LFS pointer and not the file", "fetch the file with: git lfs pull")),
    (b"MSCF", Kind("a cabinet archive", _UNPACK)),
    (b"7z\xbc\xaf\x27\x1c", Kind("a 7-Zip archive", _UNPACK)),
    (b"Rar!\x1a\x07", Kind("a RAR archive", _UNPACK)),
    (b"\x04\x22\x4d\x18", Kind("compressed with LZ4", "decompress it with: lz4 -d")),
    (b"\x1f\x9d", Kind("compressed with compress", "decompress it with: uncompress")),
    (b"LZIP", Kind("compressed with lzip", "decompress it with: lzip -d")),
    (b"%PDF", _PDF),
    (b"PK\x03\x04", Kind("a zip archive", _UNPACK)),
    (b"PK\x05\x06", Kind("an empty zip archive", "ask for the capture file itself")),
)
_HTML: Final = Kind("an HTML page and no capture", "fetch the file itself: a web server gave a page in its place")
_TAR: Final = Kind("a tar archive", _UNPACK)
EVENT_TRACE: Final = Kind("a Windows event trace")
LISTING: Final = Kind("a listing of Windows events")
_DAMAGED_TRACE: Final = Kind(
    "no Windows event trace in spite of its name, or damaged", "convert it on Windows with: pktmon etl2pcap FILE"
)
_PAGES: Final = (b"<!doctype html", b"<html", b"<head", b"<?xml")
_BY_SUFFIX: Final = {".etl": _DAMAGED_TRACE, ".ncf": Kind("a CommView capture", options=_ETHERNET)}
_MARKS_AND_SPACE: Final = b"\xef\xbb\xbf\xff\xfe \t\r\n"
_READ: Final = frozenset(
    {b"\xd4\xc3\xb2\xa1", b"\xa1\xb2\xc3\xd4", b"\x4d\x3c\xb2\xa1", b"\xa1\xb2\x3c\x4d", b"\x0a\x0d\x0d\x0a"}
)
_COMPRESSED: Final = (b"\x1f\x8b", b"BZh", b"\xfd7zX", b"\x28\xb5\x2f\xfd")
_SUFFIXES: Final = frozenset({".cap", ".dmp", ".erf", ".ncf", ".ncfx", ".pcap", ".pcapng", ".snoop", ".trace", ".trc"})
_TAR_MAGIC: Final = b"ustar"
_TAR_AT: Final = 257


def kind_of(head: bytes, path: Path) -> Kind | None:
    """Return what the first HEAD bytes of a file say that it is, None where they say nothing."""
    for magic, name in _CAPTURES:
        if head.startswith(magic):
            return Kind(name, options=_ETHERNET if name in _OF_ANY_LINK else ())
    for magic, kind in _OTHERS:
        if head.startswith(magic):
            return kind
    if is_tar(head):
        return _TAR
    # UTF-16 has a zero byte beside each of these letters, and a mark before them, as UTF-8 may have.
    if head.replace(b"\0", b"").lstrip(_MARKS_AND_SPACE).lower().startswith(_PAGES):
        return _HTML
    if is_event_trace(head):
        return EVENT_TRACE
    if is_listing(head):
        return LISTING
    return _BY_SUFFIX.get(path.suffix.lower())


def looks_like_capture(head: bytes, path: Path) -> bool:
    """Return whether a file that nobody named is to be read: by its first bytes, or by its name."""
    if head[:4] in _READ or head.startswith(_COMPRESSED):
        return True
    return path.suffix.lower() in _SUFFIXES or kind_of(head, path) not in (None, _HTML, _PDF)


def is_tar(head: bytes) -> bool:
    """Return whether the first bytes are those of a tar archive (POSIX and GNU)."""
    return head[_TAR_AT : _TAR_AT + len(_TAR_MAGIC)] == _TAR_MAGIC


def conversion(path: Path, kind: Kind) -> str:
    """Return the command that makes pcapng of a capture."""
    name = str(path)
    return shlex.join(["editcap", *kind.options, "-F", "pcapng", name, f"{name}.pcapng"])
