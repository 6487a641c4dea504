"""The hostile mix: every record differs or is malformed, with honest conversations of other clients among them.

| kind | of 100 forged records | what it is |
|---|---|---|
| random_pdus | 20 | PDUs with a right header and length, and random type, flags and body, in both directions |
| random_bytes | 10 | payloads of random bytes and lengths |
| cut_pdus | 15 | a map call of which every segment ends early, so that the next one leaves a gap |
| lying_lengths | 10 | PDUs whose fragment and authentication lengths are random |
| amplifying | 5 | a map response of 1,460 bytes in which more than 300 referents name one tower |
| forged_flags | 20 | SYN, SYN-ACK, RST and FIN of random sequence numbers, without a connection |
| contradicting | 20 | a map call with other sequence numbers in each second segment, or other bytes for the same ones |

Honest conversations are those of the real mix, all to `HONEST_VIP`, so that their answers can be told from forged ones.
The shares are a choice: each kind costs a decoder something else.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import Final

from tests.bench.real_mix import MSS, Server, map_ndr20, map_ndr64, real_templates
from tests.bench.template import Template, Values, learn
from tests.build import pdu
from tests.build.connection import ACK, FIN, PSH, RST, SYN, Wire
from tests.build.epm import map_request, map_response, tcp_tower

HONEST_VIP: Final = "10.11.2.200"
HONEST_SHARE: Final = 0.1
"""Honest records among all of the hostile mix."""

_VARIANTS: Final = 16
_STEPS: Final = 6
_REFERENTS: Final = 300
_COUNTED_HEADER: Final = 8

Weighted = list[tuple[float, Template]]


def _random_pdus(random: Random, server: Server) -> Callable[[Values], Wire]:
    lengths = [random.randrange(8, 160) for _ in range(_STEPS)]

    def build(values: Values) -> Wire:
        wire = server.wire()
        for number, length in enumerate(lengths):
            kind, flags = values.take(2)
            data = pdu.pdu(0, values.take(length), call_id=values.number())
            (wire.server if number % 2 else wire.client)(data[:2] + bytes([kind, flags]) + data[4:])
        return wire

    return build


def _random_bytes(random: Random, server: Server) -> Callable[[Values], Wire]:
    lengths = [random.randrange(1, 184) for _ in range(_STEPS)]

    def build(values: Values) -> Wire:
        wire = server.wire()
        for number, length in enumerate(lengths):
            (wire.server if number % 2 else wire.client)(values.take(length))
        return wire

    return build


def _cut_pdus(random: Random, server: Server) -> Callable[[Values], Wire]:
    honest = random.choice((map_ndr20, map_ndr64))
    share = [random.random() for _ in range(32)]

    def build(values: Values) -> Wire:
        wire = honest(server, values)
        for number, segment in enumerate(wire.segments):
            kept = int(len(segment.payload) * share[number % len(share)])
            wire.segments[number] = segment._replace(payload=segment.payload[:kept], payload_length=kept)
        return wire

    return build


def _lying_lengths(random: Random, server: Server) -> Callable[[Values], Wire]:
    honest = random.choice((map_ndr20, map_ndr64))

    def build(values: Values) -> Wire:
        wire = honest(server, values)
        for number, segment in enumerate(wire.segments):
            if segment.payload:
                lied = segment.payload[:_COUNTED_HEADER] + values.take(4) + segment.payload[_COUNTED_HEADER + 4 :]
                wire.segments[number] = segment._replace(payload=lied)
        return wire

    return build


def _amplifying(random: Random, server: Server) -> Callable[[Values], Wire]:
    referents = [3] * (_REFERENTS + random.randrange(20))

    def build(values: Values) -> Wire:
        wire, call = server.wire(), values.call_ids()
        wire.client(pdu.bind(call_id=call(1))).server(pdu.bind_ack(call_id=call(1), group=values.number()))
        wire.client(pdu.request(map_request(tcp_tower(), max_towers=500), call_id=call(2)))
        handle = bytes(4) + values.take(16)
        stub = map_response([server.tower()], max_count=500, handle=handle, referents=referents)
        return wire.server(pdu.response(stub, call_id=call(2)), MSS)

    return build


def _forged_flags(random: Random, server: Server) -> Callable[[Values], Wire]:
    client, reply = Wire(server=server.vip).open().segments
    kinds = ((client, SYN), (client, RST), (client, FIN | ACK), (client, RST | ACK), (reply, SYN | ACK), (reply, RST))
    chosen = random.choices(kinds, k=2)
    moved = [random.getrandbits(32) for _ in chosen]

    def build(_: Values) -> Wire:
        wire = Wire(server=server.vip)
        for (segment, flags), sequence in zip(chosen, moved, strict=True):
            wire.segments.append(segment._replace(tcp_flags=flags, sequence=sequence))
        return wire

    return build


def _contradicting(random: Random, server: Server) -> Callable[[Values], Wire]:
    honest = random.choice((map_ndr20, map_ndr64))
    moves = [random.choice((-200, -1, 1, 4000, random.getrandbits(31))) for _ in range(32)]

    def build(values: Values) -> Wire:
        wire = honest(server, values)
        for number in range(2, len(wire.segments), 2):
            segment = wire.segments[number]
            if segment.tcp_flags == PSH | ACK and number % 4 == 0:
                other = segment._replace(payload=values.take(len(segment.payload)))
                wire.segments.append(other)
                continue
            wire.segments[number] = segment._replace(sequence=(segment.sequence + moves[number]) % 2**32)
        return wire

    return build


KINDS: Final = (
    ("random_pdus", 20, _random_pdus),
    ("random_bytes", 10, _random_bytes),
    ("cut_pdus", 15, _cut_pdus),
    ("lying_lengths", 10, _lying_lengths),
    ("amplifying", 5, _amplifying),
    ("forged_flags", 20, _forged_flags),
    ("contradicting", 20, _contradicting),
)
"""Name, share of the forged records in percent, and what returns a maker for a variant."""


def forged_templates(seed: int = 2) -> Weighted:
    """Return templates with weights by which their records have the shares of `KINDS`."""
    random = Random(seed)  # noqa: S311 - traffic, no secret
    templates = [
        (share / _VARIANTS, learn(maker(random, Server(random)))) for _, share, maker in KINDS for _ in range(_VARIANTS)
    ]
    return [(share / len(template.segments), template) for share, template in templates]


def scaled(templates: Sequence[tuple[float, Template]], share: float) -> Weighted:
    """Return the templates with weights by which their records are that share of all."""
    records = sum(weight * len(template.segments) for weight, template in templates)
    return [(weight * share / records, template) for weight, template in templates]


def hostile_templates(honest_share: float = HONEST_SHARE) -> tuple[Weighted, Weighted]:
    """Return honest and forged templates; `honest_share` is that of the records."""
    honest = real_templates(vip=HONEST_VIP)
    return scaled(honest, honest_share), scaled(forged_templates(), 1 - honest_share)
