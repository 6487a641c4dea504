"""Two network namespaces joined by a veth pair, made for one test and removed after it."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import pytest
from pyroute2 import IPRoute, netns

from inspector.live.attach import devices
from inspector.live.bpf import loader, syscalls
from inspector.live.process.namespaces import inside
from tests.conftest import why_no_bpf
from tests.vm.bytecode import Compiler

if TYPE_CHECKING:
    from collections.abc import Iterator

    from inspector.live.attach.devices import Device


# linux/if_packet.h
SOL_PACKET, PACKET_VNET_HDR = 263, 15


@dataclass(frozen=True)
class Cable:
    """A veth pair: `near` (10.9.0.1) in namespace `here`, `far` (10.9.0.2) in namespace `there`."""

    here: str
    there: str
    near: str = "near"
    far: str = "far"
    near_address: str = "10.9.0.1"
    far_address: str = "10.9.0.2"

    def device(self) -> Device:
        """Return the near interface as it is now."""
        with inside(self.here):
            return devices.find_device(self.near)

    def programs(self) -> list[int]:
        """Return the ids of all programs on the near interface's hooks: XDP, tcx."""
        device = self.device()
        found = list(device.xdp_program_ids.values())
        with inside(self.here):
            for hook in (syscalls.AttachType.TCX_INGRESS, syscalls.AttachType.TCX_EGRESS):
                # Before Linux 6.6 there is no such hook, and nothing on it.
                with contextlib.suppress(OSError):
                    found += syscalls.query_programs(device.index, hook)
        return found

    def set_mtu(self, mtu: int) -> None:
        """Set the MTU of both ends."""
        for namespace, name in ((self.here, self.near), (self.there, self.far)):
            with inside(namespace), IPRoute() as rtnetlink:
                rtnetlink.link("set", index=rtnetlink.link_lookup(ifname=name)[0], mtu=mtu)

    def send_frame(self, *frames: bytes, outwards: bool = False) -> None:
        """Put frames on the cable as they are: from the far end, or `outwards` from the near end."""
        namespace, name = (self.here, self.near) if outwards else (self.there, self.far)
        with inside(namespace), socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as raw:
            raw.bind((name, 0))
            for frame in frames:
                raw.send(frame)

    @contextlib.contextmanager
    def raw_socket(self, *, outwards: bool = False) -> Iterator[socket.socket]:
        """Open a socket that puts frames behind a `scattered_header` on the cable, from the far end or the near one."""
        namespace, name = (self.here, self.near) if outwards else (self.there, self.far)
        with inside(namespace):
            raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
        with raw:
            raw.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
            raw.bind((name, 0))
            yield raw

    def send_scattered(self, frame: bytes, linear: int, *, outwards: bool = False) -> None:
        """Put a frame of more than a page on the cable of which only `linear` bytes are in the first buffer."""
        with self.raw_socket(outwards=outwards) as raw:
            raw.send(scattered_header(linear) + frame)

    def converse(self, request: bytes, answer: bytes, *, port: int = 135) -> int:
        """Connect from here to a server there, exchange these bytes, close; return the client's port."""
        with inside(self.there):
            listener = socket.create_server((self.far_address, port))
        with listener:
            with inside(self.here):
                client = socket.create_connection((self.far_address, port), timeout=10)
            with client, listener.accept()[0] as server:
                server.settimeout(10)
                client.sendall(request)
                assert receive(server, len(request)) == request
                server.sendall(answer)
                assert receive(client, len(answer)) == answer
                # Without a reset, and with both sides' FIN on the wire.
                client.shutdown(socket.SHUT_WR)
                assert server.recv(1) == b""
                server.shutdown(socket.SHUT_WR)
                assert client.recv(1) == b""
                return int(client.getsockname()[1])


def scattered_header(linear: int) -> bytes:
    """Return struct virtio_net_hdr: no flags, no segmentation, bytes in the first buffer (0: all of them)."""
    return struct.pack("=BBHHHH", 0, 0, linear, 0, 0, 0)


