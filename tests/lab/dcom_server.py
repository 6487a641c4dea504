"""A DCOM server for the laboratory: `python -m tests.lab.dcom_server ADDRESS PORT` serves on a real TCP port.

Replayed: its answers are built once, with the addresses that Windows would list, and do not depend on what is asked but
for interface, operation and identifiers. Real: TCP, the translation in between, and the client, which is impacket's.
"""

from __future__ import annotations

import socketserver
import struct
import sys
from typing import Final
from uuid import UUID

from tests.build import dcom, pdu
from tests.build.epm import NDR20

OBJECT_PORT: Final = 49155
BACKUP: Final = "192.168.50.11"
OXID: Final = bytes(range(1, 9))
_HEADER: Final = 16
_FIRST_ABSTRACT: Final = 32


class Server(socketserver.ThreadingTCPServer):
    """Listens; `address` is its own, which its bindings name."""

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, address: str, port: int) -> None:
        self.address = address
        super().__init__((address, port), _Handler)


class _Handler(socketserver.StreamRequestHandler):
    """Answers binds and requests of one connection."""

    def handle(self) -> None:
        """Answer until the client closes."""
        assert isinstance(self.server, Server)
        while len(header := self.rfile.read(_HEADER)) == _HEADER:
            length, _, call_id = struct.unpack_from("<HHI", header, 8)
            data = header + self.rfile.read(length - _HEADER)
            if header[2] in (pdu.BIND, pdu.ALTER_CONTEXT):
                kind = pdu.BIND_ACK if header[2] == pdu.BIND else pdu.ALTER_CONTEXT_RESPONSE
                self.interface = UUID(bytes_le=data[_FIRST_ABSTRACT : _FIRST_ABSTRACT + 16])
                self.wfile.write(pdu.bind_ack([(0, 0, NDR20)], kind=kind, call_id=call_id))
            elif header[2] == pdu.REQUEST:
                context_id, opnum = struct.unpack_from("<HH", data, 20)
                answer = _answer(self.interface, opnum, self.server.address)
                self.wfile.write(pdu.response(answer, call_id=call_id, context_id=context_id))


def _answer(interface: UUID, opnum: int, address: str) -> bytes:
    """Return the stub of an answer."""
    addresses = ["LABORATORY", address, BACKUP]
    bindings = [f"{one}[{OBJECT_PORT}]" for one in addresses]
    if (interface, opnum) == (dcom.OBJECT_EXPORTER[0], dcom.SERVER_ALIVE_2):
        return dcom.server_alive_2_response(addresses)
    if (interface, opnum) == (dcom.OBJECT_EXPORTER[0], dcom.RESOLVE_OXID_2):
        return dcom.resolve_oxid_2_response(bindings)
    return dcom.create_instance_response(OXID, bindings, results=[(dcom.WBEM_LOGIN, 0)], resolvers=addresses)


if __name__ == "__main__":
    with Server(sys.argv[1], int(sys.argv[2])) as server:
        print("listening", flush=True)
        server.serve_forever()
