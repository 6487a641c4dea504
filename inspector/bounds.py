"""Bounds of every number that an operator may give, in the configuration file or on the command line.

Above these nothing sensible is left: times that no counter holds, tables that no machine has memory for.
"""

from __future__ import annotations

import argparse
import contextlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from pydantic import Field

from inspector.escape import shorten


@dataclass(frozen=True, slots=True)
class Range:
    """The least and the most of a number; both are allowed."""

    least: float
    most: float

    @property
    def field(self) -> Any:
        """The constraints of a key of the configuration. Strict: `true` is no number, nor is a text."""
        return Field(strict=True, ge=self.least, le=self.most, allow_inf_nan=False)

    def argument(self, kind: Callable[[str], float]) -> Callable[[str], float]:
        """Return what argparse calls to read a number within bounds: `kind` is int or float."""

        def read(text: str) -> float:
            with contextlib.suppress(ValueError, OverflowError):
                number = kind(text)
                if math.isfinite(number) and self.least <= number <= self.most:
                    return number
            what = "a whole number" if kind is int else "a number"
            raise argparse.ArgumentTypeError(f"{what} from {self.least:,} to {self.most:,}, not {shorten(repr(text))}")

        return read


PORT: Final = Range(1, 65_535)
LEARNED_VIPS: Final = Range(0, 1024)

# The decoder's state
CONNECTIONS: Final = Range(1, 1 << 22)
BUFFERED_BYTES: Final = Range(1, 1 << 32)
IDLE_SECONDS: Final = Range(1, 86_400)
GAP_SECONDS: Final = Range(0.01, 3_600)
UNANSWERED_SECONDS: Final = Range(0.1, 3_600)

# Evidence
EVIDENCE_FILES: Final = Range(1, 1_000_000)
EVIDENCE_BYTES: Final = Range(1 << 16, 1 << 44)
EVIDENCE_MEMORY_BYTES: Final = Range(1 << 20, 1 << 32)
EVIDENCE_RATE: Final = Range(1, 100_000)

# Packets kept (--write)
WRITE_BYTES: Final = Range(1 << 20, 1 << 40)
WRITE_FILES: Final = Range(1, 1000)

# The command line
JOBS: Final = Range(1, 256)
DEMO_SECONDS: Final = Range(0, 30 * 86_400)
PROBE_SECONDS: Final = Range(0.1, 600)
ROUNDS: Final = Range(1, 1_000_000)

# The configuration file itself, and what is in it beside numbers.
CONFIG_BYTES: Final = 1 << 18
CONFIG_LINE_BYTES: Final = 4096
CONFIG_KEY_PARTS: Final = 32
LIST: Final = 1024
NAT64_PREFIXES: Final = 64
SCRAPERS: Final = 64
NAME: Final = 256
PATH_BYTES: Final = 4095
MESSAGE: Final = 400
