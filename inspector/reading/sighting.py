"""Capture files looked through before they are read: what each of them saw of the conversations of the others."""

from __future__ import annotations

import os
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from inspector.capture.archive import is_member
from inspector.capture.survey import mapper_headers
from inspector.escape import display_name
from inspector.outcomes.sides import Ties, tie
from inspector.outcomes.sightings import Sightings
from inspector.wire.headers import Header

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from inspector.config import Config


_NONE: Final[Mapping[Path, Sequence[Path]]] = MappingProxyType({})


def tie_files(files: Sequence[Path], config: Config, follow_on: Mapping[Path, Sequence[Path]] = _NONE) -> Ties:
    """Return what the files say of each other; nothing where one of them can be read only once."""
    if not config.follow_up or not all(path.is_file() or is_member(path) for path in files):
        return Ties()
    return tie([_sight((path, *follow_on.get(path, ())), config) for path in files], config.policy().nat64_prefixes)


def _sight(paths: Sequence[Path], config: Config) -> Sightings:
    """Return what files that are one saw; of one that cannot be read what comes before, as reading it will tell."""
    side = Sightings(display_name(os.fsencode(paths[0])), config.ports)
    for header in mapper_headers(paths, config.ports, tunnels=config.tunnels):
        if isinstance(header, Header):
            side.take(header)
        else:
            side.last_ns = max(side.last_ns, header)
    return side
