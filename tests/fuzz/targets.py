"""Fuzz targets: any bytes give a value, "need more" or a typed anomaly. Whatever else happens is a finding.

Each target takes bytes and raises only when something is wrong with the inspector; the assertions are
invariants that hold for hostile input too.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Final
from unittest.mock import patch

from inspector.capture import stored, survey
from inspector.capture.pcap import read_packets
from inspector.capture.redaction import Redactor
from inspector.capture.windows import read_windows
from inspector.config import Config, load_config, split_listen
from inspector.decode.batch import singly
from inspector.errors import Anomaly, CaptureError, ConfigError, DecodeError
from inspector.judge.policy import Policy
from inspector.judge.verdict import judge
from inspector.model import Finding, Segment
from inspector.outcomes.limits import OutcomeLimits
from inspector.outcomes.tracker import Tracker
from inspector.pipeline import Pipeline
from inspector.protocols import SYN
from inspector.reading.filereader import FileReader
from inspector.reading.stackview import StackView
from inspector.record import Attribute, KernelCounter, pack_record, unpack_record
from inspector.wire import body, dcom, epm
from inspector.wire.conversations import Conversations
from inspector.wire.datagrams import read_datagram
from inspector.wire.frame import LinkType, read_frame
from inspector.wire.headers import Header, IcmpQuote, read_header
from inspector.wire.limits import Limits
from inspector.wire.pdu import Pdu, PduReader, PduType
from inspector.wire.stream import Span, Stream
from inspector.wire.tower import read_tower
from tests.build import dcom as dcom_build
from tests.build import pdu as build
from tests.build.blocks import block_of, findings_of_batch
from tests.build.bounds import MEMORY, MEMORY_FACTOR, check_sizes, peak_below, received_of
from tests.build.connection import Wire
from tests.build.epm import EPM, NDR20, NDR64, lookup_request, map_request
from tests.build.observe import observe
from tests.build.reading import compare

_LINK_TYPES: Final = tuple(LinkType)
_NOTES: Final = 5
_BIND: Final = build.bind([(0, EPM, (NDR20,)), (1, EPM, (NDR64,))])
_BIND_ACK: Final = build.bind_ack([(0, 0, NDR20), (0, 0, NDR64)])
_BODIES: Final[dict[PduType, Callable[[Pdu], object]]] = {
    PduType.BIND: body.read_bind,
    PduType.ALTER_CONTEXT: body.read_bind,
    PduType.BIND_ACK: body.read_bind_ack,
    PduType.ALTER_CONTEXT_RESPONSE: body.read_bind_ack,
    PduType.BIND_NAK: body.read_bind_nak,
    PduType.REQUEST: body.read_request,
    PduType.RESPONSE: body.read_response,
    PduType.FAULT: body.read_fault,
}
_STUBS: Final = (
    epm.read_map_request,
    epm.read_map_response,
    epm.read_lookup_request,
    epm.read_lookup_response,
)
_LONGEST_LINE: Final = 1000
# Small, so that the fuzzer reaches them.
_LIMITS: Final = Limits(
    connections=3,
    buffered_bytes=4096,
    stream_bytes=2048,
    stream_segments=8,
    stub_bytes=2048,
    request_stub_bytes=1024,
    calls_per_connection=3,
    contexts_per_connection=3,
    datagram_calls=3,
)
_OUTCOME_LIMITS: Final = OutcomeLimits(connections=3, strangers=2, answers=3, held=3, clients=3, servers=2, one_way=2)
_OUTCOME_SIZE: Final = 2000
_FLOWS: Final = 3
_SMALL: Final = Config(follow_up=True, limits={"connections": 3, "buffered_bytes": 4096})  # type: ignore[arg-type]
# That of the towers in the seeds.
_ENDPOINT: Final = 49152


def frame(data: bytes) -> None:
    """Read a frame of any link type, with tunnels from 0x80 on: a segment which survives the record, or a counter."""
    if not data:
        return
    link_type, tunnels = _LINK_TYPES[data[0] % len(_LINK_TYPES)], data[0] >= 0x80
    found = read_frame(data[1:], link_type=link_type, time_ns=1, interface_index=2, ports=(135, 593), tunnels=tunnels)
    assert found is None or isinstance(found, KernelCounter | Segment)
    if isinstance(found, Segment):
        assert len(found.payload) <= found.payload_length
        assert unpack_record(pack_record(found)) == found
    header = read_header(data[1:], link_type=link_type, time_ns=1, number=1, wire_length=len(data))
    assert header is None or isinstance(header, Header | IcmpQuote)


def stream(data: bytes) -> None:
    """Hold segments of one direction in any order: delivery has no overlap, and the count of bytes is true."""
    one = Stream()
    one.position = 0
    for index in range(0, len(data) - 3, 4):
        start, length = data[index] | (data[index + 1] & 3) << 8, data[index + 2]
        span = one.trim(Span(start, 0, index, 1, bytes([data[index + 3]]) * length))
        if span is not None and span.payload:
            one.hold(span)
        while (due := one.due()) is not None:
            assert due.start == one.position
            one.delivered(due)
        assert one.buffered == sum(len(span.payload) for span in one.early)
        ends = [span.end for span in one.early]
        assert all(end <= span.start for end, span in zip(ends, one.early[1:], strict=False))


def pdu(data: bytes) -> None:
    """Read a byte stream in two pieces: PDUs and anomalies, then the bodies of the PDUs."""
    if not data:
        return
    reader, cut = PduReader(), data[0]
    rest = data[1:]
    for item in [*reader.feed(rest[:cut]), *reader.feed(rest[cut:])]:
        if isinstance(item, Pdu) and item.type in _BODIES:
            try:
                _BODIES[item.type](item)
            except DecodeError as error:
                assert error.anomaly in Anomaly  # noqa: PT017  # a fuzz target, not a test
    try:
        read_datagram(rest)
    except DecodeError as error:
        assert error.anomaly in Anomaly  # noqa: PT017  # a fuzz target, not a test


def tower(data: bytes) -> None:
    """Read a tower by itself, and stubs of every kind in both transfer syntaxes."""
    try:
        read_tower(data)
    except DecodeError as error:
        assert error.anomaly is Anomaly.TOWER_MALFORMED  # noqa: PT017  # a fuzz target, not a test
    for read in _STUBS:
        for syntax in ("ndr20", "ndr64"):
            try:
                read(data, syntax, little_endian=not data or bool(data[0] & 1))
            except DecodeError as error:
                assert error.anomaly in Anomaly  # noqa: PT017  # a fuzz target, not a test


def _segments(data: bytes) -> Iterator[Segment]:
    """Yield segments with true or shifted sequence numbers, any flags, any payload, and jumps in time.

    The input is a list of (control, length, payload): control bit 0 the direction, 1 a step back,
    2 a step forward, 3 FIN, 4 RST, 5 SYN, 6 UDP, 7 another client and time passing.
    """
    position, numbers, time_ns, client = 0, [1000, 5000], 10**18, 1
    while position + 3 <= len(data):
        control, length = data[position], int.from_bytes(data[position + 1 : position + 3], "little") & 0x7FF
        payload = data[position + 3 : position + 3 + length]
        position += 3 + length
        sender = control & 1
        sequence = numbers[sender] - 8 * bool(control & 2) + 8 * bool(control & 4)
        flags = 0x10 | control >> 3 & 1 | control >> 2 & 4 | control >> 4 & 2
        if control & 0x80:
            client, time_ns = client % 5 + 1, time_ns + 3 * 10**9
        attributes = Attribute.FROM_SERVER * sender | (Attribute.UDP if control & 0x40 else 0)
        ends = (bytes(15) + bytes([client]), bytes(15) + b"\xff")
        ports = (40000, 135)
        yield Segment(
            time_ns, ends[sender], ends[1 - sender], sequence % 2**32, numbers[1 - sender] % 2**32,
            ports[sender], ports[1 - sender], len(payload), flags, int(attributes), 1, payload,
        )  # fmt: skip
        numbers[sender] += len(payload) + bool(flags & SYN)
        time_ns += 10**6


def conversation(data: bytes) -> None:
    """Decode whole conversations: everything is a finding or an anomaly, limits and bounds of output hold."""
    conversations, findings, received = Conversations(_LIMITS), list[Finding](), 0
    for segment in _segments(data):
        received += len(pack_record(segment))
        findings += _take(conversations, segment)
    findings += [judge(observed, Policy(), "fuzz") for observed in conversations.flush()]
    check_sizes(findings, received)
    assert set(conversations.anomalies) <= set(Anomaly)


def answer(data: bytes) -> None:
    """Answer a question with a stub: what comes out is a small multiple of it, and memory on the way is bounded.

    Of the first byte bit 0 says that it is a listing, bit 1 that it is NDR64.
    """
    if not data:
        return
    opnum, wide = (2 if data[0] & 1 else 3), bool(data[0] & 2)
    wire = Wire().open().client(_BIND).server(_BIND_ACK)
    asked = lookup_request(wide=wide) if opnum == 2 else map_request(None, wide=wide)
    wire.client(build.request(asked, opnum=opnum, context_id=int(wide)))
    for flags, piece in build.fragments(data[1:], 60_000):
        wire.server(build.response(piece, context_id=int(wide), flags=flags), 65_000)
    conversations = Conversations()
    with peak_below(MEMORY + MEMORY_FACTOR * len(data)):
        observed = [one for segment in wire.segments for one in conversations.feed(segment)]
        findings = [judge(one, Policy(), "fuzz") for one in observed]
    check_sizes(findings, received_of(wire.segments))
    assert all(len(finding.mappings) <= epm.MAX_TOWERS for finding in findings)


def dcom_stub(data: bytes) -> None:
    """Read a stub of DCOM, then answer a call with it: bounds of output hold, both decoders say the same.

    The first byte chooses interface and operation, and in its upper bits NDR64 and big-endian integers.
    """
    if not data:
        return
    interface, opnum = dcom.OFFERING[(data[0] & 0x3F) % len(dcom.OFFERING)]
    syntax, little_endian = ("ndr64" if data[0] & 0x40 else "ndr20"), not data[0] & 0x80
    for read in (dcom.read_request, dcom.read_response):
        try:
            read(interface, opnum, data[1:], syntax, little_endian=little_endian)
        except DecodeError as error:
            assert error.anomaly in Anomaly  # noqa: PT017  # a fuzz target, not a test
    abstract = (interface, 0, 0)
    wire = Wire().open().client(build.bind([(0, abstract, (NDR20,))])).server(build.bind_ack())
    wire.client(build.request(dcom_build.create_instance_request(bytes(16)), opnum=opnum, call_id=2))
    for flags, piece in build.fragments(data[1:], 60_000):
        wire.server(build.response(piece, call_id=2, flags=flags), 65_000)
    findings, _ = observe(wire.segments)
    check_sizes(findings, received_of(wire.segments))


def decode(data: bytes) -> None:
    """Decode the same in the compiled decoder, record by record: it says what the scalar one says."""
    scalar = Pipeline(Policy(), str, _LIMITS)
    compiled = Pipeline(Policy(), str, _LIMITS, engine=True)
    for segment in _segments(data):
        record = pack_record(segment)
        expected = list(findings_of_batch(scalar, record))
        assert list(findings_of_batch(compiled, block_of([record]))) == expected
        assert +compiled.anomalies == +scalar.anomalies
        assert compiled.tracked_connections == scalar.tracked_connections
    assert list(singly(compiled.flush())) == list(singly(scalar.flush()))


def outcomes(data: bytes) -> None:
    """Follow what answers lead to, to an endpoint on which the same is said: bounds hold, findings can be written."""
    pipeline = Pipeline(Policy(), str, _LIMITS)
    tracker = Tracker(Policy(), "fuzz", (135,), _OUTCOME_LIMITS)
    findings, received = list[Finding](), 0
    for number, segment in enumerate(_segments(data), 1):
        record = pack_record(segment)
        received += 2 * len(record)
        header = _header(segment, number)
        findings += tracker.take(header, list(singly(pipeline.feed((record,)))), segment.time_ns, number)
        if header is not None:
            ports = [_ENDPOINT if port == 135 else port for port in (header.source_port, header.destination_port)]
            endpoint = header._replace(source_port=ports[0], destination_port=ports[1])
            findings += tracker.take(endpoint, (), segment.time_ns, number)
        assert tracker.size <= _OUTCOME_SIZE
    findings += tracker.flush(list(singly(pipeline.flush())))
    check_sizes(findings, received)


def _header(segment: Segment, number: int) -> Header | None:
    if segment.attributes & Attribute.UDP:
        return None
    return Header(
        segment.time_ns, number, segment.source_address, segment.destination_address, segment.source_port,
        segment.destination_port, segment.sequence, segment.acknowledgment, segment.tcp_flags, 64,
        segment.payload_length, 54 + len(segment.payload), segment.payload,
    )  # fmt: skip


def capture(data: bytes) -> None:
    """Read a capture file packet by packet and in blocks: the same records, counters and error. Then follow it up.

    Of the first byte bit 0 says that tunnels are looked into, bit 1 that the file comes in small pieces, bit 2 that
    findings are not shown. Tables are small: the fuzzer fills them, and making them does not take longer than the file.
    No converter is run.
    """
    if not data:
        return
    piece = 100 if data[0] & 2 else stored.CHUNK
    with (
        NamedTemporaryFile() as file,
        patch.object(stored, "CHUNK", piece),
        patch.object(survey, "FLOWS", _FLOWS),
        patch.object(shutil, "which", lambda _: None),
    ):
        file.write(data[1:])
        file.flush()
        path = Path(file.name)
        compare(path, tunnels=bool(data[0] & 1))
        config = _SMALL.model_copy(update={"tunnels": bool(data[0] & 1)})
        with suppress(CaptureError):
            list(FileReader(path, config, shown=not data[0] & 4).findings(lambda _: None))


def windows(data: bytes) -> None:
    """Read a Windows event trace, or a listing: packets, lines and notes, as many as there are events."""
    with NamedTemporaryFile() as file, patch.object(shutil, "which", lambda _: None):
        file.write(data)
        file.flush()
        path = Path(file.name)
        with suppress(CaptureError):
            assert sum(1 for _ in read_packets(path)) <= len(data)
        view = StackView({135})
        notes = read_windows(path, view)
        assert len(notes) <= _NOTES
        assert all(line.isprintable() for line in (*notes, *view.lines()))


def redaction(data: bytes) -> None:
    """Blank segments: they leave in order, each byte is what it was or 0, and nothing is left waiting."""
    redactor, segments = Redactor(), list(_segments(data))
    found = [one for segment in segments for one in redactor.feed(segment)]
    found += redactor.flush()
    assert len(found) == len(segments)
    for segment, one in zip(segments, found, strict=True):
        payload = one.segment.payload
        assert one.segment._replace(payload=segment.payload) == segment
        assert len(payload) == len(segment.payload)
        assert all(after in (before, 0) for before, after in zip(segment.payload, payload, strict=True))
        assert (payload == segment.payload) or one.blanked or one.unknown


def configuration(data: bytes) -> bool:
    """Read a configuration file: what is made of it can be made, or one line says why not. Return which."""
    with NamedTemporaryFile() as file:
        file.write(data)
        file.flush()
        try:
            config = load_config(Path(file.name))
        except ConfigError as error:
            assert str(error).isprintable()  # noqa: PT017  # a fuzz target, not a test
            assert len(str(error)) < _LONGEST_LINE  # noqa: PT017  # a fuzz target, not a test
            return False
    limits = config.decoder_limits()
    assert min(limits.idle_ns, limits.gap_ns, limits.unanswered_ns) > 0
    assert max(limits.idle_ns, limits.gap_ns, limits.unanswered_ns) < 1 << 62
    assert len(config.vip_labels()) == len(config.policy().pools)
    split_listen(config.listen)
    assert Path() not in (config.runtime_directory, config.findings_file, config.evidence.directory, config.tls_key)
    return True


def _take(conversations: Conversations, segment: Segment) -> list[Finding]:
    findings = [judge(observed, Policy(), "fuzz") for observed in conversations.feed(segment)]
    assert 0 <= conversations.buffered <= _LIMITS.buffered_bytes
    assert conversations.buffered == conversations.recount()
    assert len(conversations) <= _LIMITS.connections + _LIMITS.datagram_calls
    return findings


TARGETS: Final[dict[str, Callable[[bytes], object]]] = {
    "frame": frame,
    "stream": stream,
    "pdu": pdu,
    "tower": tower,
    "conversation": conversation,
    "answer": answer,
    "dcom": dcom_stub,
    "decode": decode,
    "outcomes": outcomes,
    "capture": capture,
    "windows": windows,
    "redaction": redaction,
    "configuration": configuration,
}
