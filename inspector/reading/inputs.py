"""The files that `read` was given: folders, patterns and archives become the captures in them, in order."""

from __future__ import annotations

import glob
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from inspector.capture.archive import is_member, members_of
from inspector.capture.kinds import looks_like_capture
from inspector.capture.stored import STANDARD_INPUT, head_of
from inspector.errors import CaptureError
from inspector.reading.chain import chain_files

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_WILD: Final = frozenset("*?[")


@dataclass(slots=True)
class Inputs:
    """The files to read, what could not be read, one line each, and what was left out of folders and archives."""

    files: list[Path] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def find_inputs(given: Sequence[Path]) -> Inputs:
    """Return the captures that paths lead to.

    Of a folder, at any depth, and of an archive those files which look like captures; a name with wildcards which is
    none of a file stands for the files that it matches (`**`: at any depth). All else is read as it was given.
    """
    inputs = Inputs()
    for path in given:
        if path == STANDARD_INPUT or is_member(path):
            inputs.files.append(path)
        elif not path.exists() and (links := chain_files(path)):
            inputs.files += links
        elif path.is_dir():
            _add_folder(path, inputs)
        elif not path.exists() and _WILD & set(str(path)):
            matching = sorted(Path(name) for name in glob.iglob(str(path), recursive=True))  # noqa: PTH207 - of any root
            if not matching:
                inputs.failed.append(f"{path}: no file matches")
            for one in matching:
                if one.is_dir():
                    continue
                _add_file(one, inputs)
        else:
            _add_file(path, inputs)
    return inputs


def _add_folder(folder: Path, inputs: Inputs) -> None:
    found = left_out = 0
    for path in _files_in(folder, inputs):
        try:
            wanted = looks_like_capture(head_of(path), path)
        except OSError as error:
            inputs.failed.append(f"{path}: {error.strerror or error}")
            continue
        if wanted:
            found += 1
            _add_file(path, inputs)
        else:
            left_out += 1
    if left_out:
        inputs.notes.append(f"{folder}: {left_out} files in it are no captures: left out")
    if not found and not left_out:
        inputs.failed.append(f"{folder}: no file is in this folder")


def _files_in(folder: Path, inputs: Inputs) -> Iterator[Path]:
    """Yield the files in a folder in the order of their paths; links to folders are not followed."""

    def failed(error: OSError) -> None:
        inputs.failed.append(f"{error.filename}: {error.strerror}")

    for path, folders, names in os.walk(folder, onerror=failed):
        folders.sort()
        yield from (one for one in (Path(path) / name for name in sorted(names)) if one.is_file())


def _add_file(path: Path, inputs: Inputs) -> None:
    """Add a file, or what is in it where it is an archive."""
    try:
        members = members_of(path)
    except CaptureError as error:
        inputs.failed.append(str(error))
        return
    if members is None:
        inputs.files.append(path)
        return
    wanted = [member.path for member in members if looks_like_capture(member.head, member.path)]
    inputs.files += wanted
    if len(wanted) < len(members):
        inputs.notes.append(f"{path}: {len(members) - len(wanted)} files in it are no captures: left out")
    elif not members:
        inputs.failed.append(f"{path}: no file is in this archive")
