"""How dashboards are described: rows of panels, each with its queries, unit and words. Plain data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

Kind = Literal["timeseries", "stat", "state-timeline", "table", "heatmap"]
Colour = Literal[
    "green", "yellow", "orange", "red", "blue", "purple", "text", "semi-dark-red", "light-blue", "dark-orange",
    "dark-purple",
]  # fmt: skip

# Variables of every dashboard. `instance` and `interface` follow from what is chosen before them.
SCOPE: Final = 'job=~"$job", instance=~"$instance"'
PORT: Final = f'{SCOPE}, interface=~"$interface"'
RATE: Final = "$__rate_interval"
ADDRESSED: Final = f'{PORT}, vip=~"$vip"'
PER_MINUTE: Final = 60
FULL_WIDTH: Final = 24


@dataclass(frozen=True, slots=True)
class Query:
    """One expression, and how its series are named: `{{label}}` stands for a label's value."""

    expression: str
    legend: str


@dataclass(frozen=True, slots=True)
class State:
    """What a value is called and how it is coloured."""

    text: str
    colour: Colour


@dataclass(frozen=True, slots=True)
class Panel:
    """One panel. `number` stays the same for ever: links and alerts refer to it. Width is of 24, height in rows.

    `unit` is an identifier of Grafana's; `steps` are colours from a value on, the first from the beginning;
    `states` names values; `columns` names a table's columns, a query's value being `A`, `B`, ...
    """

    number: int
    kind: Kind
    title: str
    description: str
    unit: str
    queries: tuple[Query, ...]
    width: int = 12
    height: int = 8
    steps: tuple[tuple[float | None, Colour], ...] = ()
    states: Mapping[float, State] | None = None
    colours: Mapping[str, Colour] | None = None
    columns: Mapping[str, str] | None = None
    column_units: Mapping[str, str] | None = None
    stacked: bool = False
    highest: float | None = None
    runbook: str | None = None


def number_panel(
    number: int,
    title: str,
    description: str,
    expression: str,
    steps: tuple[tuple[float | None, Colour], ...],
    *,
    unit: str = "short",
    width: int = 4,
    runbook: str | None = None,
) -> Panel:
    """Return a small panel with one number."""
    queries = (Query(expression, ""),)
    return Panel(number, "stat", title, description, unit, queries, width=width, height=4, steps=steps, runbook=runbook)


@dataclass(frozen=True, slots=True)
class Row:
    """A line across the dashboard with a title, and the panels below it."""

    number: int
    title: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True, slots=True)
class Variable:
    """A choice at the top of a dashboard, whose values are those of a label of a metric."""

    name: str
    label: str
    metric: str
    matchers: str
    description: str


@dataclass(frozen=True, slots=True)
class Dashboard:
    """A whole dashboard."""

    uid: str
    title: str
    description: str
    other: str
    variables: tuple[Variable, ...]
    rows: tuple[Row, ...]


JOB: Final = Variable(
    "job",
    "Job",
    "epm_inspector_build_info",
    "",
    "The scrape jobs of Prometheus which have inspectors among their targets.",
)
INSTANCE: Final = Variable(
    "instance", "Inspector", "epm_inspector_build_info", 'job=~"$job"', "One inspector, several, or the whole fleet."
)
INTERFACE: Final = Variable(
    "interface", "Interface", "epm_inspector_packets_total", SCOPE, "The network interfaces which are inspected."
)
VIP: Final = Variable(
    "vip",
    "VIP",
    "epm_inspector_vip_responses_total",
    PORT,
    "Addresses that clients ask: declared ones, and those which a mismatch named; the rest is `other`.",
)
