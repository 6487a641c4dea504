"""Capture files that go on where the one before ends, as a ring of files does, read as one."""

from __future__ import annotations

import os
import re
from bisect import bisect_right
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from inspector.capture.archive import is_member
from inspector.capture.pcap import read_packets
from inspector.capture.stored import STANDARD_INPUT, head_of
from inspector.errors import CaptureError, CaptureTruncatedError
from inspector.escape import display_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from inspector.model import Finding

# dumpcap's and Wireshark's rings: NAME_NUMBER_TIME, or NAME_TIME_NUMBER.
_RING: Final = re.compile(
    r"(?P<start>.+)_(?:\d{5,}_(?P<after>\d{14})|(?P<before>\d{14})_\d{5,})(?P<end>\.[^/]*)?", re.DOTALL
)
# NMCap's chains (/File NAME.chn:SIZE): NAME.cap, NAME(1).cap, NAME(2).cap.
_LINK: Final = re.compile(r"(?P<start>.+?)(?:\((?P<number>\d{1,6})\))?\.cap", re.DOTALL | re.IGNORECASE)
CHAIN_SUFFIX: Final = ".chn"
_NETWORK_MONITOR: Final = b"GMBU"


@dataclass(slots=True)
class Chain:
    """Files read as one: packets are numbered through all of them; `starts` are the numbers before each file's."""

    paths: Sequence[Path]
    starts: list[int] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    failed: int = 0

    @property
    def can_be_read_again(self) -> bool:
        """Whether all files can be read more than once."""
        return all(path.is_file() or is_member(path) for path in self.paths)

    @contextmanager
    def part(self, path: Path, before: int, warn: Callable[[str], None], fail: Callable[[str], None]) -> Iterator[None]:
        """Read a file, `before` packets after the first; raises CaptureError where it is the only one."""
        self.starts.append(before)
        self.names.append(display_name(os.fsencode(path)))
        try:
            yield
        except CaptureTruncatedError as error:
            warn(str(error))
        except CaptureError as error:
            if len(self.paths) == 1:
                raise
            fail(str(error))
            self.failed += 1

    def locate(self, finding: Finding) -> Finding:
        """Return a finding with the file of its packet, and that packet's number in it."""
        if len(self.starts) < 2:
            return finding
        consequence, later = finding.consequence, finding.follow_up
        at = self._file_of(finding.frame)
        if consequence is not None and consequence.answer is not None:
            answer = consequence.answer
            of_answer = self._file_of(answer.frame)
            # Of another file a number alone says nothing.
            frame = answer.frame - self.starts[at] if answer.frame is not None and of_answer == at else None
            consequence = replace(consequence, answer=answer._replace(frame=frame))
        return replace(
            finding,
            source=self.names[at],
            frame=None if finding.frame is None else finding.frame - self.starts[at],
            consequence=consequence,
            follow_up=None if later is None else self.locate(later),
        )

    def _file_of(self, frame: int | None) -> int:
        """Return the number of the file with a packet; the last one without it."""
        return len(self.starts) - 1 if frame is None else bisect_right(self.starts, frame - 1) - 1


def chain(files: Sequence[Path], follow_on: bool | None) -> dict[Path, tuple[Path, ...]]:
    """Return the files which others follow, with these: all together, by the time of their first packets, or rings.

    Those are told by their names where `follow_on` is None; False: none are.
    """
    if follow_on is None:
        rings: dict[tuple[Path, str, str], set[Path]] = {}
        for path in files:
            found = _RING.fullmatch(path.name)
            if found:
                rings.setdefault((path.parent, found["start"], found["end"]), set()).add(path)
        sorted_rings = (tuple(sorted(ring, key=_stamp)) for ring in rings.values())
        return {ring[0]: ring[1:] for ring in sorted_rings if ring[1:]} | _chains(files)
    if not follow_on:
        return {}
    known = {path: begin for path in files if path != STANDARD_INPUT and (begin := _begin(path)) is not None}
    ordered = sorted(known, key=lambda path: known[path])
    return {ordered[0]: tuple(ordered[1:])} if len(ordered) > 1 else {}


def chain_files(chain_name: Path) -> list[Path]:
    """Return the files that NMCap made where it was told to write NAME.chn, which is no file."""
    first = chain_name.with_suffix(".cap")
    if chain_name.suffix.lower() != CHAIN_SUFFIX or not first.is_file():
        return []
    found = [first]
    while (following := first.with_name(f"{first.stem}({len(found)}).cap")).is_file():
        found.append(following)
    return found


def _chains(files: Sequence[Path]) -> dict[Path, tuple[Path, ...]]:
    """Return chains of Network Monitor's files, of those which follow each other: a browser names copies alike."""
    known: dict[tuple[Path, str], dict[int, Path]] = {}
    for path in files:
        found = _LINK.fullmatch(path.name)
        if found is not None and _is_network_monitor(path):
            known.setdefault((path.parent, found["start"]), {})[int(found["number"] or 0)] = path
    chains = {}
    for numbered in known.values():
        links = [numbered[number] for number in range(len(numbered)) if number in numbered]
        begins = [_begin(path) for path in links] if len(links) == len(numbered) > 1 else []
        if begins and None not in begins and begins == sorted(begins):  # type: ignore[type-var]  # none is None
            chains[links[0]] = tuple(links[1:])
    return chains


def _is_network_monitor(path: Path) -> bool:
    try:
        return path.is_file() and head_of(path).startswith(_NETWORK_MONITOR)
    except OSError:
        return False


def _stamp(path: Path) -> tuple[str, str]:
    found = _RING.fullmatch(path.name)
    return (found["after"] or found["before"], path.name) if found else ("", path.name)


def _begin(path: Path) -> int | None:
    """Return the time of a file's first packet, None where there is none that can be read."""
    with suppress(CaptureError):
        for packet in read_packets(path):
            return packet.time_ns
    return None
