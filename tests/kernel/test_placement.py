"""Where to attach, and what that does to others: bridges, several interfaces, bulk traffic; what `check` says of it."""

from __future__ import annotations

import contextlib
import hashlib
import re
import socket
import threading
import time
from typing import TYPE_CHECKING, Final

import pytest

from inspector.errors import AttachError
from inspector.live.attach import attachment, drivers, preflight
from inspector.live.attach.devices import find_device
from inspector.live.attach.drivers import Offloads
from inspector.live.bpf import loader
from inspector.live.process.namespaces import inside
from inspector.live.session import open_session
from inspector.model import OTHER_INTERFACES
from inspector.record import INTERFACES, LOSS_REASONS, Attribute, KernelCounter, unpack_record
from tests.kernel import frames
from tests.kernel.conftest import Cable, wait_until_up
from tests.kernel.harness import Harness
from tests.kernel.kinds import features, ip, laid, run
from tests.kernel.live import EVERY_HOOK, attached, collect, conserved, records_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from inspector.model import Mode

pytestmark = [pytest.mark.kernel]

BULK_BYTES: Final = 4 << 20
ROUNDS: Final = 4


def texts(cable: Cable, name: str, mode: Mode = "auto") -> dict[str, list[str]]:
    """Return what `check` says of the near interface, by the name of the check, each with its level."""
    found: dict[str, list[str]] = {}
    for check in preflight.run_checks(name, mode, cable.here):
        found.setdefault(check.name, []).append(f"{check.level}: {check.text}")
    return found


@contextlib.contextmanager
def bridged(cable: Cable) -> Iterator[Cable]:
    """Make `here` a switch between `there` and a third namespace; yield a cable from the third to `there`."""
    third = f"{cable.here}-third"
    run("ip", "netns", "add", third)
    try:
        ip(cable.here, f"link add second type veth peer name client netns {third}")
        ip(cable.here, "link add switch type bridge")
        for port in (cable.near, "second"):
            ip(cable.here, f"link set {port} master switch up")
        ip(cable.here, f"address flush dev {cable.near}")
        ip(cable.here, "link set switch up")
        ip(third, f"address add {cable.near_address}/24 dev client")
        ip(third, "link set client up")
        yield Cable(third, cable.there, "client", cable.far)
    finally:
        run("ip", "netns", "del", third)


@EVERY_HOOK
def test_what_a_bridge_forwards(cable: Cable, mode: Mode, tcx: bool) -> None:
    """Traffic between two ports passes the bridge's own hooks not at all, which is said, and each port's."""
    with bridged(cable) as ends:
        if mode != "native":
            with open_session(["switch"], mode=mode, netns=cable.here, tcx=tcx) as session:
                assert "attach to its ports (near second)" in session.attachments[0].explanation
                ends.converse(b"x", b"y")
                assert collect(session, 1, timeout_s=0.2) == []
                assert not any(conserved(session)["switch"].values())
        with open_session([cable.near, "second"], mode=mode, netns=cable.here, tcx=tcx) as session:
            ends.converse(b"request", b"answer")
            found = [unpack_record(record) for record in collect(session, 1000, timeout_s=0.3)]
            names = {session.interface_names[s.interface_index]: s.payload for s in found if s.payload}
        seen = [(bool(s.attributes & Attribute.FROM_SERVER), s.payload) for s in found if s.payload]
        # On tc each packet is seen where it arrives and where it leaves.
        once = [(False, b"request"), (True, b"answer")]
        assert sorted(seen) == sorted(once if mode != "tc" else once * 2)
        assert set(names) == {cable.near, "second"}


@pytest.mark.parametrize("kind", ["vrf", "ipvlan l3s", "bond"])
def test_where_one_is_sent_packets_are_seen(cable: Cable, kind: str) -> None:
    """Where a mode is refused with another interface's name, the packets pass that one."""
    with laid(cable, kind) as device:
        [where] = {
            name
            for mode in ("auto", "native")
            for text in texts(device, device.near, mode)["mode"]
            for name in re.findall(r"attach to (\w+)", text)
        }
        assert where == cable.near
        with attached(cable, "native") as session:
            cable.send_frame(frames.FRAMES["response"])
            assert len(collect(session, 1)) == 1


