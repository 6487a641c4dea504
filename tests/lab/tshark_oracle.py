"""What tshark says of a capture, in the words of a finding."""

from __future__ import annotations

import enum
import json
import subprocess
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# tshark's JSON repeats keys (a tower has five floors), so objects are read as lists of pairs.
Pairs = list[tuple[str, Any]]

OPERATIONS = {"2": "ept_lookup", "3": "ept_map"}
TRANSFER_SYNTAXES = {"8a885d04-1ceb-11c9-9fe8-08002b104860": "ndr20", "71710533-beba-4937-8319-b5dbef9ccc36": "ndr64"}
# By the protocol identifiers of floors 3 and 4 (C706 appendix L, MS-RPCE 2.2.1.2).
PROTOCOLS = {
    ("0x0b", "0x07"): "ncacn_ip_tcp",
    ("0x0b", "0x0f"): "ncacn_np",
    ("0x0b", "0x1f"): "ncacn_http",
    ("0x0c", "0x10"): "ncalrpc",
}


class PacketType(enum.StrEnum):
    """PDU types (C706 section 12.6.1), as tshark writes them."""

    REQUEST = "0"
    RESPONSE = "2"
    BIND_ACK = "12"


class Frame(NamedTuple):
    """The layers of one frame."""

    layers: dict[str, Any]

    def field(self, layer: str, name: str) -> str | None:
        """Return the first field of that name anywhere in a layer."""
        return next((value for key, value in walk(self.layers.get(layer, [])) if key == name), None)


def walk(pairs: Pairs) -> Iterator[tuple[str, Any]]:
    """Yield every pair of a tree in document order, inner ones after the one that holds them."""
    for key, value in pairs:
        yield key, value
        if isinstance(value, list):
            yield from walk(value)


def frames_of(capture: Path) -> list[Frame]:
    """Return the frames with DCE/RPC on port 135 in them."""
    command = ["tshark", "-n", "-r", str(capture), "-Y", "dcerpc && tcp.port == 135", "-T", "json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    frames = json.loads(done.stdout, object_pairs_hook=list)
    return [Frame(dict(dict(dict(frame)["_source"])["layers"])) for frame in frames]


def pdus_of(capture: Path) -> list[tuple[str, bytes]]:
    """Return the responses: operation number and PDU. In the laboratory, each PDU is a segment of its own."""
    return [
        (str(frame.field("epm", "epm.opnum")), bytes.fromhex(str(frame.field("tcp", "tcp.payload")).replace(":", "")))
        for frame in frames_of(capture)
        if frame.field("dcerpc", "dcerpc.pkt_type") == PacketType.RESPONSE
    ]


def answers_of(capture: Path) -> list[dict[str, Any]]:
    """Return every response of the endpoint mapper, with those keys of a finding that tshark can tell."""
    answers = []
    asked: dict[tuple[str | None, str | None], dict[str, str] | None] = {}
    syntaxes: dict[str | None, str] = {}
    for frame in frames_of(capture):
        stream = frame.field("tcp", "tcp.stream")
        call = stream, frame.field("dcerpc", "dcerpc.cn_call_id")
        match frame.field("dcerpc", "dcerpc.pkt_type"):
            case PacketType.BIND_ACK:
                syntaxes[stream] = TRANSFER_SYNTAXES[str(frame.field("dcerpc", "dcerpc.cn_ack_trans_id"))]
            case PacketType.REQUEST:
                asked[call] = _requested(frame)
            case PacketType.RESPONSE:
                answers.append(_answer(frame, asked[call], syntaxes[stream]))
    return answers


def _requested(frame: Frame) -> dict[str, str] | None:
    towers = _towers(frame)
    return {key: towers[0][key] for key in ("uuid", "version")} if towers else None


def _answer(frame: Frame, requested: dict[str, str] | None, syntax: str) -> dict[str, Any]:
    opnum = str(frame.field("epm", "epm.opnum"))
    annotations = [value.strip() for key, value in walk(frame.layers["epm"]) if key == "epm.annotation"]
    mappings = _towers(frame)
    if opnum == "2":
        mappings = [mapping | {"annotation": note} for mapping, note in zip(mappings, annotations, strict=True)]
    return {
        "time": _time(str(frame.field("frame", "frame.time_epoch"))),
        "direction": "from_server",
        "client": frame.field("ip", "ip.dst"),
        "client_port": int(str(frame.field("tcp", "tcp.dstport"))),
        "asked": frame.field("ip", "ip.src"),
        "server_port": int(str(frame.field("tcp", "tcp.srcport"))),
        "operation": OPERATIONS[opnum],
        "call_id": int(str(frame.field("dcerpc", "dcerpc.cn_call_id"))),
        "transfer_syntax": syntax,
        "status": int(str(frame.field("epm", "epm.rc")), 16),
        "latency_ms": float(str(frame.field("dcerpc", "dcerpc.time"))) * 1000,
        "requested": requested,
        "mappings": mappings,
    }


def _towers(frame: Frame) -> list[dict[str, Any]]:
    towers = (value for key, value in walk(frame.layers["epm"]) if key == "Tower pointer:")
    return [_mapping([dict(floor) for name, floor in tower if name.startswith("Floor ")]) for tower in towers]


def _mapping(floors: list[dict[str, str]]) -> dict[str, Any]:
    interface = floors[0]
    fields = {key: value for floor in floors[2:] for key, value in floor.items()}
    port = fields.get("epm.proto.tcp_port") or fields.get("epm.proto.http_port")
    return {
        "uuid": interface["epm.uuid"],
        "version": _version(interface, floors[1]),
        "protocol": PROTOCOLS[floors[2]["epm.tower.proto_id"], floors[3]["epm.tower.proto_id"]],
        "address": fields.get("epm.proto.ip"),
        "port": int(port) if port is not None else None,
        "endpoint": fields.get("epm.proto.named_pipe"),
    }


def _version(interface: dict[str, str], transfer_syntax: dict[str, str]) -> str:
    """Return major and minor version of a floor.

    tshark 4.0 reads them as big-endian, which they never are: a transfer syntax of version 512 gives it away.
    """
    numbers = [int(interface["epm.uuid_version"]), int(interface["epm.ver_min"])]
    if transfer_syntax["epm.uuid_version"] == "512":
        numbers = [int.from_bytes(number.to_bytes(2, "big"), "little") for number in numbers]
    return ".".join(map(str, numbers))


def _time(epoch: str) -> str:
    seconds, _, nanoseconds = epoch.partition(".")
    return f"{datetime.fromtimestamp(int(seconds), UTC):%Y-%m-%dT%H:%M:%S}.{nanoseconds:0<9}Z"
