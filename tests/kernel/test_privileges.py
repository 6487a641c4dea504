"""Least privilege: with how little the inspector starts, and what it still has once it is attached."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from pyroute2.netlink.exceptions import NetlinkError

from inspector.live.attach.attachment import attach
from inspector.live.bpf import loader, syscalls
from inspector.live.bpf.counters import possible_cpus, read_counters
from inspector.live.bpf.options import pack_options
from inspector.live.process.capabilities import Capability, drop_capabilities, is_allowed_without_capabilities
from inspector.live.process.namespaces import inside
from tests.conftest import require_tools
from tests.kernel.process import ask_and_answer, inspecting, mask, privileges_of, unprivileged

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from inspector.live.bpf.loader import Program
    from inspector.model import Mode
    from tests.kernel.conftest import Cable

pytestmark = [pytest.mark.kernel, pytest.mark.usefixtures("bpf", "root")]

NEEDED = ("CAP_BPF", "CAP_NET_ADMIN", "CAP_PERFMON")
NET_ADMIN, SYS_ADMIN = Capability.CAP_NET_ADMIN, Capability.CAP_SYS_ADMIN


def kept(numbers: Collection[Capability], bounding: int | None = None) -> dict[str, int]:
    """Return what /proc says of a thread which kept these capabilities."""
    held = mask(*numbers)
    bounds = held if bounding is None else bounding
    return {"CapInh": 0, "CapPrm": held, "CapEff": held, "CapBnd": bounds, "CapAmb": 0, "NoNewPrivs": 1}


def check_threads(process_id: int, expected: dict[str, int]) -> None:
    """Compare the privileges of each thread of the process: the main one, and at least the metrics server's."""
    threads = privileges_of(process_id)
    assert len(threads) > 1
    assert threads == [expected] * len(threads)


@pytest.mark.parametrize(
    ("options", "numbers"),
    [
        (["--mode", "generic"], [NET_ADMIN]),
        (["--mode", "tc"], [NET_ADMIN]),
        (["--mode", "generic", "--drop-all"], []),
        (["--mode", "tc", "--drop-all"], []),
    ],
)
def test_root_keeps_what_attaching_again_needs(
    cable: Cable, tmp_path: Path, options: list[str], numbers: list[Capability]
) -> None:
    """Every thread of it, from all five sets; it goes on inspecting, and ends in good order."""
    with inspecting(cable, tmp_path, *options) as inspector:
        inspector.wait_until_attached()
        if "tc" in options and any("clsact" in line for line in inspector.lines):
            numbers = [NET_ADMIN]
        check_threads(inspector.process.pid, kept(numbers))
        port = ask_and_answer(cable, "10.11.2.7")
        inspector.wait_for(lambda: bool(inspector.findings))
        assert inspector.findings[0]["client_port"] == port
        assert inspector.stop() == 0
    assert cable.programs() == []


def test_another_namespace_can_be_entered_again(cable: Cable) -> None:
    """With --netns what entering it needs is kept, unless all is to go."""
    for options, numbers in (([], [NET_ADMIN, SYS_ADMIN]), (["--drop-all"], [])):
        arguments = [sys.executable, "-m", "inspector", "attach", "--netns", cable.here, "--mode", "generic"]
        arguments += ["--listen", "127.0.0.1:0", *options, cable.near]
        with subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
            assert process.stderr is not None
            assert process.stderr.readline().startswith("attached")
            assert process.stderr.readline().startswith("metrics")
            check_threads(process.pid, kept(numbers))
            process.terminate()
            process.wait(30)


@pytest.mark.usefixtures("nobody")
@pytest.mark.parametrize("mode", ["native", "generic", "tc"])
def test_unprivileged_user_with_three_capabilities(cable: Cable, tmp_path: Path, mode: str) -> None:
    """Nobody, with exactly those that are needed: attaches, inspects, keeps one, detaches."""
    require_tools(["setpriv"])
    with inspecting(cable, tmp_path, "--mode", mode, prefix=unprivileged(*NEEDED)) as inspector:
        inspector.wait_until_attached()
        # Without CAP_SETPCAP the bounding set stays; no_new_privs makes it idle.
        bounds = mask(*(Capability[name] for name in NEEDED))
        check_threads(inspector.process.pid, kept([NET_ADMIN], bounds))
        ask_and_answer(cable, "10.11.2.7")
        inspector.wait_for(lambda: bool(inspector.findings))
        assert inspector.findings[0]["verdict"] == "mismatch"
        assert inspector.stop() == 0
    assert cable.programs() == []


