"""The metrics server over TLS: with real certificates, and clients which misbehave before and within the handshake."""

from __future__ import annotations

import gc
import http.client
import logging
import os
import socket
import ssl
import subprocess
import time
from contextlib import ExitStack, suppress
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from inspector.errors import ListenError
from inspector.http.http1 import Response, ServerLimits
from inspector.http.server import MetricsServer
from inspector.http.tls import Certificates, TlsFiles
from tests.build.certificates import KeyKind, Pair, issue, make_issuer
from tests.conftest import require_tools

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BODY = b"epm_inspector_up 1\n"
LARGE = b"x" * 20_000_000
LIMITS = ServerLimits(connections=8, header_seconds=0.5, idle_seconds=1, write_seconds=0.5, goodbye_seconds=0.3)


class Site:
    """A running server with its certificate, and what it said on the way."""

    def __init__(self, folder: Path, *, with_client_ca: bool, kind: KeyKind = "ec") -> None:
        self.folder = folder
        self.issuer = make_issuer(folder, "issuer")
        self.pair = issue(folder, "server", self.issuer, kind=kind)
        self.said: list[str] = []
        client_ca = self.issuer.certificate if with_client_ca else None
        self.certificates = Certificates(TlsFiles(self.pair.certificate, self.pair.key, client_ca), self.said.append)
        routes = {"/metrics": lambda: Response(200, BODY), "/large": lambda: Response(200, LARGE)}
        self.server = MetricsServer(
            "127.0.0.1", 0, routes, limits=LIMITS, certificates=self.certificates, report=self.said.append
        )

    def connect(self) -> socket.socket:
        """Return a connection without TLS."""
        return socket.create_connection(("127.0.0.1", self.server.port), timeout=5)

    def get(self, path: str = "/metrics", *, client: Pair | None = None, **options: object) -> tuple[bytes, str]:
        """Return body and serial number of the server's certificate; the issuer is checked, and the address."""
        context = ssl.create_default_context(cafile=str(self.issuer.certificate))
        if client is not None:
            context.load_cert_chain(client.certificate, client.key)
        for name, value in options.items():
            setattr(context, name, value)
        connection = http.client.HTTPSConnection("127.0.0.1", self.server.port, timeout=5, context=context)
        connection.request("GET", path, headers={"Connection": "close"})
        assert isinstance(connection.sock, ssl.SSLSocket)
        serial = str((connection.sock.getpeercert() or {})["serialNumber"])
        body = connection.getresponse().read()
        connection.close()
        return body, serial


def running(folder: Path, *, with_client_ca: bool = False) -> Iterator[Site]:
    """Run a site while a test uses it."""
    require_tools(["openssl"])
    site = Site(folder, with_client_ca=with_client_ca)
    with site.server:
        yield site


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """Serve every client."""
    yield from running(tmp_path)


@pytest.fixture
def closed_site(tmp_path: Path) -> Iterator[Site]:
    """Serve clients with a certificate."""
    yield from running(tmp_path, with_client_ca=True)


def test_scrape(site: Site) -> None:
    """By a client that checks issuer and address; also answers longer than any buffer."""
    assert site.server.url == f"https://127.0.0.1:{site.server.port}"
    assert site.get()[0] == BODY
    assert site.get("/large")[0] == LARGE


def test_a_connection_is_kept(site: Site) -> None:
    """Several requests on one connection."""
    context = ssl.create_default_context(cafile=str(site.issuer.certificate))
    connection = http.client.HTTPSConnection("127.0.0.1", site.server.port, timeout=5, context=context)
    for _ in range(3):
        connection.request("GET", "/metrics")
        assert connection.getresponse().read() == BODY
    connection.close()


