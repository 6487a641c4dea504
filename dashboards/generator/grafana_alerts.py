"""The alerts in the form that Grafana provisions from files.

Each rule has a query A, the quantity with its conditions but without its threshold, and a threshold B on it. The
queries need no recording rules, so they work on a Prometheus whose rules cannot be changed.
"""

from __future__ import annotations

import json
from typing import Any, Final, Literal

from grafana_foundation_sdk.builders import expr as expressions
from grafana_foundation_sdk.builders import prometheus
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import DataSourceRef
from grafana_foundation_sdk.models.prometheus import QueryEditorMode

from dashboards.generator.alerting import SERVICE_DASHBOARD, Alert
from dashboards.generator.alerts import alerts
from dashboards.generator.pace import MINUTE, Pace
from dashboards.generator.recordings import WINDOW_SECONDS, expanded
from dashboards.generator.words import GRAFANA, fill, runbook_url
from dashboards.generator.yamltext import to_yaml

FOLDER: Final = "epm-inspector"
_EXPRESSION: Final = "__expr__"
_EVALUATORS: Final[dict[str, Literal["gt", "lt"]]] = {">": "gt", "<": "lt"}


def grafana_alerts(pace: Pace, runbook: str, datasource_uid: str) -> str:
    """Return the provisioning file; `datasource_uid` is that of the Prometheus which is asked."""
    groups = {"epm-inspector services": True, "epm-inspector health": False}
    described = alerts(pace, expanded(pace))
    return to_yaml(
        {
            "apiVersion": 1,
            "groups": [
                {
                    "orgId": 1,
                    "name": name,
                    "folder": FOLDER,
                    "interval": pace.text(MINUTE),
                    "rules": [
                        _rule(alert, pace, runbook, datasource_uid)
                        for alert in described
                        if (alert.dashboard == SERVICE_DASHBOARD) is of_services
                    ],
                }
                for name, of_services in groups.items()
            ],
        }
    )


def _rule(alert: Alert, pace: Pace, runbook: str, datasource_uid: str) -> dict[str, Any]:
    query = (
        prometheus.Dataquery()
        .ref_id("A")
        .datasource(DataSourceRef(type_val="prometheus", uid=datasource_uid))
        .editor_mode(QueryEditorMode.CODE)
        .expr(alert.quantity)
        .instant()
    )
    return {
        "uid": rule_uid(alert.name),
        "title": alert.name,
        "condition": "B",
        "data": [
            _query("A", datasource_uid, query.build()),
            _query("B", _EXPRESSION, _threshold(alert).build()),
        ],
        "dashboardUid": alert.dashboard,
        "panelId": alert.panel,
        # The quantity is absent where its conditions do not hold: that is when all is well.
        "noDataState": "OK",
        "execErrState": "Error",
        "for": pace.text(alert.hold_seconds),
        "labels": {"severity": alert.severity},
        "annotations": {
            "summary": fill(alert.summary, GRAFANA, pace),
            "description": fill(alert.description, GRAFANA, pace),
            "runbook_url": runbook_url(runbook, alert.name),
        },
        "isPaused": False,
    }


def rule_uid(alert: str) -> str:
    """Return the identifier which a rule keeps over all versions, 40 characters at most: `epm-inspector-down`."""
    return "".join(f"-{letter.lower()}" if letter.isupper() else letter for letter in alert).lstrip("-")


def _threshold(alert: Alert) -> expressions.TypeThreshold:
    evaluator = expressions.ExprTypeThresholdConditionsEvaluator()
    evaluator.type(_EVALUATORS[alert.judged.operator]).params([alert.judged.threshold])
    return (
        expressions.TypeThreshold()
        .ref_id("B")
        .datasource(DataSourceRef(type_val=_EXPRESSION, uid=_EXPRESSION))
        .expression("A")
        .conditions([expressions.ExprTypeThresholdConditions().evaluator(evaluator)])
    )


def _query(ref_id: str, datasource_uid: str, model: object) -> dict[str, Any]:
    return {
        "refId": ref_id,
        "datasourceUid": datasource_uid,
        "relativeTimeRange": {"from": WINDOW_SECONDS, "to": 0},
        "model": json.loads(json.dumps(model, cls=JSONEncoder)),
    }