def receive(channel: socket.socket, length: int) -> bytes:
    """Return exactly so many bytes."""
    data = b""
    while len(data) < length:
        more = channel.recv(length - len(data))
        assert more, "the connection ended early"
        data += more
    return data


def wait_until_up(pair: Cable) -> None:
    """Wait until both ends pass packets: the kernel notices a carrier up to a second late."""
    for namespace, name in ((pair.here, pair.near), (pair.there, pair.far)):
        wait_for_carrier(namespace, name)


def wait_for_carrier(namespace: str, name: str) -> None:
    """Wait until one interface passes packets."""
    deadline = time.monotonic() + 10
    with inside(namespace), IPRoute() as rtnetlink:
        while rtnetlink.link("get", ifname=name)[0].get_attr("IFLA_OPERSTATE") != "UP":
            assert time.monotonic() < deadline, f"{name} does not come up"
            time.sleep(0.01)


def lay(pair: Cable, *, index: int | None = None) -> None:
    """Make the two interfaces (the near one with that index) and wait until they pass packets."""
    with inside(pair.here), IPRoute() as rtnetlink:
        peer = {"ifname": pair.far, "net_ns_fd": pair.there}
        rtnetlink.link("add", ifname=pair.near, kind="veth", peer=peer, **({} if index is None else {"index": index}))
    for namespace, name, address in (
        (pair.here, pair.near, pair.near_address),
        (pair.there, pair.far, pair.far_address),
    ):
        with inside(namespace), IPRoute() as rtnetlink:
            number = rtnetlink.link_lookup(ifname=name)[0]
            rtnetlink.addr("add", index=number, address=address, prefixlen=24)
            rtnetlink.link("set", index=number, state="up")
    wait_until_up(pair)


@contextlib.contextmanager
def laid_cable() -> Iterator[Cable]:
    """Make the pair of namespaces, and remove it whatever happens."""
    pair = Cable(f"epm-test-{os.getpid()}-here", f"epm-test-{os.getpid()}-there")
    with contextlib.ExitStack() as stack:
        for name in (pair.here, pair.there):
            netns.create(name)
            stack.callback(netns.remove, name)
        lay(pair)
        yield pair


# Tests of the compiler itself, and of what whole sessions leave behind.
_NEED_THE_COMPILER: Final = frozenset({"test_toolchain.py", "test_cycles.py"})


@pytest.fixture(scope="session")
def kept_programs(tmp_path_factory: pytest.TempPathFactory) -> Compiler:
    """Return what compiles the same sources with the same options once for all tests."""
    return Compiler(loader.import_bcc, tmp_path_factory.mktemp("programs"))


@pytest.fixture(autouse=True)
def compile_once(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, kept_programs: Compiler) -> None:
    """Spare a test the compiler (tests.vm.bytecode): maps are made, and the program is verified and loaded.

    Processes which tests start compile by themselves. In a virtual machine the plugin of tests.vm has done it already.
    """
    plain = loader.import_bcc.__module__ == loader.__name__
    if plain and request.path.name not in _NEED_THE_COMPILER and why_no_bpf() is None:
        monkeypatch.setattr(loader, "import_bcc", kept_programs.module)


@pytest.fixture
def cable(bpf: None, root: None) -> Iterator[Cable]:  # noqa: ARG001 - asks for both before anything is made
    """Give a pair of namespaces for one test."""
    with laid_cable() as pair:
        yield pair


def constant_program(program_type: syscalls.ProgramType, value: int, name: str) -> int:
    """Load a foreign program which returns one value; return its descriptor."""
    attach_type = syscalls.AttachType.XDP if program_type == syscalls.ProgramType.XDP else syscalls.AttachType.NONE
    return syscalls.program_load(
        struct.pack("=BBhiBBhi", 0xB7, 0, 0, value, 0x95, 0, 0, 0), program_type, name, attach_type=attach_type
    )
