"""The inspector beside other programs, and after its end: what is left alone, and what stays behind."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest
from pyroute2 import IPRoute

from inspector.errors import HookTakenError
from inspector.live.attach import preflight
from inspector.live.attach.links import CLSACT_HOOKS, Link
from inspector.live.bpf import syscalls
from inspector.live.process.namespaces import inside
from inspector.live.session import open_session
from tests.kernel import frames
from tests.kernel.conftest import Cable, constant_program
from tests.kernel.kinds import laid
from tests.kernel.live import EVERY_HOOK, EVERY_TC_WAY, LOOPBACK, TC_SHOT, TC_WAYS, XDP_PASS, attached, collect, filters
from tests.kernel.objects import open_descriptors

if TYPE_CHECKING:
    from collections.abc import Iterator

    from inspector.model import Mode

pytestmark = [pytest.mark.kernel]


@EVERY_HOOK
def test_nothing_stays_behind(cable: Cable, mode: Mode, tcx: bool) -> None:
    """After closing, the hooks are as before, no descriptor is left open, and attaching again works."""
    with attached(cable, mode, tcx=tcx):
        pass
    before = open_descriptors()
    for _ in range(3):
        with attached(cable, mode, tcx=tcx) as session:
            assert cable.programs() if tcx else filters(cable)
        session.close()
        assert cable.programs() == filters(cable) == []
    assert open_descriptors() == before
    with inside(cable.here), IPRoute() as rtnetlink:
        kinds = [q.get_attr("TCA_KIND") for q in rtnetlink.get_qdiscs(index=cable.device().index)]
    assert "clsact" not in kinds


@EVERY_HOOK
def test_killed(cable: Cable, mode: Mode, tcx: bool) -> None:
    """After SIGKILL links are gone; a filter of the oldest way is cleared by whoever attaches next."""
    code = (
        "import time; from inspector.live.session import open_session\n"
        f"s = open_session(['{cable.near}'], mode='{mode}', netns='{cable.here}', tcx={tcx})\n"
        "print(s.attachments[0].program_id, flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        program_id = int(process.stdout.readline())
        if tcx:
            assert program_id in cable.programs()
        process.send_signal(signal.SIGKILL)
        process.wait()
    deadline = time.monotonic() + 5
    while program_id in cable.programs() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert cable.programs() == []
    with attached(cable, mode, tcx=tcx):
        pass
    assert filters(cable) == []


@pytest.mark.parametrize("held", ["native", "generic"])
@pytest.mark.parametrize("mode", ["auto", "native", "generic"])
def test_foreign_xdp_program_stays(cable: Cable, held: str, mode: Mode) -> None:
    """Somebody's XDP program is left where it is, and the error names it; tc runs beside it."""
    foreign = constant_program(syscalls.ProgramType.XDP, XDP_PASS, "someone_elses")
    flag = syscalls.LinkFlag.XDP_NATIVE if held == "native" else syscalls.LinkFlag.XDP_GENERIC
    with contextlib.ExitStack() as stack:
        # Mode auto takes tc on a veth.
        device = stack.enter_context(laid(cable, "tap")) if mode == "auto" else cable
        stack.callback(os.close, foreign)
        with inside(device.here):
            link = Link.create(foreign, device.device().index, syscalls.AttachType.XDP, flag)
        stack.callback(link.close)
        info = syscalls.program_info(foreign)
        with pytest.raises(HookTakenError) as refusal:
            attached(device, mode)
        assert f"someone_elses (id {info.id}, tag {info.tag}) in {held} mode" in str(refusal.value)
        assert "--mode tc" in str(refusal.value)
        assert device.programs() == [info.id]
        with attached(device, "tc") as session:
            device.send_frame(frames.FRAMES["response"])
            assert len(collect(session, 1)) == 1
        assert device.programs() == [info.id]
        checks = list(preflight.run_checks(device.near, mode, device.here))
        assert [c.level for c in checks if c.name == "hook"] == ["fail"]


def test_auto_on_a_veth_runs_beside_xdp(cable: Cable) -> None:
    """Where mode auto takes tc, an XDP program is in nobody's way; `check` names it."""
    foreign = constant_program(syscalls.ProgramType.XDP, XDP_PASS, "someone_elses")
    with contextlib.ExitStack() as stack:
        stack.callback(os.close, foreign)
        with inside(cable.here):
            link = Link.create(foreign, cable.device().index, syscalls.AttachType.XDP, syscalls.LinkFlag.XDP_NATIVE)
        stack.callback(link.close)
        with attached(cable, "auto") as session:
            cable.send_frame(frames.FRAMES["response"])
            assert len(collect(session, 1)) == 1
        checks = [c for c in preflight.run_checks(cable.near, "auto", cable.here) if c.name == "hook"]
        assert {c.level for c in checks} == {"ok"}
        assert "tc sees the packets" in checks[0].text