def test_goodbye_is_proper(site: Site) -> None:
    """The end of an answer is told apart from a connection that was cut: by TLS's own close."""
    context = ssl.create_default_context(cafile=str(site.issuer.certificate))
    context.options &= ~ssl.OP_IGNORE_UNEXPECTED_EOF
    with site.connect() as raw, context.wrap_socket(raw, server_hostname="127.0.0.1") as client:
        client.sendall(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        received = b""
        while more := client.recv(65536):
            received += more
        assert received.endswith(BODY)


def test_many_handshakes_begin_with_bytes_already_there(site: Site) -> None:
    """What a client sends at once with the connection is part of the handshake, never lost."""
    for _ in range(100):
        assert site.get()[0] == BODY


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_versions(site: Site, version: ssl.TLSVersion) -> None:
    """TLS 1.2 and 1.3."""
    assert site.get(minimum_version=version, maximum_version=version)[0] == BODY


def test_old_versions_are_refused(site: Site) -> None:
    """TLS 1.1 is no more."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    with site.connect() as raw, pytest.raises(ssl.SSLError):
        context.wrap_socket(raw)


def test_plain_requests_get_nothing(site: Site) -> None:
    """A request without TLS is not answered."""
    with site.connect() as client:
        client.sendall(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
        received = b""
        try:
            while more := client.recv(65536):
                received += more
        except ConnectionResetError:
            pass
        assert BODY not in received
        assert not received.startswith(b"HTTP")


def test_idle_connections_never_block_a_scrape(site: Site) -> None:
    """Ten times more connections than are kept, none of which begins a handshake: nobody waits for their end."""
    patient = replace(LIMITS, header_seconds=60)
    routes = {"/metrics": lambda: Response(200, BODY)}
    site.server.close()
    site.server = MetricsServer("127.0.0.1", 0, routes, limits=patient, certificates=site.certificates)
    with site.server, ExitStack() as stack:
        idle = [stack.enter_context(site.connect()) for _ in range(10 * LIMITS.connections)]
        # Its own time is five seconds, those of the others are a minute.
        assert site.get()[0] == BODY
        assert idle[0].recv(1) == b""


def test_half_handshakes_never_block_a_scrape(site: Site) -> None:
    """The same with clients that have begun one; each is cut off when it takes too long."""
    with ExitStack() as stack:
        clients = [stack.enter_context(site.connect()) for _ in range(3 * LIMITS.connections)]
        for client in clients:
            client.sendall(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")
        assert site.get()[0] == BODY
        with suppress(ConnectionResetError):
            assert clients[-1].recv(100) == b""


def leave(site: Site, context: ssl.SSLContext, stage: str) -> None:
    """Be a client that goes before its time: in its handshake, with its last part, its request, or in an answer.

    It goes by a reset, or (`shut`) ends both directions within its request, without a word of TLS.
    """
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    secure = context.wrap_bio(incoming, outgoing)
    with site.connect() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        try:
            secure.do_handshake()
        except ssl.SSLWantReadError:
            client.sendall(outgoing.read())
        if stage == "hello":
            return
        while True:
            incoming.write(client.recv(65536))
            try:
                secure.do_handshake()
                break
            except ssl.SSLWantReadError:
                client.sendall(outgoing.read())
        if stage == "goodbye":
            with suppress(ssl.SSLWantReadError, ssl.SSLSyscallError):
                secure.unwrap()
        elif stage == "request":
            secure.write(b"GET /large HTTP/1.1\r\nHost: localhost\r\n\r\n" * 20)
        elif stage == "shut":
            secure.write(b"GET /lar")
        client.sendall(outgoing.read())
        if stage == "shut":
            # On a busy machine the server may have closed it by now: its patience is short here.
            with suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)
        if stage == "request":
            client.recv(1000)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("stage", ["hello", "handshake", "goodbye", "shut", "request"])
def test_clients_that_leave_early_write_nothing(
    site: Site, stage: str, version: ssl.TLSVersion, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """No line of whatever logger, and none on standard error, for any number of them."""
    context = ssl.create_default_context(cafile=str(site.issuer.certificate))
    context.check_hostname = False
    context.minimum_version = context.maximum_version = version
    with caplog.at_level(logging.WARNING):
        for _ in range(30):
            with suppress(ConnectionError):
                leave(site, context, stage)
        assert site.get()[0] == BODY
        site.server.close()
        gc.collect()
    assert [record.getMessage() for record in caplog.records] == []
    assert (site.said, capfd.readouterr().err) == ([], "")


def test_a_client_that_leaves_as_it_waits_for_its_turn(site: Site) -> None:
    """What it is connected to is known all the same: the defects that the server reports are none of its."""
    said: list[str] = []
    context = ssl.create_default_context(cafile=str(site.issuer.certificate))
    routes = {"/metrics": lambda: Response(200, BODY)}
    limits = ServerLimits(answers_per_second=2)
    with MetricsServer(
        "127.0.0.1", 0, routes, limits=limits, certificates=site.certificates, report=said.append
    ) as server:
        for _ in range(3):
            with (
                socket.create_connection(("127.0.0.1", server.port), timeout=5) as client,
                context.wrap_socket(client, server_hostname="127.0.0.1") as secure,
            ):
                secure.sendall(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
        time.sleep(2)
    gc.collect()
    assert said == []


def handshake(site: Site, *options: str) -> subprocess.CompletedProcess[str]:
    """Return what another implementation of a client says of a handshake."""
    command = ["openssl", "s_client", "-connect", f"127.0.0.1:{site.server.port}", *options]
    return subprocess.run(command, input="", capture_output=True, text=True, check=False, timeout=30)


@pytest.mark.parametrize("cipher", ["kRSA", "ECDHE+SHA384:!AESGCM"])
def test_a_stolen_key_reads_no_recorded_traffic(tmp_path: Path, cipher: str) -> None:
    """Without forward secrecy, or with old modes of ciphers, there is no handshake; with ECDHE and AES-GCM there is."""
    require_tools(["openssl"])
    site = Site(tmp_path, with_client_ca=False, kind="rsa")
    with site.server:
        refused = handshake(site, "-tls1_2", "-cipher", cipher)
        assert refused.returncode != 0
        assert "Cipher is (NONE)" in refused.stdout
        for options in (("-tls1_2", "-cipher", "ECDHE-RSA-AES128-GCM-SHA256"), ("-tls1_3",), ()):
            accepted = handshake(site, *options)
            assert accepted.returncode == 0, accepted.stderr
            assert "Temp Key" in accepted.stdout


@pytest.mark.parametrize("sent", [b"", b"\0" * 300, b"\x16\x03\x01\xff\xff" + b"\xff" * 70000, os.urandom(5000)])
def test_noise_instead_of_a_handshake(site: Site, sent: bytes) -> None:
    """Whatever comes, with the connection half-closed behind it: the end, and the next scrape is answered."""
    with site.connect() as client:
        try:
            client.sendall(sent)
            client.shutdown(socket.SHUT_WR)
            while client.recv(65536):
                pass
        except OSError:
            pass
    assert site.get()[0] == BODY


def test_clients_that_do_not_read_are_cut_off(site: Site) -> None:
    """An answer that nobody takes is dropped after the write limit."""
    context = ssl.create_default_context(cafile=str(site.issuer.certificate))
    with site.connect() as raw, context.wrap_socket(raw, server_hostname="127.0.0.1") as client:
        client.sendall(b"GET /large HTTP/1.1\r\nHost: localhost\r\n\r\n")
        time.sleep(1)
        received = 0
        try:
            while more := client.recv(65536):
                received += len(more)
        except OSError:
            pass
        assert received < len(LARGE)
    assert site.get()[0] == BODY


def test_clients_need_a_certificate(closed_site: Site, tmp_path: Path) -> None:
    """With an issuer given, of that issuer; one of another, and none, are refused."""
    assert closed_site.get(client=issue(tmp_path, "client", closed_site.issuer))[0] == BODY
    (tmp_path / "other").mkdir()
    stranger = issue(tmp_path / "other", "client", make_issuer(tmp_path / "other", "other"))
    for pair in (None, stranger):
        # With TLS 1.3 the client hears of it only after its own part of the handshake.
        with pytest.raises((ssl.SSLError, ConnectionError)):
            closed_site.get(client=pair)


def test_renewed_certificates_are_served(site: Site) -> None:
    """New files are read for the next connection; until both fit together the old ones are used, and that is said."""
    _, first = site.get()
    old = (site.pair.certificate.read_bytes(), site.pair.key.read_bytes())
    issue(site.folder, "server", site.issuer)
    new = (site.pair.certificate.read_bytes(), site.pair.key.read_bytes())
    site.pair.key.write_bytes(old[1])
    assert site.get()[1] == first
    site.pair.key.write_bytes(new[1])
    second = site.get()[1]
    assert second != first
    assert len(site.said) == 2
    assert "cannot be used: key values mismatch; still using the previous certificate" in site.said[0]
    assert "reloaded" in site.said[1]
    # Nothing changes, nothing is said.
    assert site.get()[1] == second
    assert len(site.said) == 2


def test_lost_files_do_not_end_the_service(site: Site) -> None:
    """Without its files the server goes on with what it read."""
    first = site.get()[1]
    site.pair.key.unlink()
    assert site.get()[1] == first
    assert "No such file" in site.said[0]
    assert "\n" not in site.said[0]


def test_files_that_cannot_be_used(tmp_path: Path) -> None:
    """Each is an error in one line, before anything listens; an encrypted key does not ask the terminal."""
    require_tools(["openssl"])
    issuer = make_issuer(tmp_path, "issuer")
    pair, other = issue(tmp_path, "server", issuer), issue(tmp_path, "other", issuer)
    locked, empty = tmp_path / "locked.key", tmp_path / "empty"
    command = ["openssl", "pkey", "-in", str(pair.key), "-aes256", "-passout", "pass:secret", "-out", str(locked)]
    subprocess.run(command, check=True, capture_output=True)
    empty.touch()
    for files, why in (
        (TlsFiles(pair.certificate, tmp_path / "none"), "No such file"),
        (TlsFiles(pair.certificate, other.key), "mismatch"),
        (TlsFiles(pair.certificate, locked), "cannot be used"),
        (TlsFiles(empty, pair.key), "cannot be used"),
        (TlsFiles(pair.certificate, pair.key, tmp_path / "none"), "No such file"),
        (TlsFiles(pair.certificate, pair.key, empty), "cannot be used"),
    ):
        with pytest.raises(ListenError, match=why) as caught:
            Certificates(files, print)
        assert "\n" not in str(caught.value)


def test_local_connections_need_no_tls(site: Site, tmp_path: Path) -> None:
    """On a socket of the UNIX domain the file's permissions decide who connects."""
    address = str(tmp_path / "socket")
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(address)
    listening.listen()
    server = MetricsServer("127.0.0.1", 0, {"/metrics": lambda: Response(200, BODY)}, certificates=site.certificates)
    server.add(listening)
    with server, socket.socket(socket.AF_UNIX) as client:
        client.settimeout(5)
        client.connect(address)
        client.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
        received = b""
        while more := client.recv(65536):
            received += more
        assert received.endswith(BODY)
