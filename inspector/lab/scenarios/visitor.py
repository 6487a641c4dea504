"""A client of the scenarios, run inside the client's namespace: it asks, and goes where it likes.

    python -m inspector.lab.scenarios.visitor --server 10.11.2.2 [--go asked|offered|nowhere] ...

Each round asks the endpoint mapper for one interface, connects to the port that the tower names, and binds the
interface there: at the address that was asked, as conforming clients do, or at the address of the tower. One JSON
object a round goes to standard output: `asked`, `offered`, `port`, `reached`, and `error` where something failed.
"""

from __future__ import annotations

import argparse
import json
import struct
import sys
import time
from typing import TYPE_CHECKING, Any

from impacket.dcerpc.v5 import epm, transport
from impacket.dcerpc.v5.rpcrt import DCERPCException
from impacket.uuid import uuidtup_to_bin

from inspector.lab.scenarios.services import BOUND, SERVICES
from inspector.protocols import EPM_PORT
from inspector.wire.tower import read_tower

if TYPE_CHECKING:
    from collections.abc import Sequence


class _Mapper:
    """Passes the calls of impacket's `hept_map` on and keeps the response, of which impacket returns the port alone."""

    def __init__(self, connection: Any, *, pause: bool) -> None:
        self._connection = connection
        self._pause = pause
        self.response: Any = None

    def bind(self, interface: bytes) -> Any:
        """Bind, and wait for a line of standard input where that is wanted."""
        answer = self._connection.bind(interface)
        if self._pause:
            print(BOUND, flush=True)
            sys.stdin.readline()
        return answer

    def request(self, request: Any) -> Any:
        """Send a request and return the response."""
        self.response = self._connection.request(request)
        return self.response


def visit(options: argparse.Namespace, go: str) -> dict[str, Any]:
    """Ask once, follow what was offered, and return what came of it."""
    interface = uuidtup_to_bin(SERVICES[options.service])
    told: dict[str, Any] = {"asked": options.server, "reached": False}
    try:
        offered, port = ask(options, interface)
        told |= {"offered": offered, "port": port}
        if port is not None and go != "nowhere":
            follow(options.server if go == "asked" else offered, port, interface, options.timeout)
            told["reached"] = True
    # impacket reads fields of an empty answer where the connection was closed.
    except (DCERPCException, OSError, struct.error) as error:
        told["error"] = str(error).strip()
    return told


def ask(options: argparse.Namespace, interface: bytes) -> tuple[str | None, int | None]:
    """Return address and port that the endpoint mapper names; of a listing none. Raises what impacket raises."""
    connection = open_connection(options.server, EPM_PORT, options.timeout)
    try:
        if options.listing:
            epm.hept_lookup(options.server, dce=connection)
            return None, None
        mapper = _Mapper(connection, pause=options.pause)
        epm.hept_map(options.server, interface, protocol="ncacn_ip_tcp", dce=mapper)
    finally:
        connection.disconnect()
    tower = read_tower(b"".join(mapper.response["ITowers"][0]["Data"]["tower_octet_string"]))
    return str(tower.address), tower.port


def follow(server: str | None, port: int, interface: bytes, timeout: float) -> None:
    """Connect to an endpoint and bind the interface there; raises DCERPCException or OSError."""
    connection = open_connection(server, port, timeout)
    try:
        connection.bind(interface)
    finally:
        connection.disconnect()


def open_connection(server: str | None, port: int, timeout: float) -> Any:
    """Return an open connection on which each answer is waited for that many seconds."""
    connection = transport.DCERPCTransportFactory(f"ncacn_ip_tcp:{server}[{port}]").get_dce_rpc()
    connection.get_rpc_transport().set_connect_timeout(timeout)
    connection.connect()
    return connection


def main(arguments: Sequence[str] | None = None) -> int:
    """Visit as the command line says; failures are what a scenario is about, and no reason for another exit status."""
    parser = argparse.ArgumentParser(prog="python -m inspector.lab.scenarios.visitor", description="Ask and follow.")
    parser.add_argument("--server", required=True, help="address to ask")
    parser.add_argument("--service", choices=SERVICES, default="SAMR", help="interface to ask for")
    parser.add_argument("--go", choices=("asked", "offered", "nowhere"), default="asked", help="where to connect")
    parser.add_argument("--rounds", type=int, default=3, help="how often")
    parser.add_argument("--timeout", type=float, default=3.0, help="seconds to wait for each answer")
    parser.add_argument("--interval", type=float, default=0.0, help="seconds between rounds")
    parser.add_argument("--linger", type=float, default=0.0, help="then ask once more after so many seconds")
    parser.add_argument("--listing", action="store_true", help="list all endpoints instead, and go nowhere")
    parser.add_argument("--pause", action="store_true", help="say when bound, and wait for a line before asking")
    options = parser.parse_args(arguments)
    for number in range(options.rounds):
        time.sleep(options.interval if number else 0.0)
        print(json.dumps(visit(options, options.go)), flush=True)
    if options.linger:
        time.sleep(options.linger)
        print(json.dumps(visit(options, "nowhere")), flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
