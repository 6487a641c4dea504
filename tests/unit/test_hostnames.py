"""Host names: whom the metrics server answers, and a web page of another name that has let it resolve to loopback."""

from __future__ import annotations

import http.client
import socket
from typing import TYPE_CHECKING

import pytest

from inspector.http.hostnames import HostNames
from inspector.http.http1 import Response
from inspector.http.server import MetricsServer

if TYPE_CHECKING:
    from pathlib import Path

BODY = b"[]\n"
ROUTES = {"/findings": lambda: Response(200, BODY), "/metrics": lambda: Response(200, BODY)}


def ask(server: MetricsServer, host: str, path: str = "/findings") -> tuple[int, bytes]:
    """Return status and body of a request under that name."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=5)
    connection.request("GET", path, headers={"Host": host})
    response = connection.getresponse()
    body = response.read()
    connection.close()
    return response.status, body


@pytest.mark.parametrize("path", ["/findings", "/metrics", "/elsewhere"])
def test_a_rebound_name_reads_nothing(path: str) -> None:
    """The name of a web page that resolves to loopback gets 421 and what to do, at every path."""
    with MetricsServer("127.0.0.1", 0, ROUTES) as server:
        status, body = ask(server, f"attacker.example:{server.port}", path)
        assert (status, BODY in body) == (421, False)
        assert b"hosts" in body
        assert ask(server, f"127.0.0.1:{server.port}") == (200, BODY)


def test_configured_names() -> None:
    """A name in `hosts` is served, and no other below or above it."""
    with MetricsServer("127.0.0.1", 0, ROUTES, hosts=["gateway1.example"]) as server:
        assert ask(server, "Gateway1.Example.:10135") == (200, BODY)
        assert [ask(server, name)[0] for name in ("example", "x.gateway1.example", "gateway1.example.net")] == [421] * 3


def test_on_all_addresses_the_one_that_was_reached_counts() -> None:
    """Where the server listens on all addresses, Host may have the one to which the client is connected."""
    with MetricsServer("0.0.0.0", 0, ROUTES) as server:  # noqa: S104 - what is tested
        assert ask(server, "127.0.0.1") == (200, BODY)
        assert ask(server, "192.0.2.1")[0] == 421


def test_the_local_socket_has_no_names(tmp_path: Path) -> None:
    """Over a UNIX socket Host may be anything: no browser is among its clients."""
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(tmp_path / "socket"))
    listening.listen()
    server = MetricsServer("127.0.0.1", 0, ROUTES)
    server.add(listening)
    with server, socket.socket(socket.AF_UNIX) as client:
        client.settimeout(5)
        client.connect(str(tmp_path / "socket"))
        client.sendall(b"GET /findings HTTP/1.1\r\nHost: gateway1.sock\r\nConnection: close\r\n\r\n")
        received = b""
        while more := client.recv(65536):
            received += more
    assert received.startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize(
    "header",
    [
        *(
            "localhost",
            "LOCALHOST:1",
            "localhost.",
            "inspector.localhost",
            "127.0.0.1",
            "127.1.2.3:80",
            "[::1]",
            "[::1]:80",
        ),
        *("192.0.2.10", "192.0.2.10:10135", "[::ffff:192.0.2.10]:1", "gateway1", "[2001:DB8::1]", "198.51.100.7"),
        socket.gethostname(),
    ],
)
def test_accepted(header: str) -> None:
    """Names and addresses of this machine, of the connection, and of the configuration, with any port."""
    assert HostNames(["gateway1", "2001:db8:0::1", "198.51.100.7"]).accept(header, "192.0.2.10")


@pytest.mark.parametrize(
    "header",
    [
        *("", ":80", "attacker.example", "localhost.attacker.example", "localhost@attacker.example", "192.0.2.11"),
        *("[2001:db8::2]", "192.0.2.10.attacker.example", "localhost:80:80", "localhost/", "[localhost", "::1]", "[]"),
        *("localhost\N{CYRILLIC SMALL LETTER A}", "127.0.0.1 attacker.example", "0x7f000001", "2130706433"),
    ],
)
def test_refused(header: str) -> None:
    """Everything else, however much it looks like one of these."""
    assert not HostNames(["gateway1"]).accept(header, "192.0.2.10")


def test_the_machine_has_a_long_and_a_short_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whole, or only its first label; with another domain it is the name of somebody else."""
    monkeypatch.setattr(socket, "gethostname", lambda: "gateway7.example")
    names = HostNames()
    headers = ("gateway7.example", "gateway7:10135", "gateway7.attacker.example", "example")
    assert [names.accept(header, "192.0.2.10") for header in headers] == [True, True, False, False]


@pytest.mark.parametrize(("local", "header"), [("fe80::1%eth0", "[fe80::1]"), ("::ffff:192.0.2.10", "192.0.2.10")])
def test_local_addresses_as_the_system_writes_them(local: str, header: str) -> None:
    """With a zone, and IPv4 at a socket for both."""
    assert HostNames().accept(header, local)
