"""What an alert is: what is judged, for how long, and the words for the person on call."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from dashboards.generator.promql import grouped

Severity = Literal["critical", "warning", "info"]
"""`critical`: clients are hurt, or nothing is inspected. `info`: worth knowing, and nobody is hurt by it."""

Operator = Literal[">", "<", ">=", "=="]

SERVICE_DASHBOARD: Final = "epm-inspector-overview"
HEALTH_DASHBOARD: Final = "epm-inspector-health"

A_TARGET: Final = ("job", "instance")
A_VIP: Final = (*A_TARGET, "vip")
A_SERVICE: Final = (*A_VIP, "service")


@dataclass(frozen=True, slots=True)
class Comparison:
    """A quantity, and what it is compared with."""

    quantity: str
    operator: Operator
    threshold: float

    @property
    def expression(self) -> str:
        """The comparison in PromQL."""
        return f"{grouped(self.quantity)} {self.operator} {self.threshold:g}"


@dataclass(frozen=True, slots=True)
class Condition:
    """What else must hold (`and`), or must not (`unless`), for the same labels."""

    keyword: Literal["and", "unless"]
    comparison: Comparison

    @property
    def expression(self) -> str:
        """The condition in PromQL, as it follows an expression."""
        return f"{self.keyword}\n{self.comparison.expression}"


@dataclass(frozen=True, slots=True)
class Alert:
    """One alert. `summary` and `description` have fields for `words.fill`; `panel` is a panel's number."""

    name: str
    severity: Severity
    judged: Comparison
    conditions: tuple[Condition, ...]
    hold_seconds: int
    summary: str
    description: str
    dashboard: str
    panel: int

    @property
    def expression(self) -> str:
        """The whole alert in PromQL."""
        return "\n".join([self.judged.expression, *(condition.expression for condition in self.conditions)])

    @property
    def quantity(self) -> str:
        """The alert without its threshold: what a graph shows while all is well, where the conditions hold."""
        parts = [grouped(self.judged.quantity), *(condition.expression for condition in self.conditions)]
        return "\n".join(parts)


def summed(expression: str, by: tuple[str, ...]) -> str:
    """Return the sum of an expression by labels."""
    argument = grouped(expression) if "\n" in expression else f"({expression})"
    return f"sum by ({', '.join(by)}) {argument}"