def test_check_says_where_to_attach(cable: Cable) -> None:
    """Of a bridge its ports are named, of a port its bridge, of a macvlan what carries it, and the other way."""
    assert texts(cable, "near")["stacking"] == ["ok: no upper, lower or member interfaces"]
    with bridged(cable):
        [members] = texts(cable, "switch")["stacking"]
        assert members.startswith("warn: its members are near second: attach to them or to switch")
        [mode] = texts(cable, "switch")["mode"]
        assert "attach to its ports (near second)" in mode
        said = "ok: it is a member of switch: packets of switch are seen here too; attach to only one of the two"
        assert texts(cable, "near")["stacking"] == [said]
        ip(cable.here, "link add link switch name upper type macvlan mode bridge")
        [above] = texts(cable, "upper")["stacking"]
        assert above.startswith("ok: its lower interface is switch")
        assert above.endswith("native XDP needs the lower interface")
        assert any("it carries upper" in text for text in texts(cable, "switch")["stacking"])


def test_check_knows_the_driver(cable: Cable) -> None:
    """Whether the driver has native XDP, and for packets of several buffers, is asked from the kernel (Linux 6.3)."""
    cable.set_mtu(9000)
    said = texts(cable, "near", "native")
    if drivers.find_xdp_features(1) is None:
        assert said["mode"][0].startswith(
            "warn: native XDP if the driver supports it (not reported by this kernel); native"
        )
        assert said["mtu"][0].startswith("warn: 9000")
        return
    assert said["mode"][0].startswith("warn: native XDP, reported by the driver; native XDP turns")
    assert said["mtu"][0].startswith("ok: 9000: packets span several buffers")
    assert texts(cable, "lo")["mode"] == ["ok: generic XDP: the driver has no native XDP"]
    assert texts(cable, "lo", "native")["mode"][0].startswith("fail: the driver has no native XDP; use --mode")
    assert "mtu" not in texts(cable, "near", "tc")


def test_check_sees_offloads(cable: Cable, monkeypatch: pytest.MonkeyPatch) -> None:
    """Merging in software and tags that are taken off are read from the driver; merging in hardware is warned of."""
    [before] = texts(cable, "near")["offloads"]
    assert before == "ok: packets are not merged; VLAN tags are removed by the device; both can be read"
    run("ip", "netns", "exec", cable.here, "ethtool", "-K", cable.near, "gro", "on", "rxvlan", "off")
    [after] = texts(cable, "near")["offloads"]
    assert after == "ok: packets are merged; VLAN tags are kept in the packet; both can be read"
    # No device that can be made in software merges in hardware.
    for found, names in (
        (Offloads(large_receive=True, hardware_gro=False, gro=True, vlan_stripping=True), "lro off"),
        (Offloads(large_receive=True, hardware_gro=True, gro=True, vlan_stripping=True), "lro off rx-gro-hw off"),
    ):
        monkeypatch.setattr(drivers, "find_offloads", lambda _, found=found: found)
        [warning] = texts(cable, "near", "native")["offloads"]
        assert warning.startswith("warn: ")
        assert f"'ethtool -K near {names}'" in warning
        [fine] = texts(cable, "near", "tc")["offloads"]
        assert fine.startswith("ok: packets are merged")


class Stream:
    """One connection at full speed, from one namespace to another, until it is told to stop."""

    def __init__(self, here: str, there: str, address: str, port: int) -> None:
        with inside(there):
            self._listener = socket.create_server((address, port))
        with inside(here):
            self._sender = socket.create_connection((address, port), timeout=60)
        self._stopping = threading.Event()
        self.sent, self.received, self.length = hashlib.sha256(), hashlib.sha256(), 0
        self._threads = [threading.Thread(target=work, daemon=True) for work in (self._send, self._receive)]
        for thread in self._threads:
            thread.start()

    def _send(self) -> None:
        block = bytearray(frames.payload(1 << 18))
        with self._sender:
            while not self._stopping.is_set():
                block[self.length >> 18 & 0xFFFF] ^= 0xFF
                self._sender.sendall(block)
                self.sent.update(block)
                self.length += len(block)

    def _receive(self) -> None:
        buffer = bytearray(1 << 20)
        with self._listener, self._listener.accept()[0] as channel:
            while count := channel.recv_into(buffer):
                self.received.update(memoryview(buffer)[:count])

    def finish(self) -> None:
        """Stop, and compare what was sent with what arrived; raise where it does not end."""
        self._stopping.set()
        for thread in self._threads:
            thread.join(60)
            assert not thread.is_alive()
        assert self.sent.digest() == self.received.digest()


