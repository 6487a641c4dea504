"""Connections between the engine's table and the scalar decoder: how each has what the other holds."""

from __future__ import annotations

import struct
from collections import Counter
from typing import TYPE_CHECKING, Final
from uuid import UUID

import numpy as np

from inspector.decode import layout
from inspector.model import Segment
from inspector.wire.answers import Call
from inspector.wire.association import EPM_UUID, Association, Context, Proposal
from inspector.wire.body import NDR20, NDR64, ContextElement, Syntax
from inspector.wire.connection import Connection
from inspector.wire.exchange import Flow
from inspector.wire.pdu import PduReader
from inspector.wire.stream import Delivered, Stream

if TYPE_CHECKING:
    from collections.abc import Sequence

    from inspector.decode.engine import Engine
    from inspector.errors import Anomaly
    from inspector.wire.limits import Limits

# Only whether an abstract syntax is the endpoint mapper's matters.
_ABSTRACTS: Final = {
    layout.ABSTRACT_UNKNOWN: None,
    layout.ABSTRACT_EPM: Syntax(EPM_UUID, 3, 0),
    layout.ABSTRACT_OTHER: Syntax(UUID(int=0), 0, 0),
}
_TRANSFERS: Final = {layout.TRANSFER_NONE: None, layout.TRANSFER_NDR20: NDR20, layout.TRANSFER_NDR64: NDR64}
_WORDS: Final = struct.Struct(f"={layout.SLOT_WORDS}q")
_HALVES: Final = struct.Struct(f"={layout.SLOT_HALVES}I")
_PORTS: Final = struct.Struct("=HH")
_ADDRESSES: Final = struct.Struct("=4q")
_TRANSFER_NUMBERS: Final = {name: number for number, name in _TRANSFERS.items()}


def key_of(flow: Flow) -> tuple[int, int, int, int, int]:
    """Return a connection's key in the words of the table."""
    high, low, server_high, server_low = _ADDRESSES.unpack(flow.client_address + flow.server_address)
    return high, low, server_high, server_low, flow.client_port | flow.server_port << 16


def flow_at(engine: Engine, slot: int) -> Flow:
    """Return the connection of an entry."""
    return _flow_of(engine.arrays["slots"][slot].tobytes())


def _flow_of(entry: bytes) -> Flow:
    client, server = 8 * layout.SLOT_CLIENT, 8 * layout.SLOT_SERVER
    client_port, server_port = _PORTS.unpack_from(entry, 8 * layout.SLOT_PORTS)
    return Flow(entry[client : client + 16], client_port, entry[server : server + 16], server_port)


def export(
    engine: Engine, slot: int, limits: Limits, anomalies: Counter[Anomaly], segment: Segment | None
) -> Connection:
    """Return an entry's connection as the scalar decoder would have it; `segment` is the record being read."""
    entry = engine.arrays["slots"][slot].tobytes()
    words, halves = _WORDS.unpack(entry), _HALVES.unpack(entry)
    flags = words[layout.SLOT_FLAGS]
    first = segment if segment is not None and not flags else _stand_in(words, halves[layout.HALF_INTERFACE])
    connection = Connection(_flow_of(entry), first, limits, anomalies)
    connection.last_ns = words[layout.SLOT_LAST]
    connection.touched = words[layout.SLOT_ORDER]
    connection.closed = bool(flags & layout.CLOSED)
    if flags & layout.HAS_INITIAL:
        connection.initial_sequence = halves[layout.HALF_INITIAL]
    reads = bool(flags & layout.READ), bool(flags & layout.READ << 1)
    if any(reads):
        connection.resume(_association_at(engine, halves, limits, anomalies), *reads)
    for number, side in enumerate((connection.client, connection.server)):
        length = halves[layout.HALF_PARTIAL_LENGTH + number]
        if flags & layout.VISIBLE << number:
            _restore_stream(side.stream, words, number, length)
        if flags & layout.FINISHED << number:
            side.stream.fin = side.stream.position
        side.stream.acknowledged = words[layout.SLOT_ACKNOWLEDGED + number]
        side.lost = bool(flags & layout.LOST << number)
        astray = bool(flags & layout.ASTRAY << number)
        if length or astray:
            start = halves[layout.HALF_PARTIAL + number] * layout.PARTIAL_BYTES
            held = bytes(engine.partial_bytes[start : start + length])
            side.reader = PduReader(continued=reads[number], held=held, astray=astray)
    return connection


