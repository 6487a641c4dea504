"""Capture files looked through before they are read: what each of them saw of the conversations of the others."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from inspector.capture.survey import mapper_headers
from inspector.escape import display_name
from inspector.outcomes.sides import Ties, tie
from inspector.outcomes.sightings import Sightings
from inspector.wire.headers import Header

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from inspector.config import Config


def tie_files(files: Sequence[Path], config: Config) -> Ties:
    """Return what files and the interfaces within each of them say of each other.

    Nothing is said where one of the files can be read only once.
    """
    if not config.follow_up or not all(path.is_file() for path in files):
        return Ties()
    prefixes = config.policy().nat64_prefixes
    sighted = [_Sighted(path, config) for path in files]
    found = [tie([one.file for one in sighted], prefixes)]
    found += [tie(one.interfaces, prefixes, together=True).as_of(one.file.side) for one in sighted]
    return _joined(found)


class _Sighted:
    """What a file saw, and what each interface saw where it has several.

    Of a file that cannot be read to its end it is what comes before, as reading it will tell.
    """

    def __init__(self, path: Path, config: Config) -> None:
        name = display_name(os.fsencode(path))
        self.file = Sightings(name, config.ports)
        numbers = set()
        for header in mapper_headers(path, config.ports):
            if isinstance(header, Header):
                self.file.take(header)
                numbers.add(header.interface)
            else:
                self.file.last_ns = max(self.file.last_ns, header)
        sides = {number: Sightings(f"interface {number} of {name}", config.ports) for number in sorted(numbers)}
        self.interfaces = list(sides.values()) if len(sides) > 1 else []
        if not self.interfaces:
            return
        for header in mapper_headers(path, config.ports):
            if isinstance(header, Header):
                sides[header.interface].take(header)
        for side in self.interfaces:
            side.last_ns = self.file.last_ns


def _joined(found: Sequence[Ties]) -> Ties:
    """Return what all of these say; of a conversation that several of them hide the first one decides."""
    ties, *more = found
    for one in more:
        learned = {
            asked: tuple(dict.fromkeys((*ties.learned.get(asked, ()), *servers)))
            for asked, servers in one.learned.items()
        }
        ties = Ties(
            ties.learned | learned,
            one.dropped | ties.dropped,
            frozenset(ties.repeated) | frozenset(one.repeated),
            one.over_nat64 | ties.over_nat64,
        )
    return ties
