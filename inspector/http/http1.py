"""HTTP/1.1 for one client of the metrics server (RFC 9112, by h11): bounded in bytes and time."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

import h11

from inspector import __version__

if TYPE_CHECKING:
    import socket
    import ssl
    from collections.abc import Callable, Mapping

    from inspector.http.hostnames import HostNames

    Route = Callable[[], "Response"]

TEXT: Final = "text/plain; charset=utf-8"

_READ_SIZE: Final = 4096
_WRITE_SIZE: Final = 1 << 16
_BURST_S: Final = 0.25
_METHODS: Final = (b"GET", b"HEAD")
_CLOSE: Final = (b"Connection", b"close")
_SERVER: Final = f"epm-inspector/{__version__}"
_UNKNOWN_HOST: Final = b"not served under this host name: use the address, or list the name in the key hosts\n"


@dataclass(frozen=True, slots=True)
class Response:
    """What a route answers: HTTP status, body, its type, and headers beyond the usual."""

    status: int
    body: bytes
    content_type: str = TEXT
    headers: tuple[tuple[bytes, bytes], ...] = ()


@dataclass(frozen=True, slots=True)
class ServerLimits:
    """Bounds of what the clients of one listening socket can take up: connections, bytes, and seconds.

    `header_seconds` bounds the time from a request's first byte (or from the connection's
    beginning) to the end of its header, and a TLS handshake; `idle_seconds` the wait for another request;
    `write_seconds` the wait for the client to take an answer; `goodbye_seconds` the wait
    for the client to close after the last one. More than `answers_per_second` are made to
    wait, all clients of the socket together: making an answer keeps the inspection from its work. So does accepting:
    connections beyond `accepts_per_second` wait in the accept queue, and the kernel drops those it cannot hold.
    """

    connections: int = 64
    header_bytes: int = 16 * 1024
    header_seconds: float = 10
    idle_seconds: float = 120
    write_seconds: float = 10
    goodbye_seconds: float = 1
    answers_per_second: float = 100
    accepts_per_second: float = 1000


class Pace:
    """Lets things happen `per_second` times a second in the long run, and at once while there are fewer."""

    def __init__(self, per_second: float) -> None:
        self._interval_s = 1 / per_second
        self._due = 0.0
        self._queue = asyncio.Lock()

    async def turn(self) -> None:
        """Wait for the rate limiter; waiters are served in the order of their calls."""
        async with self._queue:
            now = asyncio.get_running_loop().time()
            # What was not used lately may be caught up with, up to a quarter of a second's worth.
            due = max(self._due, now - _BURST_S) + self._interval_s
            if due > now:
                await asyncio.sleep(due - now)
            # Only now: a waiter that is cancelled meanwhile takes no turn.
            self._due = due


@dataclass(frozen=True, slots=True)
class Service:
    """What the clients of one listening socket share. Without `hosts` the header Host is not checked."""

    routes: Mapping[bytes, Route]
    limits: ServerLimits
    pace: Pace
    hosts: HostNames | None


class Connection:
    """One client, at an accepted socket: its requests are answered one after the other.

    `client` is its address, "" in the UNIX domain. Use `open` first, and `abort` at the end.
    """

    def __init__(self, accepted: socket.socket, client: str, service: Service) -> None:
        self.client = client
        self.waiting_since = asyncio.get_running_loop().time()
        self._socket = accepted
        # Asyncio forgets it once the client has gone.
        self._local_name = accepted.getsockname()
        self._service = service
        self._limits = service.limits
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=service.limits.header_bytes)
        self._reader = asyncio.StreamReader(limit=_READ_SIZE)
        self._writer: asyncio.StreamWriter | None = None
        self._is_secure = False

    def abort(self) -> None:
        """Close the connection at once, whatever is going on."""
        if self._writer is None:
            self._socket.close()
        else:
            self._writer.transport.abort()

    async def open(self, context: ssl.SSLContext | None) -> None:
        """Shake hands where there is a TLS context; OSError where the client does not, or not in time."""
        loop = asyncio.get_running_loop()
        protocol = asyncio.StreamReaderProtocol(self._reader)
        transport, _ = await loop.connect_accepted_socket(
            lambda: protocol,
            self._socket,
            ssl=context,
            ssl_handshake_timeout=None if context is None else self._limits.header_seconds,
        )
        self._is_secure = context is not None
        # Sending is done when the system has taken every byte, so that closing leaves nothing behind;
        # at 0 asyncio's TLS would stop and go at every turn.
        transport.set_write_buffer_limits(high=1 if self._is_secure else 0, low=0)
        self._writer = asyncio.StreamWriter(transport, protocol, self._reader, loop)

    @property
    def _stream(self) -> asyncio.StreamWriter:
        assert self._writer is not None  # noqa: S101  # `open` comes first
        return self._writer

    async def run(self) -> None:
        """Answer requests until either side has enough; OSError or TimeoutError when the client is gone or too slow."""
        first_byte_seconds = self._limits.header_seconds
        while await self._answer_next(first_byte_seconds):
            self._http.start_next_cycle()
            first_byte_seconds = self._limits.idle_seconds
            # Requests may be waiting already; other clients come first.
            await asyncio.sleep(0)
        await self._say_goodbye()

    async def _answer_next(self, first_byte_seconds: float) -> bool:
        """Answer one request; return whether another may follow."""
        try:
            request = await self._read_request(first_byte_seconds)
            if request is None:
                return False
            bodyless = isinstance(self._http.next_event(), h11.EndOfMessage)
        except h11.RemoteProtocolError as error:
            if self._http.our_state in {h11.IDLE, h11.SEND_RESPONSE}:
                await self._send(Response(error.error_status_hint, b"bad request\n"), [_CLOSE])
            return False
        # From here on it is the client that waits.
        self.waiting_since = asyncio.get_running_loop().time()
        await self._service.pace.turn()
        if bodyless:
            response, headers = self._respond(request)
        else:
            response, headers = Response(413, b"a request with a body is not answered here\n"), [_CLOSE]
        await self._send(response, headers, with_body=request.method != b"HEAD")
        return self._http.our_state is h11.DONE and self._http.their_state is h11.DONE

    async def _read_request(self, first_byte_seconds: float) -> h11.Request | None:
        """Return the next request's header, or None at the end of the connection."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + first_byte_seconds
        begun = False
        while True:
            event = self._http.next_event()
            if isinstance(event, h11.Request):
                return event
            if event is not h11.NEED_DATA:
                return None
            if not begun and self._http.trailing_data[0]:
                begun = True
                deadline = loop.time() + self._limits.header_seconds
            async with asyncio.timeout_at(deadline):
                self._http.receive_data(await self._reader.read(_READ_SIZE))

    def _respond(self, request: h11.Request) -> tuple[Response, list[tuple[bytes, bytes]]]:
        """Return what to answer, and headers beyond the usual."""
        if not self._is_known(request):
            return Response(HTTPStatus.MISDIRECTED_REQUEST, _UNKNOWN_HOST), []
        route = self._service.routes.get(bytes(request.target).partition(b"?")[0])
        if route is None:
            return Response(404, b"not found\n"), []
        if request.method not in _METHODS:
            return Response(405, b"only GET and HEAD\n"), [(b"Allow", b"GET, HEAD")]
        try:
            return route(), []
        except Exception as error:  # noqa: BLE001  # a route's defect must not end the server, which tells of others
            return Response(500, f"internal error: {type(error).__name__}\n".encode()), []

    def _is_known(self, request: h11.Request) -> bool:
        """Say whether a request is for this server. Only HTTP/1.0 may come without Host: no browser speaks it."""
        hosts = self._service.hosts
        if hosts is None:
            return True
        local_address = self._local_name[0]
        return all(
            hosts.accept(value.decode("latin-1"), local_address) for name, value in request.headers if name == b"host"
        )

    async def _say_goodbye(self) -> None:
        """End the connection so that the last answer arrives.

        A system that closes a connection with unread bytes resets it, and the client may lose
        what was sent (RFC 9112 section 9.6); so what still comes is read for a moment. TLS knows no half-closed
        connection: there the client's own goodbye is waited for.
        """
        async with asyncio.timeout(self._limits.goodbye_seconds):
            if self._is_secure:
                # Closing once more what has gone leaves asyncio's TLS (3.11) with nothing to abort.
                if not self._stream.is_closing():
                    self._stream.close()
                await self._stream.wait_closed()
                return
            self._stream.write_eof()
            while await self._reader.read(_READ_SIZE):
                pass

    async def _send(self, response: Response, headers: list[tuple[bytes, bytes]], *, with_body: bool = True) -> None:
        """Send a response; the client has `write_seconds` to take it."""
        head = h11.Response(
            status_code=response.status,
            reason=HTTPStatus(response.status).phrase,
            headers=[
                (b"Content-Type", response.content_type.encode()),
                (b"Content-Length", str(len(response.body)).encode()),
                (b"Server", _SERVER.encode()),
                (b"X-Content-Type-Options", b"nosniff"),
                *response.headers,
                *headers,
            ],
        )
        parts = [self._http.send(head)]
        if with_body:
            parts.append(self._http.send(h11.Data(data=response.body)))
        parts.append(self._http.send(h11.EndOfMessage()))
        data = b"".join(part for part in parts if part)
        async with asyncio.timeout(self._limits.write_seconds):
            # Asyncio's TLS takes all that it is given, and lets nobody wait before the next piece.
            for start in range(0, len(data), _WRITE_SIZE):
                self._stream.write(data[start : start + _WRITE_SIZE])
                await self._stream.drain()
                # Asyncio notices in the next turns that a client has gone; it logs what is written meanwhile.
                await asyncio.sleep(0)
        self.waiting_since = asyncio.get_running_loop().time()