def _restore_stream(stream: Stream, words: Sequence[int], number: int, waiting: int) -> None:
    """Set a stream to what an entry holds of it; the last `waiting` bytes are of a PDU without end yet."""
    stream.position = words[layout.SLOT_POSITION + number]
    stream.origin = words[layout.SLOT_ORIGIN + number]
    delivered = words[layout.SLOT_DELIVERED + number]
    if delivered:
        end = stream.position - waiting
        stream.last = Delivered(end - (delivered >> 32), end, delivered & 0xFFFFFFFF)


def _stand_in(words: Sequence[int], interface: int) -> Segment:
    """Return a segment that stands for the first of a connection."""
    return Segment(words[layout.SLOT_LAST], b"", b"", 0, 0, 0, 0, 0, 0, 0, interface, b"")


def _association_at(engine: Engine, halves: Sequence[int], limits: Limits, anomalies: Counter[Anomaly]) -> Association:
    association = Association(limits, anomalies)
    count = halves[layout.HALF_CONTEXTS]
    for word in halves[layout.HALF_CONTEXTS + 1 : layout.HALF_CONTEXTS + 1 + count]:
        association.contexts[word & 0xFFFF] = Context(_ABSTRACTS[word >> 16 & 15], _TRANSFERS[word >> 20 & 15])
    number = halves[layout.HALF_QUESTIONS]
    while number:
        words: list[int] = engine.arrays["questions"][number].tolist()
        content: bytes = engine.arrays["questions"][number, layout.QUESTION_BYTES :].tobytes()
        call_id, time_ns = words[layout.QUESTION_CALL], words[layout.QUESTION_TIME]
        if words[layout.QUESTION_KIND] == layout.PROPOSAL:
            elements = np.frombuffer(content, np.uint32, words[layout.QUESTION_CONTEXT]).tolist()
            proposal = Proposal(time_ns, tuple(_element(word) for word in elements))
            association.proposals[call_id] = proposal
            association.buffered += proposal.size
        else:
            stub = content[: words[layout.QUESTION_LENGTH]]
            context, opnum, sealed = (
                words[layout.QUESTION_CONTEXT],
                words[layout.QUESTION_OPNUM],
                bool(words[layout.QUESTION_SEALED]),
            )
            association.calls[call_id] = Call(time_ns, context, opnum, stub, True, sealed)
            association.buffered += len(stub)
        number = words[layout.QUESTION_NEXT]
    return association


def _element(word: int) -> ContextElement:
    abstract = _ABSTRACTS[word >> 16 & 15]
    assert abstract is not None  # noqa: S101 - a proposed context names its abstract syntax
    return ContextElement(word & 0xFFFF, abstract, ())


def is_plain(engine: Engine, connection: Connection) -> bool:
    """Return whether the engine can hold a connection."""
    association = connection.association
    if not connection.undoubted:
        return False
    for side in (connection.client, connection.server):
        reader = side.reader
        if not side.caught_up:
            return False
        if reader is not None and not (reader.between_pdus or (reader.is_lost and not reader.buffered)):
            return False
    if association is None:
        return len(connection.contexts) <= layout.CONTEXTS
    if association.partials or len(association.proposals) + len(association.calls) > layout.QUESTIONS:
        return False
    if len(association.contexts) > layout.CONTEXTS or engine.questions_left < layout.QUESTIONS:
        return False
    if any(len(proposal.elements) > layout.ELEMENTS for proposal in association.proposals.values()):
        return False
    return all(_asked(engine, association, call) is not None for call in association.calls.values())


