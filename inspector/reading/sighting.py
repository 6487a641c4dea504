"""Capture files looked through before they are read: what each of them saw of the conversations of the others.

Compiled code surveys each file once. Only conversations that may have a partner are read in whole, which takes a
second time through the file.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from inspector.capture.archive import is_member
from inspector.capture.survey import Survey, mapper_headers, survey_file
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
    prefixes = config.policy().nat64_prefixes
    if not is_compiled():
        return Surveyed(tie([_sight(path, config, None, follow_on.get(path, ())) for path in files], prefixes))
    surveys: dict[Path, Survey] = {}
    sights, ends_ns, secret = [], [], 0
    for path in files:
        more = follow_on.get(path, ())
        survey = survey_file(path, ports=config.ports, tunnels=config.tunnels, secret=secret, more=more)
        secret = survey.secret
        sights.append(survey.sights)
        ends_ns.append(survey.last_ns)
        if len(surveys) < _KEPT:
            surveys[path] = survey
    connections = connections_with_partner(sights)
    if not any(connections):
        return Surveyed(Ties(), surveys)
    sides = []
    for path, wanted, last_ns in zip(files, connections, ends_ns, strict=True):
        sides.append(_sight(path, config, wanted, follow_on.get(path, ())))
        sides[-1].last_ns = last_ns
    return Surveyed(tie(sides, prefixes), surveys)


def _sight(path: Path, config: Config, connections: list[list[int]] | None, more: Sequence[Path]) -> Sightings:
    """Return what a file, with those which go on where it ends, saw of some connections, None: of all.

    Of a file that cannot be read to its end that is what comes before, as reading it will tell.
    """
    side = Sightings(display_name(os.fsencode(path)), config.ports)
    if connections == []:
        return side
    for header in mapper_headers(path, config.ports, connections, tunnels=config.tunnels, more=more):
        if isinstance(header, Header):
            side.take(header)
        else:
            side.last_ns = max(side.last_ns, header)
    return side
