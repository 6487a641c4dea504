"""A small HTTP server for scrapers: bounded in connections, bytes and time, whatever its clients do.

One daemon thread runs an asyncio loop; h11 speaks HTTP/1.1 (RFC 9112), below it TLS where there is a certificate.
When all connections are taken, one of the client address that has the most is closed: the one that has waited
longest for its client. So idle, slow or many clients never keep a scraper out, in the middle of a TLS handshake or
elsewhere.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from collections import Counter
from dataclasses import dataclass
from http import HTTPStatus
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final, Self

import h11

from inspector import __version__
from inspector.errors import ListenError

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Mapping

    from inspector.sinks.tls import Certificates

    Route = Callable[[], "Response"]

TEXT: Final = "text/plain; charset=utf-8"

_BACKLOG: Final = 128
_LAST_PORT: Final = 65535
_READ_SIZE: Final = 4096
_WRITE_SIZE: Final = 1 << 16
_BURST_S: Final = 0.25
_METHODS: Final = (b"GET", b"HEAD")
_CLOSE: Final = (b"Connection", b"close")
_SERVER: Final = f"epm-inspector/{__version__}"


@dataclass(frozen=True, slots=True)
class Response:
    """What a route answers: HTTP status, body, its type, and headers beyond the usual."""

    status: int
    body: bytes
    content_type: str = TEXT
    headers: tuple[tuple[bytes, bytes], ...] = ()


@dataclass(frozen=True, slots=True)
class ServerLimits:
    """Bounds of what clients can take up: connections, bytes, and seconds.

    `header_seconds` bounds the time from a request's first byte (or from the connection's
    beginning) to the end of its header, and a TLS handshake; `idle_seconds` the wait for another request;
    `write_seconds` the wait for the client to take an answer; `goodbye_seconds` the wait
    for the client to close after the last one. More than `answers_per_second` are made to
    wait, all clients together: making an answer keeps the inspection from its work.
    """

    connections: int = 64
    header_bytes: int = 16 * 1024
    header_seconds: float = 10
    idle_seconds: float = 120
    write_seconds: float = 10
    goodbye_seconds: float = 1
    answers_per_second: float = 100


class MetricsServer:
    """Serves `routes` (path to function) on one address, and on sockets that are added; port 0 takes any that is free.

    With `certificates` it speaks TLS, but for connections of the UNIX domain.
    The socket listens, and `port` is known, once the constructor returns; `start` begins to
    answer. Routes are called in the server's thread and must be quick.
    Raises ListenError, in words for the operator, when the address cannot be had.
    """

    def __init__(
        self,
        host: str,
        port: int,
        routes: Mapping[str, Route],
        *,
        limits: ServerLimits | None = None,
        certificates: Certificates | None = None,
    ) -> None:
        self.host = host
        self._routes = {path.encode(): route for path, route in routes.items()}
        self._limits = limits or ServerLimits()
        self._certificates = certificates
        self._sockets = [_listen(host, port)]
        self.port: int = self._sockets[0].getsockname()[1]
        self._thread = threading.Thread(target=self._run, name="metrics-server", daemon=True)
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._connections: dict[_Connection, asyncio.Task[None]] = {}
        self._pace = _Pace(self._limits.answers_per_second)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    @property
    def url(self) -> str:
        """The server's address, without a path."""
        scheme = "http" if self._certificates is None else "https"
        return f"{scheme}://{_authority(self.host, self.port)}"

    @property
    def is_exposed(self) -> bool:
        """Whether other machines may read what is served, and whoever is on the way."""
        address = self._sockets[0].getsockname()[0].partition("%")[0]
        return self._certificates is None and not ip_address(address).is_loopback

    def add(self, listening: socket.socket) -> None:
        """Serve on one more listening socket, of the UNIX domain say, and close it at the end; before `start`."""
        self._sockets.append(listening)

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def close(self) -> None:
        """Close the sockets and all connections; returns when the thread has ended."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join()
        self._loop.close()
        for listening in self._sockets:
            listening.close()

    def _run(self) -> None:
        self._loop.run_until_complete(self._serve())

    async def _serve(self) -> None:
        servers = [await asyncio.start_server(self._accept, sock=one, limit=_READ_SIZE) for one in self._sockets]
        await self._stop.wait()
        for server in servers:
            server.close()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection. Nothing may be waited for before the handshake, which would miss what was read."""
        if len(self._connections) >= self._limits.connections:
            self._make_room()
        connection = _Connection(reader, writer, self._routes, self._limits, self._pace)
        task = asyncio.current_task()
        assert task is not None  # noqa: S101  # a connection is served by a task of its own
        self._connections[connection] = task
        try:
            if self._certificates is not None and not connection.is_local:
                await connection.shake_hands(self._certificates.context())
            await connection.run()
        except (OSError, TimeoutError):
            # The client is gone, too slow, or speaks no TLS: nobody is left to be told.
            return
        finally:
            self._connections.pop(connection, None)
            connection.abort()

    def _make_room(self) -> None:
        """Close a connection of the client address that has the most: the one that has waited longest."""
        counts = Counter(connection.client for connection in self._connections)
        first = max(self._connections, key=lambda one: (counts[one.client], -one.waiting_since))
        self._connections.pop(first).cancel()


