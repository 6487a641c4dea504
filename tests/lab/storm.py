"""`python -m tests.lab.storm NAMESPACE INTERFACE --seconds N [--rate FRAMES_PER_SECOND] [--floods]`: forged traffic.

Floods of SYN, FIN and RST on port 135; unless only they are asked for (--floods), conversations of which a part comes,
whole ones, answers that say much more than they are long, PDUs whose bodies are noise, and noise: addresses, ports,
UUIDs, call ids all at random, over both versions of IP, TCP and UDP. Every frame is one that the kernel program
counts. Prints a JSON object: frames sent, by kind, and seconds.
"""

from __future__ import annotations

import argparse
import ctypes
import errno
import json
import socket
import sys
import time
from dataclasses import dataclass
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final
from uuid import UUID

import numpy as np

from inspector.capture.frames import build_frame
from inspector.live.process.namespaces import inside
from tests.build import pdu
from tests.build.connection import ACK, FIN, RST, SYN, Wire, udp
from tests.build.epm import map_request, map_response, pipe_tower, tcp_tower
from tests.kernel import frames

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from inspector.model import Segment

    Bytes = npt.NDArray[np.uint8]

# What is put at random stands in the templates as values that nothing else in them has.
_CLIENTS: Final = ("203.0.113.77", "2001:db8:aaaa:bbbb:cccc:dddd:eeee:1111")
_SERVERS: Final = ("198.51.100.66", "2001:db8:9999:8888:7777:6666:5555:4444")
_OFFERED: Final = "192.0.2.55"
_PORT: Final = 0xABCD
_INTERFACE: Final = UUID("a1b2c3d4-e5f6-4708-99aa-bbccddeeff01")
_CALL: Final = 0x7A7B7C7D
_MARKS: Final = (
    *(ip_address(text).packed for text in (*_CLIENTS, *_SERVERS, _OFFERED)),
    _PORT.to_bytes(2, "big"),
    _INTERFACE.bytes_le,
    _CALL.to_bytes(4, "little"),
)
_NOISE: Final = b"\xf0\x0d" * 100
_REFERENTS: Final = 100
_GROUPS: Final = 1024
_FULL_S: Final = 0.0002
_LIBC: Final = ctypes.CDLL(None, use_errno=True)
_MESSAGE: Final = np.dtype(
    {
        "names": ["iov", "iovlen"],
        "formats": ["u8", "u8"],
        "offsets": [16, 24],
        "itemsize": 64,
    }
)
"""struct mmsghdr of sendmmsg(2) on a 64-bit machine, as far as it is used."""


@dataclass(frozen=True)
class Kind:
    """Frames that go out one behind the other, with the same values at random; `share` of all groups are of it."""

    name: str
    share: float
    frames: Sequence[bytes]

    @property
    def is_flood(self) -> bool:
        """Whether its frames carry nothing."""
        return self.name.startswith(("SYN", "FIN", "RST"))


def _frames(segments: Sequence[Segment]) -> list[bytes]:
    return [build_frame(segment) for segment in segments]


def _wire(version: int) -> Wire:
    return Wire(_CLIENTS[version], _SERVERS[version], client_port=_PORT)


def _flagged(flags: int, *, from_server: bool = False, version: int = 0) -> list[bytes]:
    wire = _wire(version)
    wire._add(int(from_server), flags)
    return _frames(wire.segments)


def _conversation(version: int = 0) -> list[bytes]:
    """Return a whole one: opened, bound, asked, answered with another server's address, closed."""
    tower = tcp_tower((_INTERFACE, 1, 0), 49152, _OFFERED)
    wire = _wire(version).open().client(pdu.bind(call_id=_CALL)).server(pdu.bind_ack(call_id=_CALL))
    wire.client(pdu.request(map_request(tower), call_id=_CALL))
    wire.server(pdu.response(map_response([tower]), call_id=_CALL))
    return _frames(wire.client_fin().server_fin().segments)


def _amplifying() -> list[bytes]:
    """Return an answer in one frame: a hundred times the same tower, with a name of 700 characters."""
    tower = pipe_tower((_INTERFACE, 1, 0), "\\PIPE\\" + "n" * 700, "host")
    stub = map_response([tower], max_count=_REFERENTS, referents=[3] * _REFERENTS)
    return _frames(_wire(0).server(pdu.response(stub, call_id=_CALL)).segments)


def _random_pdus() -> list[bytes]:
    """Return PDUs of one connection: the header of each is one, its body is noise."""
    wire = _wire(0)
    for kind, is_server in ((pdu.BIND, 0), (pdu.BIND_ACK, 1), (pdu.REQUEST, 0), (pdu.RESPONSE, 1), (pdu.FAULT, 1)):
        body = pdu.pdu(kind, _NOISE, call_id=_CALL)
        wire = wire.server(body) if is_server else wire.client(body)
    return _frames(wire.segments)