@pytest.mark.usefixtures("nobody")
@pytest.mark.parametrize("missing", NEEDED)
def test_two_of_three_are_not_enough(cable: Cable, tmp_path: Path, missing: str) -> None:
    """The one that is missing is named in one line, and nothing is attached."""
    require_tools(["setpriv"])
    held = [name for name in NEEDED if name != missing]
    with inspecting(cable, tmp_path, "--mode", "generic", prefix=unprivileged(*held)) as inspector:
        assert inspector.process.wait(60) == 1
        [line] = inspector.lines
    assert f"attaching needs {missing}:" in line
    assert cable.programs() == []


@pytest.fixture(scope="module")
def program(bpf: None) -> Iterator[Program]:  # noqa: ARG001 - asks for BPF before anything is loaded
    """Load both programs."""
    loaded = loader.load(compact_ring_bytes=1 << 16, bulk_ring_bytes=1 << 16)
    yield loaded
    loaded.close()


def with_capabilities(keep: Collection[Capability], action: Callable[[], object]) -> int:
    """Run an action in a child which gave up all other capabilities; return its error's number, or 0."""
    child = os.fork()
    if child == 0:
        number = 255
        try:
            drop_capabilities(keep)
            action()
            number = 0
        except OSError as error:
            number = error.errno or 255
        except NetlinkError as error:
            number = error.code
        except Exception as error:  # noqa: BLE001 - the parent is told by number
            cause = error.__cause__
            number = (cause.code if isinstance(cause, NetlinkError) else getattr(cause, "errno", None)) or 255
        finally:
            os._exit(number)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.parametrize(
    ("mode", "tcx", "keep", "error"),
    [
        ("native", True, [], 0),
        ("generic", True, [], 0),
        ("tc", True, [], 0),
        ("tc", False, [NET_ADMIN], 0),
        ("tc", False, [], errno.EPERM),
    ],
    ids=["native", "generic", "tcx", "clsact", "clsact without"],
)
def test_what_attaching_a_loaded_program_needs(
    cable: Cable, program: Program, mode: Mode, tcx: bool, keep: list[Capability], error: int
) -> None:
    """Links need the program's descriptor and nothing else; tc filters need CAP_NET_ADMIN."""
    device = cable.device()
    if tcx and mode == "tc":
        with inside(cable.here):
            try:
                syscalls.query_programs(device.index, syscalls.AttachType.TCX_INGRESS)
            except OSError:
                # Before Linux 6.6 this is the next case.
                keep = [NET_ADMIN]

    def again() -> None:
        attach(device, program, mode, None, tcx=tcx).close()

    with inside(cable.here):
        assert with_capabilities(keep, again) == error


def test_what_reading_needs(program: Program) -> None:
    """Counters, options and clock need their descriptors and nothing else; making a map needs CAP_BPF."""
    counters, options = program.maps["epm_counters"], program.maps["epm_options"]
    assert is_allowed_without_capabilities(lambda: read_counters(counters, possible_cpus()))
    assert with_capabilities([], lambda: read_counters(counters, possible_cpus())) == 0
    assert with_capabilities([], lambda: syscalls.map_update(options, 0, pack_options([], (135,)))) == 0
    if Path("/proc/sys/kernel/unprivileged_bpf_disabled").read_text().strip() != "0":
        assert not is_allowed_without_capabilities(lambda: syscalls.map_create_array(8))
        assert with_capabilities([], lambda: syscalls.map_create_array(8)) == errno.EPERM
    assert with_capabilities([Capability.CAP_BPF], lambda: syscalls.map_create_array(8)) == 0
    # A try leaves everything as it was.
    os.close(syscalls.map_create_array(8))


def test_dropping_is_for_good(tmp_path: Path) -> None:
    """Neither a program with a set-user-id bit nor one run by root gains anything afterwards."""
    script = (
        "import subprocess\n"
        "from inspector.live.process.capabilities import *\n"
        "assert drop_capabilities([Capability.CAP_NET_ADMIN]) == 0\n"
        "print(subprocess.run(['cat', '/proc/self/status'], capture_output=True, text=True, check=True).stdout)\n"
        "try: is_allowed_without_capabilities(lambda: None); drop_capabilities([Capability.CAP_BPF])\n"
        "finally: print(open('/proc/self/status').read())\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=tmp_path)
    lines = [line.split(":\t") for line in done.stdout.splitlines() if line.startswith(("CapPrm", "CapEff", "CapBnd"))]
    child, later = dict(lines[:3]), dict(lines[3:])
    # What root executes is given what the bounding set leaves.
    assert {int(value, 16) for value in child.values()} == {mask(NET_ADMIN)}
    assert {int(later[name], 16) for name in ("CapPrm", "CapEff")} == {0}
