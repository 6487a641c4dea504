"""Traffic of many endpoint-mapper conversations at once, as a network delivers it: mostly in order."""

from __future__ import annotations

from random import Random
from uuid import UUID

from inspector.model import Segment, Tunnel, TunnelKind
from inspector.record import Attribute
from tests.build import pdu
from tests.build.connection import ACK, FIN, RST, START_NS, SYN, Wire, udp
from tests.build.epm import (
    EPM,
    NDR20,
    NDR64,
    NOT_REGISTERED,
    SAMR,
    lookup_request,
    lookup_response,
    map_request,
    map_response,
    pipe_tower,
    tcp_tower,
)

_SERVERS = ("10.11.2.2", "10.11.2.3", "64:ff9b::a0b:202", "2001:db8::1")
_OFFERED = ("10.11.2.2", "10.11.2.7", "0.0.0.0", "127.0.0.1", "10.11.2.3")  # noqa: S104 - offered, not bound
_OTHER = (UUID("99fcfec4-5260-101b-bbcb-00aa0021347a"), 0, 0)
_DONE = (2, 2, (UUID(int=0), 0, 0))


class Client:
    """One connection of a client that behaves, and a server that answers; each action is one or more segments."""

    def __init__(self, random: Random, number: int, now_ns: int) -> None:
        self._random = random
        server = random.choice(_SERVERS)
        self.wire = Wire(
            client=f"2001:db8::{number:x}" if ":" in server else f"10.1.{number // 200}.{1 + number % 200}",
            server=server,
            client_port=40000 + number % 7,
            server_port=random.choice((135, 135, 593)),
            client_sequence=random.choice((1000, 2**32 - 200, random.getrandbits(32))),
            server_sequence=random.getrandbits(32),
            start_ns=now_ns,
            interface_index=random.choice((1, 2)),
        )
        self._wide = random.random() < 0.4
        self._call_id = random.choice((1, 2, 0xFFFFFFF0))
        self._asked: list[tuple[int, int]] = []
        self._opened = False

    def act(self, now_ns: int) -> list[Segment]:
        """Return the segments of the next action."""
        self.wire.time_ns = now_ns
        self.wire.segments.clear()
        if not self._opened:
            self._opened = True
            if self._random.random() < 0.9:
                self.wire.open()
                return list(self.wire.segments)
        actions = (self._bind, self._ask, self._ask, self._answer, self._answer, self._answer, self._odd, self._end)
        self._random.choices(actions, (3, 8, 8, 10, 10, 10, 1, 1))[0]()
        return list(self.wire.segments)

    def _size(self) -> int:
        return self._random.choice((65000, 65000, 65000, 65000, 65000, 100))

    def _bind(self) -> None:
        random, context = self._random, self._random.random()
        if context < 0.1:
            self.wire.client(pdu.bind([(0, _OTHER, (NDR20,))])).server(pdu.bind_ack())
        elif context < 0.2:
            self.wire.client(pdu.bind(call_id=self._call_id)).server(pdu.bind_nak(call_id=self._call_id))
        elif self._wide:
            self.wire.client(pdu.bind([(0, EPM, (NDR20,)), (1, EPM, (NDR64,))]))
            self.wire.server(pdu.bind_ack([_DONE, (0, 0, NDR64)]))
        else:
            self.wire.client(pdu.bind(call_id=self._call_id, big_endian=context < 0.25))
            if random.random() < 0.9:
                self.wire.server(pdu.bind_ack(call_id=self._call_id, big_endian=context < 0.25))

    def _ask(self) -> None:
        random = self._random
        self._call_id = (self._call_id + random.choice((1, 1, 1, 0))) % 2**32
        context_id = 1 if self._wide else 0
        if random.random() < 0.1:
            self._asked.append((self._call_id, 2))
            asked = lookup_request(wide=self._wide)
            self.wire.client(pdu.request(asked, opnum=2, call_id=self._call_id, context_id=context_id), self._size())
            return
        self._asked.append((self._call_id, 3))
        tower = tcp_tower(SAMR if random.random() < 0.8 else _OTHER, 135, "0.0.0.0")  # noqa: S104 - in a tower
        stub = map_request(tower, wide=self._wide)
        self.wire.client(pdu.request(stub, call_id=self._call_id, context_id=context_id), self._size())

    def _answer(self) -> None:
        random = self._random
        call_id, opnum = self._asked.pop(0) if self._asked else (self._call_id, 3)
        call_id += random.random() < 0.03
        context_id = 1 if self._wide else 0
        if random.random() < 0.05:
            self.wire.server(pdu.fault(random.choice((5, 0x1C010002)), call_id=call_id, context_id=context_id))
            return
        offered = [
            tcp_tower(SAMR, random.choice((49152, 49153)), random.choice(_OFFERED))
            for _ in range(random.choice((0, 1, 1, 1, 1, 2, 2, 3)))
        ]
        offered += [pipe_tower(SAMR, "\\PIPE\\samr", "DC1")] if random.random() < 0.05 else []
        if opnum == 2 and random.random() < 0.8:
            stub = lookup_response([(tower, "note") for tower in offered], wide=self._wide)
        else:
            referents = [random.getrandbits(30) * 4 for _ in offered] if random.random() < 0.5 else None
            status = 0 if offered else NOT_REGISTERED
            stub = map_response(offered, wide=self._wide, status=status, referents=referents)
        self.wire.server(pdu.response(stub, call_id=call_id, context_id=context_id), self._size())

    def _odd(self) -> None:
        random = self._random
        random.choice(
            (
                lambda: self.wire.client(random.randbytes(random.choice((3, 60, 152)))),
                lambda: self.wire.server(random.randbytes(152)),
                lambda: self.wire.client(pdu.bind() + pdu.bind(call_id=9)),
                lambda: self.wire.server(b"ncacn_http/1.0"),
                lambda: self.wire.open(),
            )
        )()

    def _end(self) -> None:
        end = self._random.randrange(4)
        if end == 0:
            self.wire.reset()
        elif end < 3:
            self.wire.client_fin().server_fin()
        else:
            self.wire.client_fin()