def _asked(engine: Engine, association: Association, call: Call) -> tuple[int, int, int] | None:
    """Return what the engine notes of a call's stub; None where it cannot hold the call."""
    context = association.contexts.get(call.context_id)
    abstract = _abstract_number(context.abstract if context is not None else None)
    transfer = _TRANSFER_NUMBERS[context.transfer_syntax if context is not None else None]
    if abstract == layout.ABSTRACT_OTHER or len(call.stub) > layout.STUB_BYTES or not call.little_endian:
        return None
    # Of a sealed stub nothing can be read.
    opnum = -1 if call.sealed else call.opnum
    asked: tuple[int, int, int] | None = engine.reread(opnum, transfer, abstract == layout.ABSTRACT_EPM, call.stub)
    return asked


def _abstract_number(abstract: Syntax | None) -> int:
    if abstract is None:
        return layout.ABSTRACT_UNKNOWN
    return layout.ABSTRACT_EPM if abstract.uuid == EPM_UUID else layout.ABSTRACT_OTHER


def import_into(engine: Engine, slot: int, connection: Connection) -> None:
    """Write a plain connection into its entry, which comes back to the engine: the opposite of `export`."""
    words = engine.arrays["slots"][slot]
    halves = words.view(np.uint32)
    flags = layout.CLOSED if connection.closed else 0
    for number, side in enumerate((connection.client, connection.server)):
        stream = side.stream
        flags |= layout.VISIBLE << number if stream.visible else 0
        flags |= layout.FINISHED << number if stream.finished else 0
        reads = side.reader.continued if side.reader is not None else side.has_read
        flags |= layout.READ << number if reads else 0
        flags |= layout.ASTRAY << number if side.reader is not None and side.reader.is_lost else 0
        flags |= layout.LOST << number if side.lost else 0
        words[layout.SLOT_POSITION + number] = stream.position if stream.visible else 0
        words[layout.SLOT_ACKNOWLEDGED + number] = stream.acknowledged
        words[layout.SLOT_ORIGIN + number] = stream.origin
        last = stream.last
        words[layout.SLOT_DELIVERED + number] = (last.end - last.start) << 32 | last.checksum if last else 0
    association = connection.association
    if association is not None and association.answer_lost:
        flags |= layout.LOST << 1
    halves[layout.HALF_INTERFACE] = connection.interface_index
    halves[layout.HALF_INITIAL] = connection.initial_sequence or 0
    if connection.initial_sequence is not None:
        flags |= layout.HAS_INITIAL
    contexts = association.contexts if association is not None else dict(connection.contexts)
    halves[layout.HALF_CONTEXTS] = len(contexts)
    for number, (context_id, context) in enumerate(contexts.items()):
        word = context_id | _abstract_number(context.abstract) << 16 | _TRANSFER_NUMBERS[context.transfer_syntax] << 20
        halves[layout.HALF_CONTEXTS + 1 + number] = word
    engine.come_back(slot, flags)
    if association is not None:
        for call_id, proposal in association.proposals.items():
            elements = [element.context_id | _abstract_number(element.abstract) << 16 for element in proposal.elements]
            fields = {layout.QUESTION_KIND: layout.PROPOSAL, layout.QUESTION_CONTEXT: len(elements)}
            engine.ask(slot, call_id, proposal.time_ns, fields, np.array(elements, np.uint32).tobytes())
        for call_id, call in association.calls.items():
            asked_at, asked_length, reading = _asked(engine, association, call) or (0, 0, 0)
            fields = {
                layout.QUESTION_KIND: layout.CALL,
                layout.QUESTION_CONTEXT: call.context_id,
                layout.QUESTION_OPNUM: call.opnum,
                layout.QUESTION_SEALED: call.sealed,
                layout.QUESTION_LENGTH: len(call.stub),
                layout.QUESTION_ASKED_AT: asked_at,
                layout.QUESTION_ASKED_LENGTH: asked_length,
                layout.QUESTION_READING: reading,
            }
            engine.ask(slot, call_id, call.time_ns, fields, call.stub)