@pytest.mark.parametrize("mtu", [1500, 9000])
@pytest.mark.parametrize("port", [135, 9999])
@EVERY_HOOK
def test_bulk_traffic_stays_whole(cable: Cable, mode: Mode, tcx: bool, port: int, mtu: int) -> None:
    """Of two connections at full speed, offloads on, no byte is changed while the program comes and goes under them.

    Nobody reads the rings: they are full soon, which must be nobody else's trouble.
    """
    cable.set_mtu(mtu)
    before = features(cable)
    assert all("tcp-segmentation-offload: on" in one for one in before)
    device = cable.device()
    names = attachment.programs_for([device], mode)
    with Harness(names=names, compact_bytes=4096, bulk_bytes=1 << 17, interfaces=[device.index]) as harness:
        streams = [
            Stream(cable.here, cable.there, cable.far_address, port),
            Stream(cable.there, cable.here, cable.near_address, port),
        ]
        for _ in range(ROUNDS):
            with inside(cable.here):
                held = attachment.attach(device, harness.program, mode, cable.here, tcx=tcx)
            start = [stream.length for stream in streams]
            deadline = time.monotonic() + 20
            while any(s.length < old + BULK_BYTES for s, old in zip(streams, start, strict=True)):
                assert time.monotonic() < deadline, "the traffic does not go on"
                time.sleep(0.01)
            held.close()
        for stream in streams:
            stream.finish()
        totals = harness.totals()
    matched = totals[KernelCounter.MATCHED]
    assert (matched > 100) == (port == 135)
    assert matched == totals[KernelCounter.SUBMITTED] + sum(totals[reason] for reason in LOSS_REASONS)
    assert features(cable) == before


def test_more_interfaces_than_are_counted_apart(cable: Cable) -> None:
    """All interfaces are inspected; of those beyond the sixteenth the counters are together, as nobody's."""
    names = ["other", *(f"port{number}" for number in range(INTERFACES + 1))]
    for name in names:
        ip(cable.here, f"link add {name} type veth peer name {name} netns {cable.there}")
        for namespace in (cable.here, cable.there):
            ip(namespace, f"link set {name} up")
    with open_session(names, mode="generic", netns=cable.here) as session:
        for name in names:
            pair = Cable(cable.here, cable.there, name, name)
            wait_until_up(pair)
            pair.send_frame(frames.FRAMES["response"])
        found = [unpack_record(record) for record in collect(session, len(names))]
        assert sorted(session.interface_names[s.interface_index] for s in found) == sorted(names)
        counters = conserved(session)
    assert {name: counter[KernelCounter.SUBMITTED] for name, counter in counters.items()} == {
        OTHER_INTERFACES: 2,
        **dict.fromkeys(names[:INTERFACES], 1),
    }


def test_interfaces_of_different_kinds(cable: Cable) -> None:
    """One inspection reads frames of Ethernet and packets without it, each by its own program, into the same rings."""
    wait_until_up(cable)
    with laid(cable, "tun") as tun, laid(cable, "loopback"):
        with open_session([cable.near, tun.near, "lo"], mode="tc", netns=cable.here) as session:
            cable.send_frame(frames.FRAMES["response"])
            tun.converse(b"request", b"answer")
            found = [unpack_record(one) for one in collect(session, 1000, timeout_s=0.3)]
            session.detach()
            found += [unpack_record(one) for one in records_of(session.drain())]
            conserved(session)
        by_name = {
            name: [s for s in found if session.interface_names[s.interface_index] == name]
            for name in (cable.near, tun.near)
        }
        assert len(by_name[cable.near]) == 1
        assert {s.payload for s in by_name[tun.near] if s.payload} == {b"request", b"answer"}
        assert len({attachment.program_id for attachment in session.attachments}) == 2


def test_an_interface_of_another_kind_came_by_the_name(cable: Cable) -> None:
    """A program for Ethernet is not attached to an interface without it: it would see nothing there."""
    program = loader.load((loader.XDP_PROGRAM,), compact_ring_bytes=4096, bulk_ring_bytes=4096)
    try:
        with laid(cable, "tun") as tun, inside(tun.here):
            with pytest.raises(AttachError, match=r"layer: .*restart the inspector"):
                attachment.attach(find_device(tun.near), program, "generic", tun.here)
            assert tun.programs() == []
    finally:
        program.close()
