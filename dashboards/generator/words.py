"""The words of alerts in the two template dialects; both are Go's, and differ in how the value is reached."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from dashboards.generator.pace import DAY, HOUR, Pace
from dashboards.generator.recordings import WINDOW_SECONDS

# `.Labels.x` is understood by both; `$labels.x` would be taken for a variable of the environment by Grafana's
# provisioning.
_LABELS: Final = {
    "instance": "{{ .Labels.instance }}",
    "interface": "{{ .Labels.interface }}",
    "reason": "{{ .Labels.reason }}",
    "vip": '{{ if eq .Labels.vip "other" }}an undeclared address{{ else }}{{ .Labels.vip }}{{ end }}',
    "service": '{{ if eq .Labels.service "other" }}an interface without a name{{ else }}{{ .Labels.service }}{{ end }}',
}


@dataclass(frozen=True, slots=True)
class Dialect:
    """How a template reaches the value that is judged."""

    value: str


PROMETHEUS: Final = Dialect(".Value")
GRAFANA: Final = Dialect(".Values.A.Value")


def fill(text: str, dialect: Dialect, pace: Pace) -> str:
    """Return a text whose fields, {vip} or {percent} for instance, have become what the dialect says."""
    value = dialect.value
    return text.format(
        **_LABELS,
        percent=f"{{{{ humanizePercentage {value} }}}}",
        seconds=f"{{{{ humanizeDuration {value} }}}}",
        count=f'{{{{ printf "%.0f" {value} }}}}',
        window=pace.text(WINDOW_SECONDS),
        hour=pace.text(HOUR),
        day=pace.text(DAY),
    )


def runbook_url(base: str, alert: str) -> str:
    """Return the address of an alert's section of the runbook."""
    return f"{base}#{alert.lower()}"
