"""Places kept for a scraper while other clients connect so fast that the kernel drops most of their connections."""

from __future__ import annotations

import socket
from collections import Counter
from contextlib import ExitStack
from ipaddress import ip_network
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from inspector.errors import ListenError
from inspector.http.http1 import Response
from inspector.http.listening import BACKLOG, listen_with_reserve
from inspector.http.server import MetricsServer
from tests.build.flood import flood
from tests.conftest import unavailable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from inspector.http.listening import Network

BODY = b"epm_inspector_up 1\n"
REQUEST = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
ROUTES = {"/metrics": lambda: Response(200, BODY)}
SCRAPES = 11
"""As many as were tried, and of which none was answered, when the fault was found."""
FLOODS = pytest.mark.parametrize("sent", [b"", b"GET /met", REQUEST], ids=["nothing", "half", "whole"])


@pytest.fixture
def listening(tmp_path: Path) -> Iterator[socket.socket]:
    """Return a listening socket of the UNIX domain."""
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(tmp_path / "socket"))
        one.listen(16)
        yield one


def ask(client: socket.socket) -> bytes:
    """Return what a connected client is answered."""
    with client:
        client.sendall(REQUEST)
        received = b""
        while more := client.recv(65536):
            received += more
        return received


def scrape_locally(path: str) -> bool:
    """Say whether a scrape over a UNIX socket is answered."""
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(10)
    try:
        client.connect(path)
        return ask(client).endswith(BODY)
    except OSError:
        return False


def scrape_from(source: str, port: int) -> bool:
    """Say whether a scrape from that address is answered."""
    try:
        return ask(socket.create_connection(("127.0.0.1", port), 10, (source, 0))).endswith(BODY)
    except OSError:
        return False


@FLOODS
def test_the_local_socket_is_a_place(listening: socket.socket, sent: bytes) -> None:
    """Each scrape over the UNIX socket is answered beside a flood on the TCP port."""
    server = MetricsServer("127.0.0.1", 0, ROUTES)
    server.add(listening)
    with server, flood(server.port, sent=sent) as counts:
        answered = [scrape_locally(listening.getsockname()) for _ in range(SCRAPES)]
    assert all(answered)
    assert sum(counts) > 1000


@FLOODS
def test_configured_addresses_have_a_place(sent: bytes) -> None:
    """Each scrape from a configured address is answered at the same address and port."""
    server = MetricsServer("127.0.0.1", 0, ROUTES, scrapers=[ip_network("127.0.0.8/30")])
    with server, flood(server.port, sent=sent) as counts:
        answered = [scrape_from("127.0.0.9", server.port) for _ in range(SCRAPES)]
    assert all(answered)
    assert sum(counts) > 1000


@pytest.mark.parametrize(
    ("networks", "of_scrapers"),
    [
        (["127.0.0.2/32"], {"127.0.0.2"}),
        (["192.0.2.0/24", "::1/128", "127.0.0.4/30"], {"127.0.0.4", "127.0.0.7"}),
        (["127.0.0.0/8"], {"127.0.0.1", "127.0.0.2", "127.0.0.4", "127.0.0.7", "127.0.0.8"}),
        (["0.0.0.0/0"], {"127.0.0.1", "127.0.0.2", "127.0.0.4", "127.0.0.7", "127.0.0.8"}),
        (["2001:db8::/32", "::/0"], set()),
        ([f"192.0.2.{number}/32" for number in range(63)] + ["127.0.0.8/32"], {"127.0.0.8"}),
    ],
)
def test_the_kernel_separates_by_source(networks: list[str], of_scrapers: set[str]) -> None:
    """Each connection is in the queue of its source address: at the edges of networks, of both families, of many."""
    sources = ["127.0.0.1", "127.0.0.2", "127.0.0.4", "127.0.0.7", "127.0.0.8"]
    check_separation("127.0.0.1", networks, sources, of_scrapers)


def test_ipv6_is_separated() -> None:
    """The same with IPv6, and with IPv4 at a socket for both."""
    if not Path("/proc/net/if_inet6").exists():
        unavailable("this system has no IPv6")
    check_separation("::1", ["127.0.0.1/32", "::/127"], ["::1"], {"::1"})
    check_separation("::1", ["::/128", "::2/127", "8000::/1"], ["::1"], set())
    check_separation("::", ["127.0.0.2/32"], ["127.0.0.1", "127.0.0.2", "::1"], {"127.0.0.2"})


def check_separation(host: str, networks: list[str], sources: list[str], of_scrapers: set[str]) -> None:
    """Connect several times from each source, and compare which are in the queue of scrapers."""
    parsed: list[Network] = [ip_network(network) for network in networks]
    everybody, reserved = listen_with_reserve(host, 0, parsed)
    with everybody, reserved, ExitStack() as stack:
        for source in sources * 3:
            target = ("::1" if ":" in source else "127.0.0.1", everybody.getsockname()[1])
            stack.enter_context(socket.create_connection(target, 5, (source, 0)))
        queues = []
        for listener in (everybody, reserved):
            listener.setblocking(False)
            queues.append(Counter[str]())
            while True:
                try:
                    accepted, address = listener.accept()
                except BlockingIOError:
                    break
                queues[-1][address[0].removeprefix("::ffff:")] += 1
                accepted.close()
    assert queues[1] == dict.fromkeys(of_scrapers, 3)
    assert queues[0] == dict.fromkeys(set(sources) - of_scrapers, 3)


def test_a_full_queue_of_others_keeps_the_place() -> None:
    """Others fill their queue until the kernel lets nobody in: the queue of scrapers is as it was."""
    everybody, reserved = listen_with_reserve("127.0.0.1", 0, [ip_network("127.0.0.2/32")])
    with everybody, reserved, ExitStack() as stack:
        for _ in range(2 * BACKLOG):
            client = stack.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(everybody.getsockname())
        with pytest.raises(TimeoutError):
            socket.create_connection(everybody.getsockname(), 0.5)
        socket.create_connection(everybody.getsockname(), 5, ("127.0.0.2", 0)).close()


@pytest.mark.parametrize("scrapers", [[], [ip_network("127.0.0.2/32")]])
def test_a_port_in_use_is_refused(scrapers: list[Network]) -> None:
    """Two sockets of one server share a port; another server, with or without such, does not get it."""
    with MetricsServer("127.0.0.1", 0, ROUTES, scrapers=[ip_network("127.0.0.3/32")]) as server:
        with pytest.raises(ListenError, match=rf"^cannot listen on 127\.0\.0\.1:{server.port}: .*in use; .*--listen"):
            MetricsServer("127.0.0.1", server.port, ROUTES, scrapers=scrapers)
        assert scrape_from("127.0.0.3", server.port)
        assert scrape_from("127.0.0.1", server.port)
    MetricsServer("127.0.0.1", server.port, ROUTES, scrapers=scrapers).close()
