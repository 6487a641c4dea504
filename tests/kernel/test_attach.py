"""Attached to a real interface, with real traffic: what is seen, counted and said."""

from __future__ import annotations

import re
import socket
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from pyroute2 import IPRoute

from inspector.errors import LiveError, NoSuchInterfaceError
from inspector.live import proof
from inspector.live.attach import preflight
from inspector.live.bpf import loader
from inspector.live.bpf.counters import possible_cpus
from inspector.live.process.namespaces import inside
from inspector.live.session import open_session
from inspector.record import Attribute, KernelCounter, unpack_record
from tests.kernel import frames
from tests.kernel.conftest import Cable
from tests.kernel.harness import expected, without_time
from tests.kernel.kinds import features, laid
from tests.kernel.live import (
    EVERY_HOOK,
    EVERY_TC_WAY,
    HAS_TCX,
    LOOPBACK,
    attached,
    collect,
    conserved,
    each_gives_its_record,
    filters,
    records_of,
    stream,
)

if TYPE_CHECKING:
    from inspector.model import Mode

pytestmark = [pytest.mark.kernel]


@EVERY_HOOK
def test_a_conversation(cable: Cable, mode: Mode, tcx: bool) -> None:
    """Both sides' bytes of a real connection arrive, with its beginning and end, in order; bare ACKs do not."""
    request, answer = frames.payload(156), frames.payload(20000)
    with attached(cable, mode, tcx=tcx) as session:
        client_port = cable.converse(request, answer)
        time.sleep(0.05)
        records = [record for _ in range(3) for record in records_of(session.poll(0.05))]
        segments = [unpack_record(record) for record in records]
        conserved(session)
    assert [s.time_ns for s in segments] == sorted(s.time_ns for s in segments)
    assert abs(segments[0].time_ns - time.time_ns()) < 10_000_000_000
    assert {s.interface_index for s in segments} == {session.attachments[0].index}
    answers = [s for s in segments if s.attributes & Attribute.FROM_SERVER]
    assert {(s.source_port, s.destination_port) for s in answers} == {(135, client_port)}
    assert all(s.payload or s.tcp_flags & 7 for s in segments)
    assert answers[0].tcp_flags & frames.SYN
    assert any(s.tcp_flags & frames.FIN for s in answers)
    assert stream(segments, from_server=True) == answer
    requests = [s for s in segments if not s.attributes & Attribute.FROM_SERVER]
    if mode == "tc":
        assert stream(segments, from_server=False) == request
        assert segments[0].tcp_flags == frames.SYN
    else:
        # XDP sees what arrives.
        assert requests == []


@EVERY_HOOK
def test_frames_from_the_wire(cable: Cable, mode: Mode, tcx: bool) -> None:
    """Every frame of the table, put on the wire, gives the Python reader's record; tags may be off by then."""
    each_gives_its_record(cable, mode, frames.FRAMES, tcx=tcx)


@EVERY_TC_WAY
def test_tc_sees_what_leaves(cable: Cable, tcx: bool) -> None:
    """On tc a frame that leaves is recorded like one that arrives."""
    frame = frames.FRAMES["service vlan"]
    with attached(cable, "tc", tcx=tcx) as session:
        cable.send_frame(frame, outwards=True)
        [record] = collect(session, 1)
    [wanted] = expected(frame, cable.device().index)[0]
    assert without_time(record)[: len(wanted)] == wanted


@pytest.mark.parametrize("mode", ["native", "generic", "tc"])
def test_jumbo_frames(cable: Cable, mode: Mode) -> None:
    """At MTU 9000 every mode attaches and reads packets of several buffers whole."""
    cable.set_mtu(9000)
    frame = frames.sized(8900)
    with attached(cable, mode) as session:
        cable.send_frame(frame)
        [record] = collect(session, 1)
        assert unpack_record(record).payload == frames.payload(8900)
        answer = frames.payload(60000)
        cable.converse(b"x", answer)
        segments = [unpack_record(one) for one in collect(session, 10_000, timeout_s=0.3)]
        assert stream(segments, from_server=True) == answer
        conserved(session)


