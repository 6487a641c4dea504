"""A strict RPC filter, run inside the gateway's namespace: it decides on every packet which the kernel routes to it.

    python -m inspector.lab.scenarios.filter --device filter0 --action fin

The kernel hands packets over by a tun device, whole and with checksums, and takes back what may go on. An answer of an
endpoint mapper that names another address than the one it comes from is dealt with as `--action` says:

- `silent`: it is dropped, each time that it is sent;
- `fin`, `rst`: the client's connection is closed or reset in the server's name, the server's is reset;
- `bind_nak`: the client gets a bind_nak of 24 bytes instead, as from the gateway of the original case;
- `rewrite`: the address in the tower is replaced by the one that the answer comes from.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import struct
from ipaddress import IPv4Address
from typing import TYPE_CHECKING, Final

from inspector.errors import DecodeError
from inspector.lab.scenarios.packets import PSH, Segment, read_segment
from inspector.protocols import ACK, EPM_PORT, FIN, RST, SYN
from inspector.wire.epm import read_map_response
from inspector.wire.pdu import PduType, split_pdu

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ACTIONS: Final = ("silent", "fin", "rst", "bind_nak", "rewrite")

_TUNSETIFF: Final = 0x400454CA  # linux/if_tun.h
_IFF_TUN: Final = 0x0001
_IFF_NO_PI: Final = 0x1000
_LARGEST_PACKET: Final = 65_535
_RESPONSE_BODY: Final = 8  # C706 section 12.6.4.10: alloc_hint, p_cont_id, cancel_count
_FLOOR_5: Final = bytes.fromhex("0100 09 0400")
# 16 bytes of header, reason 0, one protocol version, padding: as in the trace of the original case.
_BIND_NAK: Final = bytes.fromhex("05000d03 10000000 18000000 01000000 0000010500000000")

Connection = tuple[IPv4Address, int]


class StrictFilter:
    """Decides on packets; remembers the connections which it has ended, by the client's address and port."""

    def __init__(self, action: str) -> None:
        self._action = action
        self._ended: set[Connection] = set()

    def decide(self, packet: bytes) -> Iterator[bytes]:
        """Yield the packets that go on in place of this one."""
        segment = read_segment(packet)
        if segment is None or EPM_PORT not in (segment.source_port, segment.destination_port):
            yield packet
        elif segment.source_port == EPM_PORT:
            yield from self._from_server(segment)
        else:
            yield from self._from_client(segment)

    def _from_server(self, segment: Segment) -> Iterator[bytes]:
        client = (segment.destination, segment.destination_port)
        if client in self._ended:
            return
        named = offered_address(segment.payload)
        if named is None or named == segment.source:
            yield segment.packet
        elif self._action == "rewrite":
            old, new = _FLOOR_5 + named.packed, _FLOOR_5 + segment.source.packed
            yield segment.altered(segment.payload.replace(old, new))
        elif self._action != "silent":
            self._ended.add(client)
            yield self._instead(segment)
            yield segment.reply(RST)

    def _instead(self, answer: Segment) -> bytes:
        if self._action == "rst":
            return answer.onward(RST | ACK)
        return answer.onward(FIN | ACK | (PSH if self._action == "bind_nak" else 0), self._words())

    def _words(self) -> bytes:
        return _BIND_NAK if self._action == "bind_nak" else b""

    def _from_client(self, segment: Segment) -> Iterator[bytes]:
        client = (segment.source, segment.source_port)
        if segment.flags & SYN:
            self._ended.discard(client)
        if client not in self._ended:
            yield segment.packet
        elif segment.flags & FIN:
            yield segment.reply(ACK)


def offered_address(payload: bytes) -> IPv4Address | None:
    """Return the address which a map response names first, None where the payload is none or names none."""
    try:
        pdu = split_pdu(payload)
        if pdu is None or pdu.type is not PduType.RESPONSE or not (pdu.first and pdu.last):
            return None
        stub = pdu.body[_RESPONSE_BODY:]
        response = read_map_response(stub, "ndr20", little_endian=pdu.little_endian)
    except DecodeError:
        return None
    addresses = (offered.tower.address for offered in response.towers if offered.tower is not None)
    return next((address for address in addresses if address is not None), None)


def open_device(name: str) -> int:
    """Return the descriptor of a new tun device of that name; each read or write is one packet."""
    device = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC)
    fcntl.ioctl(device, _TUNSETIFF, struct.pack("16sH22x", name.encode(), _IFF_TUN | _IFF_NO_PI))
    return device


def main(arguments: Sequence[str] | None = None) -> int:
    """Filter until the process is ended."""
    parser = argparse.ArgumentParser(prog="python -m inspector.lab.scenarios.filter", description="Filter RPC.")
    parser.add_argument("--device", required=True, help="name of the tun device to make")
    parser.add_argument("--action", required=True, choices=ACTIONS, help="what becomes of an answer that is not liked")
    options = parser.parse_args(arguments)
    strict = StrictFilter(options.action)
    device = open_device(options.device)
    while True:
        for packet in strict.decide(os.read(device, _LARGEST_PACKET)):
            os.write(device, packet)


if __name__ == "__main__":
    raise SystemExit(main())
