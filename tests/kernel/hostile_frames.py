"""Frames by which somebody means harm: known ones changed, cut and joined, made up by grammar, or plain noise.

What comes out depends on the seed alone, so that any frame can be had again.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Final, TypeVar

from tests.build import tunnels
from tests.build.tunnels import ETHERTYPE_ETHERNET, ETHERTYPE_IPV4, ETHERTYPE_IPV6
from tests.kernel import frames
from tests.kernel.frames import FRAMES
from tests.kernel.tunnel_frames import TUNNEL_FRAMES, far_in

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Maker = Callable[[], bytes]

T = TypeVar("T")

SHORTEST: Final = 14
"""A test run takes no frame without a whole Ethernet header."""

_KNOWN: Final = tuple(frame for frame in (*FRAMES.values(), *TUNNEL_FRAMES.values()) if len(frame) < 1500)
_PORTS: Final = (135, 135, 135, 593, 65535, 0, 53, 443, 3544, 4789, 6081, 33654)
_TAGS: Final = (0x8100, 0x88A8, 0x9100)
_ETHERTYPES: Final = (*_TAGS, ETHERTYPE_IPV4, ETHERTYPE_IPV6, ETHERTYPE_ETHERNET, 0, 0x0806)
# Protocols and next headers which are read, and some that are not.
_PROTOCOLS: Final = (0, 1, 4, 6, 17, 41, 43, 44, 47, 50, 51, 59, 60, 135)
_BYTES: Final = (*_PROTOCOLS, 0x40, 0x45, 0x46, 0x4F, 0x50, 0x5F, 0x60, 0x7F, 0x80, 0x81, 0x88, 0xA8, 0xFE, 0xFF)
_WORDS: Final = (*_PORTS, *_ETHERTYPES, 1, 7, 8, 19, 20, 21, 28, 40, 60, 176, 177, 0x2000, 0x7FFF, 0xFFF8, 0xFFFF)
_EXTENSIONS: Final = (0, 43, 44, 51, 60, 135)
# Headers lie here: changes further on rarely matter.
_HEADERS: Final = 160
_DEEPEST: Final = 3
# On XDP headers are read within the first buffer only, which is of less than a page; tests of their own hold that.
_UNITS: Final = 140


class FrameMaker:
    """An endless source of frames, by its seed."""

    def __init__(self, seed: str) -> None:
        choose = random.Random(seed)  # noqa: S311 - to be had again, not secret
        self._random = choose.random
        self._noise_bytes = choose.randbytes
        # How often of two hundred: a large frame takes as long as many others.
        self._kinds: tuple[Maker, ...] = (
            *[self._changed] * 90,
            *[self._cut] * 26,
            *[self._joined] * 24,
            *[self._made] * 50,
            *[self._noise] * 9,
            self._large,
        )

    def make(self) -> bytes:
        """Return the next frame, of 14 bytes at least."""
        return self._pick(self._kinds)().ljust(SHORTEST, b"\0")

    def _below(self, limit: int) -> int:
        return int(self._random() * limit)

    def _pick(self, values: Sequence[T]) -> T:
        return values[int(self._random() * len(values))]

    def _one_in(self, count: int) -> bool:
        return self._random() * count < 1

    def _changed(self) -> bytes:
        frame = bytearray(self._pick(_KNOWN))
        for _ in range(1 + self._below(4)):
            self._change(frame)
        return bytes(frame)

    def _change(self, frame: bytearray) -> None:
        """Make one change: a byte, a bit, a word, or bytes that go or come."""
        at = 12 + self._below(min(len(frame), _HEADERS) - 13)
        kind = self._below(16)
        if kind < 6:
            frame[at] = self._pick(_BYTES)
        elif kind < 9:
            frame[at] ^= 1 << self._below(8)
        elif kind < 12:
            frame[at : at + 2] = self._pick(_WORDS).to_bytes(2, "big")
        elif kind < 13:
            # A length that is right, or nearly, for something that begins somewhere.
            near = max(len(frame) - at + self._below(5) - 2, 0)
            frame[at : at + 2] = (near & 0xFFFF).to_bytes(2, "big")
        elif kind < 14:
            frame[at] = self._below(256)
        elif kind < 15:
            del frame[at : min(at + 1 + self._below(24), len(frame) - 2)]
        else:
            frame[at:at] = frame[at : at + 1 + self._below(24)]

    def _cut(self) -> bytes:
        frame = self._changed() if self._one_in(2) else self._pick(_KNOWN)
        return frame[: SHORTEST + self._below(len(frame) - SHORTEST + 1)]

    def _joined(self) -> bytes:
        first, second = self._pick(_KNOWN), self._pick(_KNOWN)
        return first[: SHORTEST + self._below(_HEADERS)] + second[self._below(_HEADERS) :]

    def _noise(self) -> bytes:
        ethertype = self._pick(_ETHERTYPES).to_bytes(2, "big")
        return frames.MACS + ethertype + self._noise_bytes(self._below(200))

    def _large(self) -> bytes:
        """Return a frame of many buffers, or one with far more headers than any real one."""
        if self._one_in(4):
            return far_in(54 + 2048 * self._below(2) + 8 + 8 * self._below(_UNITS))
        frame = bytearray(frames.sized(self._below(65600)))
        if self._one_in(2):
            self._change(frame)
        return bytes(frame)

    def _made(self) -> bytes:
        """Return a frame that follows the grammar of protocols, but for a length or a kind now and then."""
        frame = self._frame(0)
        if self._one_in(3):
            changed = bytearray(frame)
            self._change(changed)
            return bytes(changed)
        return frame

    def _frame(self, depth: int) -> bytes:
        tags = tuple(self._pick(_TAGS) for _ in range(self._below(4))) if self._one_in(4) else ()
        if self._one_in(2):
            return frames.ethernet(self._ipv4(depth), ETHERTYPE_IPV4, tags)
        return frames.ethernet(self._ipv6(depth), ETHERTYPE_IPV6, tags)

    def _length(self, right: int) -> int:
        """Return a length, mostly the right one."""
        if not self._one_in(6):
            return min(right, 0xFFFF)
        return self._pick((0, right - 1, right + 1, right // 2, self._below(right + 20), 0xFFFF)) & 0xFFFF

    def _ipv4(self, depth: int) -> bytes:
        protocol, data = self._transport(depth)
        options = self._noise_bytes(4 * self._below(11)) if self._one_in(4) else b""
        return frames.ipv4(
            data,
            options=options,
            fragment=self._pick((0x2000, 0x4000, 1, 0x1FFF, 0x2001, 0x8000)) if self._one_in(8) else 0,
            protocol=protocol,
            total=self._length(20 + len(options) + len(data)),
        )

    def _ipv6(self, depth: int) -> bytes:
        following, data = self._transport(depth)
        for _ in range(self._below(10) if self._one_in(3) else 0):
            kind = self._pick(_EXTENSIONS)
            if kind == 44:
                offset = self._below(0x2000) if self._one_in(4) else 0
                data = frames.fragment_header(following, offset, self._below(2)) + data
            elif kind == 51:
                data = frames.extension(following, 8 + 4 * self._below(8), 4) + data
            else:
                data = frames.extension(following, 8 + 8 * self._below(6)) + data
            following = kind
        return frames.ipv6(data, next_header=following, length=self._length(len(data)))

    def _transport(self, depth: int) -> tuple[int, bytes]:
        """Return a protocol number, and what lies behind the IP header that carries it."""
        if depth < _DEEPEST and self._one_in(3):
            return self._tunnel(depth + 1)
        data = self._noise_bytes(self._below(230)) if self._one_in(2) else frames.payload(self._below(230))
        ports = (self._pick(_PORTS), self._pick(_PORTS))
        if self._one_in(3):
            return tunnels.UDP, tunnels.udp(data, ports, length=self._length(8 + len(data)))
        if self._one_in(12):
            return self._pick(_PROTOCOLS), data
        return 6, frames.tcp(
            b"" if self._one_in(4) else data,
            ports=ports,
            flags=self._below(256),
            options=bytes(4 * self._below(11)) if self._one_in(2) else b"",
            offset=self._below(16) if self._one_in(12) else None,
        )

    def _tunnel(self, depth: int) -> tuple[int, bytes]:
        kind = self._below(7)
        if kind == 0:
            return tunnels.IPV4, self._ipv4(depth)
        if kind == 1:
            return tunnels.IPV6, self._ipv6(depth)
        if kind == 2:
            return tunnels.UDP, tunnels.vxlan(self._frame(depth))
        if kind == 3:
            return tunnels.UDP, tunnels.geneve(self._frame(depth), options=self._noise_bytes(4 * self._below(64)))
        if kind == 4:
            indications = {"origin": self._one_in(2), "authentication": (b"", b"\0" * self._below(256))}
            return tunnels.UDP, tunnels.teredo(self._ipv6(depth), **indications)  # type: ignore[arg-type]  # as named
        flags = self._pick((0, 0x8000, 0x2000, 0x1000, 0xB000))
        if kind == 5:
            return tunnels.GRE, tunnels.gre(self._frame(depth), ETHERTYPE_ETHERNET, flags=flags)
        return tunnels.GRE, tunnels.gre(self._ipv4(depth), flags=flags)
