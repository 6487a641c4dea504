"""`attach` says what answers led to, of real connections between real kernels."""

from __future__ import annotations

import contextlib
import socket
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from inspector.live.process.namespaces import inside
from tests.build import pdu
from tests.build.epm import SAMR, map_request, map_response, tcp_tower
from tests.kernel.process import Inspector, inspecting

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.kernel.conftest import Cable

pytestmark = [pytest.mark.kernel, pytest.mark.usefixtures("bpf", "root")]

ENDPOINT = 49664
SLOW = 25.0


def ask(cable: Cable, *, port: int = ENDPOINT, offered: str | None = None) -> int:
    """Ask the mapper, which names this port; return the client's port."""
    tower = tcp_tower(SAMR, port, offered or cable.far_address)
    request = pdu.bind() + pdu.request(map_request(tower), call_id=2)
    return cable.converse(request, pdu.bind_ack() + pdu.response(map_response([tower]), call_id=2))


@pytest.fixture
def inspector(cable: Cable, tmp_path: Path) -> Iterator[Inspector]:
    """Start the inspector on both directions of the near interface."""
    with inspecting(cable, tmp_path, "--mode", "tc") as command:
        command.wait_until_attached()
        yield command


def outcomes(command: Inspector) -> list[tuple[str, str | None]]:
    """Return kind and outcome of the findings so far."""
    return [(one["kind"], one.get("outcome")) for one in command.findings]


def told(command: Inspector, kind: str, outcome: str, seconds: float = SLOW) -> dict[str, Any]:
    """Return the finding of that kind and outcome, as soon as it is there."""
    command.wait_for(lambda: (kind, outcome) in outcomes(command), seconds)
    return next(one for one in command.findings if (one["kind"], one.get("outcome")) == (kind, outcome))


def anomalies(command: Inspector) -> dict[str, float]:
    """Return the anomalies which were counted."""
    return {key[1]: value for key, value in command.samples().items() if key[0] == "anomalies_total" and value}


def drop(cable: Cable, rule: str) -> contextlib.AbstractContextManager[None]:
    """Let the far end's packet filter do something."""

    @contextlib.contextmanager
    def filtered() -> Iterator[None]:
        table = f"table inet filter {{ {rule} }}"
        subprocess.run(["ip", "netns", "exec", cable.there, "nft", "-f", "-"], input=table.encode(), check=True)
        try:
            yield
        finally:
            subprocess.run(["ip", "netns", "exec", cable.there, "nft", "flush", "ruleset"], check=True)

    return filtered()


def connect(cable: Cable, address: str, port: int, seconds: float) -> int:
    """Try to connect from here; return the error number, 0 for none."""
    with inside(cable.here), socket.socket() as client:
        client.settimeout(seconds)
        return client.connect_ex((address, port))


def test_a_healthy_follow_up(cable: Cable, inspector: Inspector) -> None:
    """The client gets through: that is all that is said, and nothing is counted as let go."""
    client_port = ask(cable)
    follow_up = cable.converse(pdu.bind(), pdu.bind_ack(), port=ENDPOINT)
    found = told(inspector, "follow_up", "reached")
    assert (found["client_port"], found["server_port"], found["target"]) == (follow_up, ENDPOINT, "asked")
    assert (found["answer"]["client_port"], found["source"]) == (client_port, cable.near)
    assert "frame" not in found
    assert outcomes(inspector) == [("answer", None), ("follow_up", "reached")]
    assert anomalies(inspector) == {}
    inspector.stop()
    assert outcomes(inspector) == [("answer", None), ("follow_up", "reached")]


def test_refused(cable: Cable, inspector: Inspector) -> None:
    """The server resets."""
    ask(cable)
    assert connect(cable, cable.far_address, ENDPOINT, 5) != 0
    found = told(inspector, "follow_up", "refused")
    assert (found["cause"], found["target"]) == ("stale_registration", "asked")


def test_timed_out(cable: Cable, inspector: Inspector) -> None:
    """A firewall swallows the SYN."""
    ask(cable)
    with drop(cable, f"chain input {{ type filter hook input priority 0; tcp dport {ENDPOINT} drop; }}"):
        connect(cable, cable.far_address, ENDPOINT, 4)
    found = told(inspector, "follow_up", "timed_out")
    assert found["cause"] == "ports_filtered"


def test_unreachable(cable: Cable, inspector: Inspector) -> None:
    """A firewall says so by ICMP."""
    ask(cable)
    reject = f"tcp dport {ENDPOINT} reject with icmp type admin-prohibited;"
    with drop(cable, f"chain input {{ type filter hook input priority 0; {reject} }}"):
        connect(cable, cable.far_address, ENDPOINT, 1)
    found = told(inspector, "follow_up", "unreachable")
    assert cable.far_address in found["why"]
