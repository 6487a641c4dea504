"""The inspector's own reading of a capture, taken from the way that every packet goes."""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from inspector.capture.pcap import read_records
from inspector.config import Config
from inspector.model import Direction
from inspector.record import unpack_record
from inspector.wire import body
from inspector.wire.association import Association
from inspector.wire.conversations import Conversations
from inspector.wire.epm import OPERATIONS, OfferedTower
from inspector.wire.exchange import Exchange, Observed, Outcome
from inspector.wire.pdu import Pdu, PduType
from inspector.wire.tower import Tower
from tests.oracle.facts import AnswerFact, PduFact, QuestionFact, Reading, ResultFact, SyntaxFact, TowerFact, reading_of

_OPNUMS = {name: opnum for opnum, name in OPERATIONS.items()}
_OFFERING = ("ept_map", "ept_lookup")
_VERSION_NOT_SUPPORTED = 4


def read_capture(path: Path, config: Config) -> tuple[Reading, list[Exchange]]:
    """Return what the inspector reads in a capture, and the exchanges it makes of it."""
    pdus: list[PduFact] = []

    feed = Association.feed

    def recording_feed(self: Association, direction: Direction, pdu: Pdu, time_ns: int) -> Iterator[Exchange]:
        """Write down each PDU that reaches an association."""
        pdus.append(_pdu_fact(direction, pdu))
        return feed(self, direction, pdu, time_ns)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Association, "feed", recording_feed)
        observed = list(_observe(path, config))
    offers = [one for one in observed if one.exchange.outcome is Outcome.ANSWERED]
    offers = [one for one in offers if one.exchange.operation in _OFFERING]
    answers = [_answer_fact(one.flow.client_port, one.exchange) for one in offers]
    questions = [
        QuestionFact(answer.client_port, answer.call_id, answer.opnum, _syntax_fact(one.exchange.requested))
        for answer, one in zip(answers, offers, strict=True)
        if one.exchange.request_time_ns is not None
    ]
    return reading_of(pdus, answers, questions), [one.exchange for one in observed]


def _observe(path: Path, config: Config) -> Iterator[Observed]:
    conversations = Conversations(config.decoder_limits())
    for record in read_records(path, ports=config.ports, counters=Counter(), tunnels=config.tunnels):
        yield from conversations.feed(unpack_record(record))
    yield from conversations.flush()


def _pdu_fact(direction: Direction, pdu: Pdu) -> PduFact:
    to_server = direction is Direction.TO_SERVER
    return PduFact(to_server, int(pdu.type), pdu.flags, pdu.little_endian, pdu.frag_length, pdu.call_id, _body_of(pdu))


def _body_of(pdu: Pdu) -> tuple[object, ...]:
    if pdu.type in (PduType.BIND, PduType.ALTER_CONTEXT):
        return tuple(
            (one.context_id, _syntax_fact(one.abstract), tuple(_syntax_fact(each) for each in one.transfers))
            for one in body.read_bind(pdu)
        )
    if pdu.type in (PduType.BIND_ACK, PduType.ALTER_CONTEXT_RESPONSE):
        return tuple(ResultFact(one.result, one.reason, SyntaxFact(*one.transfer)) for one in body.read_bind_ack(pdu))
    if pdu.type is PduType.BIND_NAK:
        nak = body.read_bind_nak(pdu)
        # tshark reads the versions only where the reason is about them.
        return (nak.reason, nak.versions if nak.reason == _VERSION_NOT_SUPPORTED else ())
    if pdu.type is PduType.REQUEST:
        request = body.read_request(pdu)
        return (request.alloc_hint, request.context_id, request.opnum, request.object_uuid)
    if pdu.type is PduType.RESPONSE:
        response = body.read_response(pdu)
        return (response.alloc_hint, response.context_id)
    if pdu.type is PduType.FAULT:
        fault = body.read_fault(pdu)
        return (fault.context_id, fault.status)
    return ()


def _syntax_fact(syntax: body.Syntax | None) -> SyntaxFact | None:
    return SyntaxFact(*syntax) if syntax else None


def _answer_fact(client_port: int, exchange: Exchange) -> AnswerFact:
    assert exchange.operation is not None
    assert exchange.call_id is not None
    assert exchange.status is not None
    towers: dict[int, OfferedTower] = {id(one.tower): one for one in exchange.towers if one.tower is not None}
    facts = tuple(tower_fact(one.tower, one.annotation) for one in towers.values() if one.tower is not None)
    return AnswerFact(client_port, exchange.call_id, _OPNUMS[exchange.operation], exchange.status, facts)


def tower_fact(tower: Tower, annotation: str | None = None) -> TowerFact:
    """Return what a tower says, its floors as the bytes which they were read from."""
    floors = tuple(
        struct.pack("<HB", 1 + len(floor.identifier_data), floor.protocol)
        + floor.identifier_data
        + struct.pack("<H", len(floor.related_data))
        + floor.related_data
        for floor in tower.floors
    )
    address = str(tower.address) if tower.address is not None else None
    names = tuple(name for name in (tower.endpoint, tower.host) if name is not None)
    return TowerFact(
        floors, _syntax_fact(tower.interface), _syntax_fact(tower.transfer), tower.port, address, names, annotation
    )
