"""Questions to an endpoint mapper, and binds where it leads: no call beyond these, one connection at a time.

impacket speaks; a copy of each byte goes to `inspector.probing.copy`, and from there through the decoder of traffic.
"""

from __future__ import annotations

import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from inspector.errors import LibraryError, RunningError
from inspector.judge.policy import Policy
from inspector.model import Verdict
from inspector.pipeline import Pipeline
from inspector.probing.copy import Copy, Recording, own_address
from inspector.record import pack_record
from inspector.wire.uuids import uuid_of

try:
    from impacket.dcerpc.v5 import dcomrt, epm, transport
    from impacket.dcerpc.v5.rpcrt import DCERPCException
    from impacket.uuid import uuidtup_to_bin
except ImportError:
    raise LibraryError("impacket is not installed: install it with: pip install 'epm-inspector[probe]'") from None

if TYPE_CHECKING:
    from collections.abc import Sequence

DEFAULT_SERVICES: Final = ("DRSUAPI", "NETLOGON", "LSARPC", "SAMR", "MAPI")
"""What a domain controller and an Exchange server offer."""

# Of services which are asked for by name. Others are version 1.0.
_VERSIONS: Final = {"DRSUAPI": "4.0", "LSARPC": "0.0", "MAPI": "0.81", "NSPI": "56.0", "SVCCTL": "2.0"}


_FIRST_PORT: Final = 0xC000


@dataclass(frozen=True, slots=True)
class Service:
    """An interface to ask for."""

    uuid: str
    version: str


def service_of(text: str) -> Service:
    """Return the interface that a name, or UUID with `/VERSION`, means; raises ValueError."""
    name, _, version = text.partition("/")
    known = uuid_of(name)
    uuid = str(known) if known is not None else str(UUID(name))
    return Service(uuid, version or _VERSIONS.get(name.upper(), "1.0"))


class _Transport(transport.TCPTransport):  # type: ignore[misc]  # impacket has no types
    """TCP of which a copy is kept."""

    def __init__(self, recording: Recording, own: str, address: str, port: int, timeout: float) -> None:
        super().__init__(address, port)
        self._own = own
        self._connection: socket.socket | None = None
        self._recording, self._server, self._timeout = recording, (address, port), timeout
        self._copy: Copy | None = None

    def connect(self) -> int:
        """Connect; raises OSError."""
        try:
            connection = socket.create_connection(self._server, self._timeout)
        except OSError as error:
            # The port was free again when the attempt had failed.
            client = self._own, _FIRST_PORT + len(self._recording.segments)
            copy = Copy(self._recording, client, self._server)
            if isinstance(error, ConnectionRefusedError):
                copy.refused()
            else:
                copy.silent()
            raise
        self._connection = connection
        self._copy = Copy(self._recording, connection.getsockname()[:2], self._server)
        self._copy.accepted()
        return 1

    def get_socket(self) -> socket.socket | None:
        """Return the connection."""
        return self._connection

    def send(self, data: bytes, **_how: object) -> None:
        """Send, and keep a copy."""
        connection, copy = self._opened()
        copy.sent(bytes(data))
        connection.sendall(data)

    def recv(self, _receive: int = 0, count: int = 0, **_how: object) -> bytes:
        """Receive so many bytes, or some, and keep a copy of them, or of the silence; raises OSError."""
        connection, copy = self._opened()
        received = b""
        try:
            while len(received) < (count or 1):
                more = connection.recv(count - len(received) if count else 8192)
                if not more:
                    break
                received += more
                copy.received(more)
        except TimeoutError:
            copy.silent()
            raise
        except ConnectionResetError:
            copy.reset()
            raise
        if len(received) < (count or 1):
            copy.ended()
            raise ConnectionResetError("closed by the server")
        return received

    def disconnect(self) -> int:
        """Close the connection."""
        if self._connection is not None and self._copy is not None:
            self._copy.closed()
            self._connection.close()
        return 1

    def _opened(self) -> tuple[socket.socket, Copy]:
        assert self._connection is not None  # noqa: S101 - connected before
        assert self._copy is not None  # noqa: S101 - connected before
        return self._connection, self._copy


class Probe:
    """Asks one mapper; everything that was said is in `recording`."""

    def __init__(self, host: str, port: int, timeout: float) -> None:
        self.recording = Recording({port})
        self._port, self._timeout = port, timeout
        try:
            self.address = str(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][4][0])
            self._own = own_address(self.address, port)
        except OSError as error:
            raise RunningError(f"{host}: {error.strerror or error}") from None

    def run(self, services: Sequence[Service]) -> None:
        """Ask for services, connect to what is offered, at the address asked and at the one offered, and bind."""
        if not self._ask(services):
            return
        for address, port, service in self._offers():
            self._bind(address, port, service)
        self._server_alive()

    def _ask(self, services: Sequence[Service]) -> bool:
        """Ask for each on a connection of its own; return whether the mapper accepted them."""
        for service in services:
            dce = self._connected(self.address, self._port)
            if dce is None:
                return False
            try:
                wanted = uuidtup_to_bin((service.uuid, service.version))
                epm.hept_map(self.address, wanted, protocol="ncacn_ip_tcp", dce=dce)
            except (DCERPCException, OSError):
                # The copy says what happened.
                pass
            finally:
                dce.disconnect()
        return True

    def _server_alive(self) -> None:
        dce = self._connected(self.address, self._port)
        if dce is None:
            return
        try:
            dce.bind(dcomrt.IID_IObjectExporter)
            dce.request(dcomrt.ServerAlive2())
        except (DCERPCException, OSError):
            pass
        finally:
            dce.disconnect()

    def _offers(self) -> list[tuple[str, int, Service]]:
        """Return where the answers lead, by what the decoder says of them, each once."""
        pipeline = Pipeline(Policy(), lambda _: "")
        found: dict[tuple[str, int, Service], None] = {}
        ours = [one for one in self.recording.segments if self._port in (one.source_port, one.destination_port)]
        for batch in pipeline.feed([pack_record(one) for one in ours]):
            for finding in batch.findings():
                for mapping in finding.mappings:
                    if mapping.port is None or mapping.interface is None or mapping.protocol != "ncacn_ip_tcp":
                        continue
                    service = Service(str(mapping.interface.uuid), mapping.interface.version)
                    found[self.address, mapping.port, service] = None
                    if mapping.verdict in (Verdict.MISMATCH, Verdict.POOLED):
                        found[str(mapping.address), mapping.port, service] = None
        return list(found)

    def _bind(self, address: str, port: int, service: Service) -> None:
        dce = self._connected(address, port)
        if dce is None:
            return
        try:
            dce.bind(uuidtup_to_bin((service.uuid, service.version)))
        except (DCERPCException, OSError):
            pass
        finally:
            dce.disconnect()

    def _connected(self, address: str, port: int) -> Any:
        """Return a connection, None where there is none."""
        dce = _Transport(self.recording, self._own, address, port, self._timeout).get_dce_rpc()
        try:
            dce.connect()
        except OSError:
            return None
        return dce