def _kinds() -> list[Kind]:
    whole, whole6 = _conversation(0), _conversation(1)
    tower = tcp_tower((_INTERFACE, 1, 0), 49152, _OFFERED)
    ends = {"client": _CLIENTS[0], "server": _SERVERS[0], "client_port": _PORT}
    asked, answered = pdu.datagram(0, map_request(tower)), pdu.datagram(2, map_response([tower]))
    datagrams = _frames([udp(asked, **ends), udp(answered, from_server=True, **ends)])  # type: ignore[arg-type]
    noise = _frames(_wire(0).client(_NOISE).server(_NOISE).segments)
    fragment = frames.ethernet(frames.ipv4(bytes(40), fragment=0x0010))
    unreadable = frames.ethernet(frames.ipv4(frames.tcp(ports=(_PORT, 135)), total=30))
    return [
        Kind("SYN", 0.27, _flagged(SYN)),
        Kind("SYN, IPv6", 0.05, _flagged(SYN, version=1)),
        Kind("SYN with ACK", 0.05, _flagged(SYN | ACK, from_server=True)),
        Kind("FIN", 0.1, _flagged(FIN | ACK)),
        Kind("RST", 0.1, _flagged(RST, from_server=True)),
        Kind("half-open, then a bind", 0.1, [whole[0], whole[2]]),
        Kind("request alone", 0.05, [whole[4]]),
        Kind("response alone", 0.03, [whole[5]]),
        Kind("whole conversation", 0.02, whole),
        Kind("whole conversation, IPv6", 0.01, whole6),
        Kind("datagrams", 0.02, datagrams),
        Kind("amplifying answer", 0.02, _amplifying()),
        Kind("random PDUs", 0.03, _random_pdus()),
        Kind("noise", 0.1, noise),
        Kind("fragment", 0.03, [fragment]),
        Kind("unreadable", 0.02, [unreadable]),
    ]


class _Rows:
    """Copies of one frame, with where its marks are."""

    def __init__(self, frame: bytes, copies: int) -> None:
        self.bytes: Bytes = np.tile(np.frombuffer(frame, np.uint8), (copies, 1))
        self._marks = [(frame.find(mark), mark) for mark in _MARKS if mark in frame]
        noise = frame.find(_NOISE)
        self._noise = slice(noise, noise + len(_NOISE)) if noise >= 0 else None

    def vary(self, values: dict[bytes, Bytes], generator: np.random.Generator) -> None:
        """Write values at random, the same ones where the mark is the same."""
        for at, mark in self._marks:
            self.bytes[:, at : at + len(mark)] = values[mark]
        if self._noise is not None:
            part = self.bytes[:, self._noise]
            part[...] = generator.integers(0, 256, part.shape, np.uint8)

    def pointers(self) -> npt.NDArray[np.uint64]:
        """Return struct iovec of each row."""
        count, length = self.bytes.shape
        starts = self.bytes.ctypes.data + np.arange(count, dtype=np.uint64) * np.uint64(length)
        return np.column_stack([starts, np.full(count, length, np.uint64)])


class Storm:
    """Rounds of forged frames, each with other values."""

    def __init__(self, seed: int, *, floods: bool = False) -> None:
        self._generator = np.random.default_rng(seed)
        self.kinds = [kind for kind in _kinds() if kind.is_flood or not floods]
        self._groups = [round(kind.share * _GROUPS) for kind in self.kinds]
        self._rows = [
            [_Rows(frame, count) for frame in kind.frames] for kind, count in zip(self.kinds, self._groups, strict=True)
        ]
        self._vectors = self._arrange()
        self._messages = np.zeros(len(self._vectors), _MESSAGE)
        self._messages["iov"] = self._vectors.ctypes.data + np.arange(len(self._vectors), dtype=np.uint64) * np.uint64(
            16
        )
        self._messages["iovlen"] = 1

    def __len__(self) -> int:
        """Frames of a round."""
        return len(self._messages)

    def per_round(self) -> dict[str, int]:
        """Return how many frames of each kind a round has."""
        return {kind.name: count * len(kind.frames) for kind, count in zip(self.kinds, self._groups, strict=True)}

    def _arrange(self) -> npt.NDArray[np.uint64]:
        """Return struct iovec of all frames: groups in any order, the frames of each in theirs."""
        groups = [
            np.stack([one.pointers() for one in rows], axis=1)[number]
            for rows, count in zip(self._rows, self._groups, strict=True)
            for number in range(count)
        ]
        order = self._generator.permutation(len(groups))
        return np.ascontiguousarray(np.concatenate([groups[number] for number in order]))

    def vary(self) -> None:
        """Make the next round's values."""
        for rows, count in zip(self._rows, self._groups, strict=True):
            values = {mark: self._generator.integers(0, 256, (count, len(mark)), np.uint8) for mark in _MARKS}
            for one in rows:
                one.vary(values, self._generator)

    def send(self, channel: socket.socket) -> None:
        """Send a round."""
        done = 0
        while done < len(self):
            at = self._messages.ctypes.data + done * _MESSAGE.itemsize
            sent = _LIBC.sendmmsg(channel.fileno(), ctypes.c_void_p(at), min(len(self) - done, 1024), 0)
            if sent >= 0:
                done += sent
            elif ctypes.get_errno() == errno.ENOBUFS:
                # The device's queue is full: the other side is slower. That frame has not gone out, and goes next.
                time.sleep(_FULL_S)
            else:
                raise OSError(ctypes.get_errno(), "sendmmsg")


def rage(
    namespace: str, interface: str, seconds: float, rate: float | None, seed: int, *, floods: bool
) -> dict[str, object]:
    """Send for so many seconds; return what was sent."""
    storm = Storm(seed, floods=floods)
    with inside(namespace):
        channel = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    with channel:
        channel.bind((interface, 0))
        began = time.monotonic()
        rounds = 0
        while (elapsed := time.monotonic() - began) < seconds:
            if rate is not None and rounds * len(storm) > rate * elapsed:
                time.sleep(0.001)
                continue
            storm.vary()
            storm.send(channel)
            rounds += 1
    kinds = {name: count * rounds for name, count in storm.per_round().items()}
    return {"frames": rounds * len(storm), "seconds": time.monotonic() - began, "kinds": kinds}


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m tests.lab.storm", description="Send forged traffic.")
    parser.add_argument("namespace")
    parser.add_argument("interface")
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--rate", type=float, help="frames a second (default: as many as it can)")
    parser.add_argument("--floods", action="store_true", help="only packets that carry nothing")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    json.dump(rage(**vars(arguments)), sys.stdout)


if __name__ == "__main__":
    main()
