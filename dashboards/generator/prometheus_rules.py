"""The rules in the form that Prometheus reads: recordings, then alerts that build on them."""

from __future__ import annotations

from typing import Any

from dashboards.generator.alerting import Alert
from dashboards.generator.alerts import alerts
from dashboards.generator.pace import Pace
from dashboards.generator.recordings import recorded, recordings
from dashboards.generator.words import PROMETHEUS, fill, runbook_url
from dashboards.generator.yamltext import to_yaml


def prometheus_rules(pace: Pace, runbook: str) -> str:
    """Return the rules file; `runbook` is the runbook's address."""
    recording = [{"record": rule.name, "expr": rule.expression} for rule in recordings(pace).values()]
    alerting = [_rule(alert, pace, runbook) for alert in alerts(pace, recorded(pace))]
    # One group, whose rules are evaluated in their order: alerts judge what was recorded at the same moment.
    group = {"name": "epm-inspector", "interval": pace.text(30), "rules": [*recording, *alerting]}
    return to_yaml({"groups": [group]})


def _rule(alert: Alert, pace: Pace, runbook: str) -> dict[str, Any]:
    return {
        "alert": alert.name,
        "expr": alert.expression,
        "for": pace.text(alert.hold_seconds),
        "labels": {"severity": alert.severity},
        "annotations": {
            "summary": fill(alert.summary, PROMETHEUS, pace),
            "description": fill(alert.description, PROMETHEUS, pace),
            "runbook_url": runbook_url(runbook, alert.name),
        },
    }
