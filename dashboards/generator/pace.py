"""Spans of time in rules: as they are, or all of them shorter by one factor, for demonstrations and tests."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

MINUTE: Final = 60
HOUR: Final = 60 * MINUTE
DAY: Final = 24 * HOUR
_UNITS: Final = ((DAY, "d"), (HOUR, "h"), (MINUTE, "m"), (1, "s"))


@dataclass(frozen=True, slots=True)
class Pace:
    """How much faster than in production time passes in rules: 1 is production, 20 makes 30 s of 10 minutes."""

    faster: int = 1

    def seconds(self, seconds: int) -> int:
        """Return a span at this pace, in seconds, at least one."""
        return max(1, seconds // self.faster)

    def text(self, seconds: int) -> str:
        """Return a span at this pace as PromQL writes durations: `10m`."""
        span = self.seconds(seconds)
        return next(f"{span // length}{unit}" for length, unit in _UNITS if span % length == 0)
