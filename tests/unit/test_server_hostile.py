"""The metrics server among many who mean it harm: floods, noise, and what they may take up."""

from __future__ import annotations

import gc
import os
import random
import resource
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

import pytest

from inspector.http.http1 import Response, ServerLimits
from inspector.http.server import MetricsServer
from tests.unit.test_server import BODY, everything, exchange, request

if TYPE_CHECKING:
    from inspector.http.tls import Certificates

LIMITS = ServerLimits(
    connections=8, header_bytes=4096, header_seconds=0.5, idle_seconds=0.5, write_seconds=0.3, goodbye_seconds=0.2
)
SCRAPE = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.fixture
def server() -> Iterator[MetricsServer]:
    """Return a running server with small limits."""
    with MetricsServer("127.0.0.1", 0, {"/metrics": lambda: Response(200, BODY)}, limits=LIMITS) as running:
        yield running


def open_descriptors() -> int:
    """Return how many descriptors this process has open."""
    return len(list(Path("/proc/self/fd").iterdir()))


def connect(server: MetricsServer, source: str = "127.0.0.1") -> socket.socket:
    """Return a connection from that address."""
    return socket.create_connection(("127.0.0.1", server.port), timeout=5, source_address=(source, 0))


@contextmanager
def flood(server: MetricsServer, sent: bytes, threads: int = 4) -> Iterator[list[int]]:
    """Open connections, send, and leave them, as fast as it goes, from an address of its own; yield how many each."""
    counts, stopping = [0] * threads, threading.Event()

    def work(number: int) -> None:
        kept: list[socket.socket] = []
        while not stopping.is_set():
            with suppress(OSError):
                client = connect(server, f"127.0.1.{number + 1}")
                client.sendall(sent)
                kept.append(client)
                counts[number] += 1
            for old in kept[:-50]:
                old.close()
            kept = kept[-50:]
        for client in kept:
            client.close()

    workers = [threading.Thread(target=work, args=(number,)) for number in range(threads)]
    for worker in workers:
        worker.start()
    try:
        yield counts
    finally:
        stopping.set()
        for worker in workers:
            worker.join()


@pytest.mark.parametrize("sent", [b"", b"GET /met", SCRAPE * 20, b"\0" * 5000], ids=["idle", "half", "many", "noise"])
def test_scrapes_go_on_during_a_flood(server: MetricsServer, sent: bytes) -> None:
    """Of hundreds of connections from other addresses: each scrape is answered within a client's five seconds."""
    with flood(server, sent) as counts:
        for _ in range(6):
            assert request(server)[1] == BODY
            time.sleep(0.05)
    assert sum(counts) > 100


def test_room_is_made_at_the_cost_of_whoever_takes_most(server: MetricsServer) -> None:
    """A connection of a client with one is kept, whatever another opens, and although it has waited longest."""
    with ExitStack() as stack:
        one = stack.enter_context(connect(server))
        others = [stack.enter_context(connect(server, "127.0.0.2")) for _ in range(5 * LIMITS.connections)]
        time.sleep(0.1)
        one.sendall(SCRAPE)
        assert one.recv(65536).endswith(BODY)
        assert others[0].recv(1) == b""


def test_descriptors_are_bounded(server: MetricsServer) -> None:
    """Connections beyond the limit take none for long."""
    request(server)
    before = open_descriptors()
    with ExitStack() as stack:
        clients = [stack.enter_context(connect(server)) for _ in range(200)]
        time.sleep(0.3)
        ours = open_descriptors() - before - len(clients)
        assert ours <= LIMITS.connections
    time.sleep(0.8)
    assert open_descriptors() <= before


def test_answers_are_paced() -> None:
    """Clients that ask without pause get so many answers a second, all together: the processor is left to others."""
    limits = ServerLimits(answers_per_second=20)
    asked = list[float]()

    def answer() -> Response:
        asked.append(time.monotonic())
        return Response(200, BODY)

    with MetricsServer("127.0.0.1", 0, {"/metrics": answer}, limits=limits) as server:
        began = time.monotonic()
        with ExitStack() as stack:
            clients = [stack.enter_context(connect(server)) for _ in range(4)]
            for client in clients:
                client.sendall(SCRAPE * 500)
            while len(asked) < 30:
                time.sleep(0.01)
    # A quarter of a second's worth comes at once. Whatever the machine takes for it, none comes before its time.
    for number, when in enumerate(asked):
        assert number <= 20 * (when - began + 0.25) + 4


def test_accepting_is_paced() -> None:
    """Connections beyond the pace wait in the accept queue, and are answered in the end."""
    limits = ServerLimits(accepts_per_second=20)
    began = time.monotonic()
    with (
        MetricsServer("127.0.0.1", 0, {"/metrics": lambda: Response(200, BODY)}, limits=limits) as server,
        ExitStack() as stack,
    ):
        clients = [stack.enter_context(connect(server)) for _ in range(45)]
        for client in clients:
            client.sendall(SCRAPE)
        assert all(client.recv(65536).endswith(BODY) for client in clients)
    # A quarter of a second's worth comes at once.
    assert time.monotonic() - began >= 45 / 20 - 0.25 - 1 / 20


