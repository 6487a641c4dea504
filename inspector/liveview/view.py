"""A running inspector as `top` sees it: asked for its state, its offers and its last findings at one moment."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from inspector.errors import RunningError


@dataclass(frozen=True, slots=True)
class Source:
    """An inspector: what it is called here, and the function which asks it for a path's JSON (RunningError)."""

    name: str
    ask: Callable[[str], Any]


class View(NamedTuple):
    """What an inspector said at one moment: objects of `/status`, `/offers`, `/findings` and `/outcomes`."""

    state: Mapping[str, Any]
    offers: Sequence[Mapping[str, Any]]
    findings: Sequence[Mapping[str, Any]]
    hurt: Sequence[Mapping[str, Any]] = ()

    @property
    def seconds(self) -> float:
        """When the state was made, in seconds since 1970."""
        return datetime.fromisoformat(self.state["time"]).timestamp()


def look(source: Source) -> View:
    """Ask an inspector. Raises RunningError if it does not answer, or its answers lack keys that are needed."""
    paths = ("/status", "/offers", "/findings", "/outcomes")
    state, offers, findings, outcomes = (source.ask(path) for path in paths)
    try:
        view = View(state, offers["offers"], findings, outcomes["hurt"])
        if view.seconds > 0 and isinstance(state["interfaces"], list) and isinstance(findings, list):
            return view
    except (KeyError, TypeError, ValueError, OverflowError):
        pass
    raise RunningError(f"{source.name}: unexpected answer; the inspector may be of another version")
