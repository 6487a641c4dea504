"""Whatever happens to the inspector, the laboratory or the demonstration: nothing is left behind."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from inspector.lab import leftovers, topology
from inspector.lab.gateway import Laboratory
from inspector.live.process.namespaces import inside
from inspector.protocols import EPM_PORT
from tests.lab.conftest import why_no_nat64
from tests.lab.scenario import PATIENCE_SECONDS, ROOT, ask, attach, free_address, programs, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.lab

HOLD_A_LABORATORY = """
import time
from inspector.lab.gateway import Laboratory
with Laboratory(nat64={nat64}):
    print("ready", flush=True)
    time.sleep(600)
"""


def start(*arguments: str) -> subprocess.Popen[str]:
    """Start this Python as a child that finds the project."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [sys.executable, *arguments],
        cwd=ROOT,
        env=environment,
        text=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


@pytest.fixture
def other_laboratory(
    laboratory: Laboratory,  # noqa: ARG001 - where the first one cannot be built, the second cannot be
) -> Iterator[subprocess.Popen[str]]:
    """Return a child that holds a second laboratory, beside the one of these tests."""
    with start("-c", HOLD_A_LABORATORY.format(nat64=why_no_nat64() is None)) as child:
        try:
            assert child.stdout is not None
            assert child.stdout.readline() == "ready\n"
            yield child
        finally:
            child.kill()
            child.wait()
            leftovers.remove(child.pid)


def left_of(owner: int) -> list[str]:
    """Return what exists of the laboratory of a process: namespaces and its folder."""
    names = leftovers.namespace_names(owner).values()
    candidates = [*(Path("/run/netns") / name for name in names), leftovers.STATE / f"lab-{owner}"]
    return [str(path) for path in candidates if path.exists()]


def services_of(owner: int) -> list[str]:
    """Return the names of what serves in a process's laboratory, endpoint mapper and translator; zombies excepted."""
    settings = f"/lab-{owner}/".encode()
    found = []
    for command_line in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = command_line.read_bytes()
        except OSError:
            continue
        if settings in words:
            found.append(Path(words.partition(b"\0")[0].decode()).name)
    return found


@pytest.mark.usefixtures("bpf")
def test_kill_9_leaves_no_program(laboratory: Laboratory, tmp_path: Path) -> None:
    """The kernel takes the programs off both ports when the inspector is killed."""
    assert set(programs(laboratory).values()) == {0}
    inspector = attach(laboratory, tmp_path, "--mode", "generic", "--json", "--listen", free_address())
    try:
        wait_for(lambda: "metrics http" in (tmp_path / "err.txt").read_text() or inspector.poll() is not None)
        assert all(programs(laboratory).values())
    finally:
        inspector.kill()
        inspector.wait(PATIENCE_SECONDS)
    wait_for(lambda: set(programs(laboratory).values()) == {0}, seconds=5)
    assert '"status": 0' in ask(laboratory)


def test_two_laboratories_run_at_once(laboratory: Laboratory, other_laboratory: subprocess.Popen[str]) -> None:
    """The same addresses, in other namespaces: both endpoint mappers answer."""
    for owner in (os.getpid(), other_laboratory.pid):
        assert len(left_of(owner)) == len(topology.HOSTS) + 1
        with inside(leftovers.namespace_names(owner)["client"]):
            socket.create_connection((topology.VIRTUAL_ADDRESS, EPM_PORT), timeout=5).close()
    assert '"status": 0' in ask(laboratory)


def test_a_killed_laboratory_is_removed_by_the_next(other_laboratory: subprocess.Popen[str]) -> None:
    """SIGKILL takes endpoint mapper and translator along; namespaces and folder go when the next laboratory starts."""
    expected = {"samba-dcerpcd"} | ({"tayga"} if why_no_nat64() is None else set())
    assert expected <= set(services_of(other_laboratory.pid))
    other_laboratory.kill()
    other_laboratory.wait()
    wait_for(lambda: not services_of(other_laboratory.pid), seconds=10)
    assert left_of(other_laboratory.pid)
    with start("-c", "from inspector.lab.gateway import Laboratory\nwith Laboratory(): pass") as next_one:
        output, _ = next_one.communicate(timeout=PATIENCE_SECONDS)
    assert (next_one.returncode, output) == (0, "")
    assert left_of(other_laboratory.pid) == []
    assert left_of(next_one.pid) == []
    assert len(left_of(os.getpid())) == len(topology.HOSTS) + 1


def test_an_interrupted_laboratory_removes_itself(other_laboratory: subprocess.Popen[str]) -> None:
    """Ctrl-C ends the owner, which removes everything on its way out."""
    other_laboratory.send_signal(signal.SIGINT)
    other_laboratory.wait(PATIENCE_SECONDS)
    assert left_of(other_laboratory.pid) == []
    assert services_of(other_laboratory.pid) == []


def test_a_host_is_configured_without_a_fork(laboratory: Laboratory, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fork which a signal ends would remove the laboratory: it has the owner's handlers and context managers."""
    monkeypatch.setattr(os, "fork", lambda: pytest.fail("there was a fork"))
    with topology.links_of(laboratory.names["client"]) as routes:
        assert routes.link_lookup(ifname="uplink")
        assert not routes.link_lookup(ifname=topology.CLIENT_PORT)


@pytest.mark.usefixtures("laboratory", "bpf")
def test_the_demonstration_shows_what_it_promises() -> None:
    """It ends by itself with status 0, having shown the mismatch, and leaves nothing behind."""
    with start("-m", "inspector", "demo", "--seconds", "4", "--listen", free_address()) as demo:
        output, _ = demo.communicate(timeout=PATIENCE_SECONDS)
    assert demo.returncode == 0, output
    assert re.search(r"10\.11\.2\.2 +10\.11\.2\.7:\d+ +SAMR +mismatch", output)
    assert re.search(r"MAPI +not_registered", output)
    assert "as scraped" in output
    assert left_of(demo.pid) == []


@pytest.mark.usefixtures("laboratory", "bpf")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_demonstration_ends_in_good_order(number: signal.Signals) -> None:
    """The summary still comes, and nothing is left behind; what it had not seen yet is said to be missing."""
    with start("-m", "inspector", "demo", "--listen", free_address()) as demo:
        assert demo.stdout is not None
        for line in demo.stdout:
            if "SAMR" in line:
                break
        demo.send_signal(number)
        output, _ = demo.communicate(timeout=PATIENCE_SECONDS)
    assert demo.returncode == (1 if "Missing:" in output else 0), output
    assert "summary" in output
    assert left_of(demo.pid) == []
