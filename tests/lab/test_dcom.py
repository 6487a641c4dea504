"""DCOM through a real destination NAT: impacket asks a server at the virtual address, whose bindings name its own."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from inspector import cli
from inspector.lab import topology
from inspector.lab.processes import stop
from tests.lab.dcom_server import BACKUP, OBJECT_PORT
from tests.lab.scenario import ROOT, recorded

if TYPE_CHECKING:
    from pathlib import Path

    from inspector.lab.gateway import Laboratory

# Samba's endpoint mapper has port 135 of the server.
PORT = 10135


@pytest.fixture(scope="module")
def wire(laboratory: Laboratory, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Record one round of the client at the gateway, which is in front of the translation."""
    path = tmp_path_factory.mktemp("dcom") / "clients.pcap"
    command = [sys.executable, "-m", "tests.lab.dcom_server", topology.SERVER_ADDRESS, str(PORT)]
    server = laboratory.start("server", command, stdout=subprocess.PIPE, cwd=ROOT)
    try:
        assert server.stdout is not None
        assert server.stdout.readline() == "listening\n"
        with recorded(laboratory, topology.CLIENT_PORT, path, "tcp"):
            asking = [sys.executable, "-m", "tests.lab.dcom_client", topology.VIRTUAL_ADDRESS, str(PORT)]
            bindings = laboratory.run("client", asking).split()
    finally:
        stop(server)
    assert bindings == ["LABORATORY", topology.SERVER_ADDRESS, BACKUP]
    return path


def told(wire: Path, capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    """Return what `read --follow-up` says of a recording."""
    config = wire.parent / "config.toml"
    config.write_text(f"ports = [{PORT}]\n")
    assert cli.main(["read", "--config", str(config), "--json", "--follow-up", str(wire)]) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_in_front_of_the_translation(wire: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Both answers name addresses which the client did not ask, and it goes there."""
    findings = told(wire, capsys)
    answers = [one for one in findings if one["kind"] == "answer"]
    assert [(one["operation"], one["verdict"], one["cause"]) for one in answers] == [
        ("ServerAlive2", "mismatch", "destination_nat"),
        ("RemoteCreateInstance", "mismatch", "destination_nat"),
    ]
    activation = answers[1]
    assert activation["dcom"]["class"]["name"] == "WMI"
    assert activation["dcom"]["oxid"] == "0x0807060504030201"
    exporters = [one for one in activation["mappings"] if one["role"] == "object_exporter"]
    assert [(one.get("host") or one["address"], one["port"], one["reach"]) for one in exporters] == [
        ("LABORATORY", OBJECT_PORT, "name_only"),
        (topology.SERVER_ADDRESS, OBJECT_PORT, "other_address"),
        (BACKUP, OBJECT_PORT, "other_address"),
    ]
    follow_ups = [one for one in findings if one["kind"] == "follow_up"]
    assert {(one["target"], one["endpoint"]["address"]) for one in follow_ups} == {("offered", topology.SERVER_ADDRESS)}
