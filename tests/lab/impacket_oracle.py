"""What impacket decodes from response PDUs, in the words of a finding."""

from __future__ import annotations

import socket
import struct
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

# Which identifier of floor 4 means which protocol sequence; impacket has functions for floors, not for this.
PROTOCOLS = {b"\x07": "ncacn_ip_tcp", b"\x0f": "ncacn_np", b"\x10": "ncalrpc", b"\x1f": "ncacn_http"}
WITH_PORT = {b"\x07", b"\x1f"}


def answers_of(pdus: Iterable[tuple[str, bytes]]) -> list[dict[str, Any]]:
    """Return call, status and mappings of every response, given as the request's operation number and the PDU."""
    from impacket.dcerpc.v5.rpcrt import MSRPCRespHeader

    headers = [(operation, MSRPCRespHeader(pdu)) for operation, pdu in pdus]
    return [{"call_id": header["call_id"]} | _decode(operation, header["pduData"]) for operation, header in headers]


def _decode(operation: str, stub: bytes) -> dict[str, Any]:
    from impacket.dcerpc.v5 import epm

    if operation == "2":
        response = epm.ept_lookupResponse(stub)
        entries = [response["entries"][index] for index in range(response["num_ents"])]
        mappings = [
            _mapping(entry["tower"]) | {"annotation": b"".join(entry["annotation"]).rstrip(b"\0").decode()}
            for entry in entries
        ]
    else:
        response = epm.ept_mapResponse(stub)
        mappings = [_mapping(response["ITowers"][index]["Data"]) for index in range(response["num_towers"])]
    return {"status": response["status"], "mappings": mappings}


def _mapping(tower: Any) -> dict[str, Any]:
    from impacket.dcerpc.v5 import epm
    from impacket.uuid import bin_to_string

    floors = epm.EPMTower(b"".join(tower["tower_octet_string"]))["Floors"]
    interface, endpoint = floors[0], floors[3]
    identifier, data = endpoint["ProtocolData"], endpoint["RelatedData"]
    addresses = [floor["RelatedData"] for floor in floors[4:] if floor["ProtocolData"] == b"\x09"]
    return {
        "uuid": bin_to_string(interface["InterfaceUUID"]).lower(),
        "version": f"{interface['MajorVersion']}.{interface['MinorVersion']}",
        "protocol": PROTOCOLS[identifier],
        "address": socket.inet_ntoa(addresses[0]) if addresses else None,
        "port": struct.unpack(">H", data)[0] if identifier in WITH_PORT else None,
        "endpoint": None if identifier in WITH_PORT else data.rstrip(b"\0").decode(),
    }
