"""The metrics server, as scrapers, idlers and vandals meet it: over real sockets on loopback."""

from __future__ import annotations

import http.client
import select
import socket
import threading
import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from inspector.errors import ListenError
from inspector.http.http1 import Response, ServerLimits
from inspector.http.server import MetricsServer
from tests.conftest import unavailable

if TYPE_CHECKING:
    from collections.abc import Iterator

BODY = b"epm_inspector_up 1\n"
LIMITS = ServerLimits(
    connections=8, header_bytes=4096, header_seconds=0.3, idle_seconds=0.6, write_seconds=0.3, goodbye_seconds=0.3
)
LARGE = b"x" * 20_000_000


def broken() -> Response:
    """Fail as a route with a defect does."""
    raise RuntimeError("not for clients")


@pytest.fixture
def server() -> Iterator[MetricsServer]:
    """Return a running server with small limits."""
    routes = {
        "/metrics": lambda: Response(200, BODY, "text/plain; version=0.0.4"),
        "/healthz": lambda: Response(503, b"not attached\n"),
        "/large": lambda: Response(200, LARGE),
        "/broken": broken,
    }
    with MetricsServer("127.0.0.1", 0, routes, limits=LIMITS) as running:
        yield running


def connect(server: MetricsServer) -> socket.socket:
    """Return a connected socket that never waits long."""
    return socket.create_connection(("127.0.0.1", server.port), timeout=5)


