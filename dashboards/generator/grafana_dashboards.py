"""Dashboards in the form that Grafana reads, made with Grafana's own software development kit."""

from __future__ import annotations

import json
from typing import Final

from grafana_foundation_sdk.builders import dashboard, prometheus
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import AnnotationQuery as AnnotationModel
from grafana_foundation_sdk.models.dashboard import (
    DashboardCursorSync,
    DashboardLinkType,
    VariableOption,
    VariableRefresh,
    VariableSort,
)

from dashboards.generator.grafana_links import Link
from dashboards.generator.grafana_panels import DATASOURCE, panel_of
from dashboards.generator.panels import SCOPE, Dashboard, Row, Variable
from dashboards.generator.promql import select

_TAG: Final = "epm-inspector"
# What Grafana's own editor writes for a query of the kind "label values".
_LABEL_VALUES: Final = {"qryType": 1, "refId": "PrometheusVariableQueryEditor-VariableQuery"}
_RESTARTS: Final = f"changes(process_start_time_seconds{{{SCOPE}}}[$__rate_interval]) > 0"
_FIRING: Final = f'ALERTS{{alertname=~"EpmInspector.+", alertstate="firing", {SCOPE}}}'


def grafana_dashboard(described: Dashboard, runbook: str) -> str:
    """Return the JSON of a dashboard; `runbook` is the runbook's address."""
    built = (
        dashboard.Dashboard(described.title)
        .uid(described.uid)
        .description(described.description)
        .tags([_TAG])
        .readonly()
        .refresh("30s")
        .time("now-6h", "now")
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .with_variable(_datasource_variable())
        .annotation(_annotation("Alerts", _FIRING, "red", "{{alertname}}", "{{instance}} {{vip}} {{service}}"))
        .annotation(_annotation("Restarts", _RESTARTS, "blue", "Inspector restarted", "{{instance}}"))
        .link(_link_to_other(described))
        .link(_link("Runbook", runbook))
    )
    for variable in described.variables:
        built = built.with_variable(_variable(variable))
    for row in described.rows:
        built = built.with_row(_row(row))
        for panel in row.panels:
            built = built.with_panel(panel_of(panel, runbook))
    return json.dumps(built.build(), cls=JSONEncoder, indent=2, ensure_ascii=False) + "\n"


def _row(row: Row) -> dashboard.Row:
    return dashboard.Row(row.title).id(row.number)


def _datasource_variable() -> dashboard.DatasourceVariable:
    return (
        dashboard.DatasourceVariable("datasource")
        .label("Data source")
        .description("The Prometheus that scrapes the inspectors.")
        .type("prometheus")
    )


def _variable(variable: Variable) -> dashboard.QueryVariable:
    query = f"label_values({select(variable.metric, variable.matchers)}, {variable.name})"
    return (
        dashboard.QueryVariable(variable.name)
        .label(variable.label)
        .description(variable.description)
        .datasource(DATASOURCE)
        .query({"query": query, **_LABEL_VALUES})
        .definition(query)
        .current(VariableOption(selected=True, text=["All"], value=["$__all"]))
        .multi(True)
        .include_all(True)
        # Not the list of all values: that may be long, and grow while the dashboard is open.
        .all_value(".*")
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(VariableSort.NATURAL_ASC)
    )


class _Annotation(dashboard.AnnotationQuery):
    """An annotation whose switch is above the panels, as links are."""

    def build(self) -> AnnotationModel:
        """Return the annotation, without the place that the development kit gives to all of them."""
        annotation = super().build()
        annotation.placement = None  # type: ignore[assignment]  # it is optional, and left out then
        return annotation


def _annotation(name: str, expression: str, colour: str, title: str, text: str) -> _Annotation:
    query = prometheus.Dataquery().ref_id("Anno").expr(expression)
    return (
        _Annotation()
        .name(name)
        .datasource(DATASOURCE)
        .enable(True)
        .icon_color(colour)
        .expr(expression)
        .target(query)
        .title_format(title)
        .text_format(text)
    )


def _link(title: str, url: str) -> Link:
    return Link(title).type(DashboardLinkType.LINK).url(url).icon("doc").target_blank(True)


def _link_to_other(described: Dashboard) -> Link:
    return (
        Link("Overview" if "overview" in described.other else "Inspectors' health")
        .type(DashboardLinkType.LINK)
        .url(f"/d/{described.other}")
        .icon("dashboard")
        .include_vars(True)
        .keep_time(True)
    )