@EVERY_HOOK
@pytest.mark.parametrize("linear", [14, 20, 34, 54, 60, 300])
def test_headers_outside_the_first_buffer(cable: Cable, mode: Mode, tcx: bool, linear: int) -> None:
    """Headers are found wherever the packet's first buffer ends, and the payload behind them is whole."""
    cable.set_mtu(9000)
    data = frames.tcp(frames.payload(5000), ports=(135, 7), options=bytes(12))
    wanted = [
        frames.ethernet(frames.ipv4(data)),
        frames.ethernet(frames.ipv6(frames.extension(6, 64) + data, next_header=60), 0x86DD),
        frames.ethernet(frames.ipv4(data), tags=(0x88A8, 0x8100)),
    ]
    with attached(cable, mode, tcx=tcx) as session:
        for frame in wanted:
            for outwards in (False, True) if mode == "tc" else (False,):
                cable.send_scattered(frame, linear, outwards=outwards)
                [record] = collect(session, 1)
                [expectation] = expected(frame, session.attachments[0].index)[0]
                assert without_time(record)[: len(expectation)] == expectation
        counters = conserved(session)[cable.near]
        assert counters[KernelCounter.UNREADABLE_HEADERS] == 0


def test_auto_prefers_native_and_says_so(cable: Cable) -> None:
    """Mode auto takes native where the driver has it, and generic with the reason where it has not."""
    with laid(cable, "tap") as tap, attached(tap, "auto") as session:
        [attachment] = session.attachments
        assert (attachment.hook, attachment.mode) == ("xdp", "native")
        assert attachment.explanation.startswith("native XDP")
        assert "bulk TCP" not in attachment.explanation
        assert tap.programs() == [attachment.program_id]
    with open_session(["lo"], netns=cable.here, compact_ring_bytes=4096, bulk_ring_bytes=4096) as session:
        [attachment] = session.attachments
        assert attachment.mode == "generic"
        assert "no native XDP" in attachment.explanation


@pytest.mark.parametrize("mode", ["auto", "native", "generic", "tc"])
def test_what_a_veth_pays_is_said(cable: Cable, mode: Mode) -> None:
    """Mode auto takes tc on what arrives, with the others' figures; a mode which costs is obeyed, and warned of."""
    with attached(cable, mode) as session:
        [attachment] = session.attachments
    [said] = [check for check in preflight.run_checks(cable.near, mode, cable.here) if check.name == "mode"]
    figures = {"native": {"0.2"}, "generic": {"0.5"}, "auto": {"0.2", "0.5"}, "tc": set()}[mode]
    for text in (attachment.explanation, said.text):
        assert set(re.findall(r"bulk TCP at (\S+) of its rate", text)) == figures
    assert said.level == ("warn" if mode in ("native", "generic") else "ok")
    assert attachment.hook == ("tc" if mode in ("auto", "tc") else "xdp")
    if mode == "auto":
        assert attachment.explanation.startswith("tc: on ingress, ")
        assert said.text.startswith("tc, on ingress; ")
        assert "only arriving packets are seen" in attachment.explanation


def test_auto_on_a_veth_sees_what_arrives(cable: Cable) -> None:
    """Of a conversation one direction, as with XDP: the other one is seen on the gateway's other port."""
    with attached(cable, "auto") as session:
        cable.converse(b"request", b"answer")
        segments = [unpack_record(record) for record in collect(session, 100, timeout_s=0.3)]
        conserved(session)
    assert [s.payload for s in segments if s.payload] == [b"answer"]
    assert all(s.attributes & Attribute.FROM_SERVER for s in segments)


def test_auto_leaves_a_veth_its_offloads(cable: Cable) -> None:
    """Segmentation offload of both ends is as before while the program is there; native XDP takes the peer's away."""
    before = features(cable)
    assert all("tcp-segmentation-offload: on" in one for one in before)
    with attached(cable, "auto"):
        assert features(cable) == before
    with attached(cable, "native"):
        assert "tcp-segmentation-offload: off" in features(cable)[1]
    assert features(cable) == before