def request(
    server: MetricsServer, path: str = "/metrics", method: str = "GET", **more: object
) -> tuple[http.client.HTTPResponse, bytes]:
    """Return response and body of one request, by the standard library's client."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=5)
    connection.request(method, path, **more)  # type: ignore[arg-type]  # body and headers are passed on as they are
    response = connection.getresponse()
    body = response.read()
    connection.close()
    return response, body


def exchange(server: MetricsServer, sent: bytes) -> bytes:
    """Send bytes and return everything until the server closes."""
    with connect(server) as client:
        client.sendall(sent)
        return everything(client)


def cut_off_while_sending(client: socket.socket, piece: bytes, pause: float) -> bool:
    """Send a piece now and then for five seconds; return whether the server put an end to it."""
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        try:
            client.sendall(piece)
        except OSError:
            return True
        time.sleep(pause)
    return False


def everything(client: socket.socket) -> bytes:
    """Return all bytes until the other side closes."""
    received = b""
    while more := client.recv(65536):
        received += more
    return received


def test_metrics(server: MetricsServer) -> None:
    """A scrape gets the route's body under the route's content type."""
    response, body = request(server)
    assert (response.status, body) == (200, BODY)
    assert response.getheader("Content-Type") == "text/plain; version=0.0.4"
    assert request(server, "/metrics?name=x")[1] == BODY
    assert server.url == f"http://127.0.0.1:{server.port}"


def test_head_has_the_length_and_no_body(server: MetricsServer) -> None:
    """HEAD is answered as GET, without the body, and the connection goes on."""
    received = exchange(server, b"HEAD /metrics HTTP/1.1\r\nHost: localhost\r\n\r\nGET /healthz HTTP/1.0\r\n\r\n")
    head, _, rest = received.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200")
    assert f"Content-Length: {len(BODY)}".encode() in head
    assert rest.startswith(b"HTTP/1.1 503")


def test_routes_choose_their_status(server: MetricsServer) -> None:
    """A health check may say 503."""
    response, body = request(server, "/healthz")
    assert (response.status, body) == (503, b"not attached\n")


@pytest.mark.parametrize("path", ["/", "/metrics/", "/METRICS", "//metrics", "/%6detrics", "http://localhost/metrics"])
def test_other_paths_are_not_found(server: MetricsServer, path: str) -> None:
    """Metrics are on their own path and nowhere else."""
    assert request(server, path)[0].status == 404


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "BREW", "get"])
def test_other_methods_are_refused(server: MetricsServer, method: str) -> None:
    """405, and which are allowed."""
    response, _ = request(server, method=method, headers={"Content-Length": "0"})
    assert response.status == 405
    assert response.getheader("Allow") == "GET, HEAD"


def test_connect_is_refused(server: MetricsServer) -> None:
    """The server is no proxy."""
    assert exchange(server, b"CONNECT /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n").startswith(b"HTTP/1.1 405")


@pytest.mark.parametrize(
    "framing", [b"Content-Length: 5\r\n\r\nhello", b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"]
)
def test_bodies_are_refused(server: MetricsServer, framing: bytes) -> None:
    """A body is not read: the answer says so and the connection ends, whatever is in it."""
    head = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n"
    received = exchange(server, head + framing + b"GET /metrics HTTP/1.1\r\n\r\n")
    assert received.startswith(b"HTTP/1.1 413")
    assert received.count(b"HTTP/1.1") == 1
    assert b"connection: close" in received.lower()


def test_an_endless_body_ends(server: MetricsServer) -> None:
    """What is promised and sent without end is cut off soon."""
    with connect(server) as client:
        client.sendall(b"POST /metrics HTTP/1.1\r\nHost: localhost\r\nContent-Length: 999999999\r\n\r\n")
        assert cut_off_while_sending(client, b"x" * 1000, 0.005)


@pytest.mark.parametrize(
    "sent",
    [b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", b"GET\r\n\r\n", b"GET / FTP/1.1\r\n\r\n", b"\r\n" * 9],
)
def test_what_is_no_request(server: MetricsServer, sent: bytes) -> None:
    """TLS on the wrong port and other noise get 400 and the end, at worst only the end."""
    received = exchange(server, sent)
    assert received.startswith(b"HTTP/1.1 400") or not received
    assert request(server)[1] == BODY


def test_huge_headers_are_refused(server: MetricsServer) -> None:
    """A header beyond the limit gets 431, and the answer arrives although more was sent."""
    received = exchange(server, b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nX-Long: " + b"y" * 60_000 + b"\r\n\r\n")
    assert received.startswith(b"HTTP/1.1 431")


def test_a_slow_header_is_cut_off(server: MetricsServer) -> None:
    """One byte now and then does not hold a connection beyond the limit."""
    with connect(server) as client:
        client.sendall(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nX-Long: ")
        assert cut_off_while_sending(client, b"y", 0.05)


def test_a_silent_connection_is_closed(server: MetricsServer) -> None:
    """Before the first request first, after one later."""
    with connect(server) as kept, connect(server) as silent:
        kept.sendall(b"HEAD /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
        kept.recv(65536)
        ended, _, _ = select.select([kept, silent], [], [], 5)
        assert ended == [silent]
        assert silent.recv(1) == kept.recv(1) == b""


def test_a_connection_is_kept_for_the_next_scrape(server: MetricsServer) -> None:
    """Two requests, one connection."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=5)
    connection.request("GET", "/metrics")
    assert connection.getresponse().read() == BODY
    used = connection.sock
    time.sleep(0.4)
    connection.request("GET", "/metrics")
    assert connection.getresponse().read() == BODY
    assert connection.sock is used
    connection.close()


def test_pipelined_requests_are_answered_in_order(server: MetricsServer) -> None:
    """Requests sent at once are answered one after the other."""
    received = exchange(
        server,
        b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n" * 200
        + b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
    )
    assert received.count(BODY) == 200
    assert received.endswith(b"not attached\n")


def test_idle_connections_never_block_a_scrape() -> None:
    """Ten times more idle connections than the server keeps: a scrape does not wait for their end, the oldest go."""
    patient = replace(LIMITS, header_seconds=60)
    with (
        MetricsServer("127.0.0.1", 0, {"/metrics": lambda: Response(200, BODY)}, limits=patient) as server,
        ExitStack() as stack,
    ):
        idle = [stack.enter_context(connect(server)) for _ in range(10 * LIMITS.connections)]
        assert request(server)[1] == BODY
        assert idle[0].recv(1) == b""