class _Pace:
    """Lets things happen `per_second` times a second in the long run, and at once while there are fewer."""

    def __init__(self, per_second: float) -> None:
        self._interval_s = 1 / per_second
        self._due = 0.0
        self._queue = asyncio.Lock()

    async def turn(self) -> None:
        """Wait for one's turn; those who came before, and have not gone meanwhile, have theirs before."""
        async with self._queue:
            now = asyncio.get_running_loop().time()
            # What was not used lately may be caught up with, up to a quarter of a second's worth.
            self._due = max(self._due, now - _BURST_S) + self._interval_s
            if self._due > now:
                await asyncio.sleep(self._due - now)


class _Connection:
    """One client: its requests are answered one after the other."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        routes: Mapping[bytes, Route],
        limits: ServerLimits,
        pace: _Pace,
    ) -> None:
        self._pace = pace
        self._reader = reader
        self._writer = writer
        self._routes = routes
        self._limits = limits
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=limits.header_bytes)
        self._is_secure = False
        address = writer.get_extra_info("peername")
        self.client = address[0] if address else ""
        self.is_local = writer.get_extra_info("socket").family == socket.AF_UNIX
        self.waiting_since = asyncio.get_running_loop().time()
        # Sending is done when the system has taken every byte, so that closing leaves nothing behind.
        writer.transport.set_write_buffer_limits(high=0)

    def abort(self) -> None:
        """Close the connection at once, whatever is going on."""
        self._writer.transport.abort()

    async def shake_hands(self, context: ssl.SSLContext) -> None:
        """Begin TLS; OSError where the client does not, or not in time."""
        await self._writer.start_tls(context, ssl_handshake_timeout=self._limits.header_seconds)
        # As in the constructor; at 0 asyncio's TLS would stop and go at every turn.
        self._writer.transport.set_write_buffer_limits(high=1, low=0)
        self._is_secure = True

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
        await self._pace.turn()
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
        route = self._routes.get(bytes(request.target).partition(b"?")[0])
        if route is None:
            return Response(404, b"not found\n"), []
        if request.method not in _METHODS:
            return Response(405, b"only GET and HEAD\n"), [(b"Allow", b"GET, HEAD")]
        try:
            return route(), []
        except Exception as error:  # noqa: BLE001  # a route's defect must not end the server, which tells of others
            return Response(500, f"internal error: {type(error).__name__}\n".encode()), []

    async def _say_goodbye(self) -> None:
        """End the connection so that the last answer arrives.

        A system that closes a connection with unread bytes resets it, and the client may lose
        what was sent (RFC 9112 section 9.6); so what still comes is read for a moment. TLS knows no half-closed
        connection: there the client's own goodbye is waited for.
        """
        async with asyncio.timeout(self._limits.goodbye_seconds):
            if self._is_secure:
                self._writer.close()
                await self._writer.wait_closed()
                return
            self._writer.write_eof()
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
                self._writer.write(data[start : start + _WRITE_SIZE])
                await self._writer.drain()
        self.waiting_since = asyncio.get_running_loop().time()


def _listen(host: str, port: int) -> socket.socket:
    """Return a listening socket on exactly that address."""
    try:
        return _bind(host, port)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise ListenError(
            f"cannot listen on {_authority(host, port)}: {reason}; "
            "end what listens there, or choose another address with --listen ADDRESS:PORT"
        ) from None


def _bind(host: str, port: int) -> socket.socket:
    # The resolver takes a port modulo 65536, and something would listen where nobody looks.
    if not 0 <= port <= _LAST_PORT:
        raise ValueError(f"ports end at {_LAST_PORT}")
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(_BACKLOG)
    except BaseException:
        listener.close()
        raise
    return listener


def _authority(host: str, port: int) -> str:
    """Return host and port as a URL has them: IPv6 addresses in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
