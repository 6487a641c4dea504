"""A small HTTP server for scrapers: bounded in connections, bytes and time, whatever its clients do.

One daemon thread runs an asyncio loop. When all connections of a listening socket are taken, one of the client address
that has the most is closed: the one that has waited longest for its client. So idle, slow or many clients never keep a
scraper of another address out, in the middle of a TLS handshake or elsewhere.

A client that connects faster than connections are accepted fills the socket's accept queue, and nobody else gets in.
Places are therefore kept by sockets with an accept queue, connections and turns of their own: that of the UNIX domain,
which its file's mode protects, and one for configured addresses (`scrapers`).
"""

from __future__ import annotations

import asyncio
import errno
import threading
from collections import Counter
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, Final, Self

from inspector.http.hostnames import HostNames
from inspector.http.http1 import Connection, Pace, ServerLimits, Service
from inspector.http.listening import authority, listen, listen_with_reserve

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Mapping, Sequence

    from inspector.http.http1 import Route
    from inspector.http.listening import Network
    from inspector.http.tls import Certificates

_ACCEPT_RETRY_S: Final = 0.25


@dataclass(eq=False)
class _Listener:
    """A listening socket, and the connections that were accepted from it."""

    socket: socket.socket
    service: Service
    certificates: Certificates | None
    connections: dict[Connection, asyncio.Task[None]] = field(default_factory=dict)

    def make_room(self) -> None:
        """Close a connection of the client address that has the most: the one that has waited longest."""
        if len(self.connections) < self.service.limits.connections:
            return
        counts = Counter(connection.client for connection in self.connections)
        first = max(self.connections, key=lambda one: (counts[one.client], -one.waiting_since))
        self.connections.pop(first).cancel()


class MetricsServer:
    """Serves `routes` (path to function) on one address, and on sockets that are added; port 0 takes any that is free.

    With `certificates` it speaks TLS, but for connections of the UNIX domain. Clients of the networks `scrapers` have a
    listening socket of their own. `hosts` are further names for `HostNames`. `report` gets one line for each kind of
    fault that keeps clients from being served.
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
        hosts: Sequence[str] = (),
        scrapers: Sequence[Network] = (),
        report: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.host = host
        self._routes = routes
        self._limits = limits or ServerLimits()
        self._certificates = certificates
        sockets = listen_with_reserve(host, port, scrapers) if scrapers else (listen(host, port),)
        names = HostNames((host, *hosts))
        self._listeners = [_Listener(one, self._service(routes, names), certificates) for one in sockets]
        self.port: int = sockets[0].getsockname()[1]
        self._report = report
        self._reported: set[object] = set()
        self._thread = threading.Thread(target=self._run, name="metrics-server", daemon=True)
        self._loop = asyncio.new_event_loop()
        self._loop.set_exception_handler(self._handle_error)
        self._stop = asyncio.Event()
        # Asyncio itself holds only weak references to tasks.
        self._tasks: set[asyncio.Task[None]] = set()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    @property
    def url(self) -> str:
        """The server's address, without a path."""
        scheme = "http" if self._certificates is None else "https"
        return f"{scheme}://{authority(self.host, self.port)}"

    @property
    def is_exposed(self) -> bool:
        """Whether the address is not loopback and has no TLS: the answers are readable on the network."""
        address = self._listeners[0].socket.getsockname()[0].partition("%")[0]
        return self._certificates is None and not ip_address(address).is_loopback

    def add(self, listening: socket.socket, routes: Mapping[str, Route] | None = None) -> None:
        """Serve `routes`, or those of the address, on one more socket; before `start`.

        The socket is one of the UNIX domain, without TLS and names of hosts; the server closes it at the end.
        """
        self._listeners.append(_Listener(listening, self._service(routes or self._routes, None), None))

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def close(self) -> None:
        """Close the sockets and all connections; returns when the thread has ended."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join()
        self._loop.close()
        for listener in self._listeners:
            listener.socket.close()

    def _service(self, routes: Mapping[str, Route], hosts: HostNames | None) -> Service:
        table = {path.encode(): route for path, route in routes.items()}
        return Service(table, self._limits, Pace(self._limits.answers_per_second), hosts)

    def _run(self) -> None:
        self._loop.run_until_complete(self._serve())

    async def _serve(self) -> None:
        for listener in self._listeners:
            self._begin(self._accept(listener))
        await self._stop.wait()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _begin(self, work: Any) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _accept(self, listener: _Listener) -> None:
        """Accept connections, one in each iteration of the loop, so that no listener starves another."""
        listener.socket.setblocking(False)
        pace = Pace(self._limits.accepts_per_second)
        while True:
            await pace.turn()
            try:
                accepted, address = await self._loop.sock_accept(listener.socket)
            except OSError as error:
                # Short of descriptors or memory, above all; errors of the new connection come here too (accept(2)).
                if error.errno in {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}:
                    self._report_once(error.errno, f"connections are waiting: {error.strerror}")
                await asyncio.sleep(_ACCEPT_RETRY_S)
                continue
            self._begin(self._serve_client(listener, accepted, address[0] if address else ""))
            # Its task begins now, and makes room, before the next connection is accepted.
            await asyncio.sleep(0)

    async def _serve_client(self, listener: _Listener, accepted: socket.socket, client: str) -> None:
        """Serve one connection."""
        listener.make_room()
        connection = Connection(accepted, client, listener.service)
        task = asyncio.current_task()
        assert task is not None  # noqa: S101  # a connection is served by a task of its own
        listener.connections[connection] = task
        try:
            await connection.open(None if listener.certificates is None else listener.certificates.context())
            await connection.run()
        except (OSError, TimeoutError):
            # The client is gone, too slow, or speaks no TLS: nobody is left to be told.
            return
        finally:
            listener.connections.pop(connection, None)
            connection.abort()

    def _handle_error(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Take what asyncio would log with a traceback: clients bring about any number of OSError, defects the rest."""
        error = context.get("exception")
        if error is not None and not isinstance(error, OSError):
            self._report_once(type(error), f"{context['message']}: {type(error).__name__}: {error}")

    def _report_once(self, kind: object, text: str) -> None:
        if kind not in self._reported:
            self._reported.add(kind)
            self._report(f"metrics server: {text}")
