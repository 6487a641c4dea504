"""The servers of the demonstration: how they are started, and what is said when they do not come up."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from dashboards.generator.files import Settings, write
from dashboards.stack import servers
from dashboards.stack.api import ask, is_ready, query
from dashboards.stack.servers import Addresses
from inspector.errors import LaboratoryError
from tests.conftest import require_tools
from tests.dashboards.committed import ROOT
from tests.lab.scenario import free_address

# Stands in for Grafana's server, which no package has: writes down how it was started, and answers.
STAND_IN = """#!{python}
import json, os, sys
from http.server import BaseHTTPRequestHandler, HTTPServer

class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/api/health" else 404)
        self.end_headers()

settings = {{name: value for name, value in os.environ.items() if name.startswith("GF_")}}
with open({written!r}, "w") as file:
    json.dump({{"arguments": sys.argv[1:], "settings": settings}}, file)
HTTPServer((os.environ["GF_SERVER_HTTP_ADDR"], int(os.environ["GF_SERVER_HTTP_PORT"])), Handler).serve_forever()
"""


@pytest.fixture
def addresses() -> Addresses:
    """Return addresses that are free."""
    return Addresses(*(free_address() for _ in range(4)))


@pytest.fixture
def generated(tmp_path: Path) -> Path:
    """Return a folder with everything that is generated."""
    folder = tmp_path / "generated"
    write(folder, Settings(dashboard_folder=str(folder / "grafana")))
    return folder


def test_prometheus_and_alertmanager(tmp_path: Path, addresses: Addresses, generated: Path) -> None:
    """Prometheus has the rules as they are committed, and knows its Alertmanager; both are gone afterwards."""
    require_tools(["prometheus"])
    with servers.alertmanager(tmp_path, addresses), servers.prometheus(tmp_path, addresses, generated):
        groups = ask(addresses.prometheus, "/api/v1/rules")["data"]["groups"]
        assert [group["name"] for group in groups] == ["epm-inspector"]
        assert query(addresses.prometheus, "1 + 1")[0]["value"][1] == "2"
        with pytest.raises(LaboratoryError, match=r"status 400.*parse error"):
            query(addresses.prometheus, "sum by (")
        assert ask(addresses.alertmanager, "/api/v2/alerts") == []
    assert not is_ready(addresses.prometheus, "/-/ready")
    assert not is_ready(addresses.alertmanager, "/-/ready")


def test_a_server_that_does_not_come_up_is_quoted(tmp_path: Path, addresses: Addresses, generated: Path) -> None:
    """Rules with a mistake: Prometheus ends, and its last words are the error."""
    require_tools(["prometheus"])
    (generated / "prometheus" / "epm-inspector.rules.yaml").write_text("groups: [nonsense]\n")
    with (
        pytest.raises(LaboratoryError, match=r"Prometheus ended with status 1: .*rule"),
        servers.prometheus(tmp_path, addresses, generated),
    ):
        pass


def test_grafana_gets_everything_provisioned(tmp_path: Path, addresses: Addresses, generated: Path) -> None:
    """Its settings point at files that exist; it listens on loopback, and calls nobody."""
    written, program = tmp_path / "started.json", tmp_path / "grafana-server"
    program.write_text(STAND_IN.format(python=sys.executable, written=str(written)))
    program.chmod(0o755)
    with servers.grafana(str(program), tmp_path, addresses, generated):
        assert is_ready(addresses.grafana, "/api/health")
    assert not is_ready(addresses.grafana, "/api/health")
    started = json.loads(written.read_text())
    settings = started["settings"]
    assert started["arguments"] == ["--homepath=/usr/share/grafana"]
    provisioning = Path(settings["GF_PATHS_PROVISIONING"])
    assert {path.name for path in provisioning.iterdir()} == {"alerting", "dashboards", "datasources"}
    (provider,) = yaml.safe_load((provisioning / "dashboards" / "epm-inspector.yaml").read_text())["providers"]
    assert len(list(Path(provider["options"]["path"]).glob("*.json"))) == 2
    assert Path(settings["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]).exists()
    assert settings["GF_SERVER_HTTP_ADDR"] == "127.0.0.1"
    assert settings["GF_ANALYTICS_REPORTING_ENABLED"] == "false"


def test_without_prometheus_the_package_is_named() -> None:
    """One line, before anything is built."""
    done = subprocess.run(
        [sys.executable, "-m", "dashboards.stack"],
        cwd=ROOT,
        env=os.environ | {"PATH": "/nowhere"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "demo-stack: the program 'prometheus' is missing: apt-get install prometheus\n"
