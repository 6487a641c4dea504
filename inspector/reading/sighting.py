"""Capture files looked through before they are read: what each of them saw of the conversations of the others.

Compiled code surveys each file once. Only conversations that may have a partner are read in whole, which takes a
second time through the file. The interfaces within a file are compared in the same way, by the conversations of clients
that are not healthy, too: one more time through files which have several.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

import numpy as np

from inspector.capture import layout
from inspector.capture.archive import is_member
from inspector.capture.survey import Survey, follow_scan, mapper_headers, survey_file
from inspector.decode import is_compiled
from inspector.escape import display_name
from inspector.outcomes.sides import Ties, tie
from inspector.outcomes.sightings import Sightings
from inspector.reading.partners import connections_with_partner
from inspector.wire.headers import Header

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from inspector.config import Config

_KEPT: Final = 16
"""Surveys that are kept until their file is read, of 4 MiB each; other files are surveyed once more."""

_NONE: Final[Mapping[Path, Sequence[Path]]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Surveyed:
    """What is known of files before they are read: `ties` between them, and the surveys of some."""

    ties: Ties = field(default_factory=Ties)
    surveys: dict[Path, Survey] = field(default_factory=dict)


def survey_files(files: Sequence[Path], config: Config, follow_on: Mapping[Path, Sequence[Path]] = _NONE) -> Surveyed:
    """Look through files, with those which go on where they end; nothing is known where one can be read only once."""
    if not config.follow_up or not all(path.is_file() or is_member(path) for path in files):
        return Surveyed()
    if not is_compiled():
        sides = [_Sighted((path, *follow_on.get(path, ())), config, None, None) for path in files]
        return Surveyed(_tie(sides, config))
    surveys: dict[Path, Survey] = {}
    sights, suspects, ends_ns, secret = [], [], [], 0
    for path in files:
        more = follow_on.get(path, ())
        survey = survey_file(path, ports=config.ports, tunnels=config.tunnels, secret=secret, more=more)
        secret = survey.secret
        sights.append(survey.sights)
        suspects.append(_of_suspects(survey, config) if survey.interfaces > 1 else [])
        ends_ns.append(survey.last_ns)
        if len(surveys) < _KEPT:
            surveys[path] = survey
    connections = connections_with_partner(sights)
    if not any(connections) and not any(suspects):
        return Surveyed(Ties(), surveys)
    sighted = []
    for path, wanted, within, last_ns in zip(files, connections, suspects, ends_ns, strict=True):
        sighted.append(_Sighted((path, *follow_on.get(path, ())), config, wanted, within, last_ns))
    return Surveyed(_tie(sighted, config), surveys)


def _of_suspects(survey: Survey, config: Config) -> list[list[int]]:
    """Return the connections of clients that are not healthy: an answer that did not leave may be among them."""
    loop = follow_scan(survey, ports=config.ports)
    flows = np.unique(survey.sights[:, layout.SIGHT_CLIENT : layout.SIGHT_PORTS + 1], axis=0).tolist()
    return [flow for flow in flows if loop.flags_of(flow[0], flow[1]) & layout.CLIENT_PYTHON]


class _Sighted:
    """What files that are one saw of `connections` (None: of all), and what each interface saw of these and `more`.

    Of a file that cannot be read to its end that is what comes before, as reading it will tell.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        config: Config,
        connections: list[list[int]] | None,
        more: list[list[int]] | None,
        last_ns: int = 0,
    ) -> None:
        self._name = display_name(os.fsencode(paths[0]))
        self._paths = paths
        self._config = config
        self.file = Sightings(self._name, config.ports)
        found: dict[int, Sightings] = {}
        if more or more is None:
            found = self._look(None if connections is None or more is None else [*connections, *more], apart=True)
        self.interfaces = list(found.values()) if len(found) > 1 else []
        if connections or connections is None:
            self._look(connections, apart=False)
        for side in (self.file, *self.interfaces):
            side.last_ns = max(side.last_ns, last_ns)

    def _look(self, connections: list[list[int]] | None, *, apart: bool) -> dict[int, Sightings]:
        """Look through the file; return what each interface saw if they are to be kept `apart`."""
        sides: dict[int, Sightings] = {}
        path, *more = self._paths
        config = self._config
        for header in mapper_headers(path, config.ports, connections, tunnels=config.tunnels, more=more):
            if not isinstance(header, Header):
                for side in sides.values() if apart else (self.file,):
                    side.last_ns = max(side.last_ns, header)
            elif not apart:
                self.file.take(header)
            else:
                number = header.interface
                if number not in sides:
                    sides[number] = Sightings(f"interface {number} of {self._name}", self._config.ports)
                sides[number].take(header)
        return sides


def _tie(sighted: Sequence[_Sighted], config: Config) -> Ties:
    """Return what files, and the interfaces within each of them, say of each other."""
    prefixes = config.policy().nat64_prefixes
    ties = tie([one.file for one in sighted], prefixes)
    for one in sighted:
        within = tie(one.interfaces, prefixes, together=True).as_of(one.file.side)
        learned = {
            asked: tuple(dict.fromkeys((*ties.learned.get(asked, ()), *servers)))
            for asked, servers in within.learned.items()
        }
        ties = Ties(
            ties.learned | learned,
            within.dropped | ties.dropped,
            frozenset(ties.repeated) | frozenset(within.repeated),
            within.over_nat64 | ties.over_nat64,
            ties.shown,
        )
    return ties
