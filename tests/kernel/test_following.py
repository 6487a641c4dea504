"""`attach` says what answers led to, of real connections between real kernels."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import time
from typing import TYPE_CHECKING, Any

import pytest

from inspector.live.process.namespaces import inside
from tests.build import pdu
from tests.build.epm import SAMR, map_request, map_response, tcp_tower
from tests.kernel.conftest import receive
from tests.kernel.frames import SYN, ethernet, tcp
from tests.kernel.process import Inspector, inspecting
from tests.kernel.test_follow_up import ipv4

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


@contextlib.contextmanager
def filtered(namespace: str, rule: str) -> Iterator[None]:
    """Let a namespace's packet filter do something."""
    table = f"table inet filter {{ {rule}\n}}\n"
    subprocess.run(["ip", "netns", "exec", namespace, "nft", "-f", "-"], input=table.encode(), check=True)
    try:
        yield
    finally:
        subprocess.run(["ip", "netns", "exec", namespace, "nft", "flush", "ruleset"], check=True)


def connect(cable: Cable, address: str, port: int, seconds: float) -> int:
    """Try to connect from here; return the error number, 0 for none."""
    with inside(cable.here), socket.socket() as client:
        client.settimeout(seconds)
        return client.connect_ex((address, port))


def server_there(cable: Cable, port: int) -> socket.socket:
    """Return a listening socket at the far end."""
    with inside(cable.there):
        return socket.create_server((cable.far_address, port))


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
    with filtered(cable.there, f"chain input {{ type filter hook input priority 0; tcp dport {ENDPOINT} drop; }}"):
        connect(cable, cable.far_address, ENDPOINT, 4)
    found = told(inspector, "follow_up", "timed_out")
    assert found["cause"] == "ports_filtered"


def test_unreachable(cable: Cable, inspector: Inspector) -> None:
    """A firewall says so by ICMP."""
    ask(cable)
    reject = f"tcp dport {ENDPOINT} reject with icmp type admin-prohibited;"
    with filtered(cable.there, f"chain input {{ type filter hook input priority 0; {reject} }}"):
        connect(cable, cable.far_address, ENDPOINT, 1)
    found = told(inspector, "follow_up", "unreachable")
    assert cable.far_address in found["why"]


def test_undelivered(cable: Cable, inspector: Inspector) -> None:
    """The answer is dropped before the client gets it, again and again; the client gives up."""
    tower = tcp_tower(SAMR, ENDPOINT, cable.far_address)
    answer = pdu.response(map_response([tower]), call_id=2)
    with server_there(cable, 135) as listener:
        with inside(cable.here):
            client = socket.create_connection((cable.far_address, 135), timeout=10)
        with client, listener.accept()[0] as server:
            server.settimeout(10)
            client.sendall(pdu.bind())
            receive(server, len(pdu.bind()))
            server.sendall(pdu.bind_ack())
            receive(client, len(pdu.bind_ack()))
            client.sendall(pdu.request(map_request(tower), call_id=2))
            receive(server, 1)
            with filtered(cable.here, "chain input { type filter hook input priority 0; tcp sport 135 drop; }"):
                server.sendall(answer)
                time.sleep(3)
                client.shutdown(socket.SHUT_WR)
                time.sleep(1)
    found = told(inspector, "delivery", "undelivered")
    assert "never acknowledged" in found["why"]


def test_an_answer_whose_acknowledgment_alone_was_seen(cable: Cable, inspector: Inspector) -> None:
    """The client acknowledges the answer and says no more, and the server goes on: no alarm."""
    tower = tcp_tower(SAMR, ENDPOINT, cable.far_address)
    answer = pdu.response(map_response([tower]), call_id=2)
    with server_there(cable, 135) as listener:
        with inside(cable.here):
            client = socket.create_connection((cable.far_address, 135), timeout=10)
        with client, listener.accept()[0] as server:
            client.sendall(pdu.bind() + pdu.request(map_request(tower), call_id=2))
            receive(server, 100)
            server.sendall(pdu.bind_ack() + answer)
            receive(client, len(pdu.bind_ack() + answer))
            time.sleep(2)
            server.shutdown(socket.SHUT_WR)
            time.sleep(6)
    assert outcomes(inspector) == [("answer", None)]


def test_a_client_that_goes_to_the_address_of_the_tower(cable: Cable, inspector: Inspector) -> None:
    """Nothing is there; it tried where no address of the asked server is."""
    dip = "10.9.0.77"
    ask(cable, offered=dip)
    connect(cable, dip, ENDPOINT, 1)
    with inside(cable.here):
        subprocess.run(
            ["ip", "neighbour", "replace", dip, "lladdr", "02:00:00:00:00:77", "dev", cable.near], check=True
        )
    connect(cable, dip, ENDPOINT, 4)
    found = told(inspector, "follow_up", "timed_out")
    assert (found["target"], found["endpoint"]) == ("offered", {"address": dip, "port": ENDPOINT})
    [answer] = [one for one in inspector.findings if one["kind"] == "answer"]
    assert answer["verdict"] == "mismatch"


def test_port_135_is_refused(cable: Cable, inspector: Inspector) -> None:
    """Nobody listens."""
    assert connect(cable, cable.far_address, 135, 5) != 0
    found = told(inspector, "connection", "refused")
    assert found["cause"] == "mapper_refuses"


def test_port_135_is_mute(cable: Cable, inspector: Inspector) -> None:
    """The connection is accepted, and the bind stays without answer."""
    with server_there(cable, 135):
        with inside(cable.here):
            client = socket.create_connection((cable.far_address, 135), timeout=10)
        with client:
            client.sendall(pdu.bind())
            found = told(inspector, "answer", "broken")
    assert (found["verdict"], found["cause"]) == ("unanswered", "mapper_mute")


def test_a_storm_of_forged_syns(cable: Cable, inspector: Inspector) -> None:
    """SYNs from everywhere beside an honest client: it gets its outcome, and what was let go is counted."""
    server = bytes((10, 9, 0, 2))
    sources = [bytes((10, 200, *divmod(number % 65_536, 256))) for number in range(20_000)]
    forged = [
        ethernet(ipv4(tcp(flags=SYN, ports=(1024 + number, 135)), source, server))
        for number, source in enumerate(sources)
    ]
    cable.send_frame(*forged, outwards=True)
    ask(cable)
    cable.converse(pdu.bind(), pdu.bind_ack(), port=ENDPOINT)
    cable.send_frame(*forged, outwards=True)
    told(inspector, "follow_up", "reached")
    # Metrics are brought up to date once a second.
    inspector.wait_for(lambda: inspector.samples()["anomalies_total", "follow_up_quota"] > 10_000)
    samples = inspector.samples()
    lost = sum(value for key, value in samples.items() if key[0] == "ring_lost_total")
    assert samples["packets_matched_total",] == samples["ring_submitted_total",] + lost
    assert [one for one in outcomes(inspector) if one[0] == "follow_up"] == [("follow_up", "reached")]


def test_without(cable: Cable, tmp_path: Path) -> None:
    """--no-follow-up: the answer alone, at once, and a program without the maps."""
    with inspecting(cable, tmp_path, "--mode", "tc", "--no-follow-up") as command:
        command.wait_until_attached()
        ask(cable)
        assert connect(cable, cable.far_address, ENDPOINT, 5) != 0
        command.wait_for(lambda: len(command.findings) == 1)
        command.stop()
        assert outcomes(command) == [("answer", None)]
