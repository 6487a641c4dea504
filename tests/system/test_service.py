"""The unit under a real systemd: it starts with what the unit leaves it, is watched, and comes back."""

from __future__ import annotations

import signal
import site
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from inspector.lab.scrape import scrape
from inspector.live.process.capabilities import Capability
from tests.kernel.process import mask, privileges_of
from tests.system.box import ROOT, SERVICE, Box

if TYPE_CHECKING:
    from collections.abc import Iterator

ADDRESS = "127.0.0.1:10135"
# Packages are those of this environment.
PACKAGES = next(path for path in site.getsitepackages() if Path(path).is_dir())
FROM_SOURCES = ["bash", str(Path(__file__).with_name("from_sources.sh")), str(ROOT), PACKAGES]
UNIT_CAPABILITIES = mask(Capability.CAP_BPF, Capability.CAP_NET_ADMIN, Capability.CAP_PERFMON)


@pytest.fixture(scope="module")
def box(root: None, bpf: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:  # noqa: ARG001 - asked for first
    """Boot the machine, give it an interface, start the service, and wait for what it compiles."""
    with Box(tmp_path_factory.mktemp("box"), fill=FROM_SOURCES) as machine:
        machine.connect()
        machine.set_times(RestartSec="100ms", TimeoutAbortSec="1")
        machine.run("systemctl", "start", SERVICE)
        yield machine


def test_it_is_ready_and_says_how_it_stands(box: Box) -> None:
    """Started is what systemd calls it once the program is attached; the status is a line."""
    assert box.property("ActiveState") == "active"
    assert box.property("StatusText").startswith("inspecting near: ")
    assert len(box.attached()) == 1


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
    assert box.property("MemoryDenyWriteExecute") == "yes"
    mounts = (process / "mounts").read_text().splitlines()
    assert any(line.split()[1] == "/" and line.split()[3].startswith("ro,") for line in mounts)


def test_it_inspects_into_the_journal(box: Box) -> None:
    """Findings are lines of JSON; how it stands has a priority; the metrics are on loopback."""
    before = len(box.findings())
    box.converse(40001)
    box.wait_for(lambda: len(box.findings()) > before)
    assert (box.findings()[-1]["verdict"], box.findings()[-1]["client_port"]) == ("mismatch", 40001)
    [line] = [entry for entry in box.messages() if entry["MESSAGE"].startswith("attached near: ")][-1:]
    assert line["PRIORITY"] == "5"
    assert line["SYSLOG_IDENTIFIER"] == SERVICE
    assert [entry["MESSAGE"] for entry in box.messages() if entry["MESSAGE"].startswith("decoder: ")][0:1] == [
        "decoder: compiled"
    ]
    with box.network():
        families = scrape(ADDRESS)
    assert sum(sample.value for sample in families["epm_inspector_mismatches"].samples) >= 1


def test_nothing_is_complained_of(box: Box) -> None:
    """The limits of the unit keep the inspector from nothing: it says nothing of priority "warning" or above."""
    assert not [entry for entry in box.messages() if int(entry["PRIORITY"]) <= 4]


def test_a_killed_service_comes_back(box: Box) -> None:
    """What was attached goes with it, what comes back attaches anew."""
    [before] = box.attached()
    restarts = int(box.property("NRestarts"))
    box.signal(signal.SIGKILL)
    box.wait_for(lambda: box.attached() not in ([], [before]))
    box.wait_for(lambda: box.property("ActiveState") == "active")
    assert int(box.property("NRestarts")) == restarts + 1
    box.converse(40002)
    box.wait_for(lambda: box.findings()[-1]["client_port"] == 40002)


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
    assert len(box.attached()) == 1


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
        assert box.attached() == []
    finally:
        box.run("sh", "-c", f"printf '%s\\n' \"$0\" > {settings}", right)
        box.run("systemctl", "restart", SERVICE)


def test_interfaces_of_the_configuration(box: Box) -> None:
    """Where the command line names none, those of the file are inspected, in the mode of the file."""
    settings, configuration = "/etc/default/epm-inspector", "/etc/epm-inspector/epm-inspector.toml"
    right = box.run("cat", settings)
    try:
        box.run("sed", "-i", 's/^EPM_INTERFACES=.*/EPM_INTERFACES=""/', settings)
        box.run("sh", "-c", f"""printf 'interfaces = ["near"]\\nmode = "generic"\\n' > {configuration}""")
        box.run("systemctl", "restart", SERVICE)
        assert len(box.attached()) == 1
        assert "attached near: generic" in box.journal()
    finally:
        box.run("sh", "-c", f"printf '%s\\n' \"$0\" > {settings}; : > {configuration}", right)
        box.run("systemctl", "restart", SERVICE)


def test_it_stops_in_good_order(box: Box) -> None:
    """Nothing stays on the interface, or in /run."""
    box.run("systemctl", "stop", SERVICE)
    assert (box.property("ActiveState"), box.property("Result")) == ("inactive", "success")
    assert box.attached() == []
    assert box.run("sh", "-c", f"ls -d /run/{SERVICE} 2>&1 || true").startswith("ls: cannot access")
    box.run("systemctl", "start", SERVICE)


def test_a_reload_is_told_and_done(box: Box) -> None:
    """`systemctl reload` returns once the configuration has been read again; process and program stay."""
    [program] = box.attached()
    main = box.property("MainPID")
    box.run("sh", "-c", 'printf "ports = [135]\\n" > /etc/epm-inspector/epm-inspector.toml')
    box.run("systemctl", "reload", SERVICE)
    box.wait_for(lambda: "/etc/epm-inspector/epm-inspector.toml reloaded; changed: ports" in box.journal())
    assert (box.property("MainPID"), box.attached()) == (main, [program])
    assert box.property("ActiveState") == "active"


def test_status_is_to_be_had(box: Box) -> None:
    """The command that shows running inspectors finds the service, on the socket in /run."""
    shown = box.run("sh", "-c", f". /etc/default/{SERVICE}; export PYTHONPATH; /opt/{SERVICE}/bin/{SERVICE} status")
    assert "near" in shown
