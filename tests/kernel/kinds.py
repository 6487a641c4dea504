"""Network interfaces of every kind, made at both ends of the cable and carrying its traffic.

A kind is laid by `ip` commands, which is what an operator would type; what a kernel cannot make is
skipped by asking it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import struct
import subprocess
import threading
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest
from pyroute2 import WireGuard

from inspector.live.process.namespaces import inside
from tests.kernel.conftest import Cable
from tests.kernel.ppp import connect_ppp

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

DEVICE: Final = "layer"
NEAR, FAR = "10.77.0.1", "10.77.0.2"
BOTH, ANSWERS = "both", "answers"
NO_NATIVE: Final = "has no native XDP"

# linux/if_tun.h
_TUN_SET: Final = 0x400454CA
_TUN_SET_LINK: Final = 0x400454CD
TUN, _TAP, _NO_HEADER = 0x0001, 0x0002, 0x1000
_PUMPED_BYTES: Final = 1 << 17

# Pairs for WireGuard, private and public: any would do.
_KEYS: Final = (
    ("QEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEE=", "FsxHukN26p3kHi4NQdkkKStUx0sqm3YgGzqlGmkGZU4="),
    ("QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE=", "ehpOcJvwhaxJSroEabmx7aCrH3ixaqu3n/7akGI+hSI="),
)


@dataclass(frozen=True)
class Kind:
    """One kind: how it is laid, what mode `auto` takes, which modes are refused with what words, what tc sees.

    `auto` is "ingress" where it is tc on what arrives. `said` is in the explanation of every attachment; `mtu` is what
    it can have on a cable of 9000.
    """

    lay: Callable[[Cable, contextlib.ExitStack], Cable]
    auto: str = "generic"
    refused: tuple[tuple[str, str], ...] = (("native", NO_NATIVE),)
    sees: str = BOTH
    said: str = ""
    mtu: int = 8800

    def refusal(self, mode: str) -> str | None:
        """Return a part of what a mode is refused with, None where it works."""
        return dict(self.refused).get(mode)


def run(*command: str) -> str:
    """Run a command that must succeed, and return what it printed."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
    return done.stdout


def ip(namespace: str, command: str) -> None:
    """Run `ip` in a namespace; skip the test where the kernel has no device of that kind, by its own words."""
    done = subprocess.run(["ip", "-n", namespace, *command.split()], capture_output=True, text=True, check=False)
    if "Unknown device type" in done.stderr or "Operation not supported" in done.stderr:
        pytest.skip(f"this kernel makes no such device: ip {command}: {done.stderr.strip()}")
    assert done.returncode == 0, f"ip {command}: {done.stderr}"


def ends(cable: Cable) -> list[tuple[str, str, int, int, str]]:
    """Return, for each end: namespace, interface, the last part of its address and of the other's, its new address."""
    return [(cable.here, cable.near, 1, 2, NEAR), (cable.there, cable.far, 2, 1, FAR)]


def ready(cable: Cable) -> Cable:
    """Give the devices their addresses and set them up; return them as a cable."""
    for namespace, _, _, _, address in ends(cable):
        ip(namespace, f"address add {address}/24 dev {DEVICE}")
        ip(namespace, f"link set {DEVICE} up")
    return replace(cable, near=DEVICE, far=DEVICE, near_address=NEAR, far_address=FAR)


def _plain(cable: Cable, _: contextlib.ExitStack) -> Cable:
    return cable


def _above(command: str) -> Callable[[Cable, contextlib.ExitStack], Cable]:
    """Lay a device by an `ip link add` command: {here} and {there} are the ends' numbers, {below} the interface."""

    def lay(cable: Cable, _: contextlib.ExitStack) -> Cable:
        for namespace, below, here, there, _address in ends(cable):
            ip(namespace, f"address add fd99::{here}/64 dev {below} nodad")
            ip(namespace, f"link add {command.format(here=here, there=there, below=below, name=DEVICE)}")
        return ready(cable)

    return lay


