"""What can happen on a connection between calls as they should be."""

from __future__ import annotations

from typing import Final

from tests.build import pdu
from tests.build.connection import Wire
from tests.build.epm import (
    MAPI,
    NOT_REGISTERED,
    SAMR,
    map_request,
    map_response,
    tcp_tower,
)
from tests.kernel.both_modes import VIP, answer, ask


def _again(wire: Wire) -> None:
    wire.segments.append(wire.segments[-1]._replace(time_ns=wire.time_ns))


def _retransmitted_request(wire: Wire) -> None:
    ask(wire, 2)
    _again(wire)
    answer(wire, 2)


def _retransmitted_response(wire: Wire) -> None:
    ask(wire, 2)
    answer(wire, 2)
    _again(wire)


def _old_request_again(wire: Wire) -> None:
    ask(wire, 2)
    old = wire.segments[-1]
    answer(wire, 2)
    ask(wire, 3)
    answer(wire, 3)
    wire.segments.append(old._replace(time_ns=wire.time_ns))


def _unanswered(wire: Wire) -> None:
    ask(wire, 2)


def _answered_late(wire: Wire) -> None:
    ask(wire, 2)
    wire.wait(4)
    answer(wire, 2)


def _answered_too_late(wire: Wire) -> None:
    ask(wire, 2)
    wire.wait(12)
    answer(wire, 2)


def _reset(wire: Wire) -> None:
    ask(wire, 2)
    answer(wire, 2)
    ask(wire, 3)
    wire.reset()


def _closed_while_waiting(wire: Wire) -> None:
    ask(wire, 2)
    wire.client_fin()
    answer(wire, 2)
    wire.server_fin()


def _two_questions(wire: Wire) -> None:
    ask(wire, 2)
    ask(wire, 3)
    answer(wire, 2)
    answer(wire, 3)


def _same_call_id(wire: Wire) -> None:
    ask(wire, 2)
    ask(wire, 2)
    answer(wire, 2)


def _other_call_id(wire: Wire) -> None:
    ask(wire, 2)
    answer(wire, 9)
    answer(wire, 2)


def _other_context(wire: Wire) -> None:
    wire.client(pdu.request(map_request(tcp_tower(SAMR)), call_id=2, context_id=7))
    answer(wire, 2)


def _fault(wire: Wire) -> None:
    ask(wire, 2)
    wire.server(pdu.fault(5, call_id=2))


def _nothing_registered(wire: Wire) -> None:
    ask(wire, 2)
    wire.server(pdu.response(map_response([], status=NOT_REGISTERED), call_id=2))


def _two_towers(wire: Wire) -> None:
    ask(wire, 2)
    wire.server(pdu.response(map_response([tcp_tower(SAMR, 1, VIP), tcp_tower(MAPI, 2, "10.9.9.9")]), call_id=2))


def _cut_in_two(wire: Wire) -> None:
    wire.client(pdu.request(map_request(tcp_tower(SAMR)), call_id=2), 100)
    answer(wire, 2)


def _garbage(wire: Wire) -> None:
    ask(wire, 2)
    answer(wire, 2)
    wire.client(b"garbage").server(bytes(152))


def _null_referent(wire: Wire) -> None:
    ask(wire, 2)
    answer(wire, 2, referent=0)


def _lost_on_the_way(wire: Wire) -> None:
    ask(wire, 2)
    wire.segments.pop()
    answer(wire, 2)


def _odd_status(wire: Wire) -> None:
    ask(wire, 2)
    wire.server(pdu.response(map_response([tcp_tower(SAMR, 49152, VIP)], status=5), call_id=2))


def _opened_again(wire: Wire) -> None:
    ask(wire, 2)
    wire.open().client(pdu.bind()).server(pdu.bind_ack())
    ask(wire, 2)
    answer(wire, 2)


def _syn_again(wire: Wire) -> None:
    ask(wire, 2)
    answer(wire, 2)
    wire.segments.append(wire.segments[0]._replace(time_ns=wire.time_ns))


ODDITIES: Final = [
    _retransmitted_request, _retransmitted_response, _old_request_again, _unanswered, _answered_late,
    _answered_too_late, _reset, _closed_while_waiting, _two_questions, _same_call_id, _other_call_id, _other_context,
    _fault, _nothing_registered, _two_towers, _cut_in_two, _garbage, _null_referent, _lost_on_the_way, _odd_status,
    _opened_again, _syn_again,
]  # fmt: skip
