"""The case the project started from, byte by byte: a map request of 156 bytes, a map response of 152."""

from __future__ import annotations

from ipaddress import IPv4Address
from uuid import UUID

from inspector.judge.policy import Policy
from inspector.model import Direction, Verdict
from inspector.pipeline import Pipeline
from inspector.record import pack_record
from inspector.wire.body import Syntax, read_request, read_response
from inspector.wire.epm import read_map_request, read_map_response
from inspector.wire.pdu import PduType, split_pdu
from inspector.wire.tower import Floor, Protocol
from tests.build.blocks import findings_of_batch
from tests.build.connection import Wire
from tests.build.epm import MAPI
from tests.build.pdu import bind, bind_ack

# Written out as the wire carried them, so that neither builder nor decoder has a say in it.
_MAPI_FLOOR = "1300 0d 00dbf1a447ca6710b31f00dd010662da 0000 0200 5100"
_NDR_FLOOR = "1300 0d 045d888aeb1cc9119fe808002b104860 0200 0200 0000"
REQUEST = bytes.fromhex(
    "05000003 10000000 9c00 0000 02000000"  # request, one fragment, 156 bytes, call 2
    "84000000 0000 0300"  # allocation hint 132, context 0, opnum 3
    "01000000 00000000000000000000000000000000"  # object: referent 1, nil UUID
    f"02000000 4b000000 4b000000 0500 {_MAPI_FLOOR} {_NDR_FLOOR}"
    "0100 0b 0200 0000 0100 07 0200 0087 0100 09 0400 00000000 00"
    "0000000000000000000000000000000000000000 0f000000"
)
RESPONSE = bytes.fromhex(
    "05000203 10000000 9800 0000 02000000"  # response, one fragment, 152 bytes, call 2
    "80000000 0000 00 00"  # allocation hint 128, context 0
    "0000000000000000000000000000000000000000 01000000"  # entry handle, num towers
    "0f000000 00000000 01000000 03000000"  # max count, offset, actual count, referent
    f"4b000000 4b000000 0500 {_MAPI_FLOOR} {_NDR_FLOOR}"
    "0100 0b 0200 0000 0100 07 0200 a1a0 0100 09 0400 0a0b0207 00"
    "00000000"
)
_MAPI = Syntax(UUID("a4f1db00-ca47-1067-b31f-00dd010662da"), 0, 81)
_NDR = Syntax(UUID("8a885d04-1ceb-11c9-9fe8-08002b104860"), 2, 0)


def _floors(port: bytes, address: bytes) -> tuple[Floor, ...]:
    return (
        Floor(Protocol.UUID, _MAPI.uuid.bytes_le + b"\0\0", b"\x51\0"),
        Floor(Protocol.UUID, _NDR.uuid.bytes_le + b"\2\0", b"\0\0"),
        Floor(Protocol.RPC_CONNECTION_ORIENTED, b"", b"\0\0"),
        Floor(Protocol.TCP, b"", port),
        Floor(Protocol.IPV4, b"", address),
    )


def test_every_field_of_the_request() -> None:
    """PDU header, request header, object, tower with its five floors, handle and max towers of the 156 bytes."""
    assert len(REQUEST) == 156
    pdu = split_pdu(REQUEST)
    assert pdu is not None
    assert (pdu.type, pdu.flags, pdu.little_endian, pdu.call_id, pdu.frag_length) == (PduType.REQUEST, 3, True, 2, 156)
    request = read_request(pdu)
    assert (request.alloc_hint, request.context_id, request.opnum, request.object_uuid) == (132, 0, 3, None)
    asked = read_map_request(request.stub, "ndr20")
    assert (asked.object_uuid, asked.handle, asked.max_towers, asked.referents) == (UUID(int=0), bytes(20), 15, (1, 2))
    assert asked.tower is not None
    assert asked.tower.floors == _floors(b"\x00\x87", b"\0\0\0\0")
    assert (asked.tower.interface, asked.tower.transfer, asked.tower.port) == (_MAPI, _NDR, 135)
    assert asked.tower.address == IPv4Address(0)


def test_every_field_of_the_response() -> None:
    """Handle, counts, offset, referent, lengths, five floors and status of the 152 bytes."""
    assert len(RESPONSE) == 152
    pdu = split_pdu(RESPONSE)
    assert pdu is not None
    assert (pdu.type, pdu.flags, pdu.call_id, pdu.frag_length) == (PduType.RESPONSE, 3, 2, 152)
    response = read_response(pdu)
    assert (response.alloc_hint, response.context_id, len(response.stub)) == (128, 0, 128)
    answer = read_map_response(response.stub, "ndr20")
    assert answer[:7] == (bytes(20), 1, 15, 0, 1, (3,), answer.towers)
    assert (answer.status, answer.anomalies) == (0, ())
    (offered,) = answer.towers
    assert offered.tower is not None
    assert offered.tower.floors == _floors(b"\xa1\xa0", b"\x0a\x0b\x02\x07")
    assert (offered.tower.port, offered.tower.address) == (41376, IPv4Address("10.11.2.7"))
    assert offered.tower.protocol_sequence == "ncacn_ip_tcp"


def test_the_finding() -> None:
    """With the sequence numbers of the trace, the conversation gives one finding: mismatch, and for whom."""
    assert tuple(_MAPI) == MAPI
    assert (len(bind()), len(bind_ack())) == (72, 60)
    wire = Wire(client_sequence=2005198912 - 72, server_sequence=3769475906 - 60)
    wire.client(bind()).server(bind_ack()).client(REQUEST).server(RESPONSE)
    assert [(one.sequence, one.acknowledgment) for one in wire.segments[2:]] == [
        (2005198912, 3769475906),
        (3769475906, 2005199068),
    ]
    pipeline = Pipeline(Policy(), lambda _: "inner0")
    (finding,) = [one for segment in wire.segments for one in findings_of_batch(pipeline, pack_record(segment))]
    assert finding.verdict is Verdict.MISMATCH
    assert finding.direction is Direction.FROM_SERVER
    assert finding.as_dict() == {
        "time": "2023-11-14T22:13:20.003000000Z",
        "source": "inner0",
        "direction": "from_server",
        "client": "10.1.1.1",
        "client_port": 33654,
        "asked": "10.11.2.2",
        "server_port": 135,
        "operation": "ept_map",
        "call_id": 2,
        "transfer_syntax": "ndr20",
        "status": 0,
        "verdict": "mismatch",
        "why": "10.11.2.2 was asked, the tower says 10.11.2.7: a strict RPC filter drops this answer, a firewall opens "
        "its pinhole to 10.11.2.7; conforming clients connect to 10.11.2.2 port 41376",
        "kind": "answer",
        "requested": {"uuid": str(_MAPI.uuid), "version": "0.81", "name": "MAPI"},
        "latency_ms": 1.0,
        "mappings": [
            {
                "uuid": str(_MAPI.uuid),
                "version": "0.81",
                "name": "MAPI",
                "protocol": "ncacn_ip_tcp",
                "address": "10.11.2.7",
                "port": 41376,
                "endpoint": None,
                "verdict": "mismatch",
            }
        ],
        "anomalies": [],
    }
    assert not pipeline.anomalies