def _around(command: str) -> Callable[[Cable, contextlib.ExitStack], Cable]:
    """Lay a device of which the cable's end becomes a part: a bridge, a bond."""

    def lay(cable: Cable, _: contextlib.ExitStack) -> Cable:
        for namespace, below, *_others in ends(cable):
            ip(namespace, f"link add {DEVICE} type {command}")
            ip(namespace, f"address flush dev {below}")
            # A bond takes no interface that is up.
            ip(namespace, f"link set {below} down")
            ip(namespace, f"link set {below} master {DEVICE}")
            ip(namespace, f"link set {below} up")
        return ready(cable)

    return lay


def _member(command: str) -> Callable[[Cable, contextlib.ExitStack], Cable]:
    """Lay such a device, and inspect the part instead."""

    def lay(cable: Cable, stack: contextlib.ExitStack) -> Cable:
        return replace(_around(command)(cable, stack), near=cable.near, far=cable.far)

    return lay


def _below(command: str) -> Callable[[Cable, contextlib.ExitStack], Cable]:
    """Lay a device above, and inspect the interface which carries it instead."""

    def lay(cable: Cable, stack: contextlib.ExitStack) -> Cable:
        return replace(_above(command)(cable, stack), near=cable.near, far=cable.far)

    return lay


def open_tuntap(namespace: str, mode: int, link_type: int | None = None, name: str = DEVICE) -> int:
    """Make a tun or tap device, of a link type of linux/if_arp.h; return the descriptor at its other side."""
    with inside(namespace):
        try:
            fd = os.open("/dev/net/tun", os.O_RDWR)
        except OSError as error:
            pytest.skip(f"this kernel makes no tun and tap devices: {error}")
        fcntl.ioctl(fd, _TUN_SET, struct.pack("16sH22x", name.encode(), mode | _NO_HEADER))
        if link_type is not None:
            fcntl.ioctl(fd, _TUN_SET_LINK, link_type)
    return fd


def pump(source: int, sink: int) -> None:
    """Copy packets until the descriptors are closed."""
    with contextlib.suppress(OSError):
        while packet := os.read(source, _PUMPED_BYTES):
            # A device that is down takes none.
            with contextlib.suppress(OSError):
                os.write(sink, packet)


def _tuntap(mode: int, link_type: int | None = None) -> Callable[[Cable, contextlib.ExitStack], Cable]:
    """Lay a pair of tun or tap devices, with this process as what is between them."""

    def lay(cable: Cable, stack: contextlib.ExitStack) -> Cable:
        near, far = (open_tuntap(namespace, mode, link_type) for namespace in (cable.here, cable.there))
        threads = [threading.Thread(target=pump, args=way, daemon=True) for way in ((near, far), (far, near))]
        for namespace in (cable.here, cable.there):
            ip(namespace, f"link set {DEVICE} mtu {_mtu_of(cable)}")
        laid = ready(cable)
        for thread in threads:
            thread.start()
            stack.callback(thread.join, 5)
        for fd in (near, far):
            stack.callback(os.close, fd)
        for namespace in (cable.here, cable.there):
            # What waits for packets gets an error, and ends.
            stack.callback(run, "ip", "-n", namespace, "link", "del", DEVICE)
        return laid

    return lay


def _mtu_of(cable: Cable) -> int:
    return min(cable.device().mtu, 8800)


def _wireguard(cable: Cable, _: contextlib.ExitStack) -> Cable:
    for (namespace, _below, here, there, _address), (private, _own), (_theirs, public) in zip(
        ends(cable), _KEYS, reversed(_KEYS), strict=True
    ):
        ip(namespace, f"link add {DEVICE} type wireguard")
        peer = {
            "public_key": public,
            "endpoint_addr": f"10.9.0.{there}",
            "endpoint_port": 5555,
            "allowed_ips": ["10.77.0.0/24"],
        }
        with inside(namespace), WireGuard() as wireguard:
            wireguard.set(DEVICE, private_key=private, listen_port=5550 + 5 * (here > 0), peer=peer)
    return ready(cable)


