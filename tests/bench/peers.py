"""How fast other Python decoders read the map responses of a capture file: impacket and scapy."""

from __future__ import annotations

import contextlib
import io
import struct
import time
from typing import TYPE_CHECKING, Final

from tests.bench.conversations import SEGMENTS_EACH

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

_FILE_HEADER: Final = 24
_PACKET_HEADER: Final = struct.Struct("<IIII")
_RESPONSE: Final = 2


def _frames(path: Path) -> Iterator[bytes]:
    """Yield the frames of a classic capture file (little-endian)."""
    data = path.read_bytes()
    at = _FILE_HEADER
    while at < len(data):
        length = _PACKET_HEADER.unpack_from(data, at)[2]
        at += _PACKET_HEADER.size
        yield data[at : at + length]
        at += length


def count_with_impacket(path: Path) -> int:
    """Return how many towers' addresses impacket finds in the responses."""
    from impacket import ImpactDecoder
    from impacket.dcerpc.v5 import epm, rpcrt

    decoder = ImpactDecoder.EthDecoder()
    found = 0
    for frame in _frames(path):
        tcp = decoder.decode(frame).child().child()
        payload = tcp.get_data_as_string()
        if tcp.get_th_sport() != 135 or not payload:
            continue
        if rpcrt.MSRPCHeader(payload)["type"] != _RESPONSE:
            continue
        response = epm.ept_mapResponse(rpcrt.MSRPCRespHeader(payload)["pduData"])
        for tower in response["ITowers"]:
            floors = epm.EPMTower(b"".join(tower["Data"]["tower_octet_string"]))["Floors"]
            found += bool(floors[4]["RelatedData"])
    return found


def count_with_scapy(path: Path) -> int:
    """Return how many map responses with a tower scapy decodes."""
    from scapy.config import conf
    from scapy.layers.dcerpc import DceRpcSession
    from scapy.layers.inet import TCP
    from scapy.layers.msrpce.ept import ept_map_Response
    from scapy.utils import PcapReader

    assert TCP is not None
    conf.dcerpc_session_enable = True
    found = 0
    with PcapReader(str(path)) as packets:
        session = DceRpcSession()
        for packet in packets:
            decoded = session.process(packet)
            if decoded is not None and ept_map_Response in decoded:
                found += decoded[ept_map_Response].num_towers
    return found


def frames_per_s(count_with: Callable[[Path], int], path: Path, conversations: int) -> float:
    """Return the frames a second of one of the above; raise RuntimeError if it misses a response."""
    began = time.perf_counter()
    # Both have something to say about what they do not know.
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        found = count_with(path)
    spent = time.perf_counter() - began
    if found != conversations:
        raise RuntimeError(f"{count_with.__name__} found {found} of {conversations}")
    return conversations * SEGMENTS_EACH / spent
