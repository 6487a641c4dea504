"""Suspects only: each conversation through the program in both modes gives the same metrics."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from inspector.live import kernel, loader
from inspector.live.aside import ANSWERS, Aside
from inspector.live.counters import possible_cpus
from inspector.model import Segment
from inspector.record import LOSS_REASONS, Counter
from inspector.wire.limits import Limits
from tests.build import pdu
from tests.build.connection import Wire
from tests.build.epm import (
    MAPI,
    NDR20,
)
from tests.kernel.both_modes import POOLED, SHORT_STEP_NS, VIP, Modes, answer, ask, counted, frame_of, opened
from tests.kernel.harness import Harness
from tests.kernel.oddities import ODDITIES

pytestmark = [pytest.mark.kernel, pytest.mark.usefixtures("bpf")]


@pytest.mark.parametrize("program", [loader.XDP_PROGRAM, loader.TC_PROGRAM])
@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("address", [VIP, "0.0.0.0", POOLED])  # noqa: S104 - offered, not bound
def test_expected_answers_are_counted(modes: Modes, program: str, wide: bool, address: str) -> None:
    """Pairs that offer what was asked, "the same" or a pool's server have no records, and the same metrics."""
    wire = opened(wide)
    for call_id in range(2, 12):
        ask(wire, call_id, wide)
        wire.wait(0.02 * call_id)
        answer(wire, call_id, address, wide, referent=call_id * 4)
    wire.client_fin().server_fin()
    every, suspects = modes.compare(wire.segments, program=program, step_ns=SHORT_STEP_NS)
    assert (every.records, suspects.records, counted(suspects)) == (26, 6, 20)
    assert not suspects.findings


def test_mismatches_are_recorded(modes: Modes) -> None:
    """Each mismatch comes through the ring with its request, call id and latency; pairs around it are counted."""
    wire = opened()
    for call_id, address in enumerate((VIP, "10.11.2.7", VIP, "127.0.0.1", VIP), 2):
        ask(wire, call_id)
        answer(wire, call_id, address)
    wire.client_fin().server_fin()
    every, suspects = modes.compare(wire.segments)
    assert counted(suspects) == 6
    assert [(one.call_id, one.verdict, one.requested) for one in suspects.findings] == [
        (one.call_id, one.verdict, one.requested) for one in every.findings if one.call_id in (3, 5)
    ]


def test_many_connections_share_what_they_count(modes: Modes) -> None:
    """Different clients, ports and services are told apart where the finding is, and no further."""
    segments: list[Segment] = []
    for number in range(40):
        wire = opened(client_port=40000 + number, server=(VIP, "10.11.2.3")[number % 2])
        ask(wire, 2)
        answer(wire, 2, (VIP, "10.11.2.3")[number % 2], port=49152 + number % 3)
        segments += wire.client_fin().server_fin().segments
    _, suspects = modes.compare(segments)
    assert counted(suspects) == 80


@pytest.mark.parametrize("oddity", ODDITIES, ids=lambda oddity: oddity.__name__.strip("_"))
def test_odd_conversations(modes: Modes, oddity: Callable[[Wire], None]) -> None:
    """After counted pairs, whatever happens on a connection is counted as with all records, and what follows too."""
    wire = opened(client_sequence=2**32 - 300)
    for call_id in (100, 101, 102):
        ask(wire, call_id)
        answer(wire, call_id)
    oddity(wire)
    for call_id in (200, 201):
        ask(wire, call_id)
        answer(wire, call_id)
    wire.client_fin().server_fin()
    _, suspects = modes.compare(wire.segments)
    assert counted(suspects) >= 6


def _no_bind(wire: Wire) -> None:
    wire.open()


def _no_handshake(wire: Wire) -> None:
    wire.client(pdu.bind()).server(pdu.bind_ack())


def _other_interface(wire: Wire) -> None:
    wire.open().client(pdu.bind([(0, MAPI, (NDR20,))])).server(pdu.bind_ack())


def _rejected(wire: Wire) -> None:
    wire.open().client(pdu.bind()).server(pdu.bind_ack([(2, 1, NDR20)]))


def _early_bytes(wire: Wire) -> None:
    wire.open().client(b"\5\0").client(pdu.bind()).server(pdu.bind_ack())


def _early_bytes_of_the_server(wire: Wire) -> None:
    wire.open().server(b"ncacn_http/1.0").client(pdu.bind()).server(pdu.bind_ack())


@pytest.mark.parametrize(
    "beginning",
    [_no_bind, _no_handshake, _other_interface, _rejected, _early_bytes, _early_bytes_of_the_server],
    ids=lambda beginning: beginning.__name__.strip("_"),
)
def test_connections_not_understood_from_their_beginning(modes: Modes, beginning: Callable[[Wire], None]) -> None:
    """Where the bind was not seen, or is not the endpoint mapper's, nothing is counted in the kernel."""
    wire = Wire()
    beginning(wire)
    for call_id in (2, 3):
        ask(wire, call_id)
        answer(wire, call_id)
    wire.client_fin().server_fin()
    _, suspects = modes.compare(wire.segments)
    assert counted(suspects) == 0


def test_long_connection_is_not_forgotten(modes: Modes) -> None:
    """A pair now and then has records, so that the decoder does not take the connection for silent."""
    wire = opened()
    for call_id in range(2, 90):
        ask(wire, call_id)
        answer(wire, call_id)
        wire.wait(4)
    wire.client_fin().server_fin()
    _, suspects = modes.compare(wire.segments)
    assert 80 <= counted(suspects) < 170


def test_full_ring_and_held_requests_are_accounted_for() -> None:
    """With a ring that overflows, every matched packet is submitted, lost, counted or held."""
    with Harness(compact_bytes=1 << 12, silent_ns=Limits().idle_ns, lanes=True) as harness:
        aside = Aside(harness.program, possible_cpus(), Limits().idle_ns, {})
        program = harness.program.programs[loader.XDP_PROGRAM]
        for number in range(40):
            wire = opened(client_port=42000 + number)
            ask(wire, 2)
            if number % 2:
                answer(wire, 2, (VIP, "10.11.2.7")[number % 4 == 1])
            for segment in wire.segments:
                kernel.run_program(program, frame_of(segment))
        totals = harness.totals()
        lost = sum(totals[reason] for reason in LOSS_REASONS)
        assert (aside.held(), totals[Counter.COUNTED]) == (20, 20)
        assert lost
        assert totals[Counter.MATCHED] == totals[Counter.SUBMITTED] + lost + totals[Counter.COUNTED] + aside.held()


def test_full_table_of_answers_records_the_rest() -> None:
    """Kinds of answers for which there is no room go into the ring, both packets."""
    with Harness(silent_ns=Limits().idle_ns) as harness:
        aside = Aside(harness.program, possible_cpus(), Limits().idle_ns, {})
        program = harness.program.programs[loader.XDP_PROGRAM]
        wire = opened()
        for call_id in range(ANSWERS + 10):
            ask(wire, call_id)
            answer(wire, call_id, port=1024 + call_id)
        records = 0
        for segment in wire.segments:
            kernel.run_program(program, frame_of(segment))
            records += len(harness.records())
        assert sum(pairs.total for pairs in aside.pairs()) == ANSWERS
        assert records == 4 + 2 * 10
        assert aside.pairs() == []
