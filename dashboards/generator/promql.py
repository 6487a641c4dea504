"""Pieces of PromQL that more than one expression needs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from textwrap import indent
from typing import Final

OF_A_TARGET: Final = "on (job, instance)"


@dataclass(frozen=True, slots=True)
class Window:
    """A span that expressions look back: as PromQL writes it, and as a number of seconds (or a variable for it)."""

    text: str
    seconds: str


def total(metric: str, window: Window, by: Sequence[str], matchers: str = "") -> str:
    """Return how much a counter grew within a window, summed by labels; the birth of a series counts as well.

    A counter that nobody expected appears with its first event, at 1 and not at 0: `increase` sees two
    samples of the same value, and no growth. So a series that was not there a window ago counts
    whole, provided that its target was scraped then, or its process is younger than that: otherwise
    Prometheus itself has just begun to look, and all that happened long ago would count as new.
    """
    selector = select(metric, matchers)
    young = f"time() - process_start_time_seconds < {window.seconds}"
    return (
        f"sum by ({', '.join(by)}) (\n"
        f"    ({selector} unless {selector} offset {window.text})\n"
        f"    and {OF_A_TARGET} (up offset {window.text} == 1 or {young})\n"
        f"  or\n"
        f"    increase({selector}[{window.text}])\n"
        f")"
    )


def select(metric: str, matchers: str) -> str:
    """Return a selector; without matchers it is the name alone."""
    return f"{metric}{{{matchers}}}" if matchers else metric


def grouped(expression: str) -> str:
    """Return an expression as an operand of another one: what takes several lines, in parentheses and indented."""
    return f"(\n{indent(expression, '  ')}\n)" if "\n" in expression else expression