def test_tc_takes_the_links_where_there_are_any(cable: Cable) -> None:
    """Mode tc is by links from Linux 6.6 on, by filters before it, says which, and is on both directions."""
    with attached(cable, "tc") as session:
        [attachment] = session.attachments
        assert (attachment.hook, attachment.mode) == ("tc", "tcx" if HAS_TCX else "clsact")
        assert ("by links" if HAS_TCX else "since the kernel has no tcx") in attachment.explanation
        assert len(cable.programs() if HAS_TCX else filters(cable)) == 2
    assert cable.programs() == filters(cable) == []


def test_no_such_interface(cable: Cable) -> None:
    """An interface that is not there is named, and so is a namespace."""
    with pytest.raises(NoSuchInterfaceError, match="'nowhere'"):
        open_session(["nowhere"], netns=cable.here)
    with pytest.raises(NoSuchInterfaceError):
        open_session([cable.near, "nowhere"], netns=cable.here)
    assert cable.programs() == []
    with pytest.raises(LiveError, match="no network namespace is named 'not-there'"):
        open_session([cable.near], netns="not-there")


def test_two_interfaces_are_counted_apart(cable: Cable) -> None:
    """Records and counters name the interface on which a packet was seen."""
    with inside(cable.here), IPRoute() as rtnetlink:
        rtnetlink.link("set", index=LOOPBACK, state="up")
    with open_session([cable.near, "lo"], netns=cable.here) as session:
        cable.send_frame(frames.FRAMES["response"])
        with inside(cable.here), socket.create_server(("127.0.0.1", 135)), socket.socket() as client:
            client.connect(("127.0.0.1", 135))
        seen = {session.interface_names[unpack_record(r).interface_index] for r in collect(session, 100, 0.3)}
        assert seen == {cable.near, "lo"}
        assert set(session.counters()) == {cable.near, "lo"}
        assert conserved(session)[cable.near][KernelCounter.SUBMITTED] == 1


def test_poll_waits_and_wakes(cable: Cable) -> None:
    """With nothing to read, poll takes its timeout; a packet or `wake` ends it before that, which is an hour."""
    with attached(cable, "generic") as session:
        assert session.poll(0.2) == []
        timer = threading.Timer(0.1, session.wake)
        timer.start()
        assert session.poll(3600) == []
        timer.join()
        threading.Timer(0.1, cable.send_frame, [frames.FRAMES["response"]]).start()
        assert len(records_of(session.poll(3600))) == 1


def test_detached_rings_can_still_be_read(cable: Cable) -> None:
    """After detaching, what was recorded before is still there, and nothing comes after it."""
    with attached(cable, "generic") as session:
        for _ in range(5):
            cable.send_frame(frames.FRAMES["response"])
        time.sleep(0.1)
        session.detach()
        assert session.backlog() == 5
        assert session.ring_usage() == (5 * 256, possible_cpus() * (1 << 18) + (1 << 20))
        cable.send_frame(frames.FRAMES["response"])
        assert len(records_of(session.drain())) == session.consumed == 5
        assert session.backlog() == 0
        assert session.poll(0.01) == []


@pytest.mark.parametrize("mode", ["auto", "generic", "tc"])
def test_prove(cable: Cable, mode: Mode) -> None:
    """The proof attaches, finds its own packet in the ring, and leaves the interface as it was."""
    assert {check.level for check in preflight.run_checks(cable.near, mode, cable.here)} <= {"ok", "warn"}
    checks = proof.prove(cable.near, mode, cable.here)
    assert [(c.name, c.level) for c in checks] == [
        ("attach", "ok"),
        ("program", "ok"),
        ("traffic", "ok"),
        ("detach", "ok"),
    ]
    assert cable.programs() == []


def test_compiler_memory_does_not_stay(bpf: None) -> None:  # noqa: ARG001 - asks for BPF
    """Loading leaves this process without the compiler: no library of it is mapped."""
    loader.load(compact_ring_bytes=4096, bulk_ring_bytes=4096).close()
    assert "libbcc" not in Path("/proc/self/maps").read_text(encoding="utf-8")