def _macsec(cable: Cable, _: contextlib.ExitStack) -> Cable:
    key = "01 " + "11" * 16
    for namespace, below, here, there, _address in ends(cable):
        mine, other = (f"02:00:00:00:00:0{number}" for number in (here, there))
        ip(namespace, f"link add link {below} name {DEVICE} address {mine} type macsec")
        ip(namespace, f"macsec add {DEVICE} tx sa 0 pn 1 on key {key}")
        ip(namespace, f"macsec add {DEVICE} rx port 1 address {other}")
        ip(namespace, f"macsec add {DEVICE} rx port 1 address {other} sa 0 pn 1 on key {key}")
    return ready(cable)


def _netkit(cable: Cable, _: contextlib.ExitStack) -> Cable:
    """Lay a pair of netkit, in the mode that it has if nothing is said (l3): the kernel names the other end."""
    ip(cable.here, f"link add {DEVICE} type netkit")
    ip(cable.here, f"link set nk0 netns {cable.there} name {DEVICE}")
    return ready(cable)


def _ipvlan_l3(cable: Cable, stack: contextlib.ExitStack) -> Cable:
    """Lay ipvlan in mode l3, each in a namespace of its own, with its way there through the cable."""
    inner = [f"{namespace}-inner" for namespace in (cable.here, cable.there)]
    for (namespace, below, here, there, _address), own in zip(ends(cable), inner, strict=True):
        run("ip", "netns", "add", own)
        stack.callback(run, "ip", "netns", "del", own)
        ip(namespace, f"link add link {below} name {DEVICE} type ipvlan mode l3")
        ip(namespace, f"link set {DEVICE} netns {own}")
        ip(namespace, f"route add 10.78.{there}.0/24 via 10.9.0.{there}")
        ip(own, f"address add 10.78.{here}.1/24 dev {DEVICE}")
        ip(own, f"link set {DEVICE} up")
        ip(own, f"route add default dev {DEVICE}")
    return Cable(inner[0], inner[1], DEVICE, DEVICE, "10.78.1.1", "10.78.2.1")


def _loopback(cable: Cable, _: contextlib.ExitStack) -> Cable:
    ip(cable.here, "link set lo up")
    return Cable(cable.here, cable.here, "lo", "lo", "127.0.0.1", "127.0.0.1")


def _diverted(kind: str, action: str, *directions: str) -> Callable[[Cable, contextlib.ExitStack], Cable]:
    """Lay a device to which what passes the near end is sent, as a copy (mirror) or instead (redirect)."""

    def lay(cable: Cable, _: contextlib.ExitStack) -> Cable:
        ip(cable.here, f"link add {DEVICE} type {kind}")
        ip(cable.here, f"link set {DEVICE} mtu {cable.device().mtu} up")
        run("tc", "-n", cable.here, "qdisc", "add", "dev", cable.near, "clsact")
        for direction in directions:
            match = ["u32", "match", "u32", "0", "0", "action", "mirred", "egress", action, "dev", DEVICE]
            run("tc", "-n", cable.here, "filter", "add", "dev", cable.near, direction, "protocol", "ip", *match)
        return replace(cable, near=DEVICE)

    return lay


def _ppp(cable: Cable, stack: contextlib.ExitStack) -> Cable:
    connect_ppp(cable.here, cable.there, DEVICE, _mtu_of(cable), stack)
    return ready(cable)


_BARE: Final = "begin with the IP header"
_NOTHING_ARRIVES: Final = (("native", "use --mode tc"), ("generic", "use --mode tc"))
_NOT_HERE: Final = tuple((mode, "attach to near") for mode in ("auto", "native", "generic", "tc"))

