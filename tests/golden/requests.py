"""Who asked for what, and answers that do not come."""

# ruff: noqa: D401  # a trace's docstring says what it shows: it describes a scene, not a deed
from __future__ import annotations

from inspector.model import Segment
from tests.build import pdu
from tests.build.connection import Wire
from tests.build.epm import MAPI, NDR20, SAMR, floor, map_request, pipe_tower, tcp_tower, tower, uuid_floor
from tests.golden.dialogue import DIP, ISYSTEMACTIVATOR, LSARPC, NETLOGON, VIP, answered, asked, bound, closed
from tests.golden.trace import trace

_DIRECTORY = (SAMR[0], 1, 0)


@trace()
def asked_for() -> list[Segment]:
    """Requests for several interfaces: by the address as Windows writes it, for a pipe, and for local calls."""
    local = tower(uuid_floor(NETLOGON), uuid_floor(NDR20), floor(0x0C, right=b"\0\0"), floor(0x10, right=b"\0"))
    wanted = (tcp_tower(MAPI, 135, VIP), tcp_tower(_DIRECTORY), pipe_tower(LSARPC, "\\PIPE\\lsass", "\\\\DC1"), local)
    wire = bound()
    for call_id, one in enumerate(wanted, 2):
        wire.client(pdu.request(map_request(one), call_id=call_id)).wait(0.01 * call_id)
        answered(wire, tcp_tower(SAMR, 49150 + call_id, DIP), call_id=call_id)
    return closed(wire).segments


@trace()
def unanswered_in_time() -> list[Segment]:
    """A request without answer for longer than ten seconds; another connection lets the time pass."""
    return asked(bound()).segments + Wire(client_port=33655).wait(11).open().segments


@trace(config="[limits]\nunanswered_seconds = 2.5\n")
def answered_late() -> list[Segment]:
    """An answer after the settable time: first unanswered, then the answer without its request."""
    return closed(answered(asked(bound()).wait(3), tcp_tower(SAMR, 49152, DIP))).segments


@trace()
def bind_without_answer() -> list[Segment]:
    """The original symptom: a bind, silence, and FIN from both ends; and a bind to DCOM, which is not ours to miss."""
    silent = closed(Wire().open().client(pdu.bind()))
    other = Wire(client_port=33655).wait(1).open().client(pdu.bind([(0, ISYSTEMACTIVATOR, (NDR20,))]))
    return silent.segments + closed(other).segments


@trace()
def closed_before_an_answer() -> list[Segment]:
    """A map request, and FIN from both ends instead of an answer."""
    return closed(asked(bound())).segments


@trace()
def reset_before_an_answer() -> list[Segment]:
    """A map request answered by a reset."""
    return asked(bound()).reset().segments


@trace()
def replaced_before_an_answer() -> list[Segment]:
    """A map request, and then a new connection takes the ports."""
    return asked(bound()).segments + Wire(client_sequence=777).wait(1).open().segments


@trace()
def cut_off_by_the_end() -> list[Segment]:
    """The capture ends while a request waits: its time was not over, so nothing is said."""
    return asked(bound()).segments
