"""Prometheus, Alertmanager and Grafana, each with settings and a folder of its own, listening on loopback.

Nothing of the machine's own servers is touched: other ports, other folders.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from dashboards.generator.files import RULES
from dashboards.generator.yamltext import to_yaml
from dashboards.stack.api import is_ready
from inspector.errors import LaboratoryError
from inspector.lab import processes

JOB: Final = "epm-inspector"
GRAFANA_HOME: Final = Path("/usr/share/grafana")
_PATIENCE_SECONDS: Final = 60.0
_POLL_SECONDS: Final = 0.1
_LAST_WORDS: Final = 3


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where each server listens (host:port)."""

    inspector: str
    prometheus: str
    alertmanager: str
    grafana: str


def find_prometheus() -> str:
    """Return the path of Prometheus; raises LaboratoryError naming the package."""
    return processes.find_program("prometheus", "prometheus")


def find_alertmanager() -> str:
    """Return the path of Alertmanager, under Debian's name or its own; raises LaboratoryError naming the package."""
    with contextlib.suppress(LaboratoryError):
        return processes.find_program("alertmanager", "prometheus-alertmanager")
    return processes.find_program("prometheus-alertmanager", "prometheus-alertmanager")


def find_grafana() -> str | None:
    """Return the path of Grafana's server, or None: Debian has no package of it."""
    return shutil.which("grafana-server", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/usr/share/grafana/bin")


@contextlib.contextmanager
def alertmanager(folder: Path, addresses: Addresses) -> Iterator[None]:
    """Run an Alertmanager that keeps alerts and tells nobody."""
    settings = _write(folder / "alertmanager.yaml", _alertmanager_settings())
    command = [
        find_alertmanager(),
        f"--config.file={settings}",
        f"--storage.path={folder / 'alertmanager'}",
        f"--web.listen-address={addresses.alertmanager}",
        # One alone: no port for others of its kind.
        "--cluster.listen-address=",
        "--log.level=warn",
    ]
    with _running("Alertmanager", command, folder, addresses.alertmanager, "/-/ready"):
        yield


@contextlib.contextmanager
def prometheus(folder: Path, addresses: Addresses, generated: Path) -> Iterator[None]:
    """Run a Prometheus that scrapes the inspector every second, with the rules in the folder `generated`."""
    settings = _write(folder / "prometheus.yaml", _prometheus_settings(addresses, generated / RULES))
    command = [
        find_prometheus(),
        f"--config.file={settings}",
        f"--storage.tsdb.path={folder / 'prometheus'}",
        f"--web.listen-address={addresses.prometheus}",
        "--log.level=warn",
    ]
    with _running("Prometheus", command, folder, addresses.prometheus, "/-/ready"):
        yield


@contextlib.contextmanager
def grafana(program: str, folder: Path, addresses: Addresses, generated: Path) -> Iterator[None]:
    """Run a Grafana with data source, dashboards and alert rules from the folder `generated`, open to read."""
    host, _, port = addresses.grafana.rpartition(":")
    environment = {
        "GF_PATHS_DATA": str(folder / "grafana"),
        "GF_PATHS_LOGS": str(folder / "grafana" / "log"),
        "GF_PATHS_PLUGINS": str(folder / "grafana" / "plugins"),
        "GF_PATHS_PROVISIONING": str(generated / "provisioning"),
        "GF_SERVER_HTTP_ADDR": host,
        "GF_SERVER_HTTP_PORT": port,
        "GF_AUTH_ANONYMOUS_ENABLED": "true",
        "GF_AUTH_ANONYMOUS_ORG_ROLE": "Viewer",
        "GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH": str(generated / "grafana" / "epm-inspector-overview.json"),
        # A demonstration calls nobody.
        "GF_ANALYTICS_REPORTING_ENABLED": "false",
        "GF_ANALYTICS_CHECK_FOR_UPDATES": "false",
        "GF_ANALYTICS_CHECK_FOR_PLUGIN_UPDATES": "false",
        "GF_PLUGINS_PREINSTALL_DISABLED": "true",
    }
    command = [program, f"--homepath={GRAFANA_HOME}"]
    with _running("Grafana", command, folder, addresses.grafana, "/api/health", environment):
        yield


@contextlib.contextmanager
def _running(
    name: str,
    command: Sequence[str],
    folder: Path,
    address: str,
    ready: str,
    environment: Mapping[str, str] | None = None,
) -> Iterator[None]:
    """Run a server until it is left; raises LaboratoryError with its last words when it does not come up."""
    log = folder / f"{name.lower()}.log"
    with log.open("w") as output:
        process = processes.start(
            None,
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=os.environ | (environment or {}),
        )
    try:
        _wait_until_ready(name, process, address, ready, log)
        yield
    finally:
        processes.stop(process)


def _wait_until_ready(name: str, process: subprocess.Popen[str], address: str, path: str, log: Path) -> None:
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        if is_ready(address, path):
            return
        time.sleep(_POLL_SECONDS)
    how = "does not answer" if process.poll() is None else f"ended with status {process.returncode}"
    words = log.read_text(errors="replace").strip().splitlines()[-_LAST_WORDS:]
    raise LaboratoryError(f"{name} {how}: {' | '.join(words) or 'it said nothing'}")


def _prometheus_settings(addresses: Addresses, rules: Path) -> dict[str, Any]:
    return {
        "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(rules)],
        "alerting": {"alertmanagers": [{"static_configs": [{"targets": [addresses.alertmanager]}]}]},
        "scrape_configs": [{"job_name": JOB, "static_configs": [{"targets": [addresses.inspector]}]}],
    }


def _alertmanager_settings() -> dict[str, Any]:
    return {
        "route": {"receiver": "nobody", "group_by": ["alertname", "vip"], "group_wait": "1s"},
        "receivers": [{"name": "nobody"}],
    }


def _write(path: Path, settings: dict[str, Any]) -> Path:
    path.write_text(to_yaml(settings), encoding="utf-8")
    return path