KINDS: dict[str, Kind] = {
    "veth": Kind(_plain, "ingress", ()),
    "tap": Kind(_tuntap(_TAP), "native", ()),
    "tun": Kind(_tuntap(TUN), said=_BARE),
    "raw IP": Kind(_tuntap(TUN, 519), said=_BARE),
    "ppp": Kind(_ppp, said=_BARE),
    "wireguard": Kind(_wireguard, said=_BARE),
    "bridge": Kind(_around("bridge"), said="only traffic of this machine"),
    "bridge port": Kind(_member("bridge"), "ingress", ()),
    "bond": Kind(_around("bond mode active-backup miimon 10"), refused=(("native", "attach to near"),)),
    "bond member": Kind(_member("bond mode active-backup miimon 10"), "ingress", ()),
    "vlan": Kind(_above("link {below} name {name} type vlan id 5")),
    "below vlan": Kind(_below("link {below} name {name} type vlan id 5"), "ingress", ()),
    "macvlan": Kind(_above("link {below} name {name} type macvlan mode bridge")),
    "below macvlan": Kind(_below("link {below} name {name} type macvlan mode bridge"), "ingress", ()),
    "ipvlan l2": Kind(_above("link {below} name {name} type ipvlan mode l2")),
    "ipvlan l3": Kind(_ipvlan_l3),
    "ipvlan l3s": Kind(_above("link {below} name {name} type ipvlan mode l3s"), refused=_NOT_HERE),
    "vrf": Kind(_around("vrf table 10"), refused=_NOT_HERE),
    "vxlan": Kind(_above("{name} type vxlan id 42 dstport 4789 local 10.9.0.{here} remote 10.9.0.{there} dev {below}")),
    "geneve": Kind(_above("{name} type geneve id 42 remote 10.9.0.{there}")),
    "gretap": Kind(_above("{name} type gretap local 10.9.0.{here} remote 10.9.0.{there}")),
    "gre": Kind(_above("{name} type gre key 7 local 10.9.0.{here} remote 10.9.0.{there}"), said=_BARE),
    "ip6gre": Kind(_above("{name} type ip6gre local fd99::{here} remote fd99::{there}"), said=_BARE),
    "ipip": Kind(_above("{name} type ipip local 10.9.0.{here} remote 10.9.0.{there}"), said=_BARE),
    "sit": Kind(_above("{name} type sit mode any local 10.9.0.{here} remote 10.9.0.{there}"), said=_BARE),
    "ip6tnl": Kind(_above("{name} type ip6tnl mode any local fd99::{here} remote fd99::{there}"), said=_BARE),
    "macsec": Kind(_macsec),
    "loopback": Kind(_loopback, sees=BOTH),
    "dummy": Kind(_diverted("dummy", "mirror", "ingress", "egress"), "tcx", _NOTHING_ARRIVES),
    "ifb": Kind(_diverted("ifb", "redirect", "ingress"), "tcx", _NOTHING_ARRIVES, sees=ANSWERS),
}

# Said by the kernel's number, as in tests.kernel.live.
if tuple(map(int, os.uname().release.split(".")[:2])) >= (6, 7):
    KINDS["netkit"] = Kind(_netkit)


def features(cable: Cable) -> list[str]:
    """Return the offloads of both ends, as ethtool shows them."""
    return [
        run("ip", "netns", "exec", namespace, "ethtool", "-k", name)
        for namespace, name in ((cable.here, cable.near), (cable.there, cable.far))
    ]


@contextlib.contextmanager
def laid(cable: Cable, kind: str) -> Iterator[Cable]:
    """Lay a kind over the cable; what it needs besides the namespaces is gone afterwards."""
    for namespace in (cable.here, cable.there):
        with inside(namespace):
            # Else the interface below answers for the address of the device above it, and gets its packets.
            Path("/proc/sys/net/ipv4/conf/all/arp_ignore").write_text("1", encoding="ascii")
    with contextlib.ExitStack() as stack:
        yield KINDS[kind].lay(cable, stack)
