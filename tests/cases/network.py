"""Connections between hosts, as one or two points of capture see them: flags, sequence numbers, TTLs, losses, ICMP."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from ipaddress import ip_address

from inspector.model import Segment
from inspector.record import Attribute
from tests.build.connection import ACK, FIN, PSH, RST, START_NS, SYN, raw_address
from tests.golden.layers import TCP, Frame, checksum, ethernet, frame_of, ip, pcapng_of, tcp_of

ICMP, ICMPV6 = 1, 58
_STEP_NS = 1_200_000
_BEHIND_NS = 40_000
_BACKOFF = (0.3, 0.6, 1.2, 2.4, 4.8, 9.6)


@dataclass(slots=True)
class Tap:
    """A point of capture: the addresses and TTLs that packets of a connection have there, None as at their sender.

    `delay_ns` is how much later packets of the client pass here than at the first tap; those of the server as much
    earlier. Frames of all connections are in `scene`. `drawn` is what a firewall adds to the client's sequence numbers.
    """

    scene: Scene
    client: str | None = None
    server: str | None = None
    client_ttl: int = 127
    server_ttl: int = 126
    delay_ns: int = 0
    drawn: int = 0


@dataclass(slots=True)
class Scene:
    """The frames at one point of capture; `tags` are the VLAN tags of each."""

    frames: list[Frame] = field(default_factory=list)
    tags: bytes = b""

    def copy_frames(self, apart_ns: int, *, hops: int = 0) -> None:
        """Let each frame be captured once more, so much later and so many hops away; 0 lets them be."""
        if apart_ns:
            self.frames += [
                replace(frame, time_ns=frame.time_ns + apart_ns, data=_routed(frame.data, hops))
                for frame in self.frames
            ]

    def capture(self, snap_length: int | None = None) -> bytes:
        """Return the capture file, in the order of time."""
        ordered = sorted(self.frames, key=lambda frame: frame.time_ns)
        if self.tags:
            ordered = [frame.tagged(self.tags) for frame in ordered]
        kept = ordered if snap_length is None else [frame.cut(snap_length) for frame in ordered]
        return b"".join(pcapng_of(kept, 1))


@dataclass(slots=True)
class Clock:
    """The time, which all connections of a case move on."""

    now_ns: int = START_NS

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self.now_ns += round(seconds * 1e9)


def _routed(frame: bytes, hops: int) -> bytes:
    """Return an IPv4 frame with so much less TTL."""
    head = frame[14:22] + bytes([frame[22] - hops]) + frame[23:24] + bytes(2) + frame[26:34]
    return frame[:14] + head[:10] + struct.pack("!H", checksum(head)) + head[12:] + frame[34:]


class Connection:
    """One TCP connection; each call writes frames to every tap, or to those that `at` numbers."""

    def __init__(
        self,
        clock: Clock,
        taps: Sequence[Tap],
        client: str,
        server: str,
        *,
        client_port: int,
        port: int = 135,
    ) -> None:
        self._clock = clock
        self._taps = taps
        self._ends = ((client, client_port), (server, port))
        # A clock of 4 microseconds, so that connections of the same ports differ (RFC 9293 section 3.4.1).
        drawn = clock.now_ns // 4_000
        self._next = [(client_port * 70_001 + drawn) % 2**32, (client_port * 90_001 + drawn) % 2**32]
        self._seen = [0, 0]

    def _segment(self, tap: Tap, sender: int, flags: int, sequence: int, payload: bytes) -> Segment:
        here = ((tap.client or self._ends[0][0], self._ends[0][1]), (tap.server or self._ends[1][0], self._ends[1][1]))
        (source, source_port), (destination, destination_port) = here[sender], here[1 - sender]
        attributes = Attribute.FROM_SERVER if sender else Attribute(0)
        attributes |= Attribute.IPV6 if ip_address(source).version == 6 else Attribute(0)
        behind = tap.delay_ns if sender == 0 else -tap.delay_ns
        acknowledgment = self._seen[1 - sender] if flags & ACK else 0
        if sender == 0:
            sequence += tap.drawn
        elif flags & ACK:
            acknowledgment += tap.drawn
        return Segment(
            self._clock.now_ns + behind, raw_address(source), raw_address(destination), sequence % 2**32,
            acknowledgment % 2**32, source_port, destination_port, len(payload), flags, int(attributes), 1, payload,
        )  # fmt: skip

    def send(
        self,
        sender: int,
        flags: int,
        payload: bytes = b"",
        *,
        at: Iterable[int] | None = None,
        arrives: bool = True,
        ttl: int | None = None,
        nearer: int = 0,
        again: bool = False,
        skip: int = 0,
    ) -> Connection:
        """Write one packet of the client (0) or server (1).

        `arrives`: the other end acknowledges it from now on. `again`: it repeats the bytes that were sent last. `skip`
        bytes before it are lost before any tap. Another device sent it: `ttl` is its TTL at the last tap, or it is so
        many hops `nearer` than the end.
        """
        length = len(payload) + bool(flags & SYN) + bool(flags & FIN)
        self._next[sender] += skip
        sequence = self._next[sender] - (length if again else 0)
        for number, tap in enumerate(self._taps):
            if at is None or number in at:
                segment = self._segment(tap, sender, flags, sequence, payload)
                hop_limit = (tap.server_ttl if sender else tap.client_ttl) if ttl is None else ttl
                hop_limit += nearer - (len(self._taps) - 1 - number if ttl is not None and sender else 0)
                packet = ip(segment, tcp_of(segment), TCP, hop_limit)
                tap.scene.frames.append(frame_of(segment, ethernet(segment, packet)))
        if not again:
            self._next[sender] += length
        if arrives:
            self._seen[sender] = self._next[sender]
        self._clock.now_ns += _STEP_NS
        return self

    def open(self) -> Connection:
        """Exchange SYN, SYN-ACK and ACK."""
        return self.send(0, SYN).send(1, SYN | ACK).send(0, ACK)

    def say(self, sender: int, payload: bytes, mss: int = 65000, *, acknowledged: bool = True) -> Connection:
        """Let one end write, and the other acknowledge with a bare ACK."""
        for start in range(0, len(payload), mss):
            self.send(sender, PSH | ACK, payload[start : start + mss], arrives=acknowledged)
        return self.send(1 - sender, ACK) if acknowledged else self

    def ask(self, payload: bytes, answer: bytes, mss: int = 65000) -> Connection:
        """Let the client write and the server answer."""
        return self.say(0, payload).say(1, answer, mss)

    def acknowledge_part(self, missing: int) -> Connection:
        """Let the client acknowledge all but so many bytes of what the server has sent."""
        self._seen[1] = self._next[1] - missing
        return self.send(0, ACK)

    def keep_alive(self) -> Connection:
        """Send a keep-alive, a byte that the server has already, and its acknowledgment."""
        self._next[0] -= 1
        self.send(0, ACK, bytes(1), arrives=False)
        return self.send(1, ACK)

    def repeat(self, sender: int, payload: bytes, times: int, *, at: Iterable[int] | None = None) -> Connection:
        """Send again what was sent last and is not acknowledged, each time after twice the time."""
        for number in range(times):
            self._clock.wait(_BACKOFF[number])
            self.send(sender, PSH | ACK, payload, again=True, arrives=False, at=at)
        return self

    def close(self) -> Connection:
        """Exchange FIN, FIN and ACK, the client first."""
        return self.send(0, FIN | ACK).send(1, FIN | ACK).send(0, ACK)

    def reset(self, sender: int = 1, *, ttl: int | None = None, at: Iterable[int] | None = None) -> Connection:
        """Send a reset with acknowledgment, in the name of one end."""
        return self.send(sender, RST | ACK, ttl=ttl, at=at)

    def syns(self, times: int = 3, spacing: Sequence[float] = (3, 6, 12)) -> Connection:
        """Send SYNs that nothing answers."""
        for number in range(times):
            self.send(0, SYN, again=number > 0, arrives=False)
            if number + 1 < times:
                self._clock.wait(spacing[number])
        return self

    def back(self, sender: int, length: int) -> Connection:
        """Forget bytes that one end sent and that never arrived: others take their sequence numbers."""
        self._next[sender] -= length
        return self

    def refused(self, times: int = 3, *, nearer: int = 0) -> Connection:
        """Send SYNs of which each is answered by a reset."""
        for number in range(times):
            self.send(0, SYN, again=number > 0)
            self._next[1] = 0
            self.send(1, RST | ACK, nearer=nearer)
            self._clock.wait(0.5)
        return self

    def unreachable(self, reporter: str, code: int = 13, *, again: bool = False) -> Connection:
        """Send a SYN that is answered by ICMP or ICMPv6 "destination unreachable" with this code."""
        self.send(0, SYN, arrives=False, again=again)
        six = ip_address(reporter).version == 6
        for tap in self._taps:
            quoted = self._segment(tap, 0, SYN, self._next[0] - 1, b"")
            body = ip(quoted, tcp_of(quoted), TCP, 62)[: 48 if six else 28]
            message = struct.pack("!BBHI", 1 if six else 3, code, 0, 0) + body
            message = message[:2] + struct.pack("!H", checksum(message)) + message[4:]
            back = quoted._replace(
                source_address=raw_address(reporter),
                destination_address=quoted.source_address,
                attributes=int(Attribute.FROM_SERVER) | int(quoted.attributes & Attribute.IPV6),
                time_ns=self._clock.now_ns - tap.delay_ns,
            )
            packet = ip(back, message, ICMPV6 if six else ICMP, tap.server_ttl)
            tap.scene.frames.append(frame_of(back, ethernet(back, packet)))
        self._clock.now_ns += _STEP_NS
        return self


class Network:
    """Hosts that converse before one point of capture, or before a gateway's two.

    The first tap is towards the clients.
    """

    def __init__(self, *, gateway: bool = False) -> None:
        self.clock = Clock()
        self.scenes = [Scene(), Scene()] if gateway else [Scene()]
        self._port = 50000

    def connect(
        self,
        client: str,
        server: str,
        port: int = 135,
        *,
        translated: tuple[str | None, str | None] = (None, None),
        server_ttl: int = 126,
        drawn: int = 0,
    ) -> Connection:
        """Return a connection that is not open yet; `translated` are the ends' addresses at the second tap.

        `drawn` is what its sequence numbers of the client have more there.
        """
        self._port += 1
        if len(self.scenes) == 1:
            taps = [Tap(self.scenes[0], server_ttl=server_ttl)]
        else:
            taps = [
                Tap(self.scenes[0], client_ttl=64, server_ttl=62),
                Tap(self.scenes[1], *translated, client_ttl=63, server_ttl=63, delay_ns=_BEHIND_NS, drawn=drawn),
            ]
        return Connection(self.clock, taps, client, server, client_port=self._port, port=port)

    def draw(self, client_port: int) -> None:
        """Let the next connection come from this port, and those behind it from the following ones."""
        self._port = client_port - 1

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self.clock.wait(seconds)

    def later(self, seconds: float) -> None:
        """Let time pass, and show it by a connection of somebody else."""
        self.wait(seconds)
        self.connect("10.20.9.9", "10.30.99.99").open().close()