def test_turns_of_those_who_have_gone_are_not_waited_for() -> None:
    """A client whose connection made room for others has no turn any more: a scrape does not come after it."""
    limits = ServerLimits(connections=2, answers_per_second=2)
    with MetricsServer("127.0.0.1", 0, {"/metrics": lambda: Response(200, BODY)}, limits=limits) as server:
        with ExitStack() as stack:
            for _ in range(60):
                stack.enter_context(connect(server, "127.0.0.2")).sendall(SCRAPE)
        # With all of their turns it would be half a minute; a client waits for five seconds.
        assert request(server)[1] == BODY


@pytest.mark.parametrize(
    "sent",
    [
        b"GET /metrics\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET /metrics HTTP/1.1\r\n\r\n",
        b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nHost: y\r\n\r\n",
        b"GET /metrics HTTP/1.1\r\nHost : x\r\n\r\n",
        b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nX: \0\r\n\r\n",
        b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
        b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: gzip\r\n\r\n",
        b"\x00\x01\x02\x03" * 100,
        b"G" * 3000,
    ],
)
def test_odd_requests(server: MetricsServer, sent: bytes) -> None:
    """A status of a client's error and the end, or only the end; never an answer, and the next client is served."""
    with connect(server) as client:
        client.sendall(sent)
        client.shutdown(socket.SHUT_WR)
        received = everything(client)
    assert not received or received.split(b" ")[1][:1] in (b"4", b"5"), received
    assert BODY not in received
    assert request(server)[1] == BODY


@pytest.mark.parametrize("header", [b"Expect: 100-continue", b"Upgrade: websocket\r\nConnection: Upgrade", b"X:"])
def test_headers_that_change_nothing(server: MetricsServer, header: bytes) -> None:
    """What is offered and not wanted is passed over."""
    received = exchange(server, b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n" + header + b"\r\n\r\n")
    assert received.endswith(BODY)


@pytest.mark.parametrize("seed", range(5))
def test_changed_requests(server: MetricsServer, seed: int) -> None:
    """Requests with bytes changed, cut and doubled: an answer of HTTP or the end, and a scrape in between."""
    choose = random.Random(seed)  # noqa: S311 - to be had again, not secret
    for _ in range(30):
        sent = bytearray(SCRAPE * choose.randrange(1, 3))
        for _ in range(choose.randrange(1, 8)):
            sent[choose.randrange(len(sent))] = choose.choice(b"\0\r\n :/?%\xff\x7fAz1")
        del sent[choose.randrange(len(sent) + 1) :]
        with connect(server) as client:
            client.sendall(sent)
            client.shutdown(socket.SHUT_WR)
            with suppress(ConnectionResetError):
                received = everything(client)
                assert not received or received.startswith(b"HTTP/1.1 ")
    assert request(server)[1] == BODY


@pytest.mark.parametrize("sent", [b"", b"GET /metrics HTTP/1.1\r\nHo"])
def test_half_closed_before_and_within_a_request(sent: bytes) -> None:
    """A client that will say no more is let go before its time is up: that is a minute, the client's five seconds."""
    patient = replace(LIMITS, header_seconds=60)
    with (
        MetricsServer("127.0.0.1", 0, {"/metrics": lambda: Response(200, BODY)}, limits=patient) as server,
        connect(server) as client,
    ):
        client.sendall(sent)
        client.shutdown(socket.SHUT_WR)
        assert BODY not in everything(client)


def test_a_slow_but_whole_request_is_answered(server: MetricsServer) -> None:
    """Byte by byte, as long as it stays within its time."""
    with connect(server) as client:
        for at in range(len(SCRAPE)):
            client.sendall(SCRAPE[at : at + 1])
            time.sleep(0.002)
        assert client.recv(65536).endswith(BODY)


def test_without_descriptors_clients_wait_and_one_line_says_so() -> None:
    """While the process has no descriptor left nobody is accepted; the client that waits is answered afterwards."""
    said: list[str] = []
    routes = {"/metrics": lambda: Response(200, BODY)}
    with MetricsServer("127.0.0.1", 0, routes, report=said.append) as server, socket.socket() as client:
        client.settimeout(10)
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        lowest_free = os.dup(0)
        os.close(lowest_free)
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free, hard))
        try:
            client.connect(("127.0.0.1", server.port))
            client.sendall(SCRAPE)
            # Long enough for several attempts.
            time.sleep(1)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert client.recv(65536).endswith(BODY)
    assert said == ["metrics server: connections are waiting: Too many open files"]


def test_a_defect_is_said_once(capfd: pytest.CaptureFixture[str]) -> None:
    """A defect of the server itself, here in place of certificates: one line, no traceback, however often it is met."""

    class Broken:
        def context(self) -> None:
            raise RuntimeError("a defect")

    said: list[str] = []
    with MetricsServer("127.0.0.1", 0, {}, certificates=cast("Certificates", Broken()), report=said.append) as server:
        for _ in range(5):
            with connect(server) as client:
                assert client.recv(1) == b""
        gc.collect()
    assert len(said) == 1
    assert said[0].endswith("RuntimeError: a defect")
    assert capfd.readouterr().err == ""