@contextlib.contextmanager
def dropping(cable: Cable, direction: str, way: str) -> Iterator[None]:
    """Keep a foreign program on one direction of the near interface that drops every packet."""
    foreign = constant_program(syscalls.ProgramType.SCHED_CLS, TC_SHOT, "someones_drop")
    index = cable.device().index
    with contextlib.ExitStack() as stack:
        stack.callback(os.close, foreign)
        if way == "tcx":
            hook = syscalls.AttachType.TCX_INGRESS if direction == "ingress" else syscalls.AttachType.TCX_EGRESS
            with inside(cable.here):
                link = Link.create(foreign, index, hook)
            stack.callback(link.close)
        else:
            with inside(cable.here), IPRoute() as rtnetlink:
                rtnetlink.tc("add", "clsact", index)
                rtnetlink.tc(
                    "add-filter",
                    "bpf",
                    index,
                    fd=foreign,
                    name="someones_drop",
                    parent=CLSACT_HOOKS[direction],
                    protocol=3,
                    classid=1,
                    direct_action=True,
                    prio=7,
                )
        yield


def arrives(cable: Cable, direction: str) -> bool:
    """Say whether one of several datagrams passes the near interface in that direction."""
    near, far = (cable.here, cable.near_address), (cable.there, cable.far_address)
    sender, receiver = (near, far) if direction == "egress" else (far, near)
    with inside(receiver[0]):
        listener = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with inside(sender[0]):
        channel = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with listener, channel:
        listener.bind((receiver[1], 9999))
        listener.settimeout(0.1)
        for _ in range(5):
            # A neighbour that does not answer is reported on the socket.
            with contextlib.suppress(OSError):
                channel.sendto(b"x", (receiver[1], 9999))
            with contextlib.suppress(TimeoutError):
                return listener.recv(1) == b"x"
    return False


@pytest.mark.parametrize("foreign_first", [True, False], ids=["foreign before", "foreign after"])
@pytest.mark.parametrize("way", TC_WAYS)
@pytest.mark.parametrize("direction", ["ingress", "egress"])
@pytest.mark.parametrize("tcx", TC_WAYS.values(), ids=[f"ours {way}" for way in TC_WAYS])
def test_foreign_drop_rule_goes_on_working(
    cable: Cable, tcx: bool, direction: str, way: str, foreign_first: bool
) -> None:
    """Somebody's rule that drops keeps dropping while the inspector is attached and when it has left."""
    assert arrives(cable, direction)
    with contextlib.ExitStack() as stack:
        if foreign_first:
            stack.enter_context(dropping(cable, direction, way))
            assert not arrives(cable, direction)
            session = stack.enter_context(attached(cable, "tc", tcx=tcx))
        else:
            session = stack.enter_context(attached(cable, "tc", tcx=tcx))
            assert arrives(cable, direction)
            if way == "clsact" and not tcx:
                # The qdisc is there already: the foreign rule comes to it.
                session.detach()
            stack.enter_context(dropping(cable, direction, way))
            if way == "clsact" and not tcx:
                session = stack.enter_context(attached(cable, "tc", tcx=tcx))
        assert not arrives(cable, direction)
        session.close()
        assert not arrives(cable, direction)
        if way == "clsact":
            assert filters(cable) == ["someones_drop"]


def test_second_interface_taken_frees_the_first(cable: Cable) -> None:
    """Attaching is to all interfaces or to none."""
    foreign = constant_program(syscalls.ProgramType.XDP, XDP_PASS, "someone_elses")
    try:
        with inside(cable.here):
            link = Link.create(foreign, LOOPBACK, syscalls.AttachType.XDP, syscalls.LinkFlag.XDP_GENERIC)
        with pytest.raises(HookTakenError, match=r"^lo: "):
            open_session([cable.near, "lo"], netns=cable.here)
        assert cable.programs() == []
        link.close()
    finally:
        os.close(foreign)


@EVERY_TC_WAY
def test_two_sessions_do_not_fight(cable: Cable, tcx: bool) -> None:
    """Two inspectors on tc of one interface both see every packet, and leave one by one."""
    with attached(cable, "tc", tcx=tcx) as first:
        with attached(cable, "tc", tcx=tcx) as second:
            cable.send_frame(frames.FRAMES["response"])
            assert len(collect(first, 1)) == len(collect(second, 1)) == 1
        cable.send_frame(frames.FRAMES["response"])
        assert len(collect(first, 1)) == 1
        assert len(cable.programs() if tcx else filters(cable)) == 2
    assert cable.programs() == filters(cable) == []
