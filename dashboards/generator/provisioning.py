"""The files from which Grafana takes over a data source and the folder with the dashboards."""

from __future__ import annotations

from typing import Final

from dashboards.generator.grafana_alerts import FOLDER
from dashboards.generator.yamltext import to_yaml

DATASOURCE_UID: Final = "prometheus"
DASHBOARD_FOLDER: Final = "/var/lib/grafana/dashboards/epm-inspector"


def datasources(url: str, uid: str, scrape_interval: str) -> str:
    """Return the provisioning file of the data source; `scrape_interval` is that of Prometheus."""
    return to_yaml(
        {
            "apiVersion": 1,
            "datasources": [
                {
                    "name": "Prometheus",
                    "uid": uid,
                    "type": "prometheus",
                    "access": "proxy",
                    "url": url,
                    "isDefault": True,
                    # $__rate_interval is made of it: too short a value leaves rates empty.
                    "jsonData": {"httpMethod": "POST", "timeInterval": scrape_interval},
                }
            ],
        }
    )


def dashboard_provider(folder: str) -> str:
    """Return the provisioning file of the dashboards, which are in that folder of the Grafana server."""
    return to_yaml(
        {
            "apiVersion": 1,
            "providers": [
                {
                    "name": "epm-inspector",
                    "orgId": 1,
                    "folder": FOLDER,
                    "type": "file",
                    "disableDeletion": False,
                    "allowUiUpdates": False,
                    "updateIntervalSeconds": 60,
                    "options": {"path": folder},
                }
            ],
        }
    )