def test_half_sent_requests_never_block_a_scrape(server: MetricsServer) -> None:
    """The same with clients that have begun a header."""
    with ExitStack() as stack:
        for _ in range(3 * LIMITS.connections):
            stack.enter_context(connect(server)).sendall(b"GET /metrics HTTP/1.1\r\nHos")
        assert request(server)[1] == BODY


def test_clients_that_do_not_read_are_cut_off(server: MetricsServer) -> None:
    """Answers nobody takes are dropped after the write limit, and others are served meanwhile."""
    with ExitStack() as stack:
        lazy = [stack.enter_context(connect(server)) for _ in range(LIMITS.connections)]
        for client in lazy:
            client.sendall(b"GET /large HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert request(server)[1] == BODY
        time.sleep(0.8)
        assert len(everything(lazy[-1])) < len(LARGE)


def test_a_large_answer_arrives_whole(server: MetricsServer) -> None:
    """Longer than any buffer between the two."""
    assert request(server, "/large")[1] == LARGE


def test_clients_that_close_early_are_forgotten(server: MetricsServer) -> None:
    """Before, within and after a request, with and without a reset."""
    for sent in (b"", b"GET /met", b"GET /large HTTP/1.1\r\nHost: localhost\r\n\r\n"):
        for linger in (b"", b"\1\0\0\0\0\0\0\0"):
            client = connect(server)
            client.sendall(sent)
            if linger:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            client.close()
    assert request(server)[1] == BODY


def test_a_client_that_only_half_closes_is_answered(server: MetricsServer) -> None:
    """Having said all it wants, a client may shut its sending side."""
    with connect(server) as client:
        client.sendall(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
        client.shutdown(socket.SHUT_WR)
        assert everything(client).endswith(BODY)


def test_a_defect_in_a_route_is_an_error_without_details(server: MetricsServer) -> None:
    """500, no traceback, and the server goes on."""
    response, body = request(server, "/broken")
    assert response.status == 500
    assert b"not for clients" not in body
    assert request(server)[1] == BODY


def test_port_taken(server: MetricsServer) -> None:
    """One line with address, port and what to do."""
    with pytest.raises(
        ListenError, match=rf"^cannot listen on 127\.0\.0\.1:{server.port}: [^\n]*in use; [^\n]*--listen"
    ):
        MetricsServer("127.0.0.1", server.port, {})


@pytest.mark.parametrize(
    ("host", "port"), [("192.0.2.1", 0), ("no-such-host.invalid", 80), ("127.0.0.1", 70000), ("", 80)]
)
def test_addresses_that_cannot_be_had(host: str, port: int) -> None:
    """Addresses of others, names of nobody, ports beyond the last; an empty name is not "everywhere"."""
    with pytest.raises(ListenError, match=f":{port}: "):
        MetricsServer(host, port, {})


def test_ipv6_loopback() -> None:
    """IPv6 addresses are in brackets in the URL."""
    if not Path("/proc/net/if_inet6").exists():
        unavailable("this system has no IPv6")
    with MetricsServer("::1", 0, {"/metrics": lambda: Response(200, BODY)}) as server:
        assert server.url == f"http://[::1]:{server.port}"
        with socket.create_connection(("::1", server.port), timeout=5) as client:
            client.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
            assert everything(client).endswith(BODY)


def test_it_listens_on_the_given_address_only(server: MetricsServer) -> None:
    """Another loopback address is refused."""
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.2", server.port), timeout=5)


def test_closing_ends_everything() -> None:
    """Open connections are closed, the thread ends, the port is free again; closing twice is harmless."""
    server = MetricsServer("127.0.0.1", 0, {"/metrics": lambda: Response(200, BODY)})
    server.start()
    with connect(server) as client:
        client.sendall(b"GET /met")
        time.sleep(0.05)
        server.close()
        assert client.recv(1) == b""
    assert "metrics-server" not in {thread.name for thread in threading.enumerate()}
    server.close()
    MetricsServer("127.0.0.1", server.port, {}).close()
