"""Every file that is generated, by its path below dashboards/."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from dashboards.generator.grafana_alerts import grafana_alerts
from dashboards.generator.grafana_dashboards import grafana_dashboard
from dashboards.generator.health import health
from dashboards.generator.overview import overview
from dashboards.generator.pace import Pace
from dashboards.generator.prometheus_rules import prometheus_rules
from dashboards.generator.provisioning import DASHBOARD_FOLDER, DATASOURCE_UID, dashboard_provider, datasources

# No such host exists (RFC 2606): whoever installs the rules says where his runbook is.
RUNBOOK: Final = "https://epm-inspector.example/docs/runbook.md"
RULES: Final = "prometheus/epm-inspector.rules.yaml"


@dataclass(frozen=True, slots=True)
class Settings:
    """What differs from one installation to another; the defaults are what is committed.

    `runbook` is the address of docs/runbook.md wherever it is published, `prometheus_url` where Grafana finds
    Prometheus, `datasource_uid` the identifier of that data source, `scrape_interval` that of Prometheus,
    `dashboard_folder` where the Grafana server finds the dashboards' JSON.
    """

    runbook: str = RUNBOOK
    prometheus_url: str = "http://localhost:9090"
    datasource_uid: str = DATASOURCE_UID
    scrape_interval: str = "15s"
    dashboard_folder: str = DASHBOARD_FOLDER
    pace: Pace = field(default_factory=Pace)


def files(settings: Settings) -> Mapping[str, str]:
    """Return path and content of every generated file."""
    described = (overview(), health())
    return {
        RULES: prometheus_rules(settings.pace, settings.runbook),
        "provisioning/datasources/epm-inspector.yaml": datasources(
            settings.prometheus_url, settings.datasource_uid, settings.scrape_interval
        ),
        "provisioning/dashboards/epm-inspector.yaml": dashboard_provider(settings.dashboard_folder),
        "provisioning/alerting/epm-inspector.yaml": grafana_alerts(
            settings.pace, settings.runbook, settings.datasource_uid
        ),
    } | {f"grafana/{one.uid}.json": grafana_dashboard(one, settings.runbook) for one in described}


def write(folder: Path, settings: Settings) -> None:
    """Write every generated file below a folder."""
    for path, content in files(settings).items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(content, encoding="utf-8")
