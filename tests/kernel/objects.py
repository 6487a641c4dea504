"""What the kernel holds: programs, maps and links, asked for by bpf(2); and what somebody else may do to a link."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
from pathlib import Path
from typing import TYPE_CHECKING

from inspector.live.bpf import syscalls

if TYPE_CHECKING:
    from collections.abc import Iterator

# enum bpf_cmd
_NEXT = {"program": 11, "map": 12, "link": 31}
_DESCRIPTOR = {"program": 13, "map": 14, "link": 30}
_INFO = 15
_LINK_DETACH = 34

Found = tuple[str, int]


class _Attributes(ctypes.Structure):
    """The words which these commands share: an id or a descriptor first, then the next id."""

    _fields_ = [("first", ctypes.c_uint32), ("second", ctypes.c_uint32), ("pointer", ctypes.c_uint64)]


def _call(command: int, first: int, second: int = 0, pointer: int = 0) -> tuple[int, _Attributes]:
    attributes = _Attributes(first, second, pointer)
    return syscalls._call(command, attributes), attributes  # type: ignore[arg-type]


def everything() -> Iterator[Found]:
    """Yield kind and id of every object of the machine."""
    for kind, command in _NEXT.items():
        number = 0
        while True:
            try:
                _, answer = _call(command, number)
            except FileNotFoundError:
                break
            number = answer.second
            yield kind, number


def exists(found: Found) -> bool:
    """Return whether an object is still there."""
    kind, number = found
    try:
        fd, _ = _call(_DESCRIPTOR[kind], number)
    except FileNotFoundError:
        return False
    os.close(fd)
    return True


def open_descriptors() -> set[str]:
    """Return what this process has open: number and what it is."""
    found = set()
    for entry in Path("/proc/self/fd").iterdir():
        # The listing's own descriptor is gone by now.
        with contextlib.suppress(FileNotFoundError):
            found.add(f"{entry.name} {entry.readlink()}")
    return found


def held_by_this_process() -> set[Found]:
    """Return the objects to which this process has descriptors."""
    found = set()
    for entry in Path("/proc/self/fdinfo").iterdir():
        try:
            fields = dict(line.split(":", 1) for line in entry.read_text().splitlines() if ":" in line)
        except FileNotFoundError:
            continue
        for key, kind in (("link_id", "link"), ("map_id", "map"), ("prog_id", "program")):
            if key in fields:
                found.add((kind, int(fields[key])))
    return found


def links_of(program_id: int) -> list[int]:
    """Return the ids of the links that hold a program."""
    found = []
    for kind, number in everything():
        if kind != "link":
            continue
        try:
            fd, _ = _call(_DESCRIPTOR["link"], number)
        except OSError as error:
            assert error.errno == errno.ENOENT  # noqa: PT017 - it went meanwhile
            continue
        if syscalls.link_info(fd).program_id == program_id:
            found.append(number)
        os.close(fd)
    return found


def force_detach(link_id: int) -> None:
    """Detach a link as `bpftool link detach` does: its owner keeps the descriptor of a link to nothing."""
    fd, _ = _call(_DESCRIPTOR["link"], link_id)
    try:
        _call(_LINK_DETACH, fd)
    finally:
        os.close(fd)