def forged(random: Random, segments: list[Segment], share: float) -> list[Segment]:
    """Return segments with others between them, as somebody would forge who knows ports, and perhaps more."""
    arrived: list[Segment] = []
    for segment in segments:
        if random.random() < share and not segment.attributes & Attribute.UDP:
            arrived += _forgery(random, random.choice((segment, _answering(segment))))
        arrived.append(segment)
    return arrived


def _answering(segment: Segment) -> Segment:
    """Return an empty segment of the other end, which acknowledges this one."""
    return segment._replace(
        source_address=segment.destination_address,
        destination_address=segment.source_address,
        source_port=segment.destination_port,
        destination_port=segment.source_port,
        sequence=segment.acknowledgment,
        acknowledgment=(segment.sequence + segment.payload_length) % 2**32,
        attributes=segment.attributes ^ Attribute.FROM_SERVER,
        payload=b"",
        payload_length=0,
    )


def _forgery(random: Random, like: Segment) -> list[Segment]:
    """Return a forged segment, sometimes two that fit each other."""
    far = random.choice((0, 0, 0, 1, -1, 80, -80, 3000, -3000, 1 << 20, (1 << 20) + 1, 1 << 29, -(1 << 29)))
    payload = random.choice((b"", random.randbytes(len(like.payload)), _other_bytes(random, like.payload), pdu.bind()))
    one = like._replace(
        sequence=(like.sequence + far) % 2**32,
        acknowledgment=(like.acknowledgment + random.choice((0, 0, 0, 5, -5, 5000, 1 << 29, -(1 << 29)))) % 2**32,
        tcp_flags=random.choice((SYN, SYN | ACK, RST, RST | ACK, FIN | ACK, ACK, ACK, ACK, 0)),
        payload=payload,
        payload_length=len(payload),
    )
    return [one, _answering(one)._replace(tcp_flags=random.choice((SYN | ACK, RST, ACK)))][: random.choice((1, 1, 2))]


def _other_bytes(random: Random, payload: bytes) -> bytes:
    """Return a payload with one byte changed, sometimes shorter or longer."""
    changed = bytearray(payload or pdu.bind())
    changed[random.randrange(len(changed))] ^= 1 << random.randrange(8)
    return bytes(changed)[: random.choice((len(changed), len(changed), 60))] + bytes(random.choice((0, 0, 0, 9)))


def _network(random: Random, segments: list[Segment], trouble: float) -> list[Segment]:
    """Return what arrives of these segments: some lost, twice, late, cut, in fragments or in a tunnel."""
    arrived: list[Segment] = []
    for segment in segments:
        kind = random.random() / trouble if trouble else 1.0
        if kind < 0.2:
            continue
        if kind < 0.4:
            arrived.append(segment)
        elif kind < 0.5 and segment.payload:
            segment = segment._replace(payload=segment.payload[: random.randrange(len(segment.payload))])
        elif kind < 0.55:
            segment = segment._replace(attributes=segment.attributes | Attribute.FIRST_FRAGMENT)
        elif kind < 0.6:
            tunnel = Tunnel(TunnelKind.GRE, bytes(16), bytes(16))
            segment = segment._replace(attributes=segment.attributes | Attribute.TUNNELLED, tunnel=tunnel)
        arrived.append(segment)
        if kind < 0.9 and kind >= 0.6 and len(arrived) > 1:
            arrived[-1], arrived[-2] = arrived[-2], arrived[-1]
    return arrived


def traffic(random: Random, actions: int, *, clients: int = 12, trouble: float = 0.1) -> list[Segment]:
    """Return the segments of so many actions of clients that come and go; `trouble` is how often the network errs."""
    now_ns, started = START_NS, clients
    active = [Client(random, number, now_ns) for number in range(clients)]
    segments: list[Segment] = []
    for _ in range(actions):
        now_ns += random.choice((10_000, 50_000_000, 50_000_000, 1_500_000_000)) if random.random() < 0.3 else 1000
        if random.random() < 0.01:
            now_ns += random.choice((11, 61, 400)) * 1_000_000_000
        position = random.randrange(len(active))
        segments += active[position].act(now_ns)
        if random.random() < 0.03:
            started += random.choice((0, 1))
            active[position] = Client(random, started % (2 * clients), now_ns)
        if random.random() < 0.01:
            segments.append(udp(random.randbytes(80), client_port=5000 + random.randrange(3), time_ns=now_ns))
    return _network(random, segments, trouble)
