"""The unit under a real systemd: it starts with what the unit leaves it, is watched, and comes back."""

from __future__ import annotations

import json
import signal
import socket
from typing import TYPE_CHECKING, Any

import pytest

from inspector.lab.scrape import scrape
from inspector.live.privileges import Capability
from inspector.sinks.capture import build_frame
from tests.build import pdu
from tests.build.connection import Wire
from tests.build.epm import SAMR, map_request, map_response, tcp_tower
from tests.kernel.process import mask, privileges_of
from tests.system.box import SERVICE, Box

if TYPE_CHECKING:
    from collections.abc import Iterator

ADDRESS = "127.0.0.1:10135"
UNIT_CAPABILITIES = mask(Capability.CAP_BPF, Capability.CAP_NET_ADMIN, Capability.CAP_PERFMON)


@pytest.fixture(scope="module")
def box(root: None, bpf: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:  # noqa: ARG001 - asked for first
    """Boot the machine, give it an interface, start the service, and wait for what it compiles."""
    with Box(tmp_path_factory.mktemp("box")) as machine:
        for command in (
            "link set lo up",
            "link add near type veth peer name far",
            "link set near up",
            "link set far up",
        ):
            machine.run("ip", *command.split())
        machine.set_times(RestartSec="100ms", TimeoutAbortSec="1")
        machine.run("systemctl", "start", SERVICE)
        yield machine


def messages(box: Box) -> list[dict[str, Any]]:
    """Return the service's lines in the journal, with their fields."""
    return [json.loads(line) for line in box.journal("--output=json").splitlines()]


def findings(box: Box) -> list[dict[str, Any]]:
    """Return the findings in the journal."""
    return [json.loads(entry["MESSAGE"]) for entry in messages(box) if entry["MESSAGE"].startswith("{")]


def converse(box: Box, client_port: int) -> None:
    """Put a conversation with a mismatch on the cable."""
    tower = tcp_tower(SAMR, 49152, "10.11.2.7")
    wire = Wire(client_port=client_port).open().client(pdu.bind()).server(pdu.bind_ack())
    wire.client(pdu.request(map_request(tower), call_id=2)).server(pdu.response(map_response([tower]), call_id=2))
    with box.network(), socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as raw:
        raw.bind(("far", 0))
        for segment in wire.segments:
            raw.send(build_frame(segment))


def attached(box: Box) -> list[int]:
    """Return the ids of the programs on the interface."""
    [link] = json.loads(box.run("ip", "-json", "link", "show", "dev", "near"))
    return [link["xdp"]["prog"]["id"]] if "xdp" in link else []


def test_it_is_ready_and_says_how_it_stands(box: Box) -> None:
    """Started is what systemd calls it once the program is attached; the status is a line."""
    assert box.property("ActiveState") == "active"
    assert box.property("StatusText").startswith("inspecting near: ")
    assert len(attached(box)) == 1


def test_it_has_what_the_unit_leaves_and_no_more(box: Box) -> None:
    """No root, one capability, system calls filtered, in each of its threads."""
    process = box.process()
    assert process.stat().st_uid > 60000
    for thread in privileges_of(int(process.name)):
        assert thread == {
            "CapInh": 0,
            "CapPrm": mask(Capability.CAP_NET_ADMIN),
            "CapEff": mask(Capability.CAP_NET_ADMIN),
            "CapBnd": UNIT_CAPABILITIES,
            "CapAmb": 0,
            "NoNewPrivs": 1,
        }
    assert "\nSeccomp:\t2\n" in (process / "status").read_text()
    mounts = (process / "mounts").read_text().splitlines()
    assert any(line.split()[1] == "/" and line.split()[3].startswith("ro,") for line in mounts)


def test_it_inspects_into_the_journal(box: Box) -> None:
    """Findings are lines of JSON; how it stands has a priority; the metrics are on loopback."""
    before = len(findings(box))
    converse(box, 40001)
    box.wait_for(lambda: len(findings(box)) > before)
    assert (findings(box)[-1]["verdict"], findings(box)[-1]["client_port"]) == ("mismatch", 40001)
    [line] = [entry for entry in messages(box) if entry["MESSAGE"].startswith("attached near: ")][-1:]
    assert line["PRIORITY"] == "5"
    assert line["SYSLOG_IDENTIFIER"] == SERVICE
    with box.network():
        families = scrape(ADDRESS)
    assert sum(sample.value for sample in families["epm_inspector_mismatches"].samples) >= 1


def test_compiled_code_is_kept_for_the_next_start(box: Box) -> None:
    """Compiling works within the unit's limits, into the folder which systemd gives."""
    assert box.run("sh", "-c", f"ls /var/cache/private/{SERVICE}/compiled-*/*.json")
    assert not [entry for entry in messages(box) if int(entry["PRIORITY"]) <= 4]


def test_a_killed_service_comes_back(box: Box) -> None:
    """What was attached goes with it, what comes back attaches anew."""
    [before] = attached(box)
    restarts = int(box.property("NRestarts"))
    box.signal(signal.SIGKILL)
    box.wait_for(lambda: attached(box) not in ([], [before]))
    box.wait_for(lambda: box.property("ActiveState") == "active")
    assert int(box.property("NRestarts")) == restarts + 1
    converse(box, 40002)
    box.wait_for(lambda: findings(box)[-1]["client_port"] == 40002)


def test_the_watchdog_sees_a_service_that_hangs(box: Box) -> None:
    """One that runs is left alone for many intervals; one that is stopped is ended, and comes back."""
    box.set_times(WatchdogSec="1")
    box.run("systemctl", "restart", SERVICE)
    restarts = int(box.property("NRestarts"))
    main = box.property("MainPID")
    box.run("sleep", "3")
    assert box.property("MainPID") == main
    box.signal(signal.SIGSTOP)
    box.wait_for(lambda: int(box.property("NRestarts")) == restarts + 1)
    box.wait_for(lambda: box.property("ActiveState") == "active")
    assert "Watchdog timeout" in box.journal()
    assert len(attached(box)) == 1


@pytest.mark.parametrize(
    ("option", "state", "said"),
    [("--no-such-option", "failed", "unrecognized arguments"), ("nothere0", "activating", "no network interface")],
)
def test_what_does_not_start(box: Box, option: str, state: str, said: str) -> None:
    """A command line that is wrong is not tried again; an interface that is not there is waited for."""
    settings = "/etc/default/epm-inspector"
    right = box.run("cat", settings)
    try:
        box.run("sh", "-c", f'echo EPM_OPTIONS="{option}" >> {settings}')
        box.run("systemctl", "restart", SERVICE, check=False)
        box.wait_for(lambda: box.property("ActiveState") == state and said in box.journal())
        assert attached(box) == []
    finally:
        box.run("sh", "-c", f"printf '%s\\n' \"$0\" > {settings}", right)
        box.run("systemctl", "restart", SERVICE)


def test_it_stops_in_good_order(box: Box) -> None:
    """Nothing stays on the interface, or in /run."""
    box.run("systemctl", "stop", SERVICE)
    assert (box.property("ActiveState"), box.property("Result")) == ("inactive", "success")
    assert attached(box) == []
    assert box.run("sh", "-c", f"ls -d /run/{SERVICE} 2>&1 || true").startswith("ls: cannot access")
    box.run("systemctl", "start", SERVICE)


def test_a_reload_is_told_and_done(box: Box) -> None:
    """`systemctl reload` returns once the configuration has been read again; process and program stay."""
    [program] = attached(box)
    main = box.property("MainPID")
    box.run("sh", "-c", 'printf "ports = [135]\\n" > /etc/epm-inspector.toml')
    box.run("systemctl", "reload", SERVICE)
    box.wait_for(lambda: "/etc/epm-inspector.toml was read again; changed: ports" in box.journal())
    assert (box.property("MainPID"), attached(box)) == (main, [program])
    assert box.property("ActiveState") == "active"


def test_status_is_to_be_had(box: Box) -> None:
    """The command that shows running inspectors finds the service, on the socket in /run."""
    shown = box.run("sh", "-c", f". /etc/default/{SERVICE}; export PYTHONPATH; /opt/{SERVICE}/bin/{SERVICE} status")
    assert "near" in shown
