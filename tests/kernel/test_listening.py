"""Where the running command listens: on loopback, unless it was asked for more."""

from __future__ import annotations

import socket
import ssl
import struct
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from inspector.inspection.runtime import find_running
from inspector.live.process.namespaces import inside
from tests.build.certificates import issue, make_issuer
from tests.conftest import require_tools
from tests.kernel.process import inspecting

if TYPE_CHECKING:
    from tests.kernel.conftest import Cable

pytestmark = [pytest.mark.kernel, pytest.mark.usefixtures("bpf", "root")]

LISTEN = "0A"
"""TCP's state of a listening socket in /proc/net/tcp."""


def listening(process_id: int) -> set[tuple[str, int]]:
    """Return address and port of each socket on which a process takes what comes from the network (proc(5))."""
    process = Path(f"/proc/{process_id}")
    ours = {str(fd.readlink()) for fd in (process / "fd").iterdir()}
    found = set()
    for table in ("tcp", "tcp6", "udp", "udp6"):
        for line in (process / "net" / table).read_text().splitlines()[1:]:
            _, local, _, state, *rest = line.split()
            if f"socket:[{rest[5]}]" in ours and (table.startswith("udp") or state == LISTEN):
                digits, port = local.split(":")
                words = struct.pack(
                    f"={len(digits) // 8}I", *(int(digits[at : at + 8], 16) for at in range(0, len(digits), 8))
                )
                family = socket.AF_INET if len(words) == 4 else socket.AF_INET6
                found.add((socket.inet_ntop(family, words), int(port, 16)))
    return found


def test_loopback_by_default(cable: Cable, tmp_path: Path) -> None:
    """One socket, for metrics, which no other machine reaches."""
    with inspecting(cable, tmp_path, "--mode", "generic") as inspector:
        inspector.wait_until_attached()
        assert listening(inspector.process.pid) == {("127.0.0.1", 10135)}
        assert len(inspector.lines) == 3
        with inside(cable.there), pytest.raises(OSError):  # noqa: PT011 - refused, or no answer: either will do
            socket.create_connection((cable.near_address, 10135), timeout=2)


@pytest.mark.parametrize("address", ["0.0.0.0", "10.9.0.1", "::"])  # noqa: S104 - that is what is warned of
def test_more_is_warned_of(cable: Cable, tmp_path: Path, address: str) -> None:
    """When it was asked for and there is no TLS: one line, at the start."""
    shown = f"[{address}]" if ":" in address else address
    with inspecting(cable, tmp_path, "--mode", "generic", "--listen", f"{shown}:0") as inspector:
        inspector.wait_until_attached()
        [(host, _)] = listening(inspector.process.pid)
        assert host == address
        inspector.wait_for(lambda: len(inspector.lines) == 4)
        assert "unencrypted" in inspector.lines[3]
        assert "metrics and findings" in inspector.lines[3]


def status_of(url: str, host: str | None = None) -> int:
    """Return the status with which a URL is answered, asked under that name."""
    try:
        request = urllib.request.Request(url, headers={} if host is None else {"Host": host})
        with urllib.request.urlopen(request, timeout=5) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def test_who_may_read_what(cable: Cable, tmp_path: Path) -> None:
    """Findings are kept from the address and left to the UNIX socket; names and scrapers are as configured."""
    config, directory = tmp_path / "config.toml", tmp_path / "run"
    config.write_text(
        f'listen = "{cable.near_address}:10135"\nserve_findings = false\n'
        f'hosts = ["gateway1.example"]\nscrapers = ["{cable.far_address}"]\n'
    )
    options = ("--mode", "generic", "--config", str(config), "--runtime-directory", str(directory))
    with inspecting(cable, tmp_path, *options) as inspector:
        inspector.wait_until_attached()
        inspector.wait_for(lambda: len(inspector.lines) == 4)
        assert ": metrics are readable by other machines, and" in inspector.lines[3]
        base = f"http://{cable.near_address}:10135"
        # Two sockets, one of them for the scraper, at one address and port.
        assert listening(inspector.process.pid) == {(cable.near_address, 10135)}
        for namespace in (cable.here, cable.there):
            with inside(namespace):
                assert [status_of(base + path) for path in ("/metrics", "/findings", "/offers", "/")] == [200] + 3 * [
                    403
                ]
                assert [status_of(base + "/metrics", host) for host in ("gateway1.example", "a.example")] == [200, 421]
        [running], _ = find_running(directory)
        assert running.ask_json("/findings") == []
        assert b"epm_inspector_program_attached" in running.ask("/metrics")


def test_with_tls(cable: Cable, tmp_path: Path) -> None:
    """Asked for with a certificate there is no warning; other machines read the metrics if they have one too."""
    require_tools(["openssl"])
    issuer = make_issuer(tmp_path, "issuer")
    server, client = (issue(tmp_path, name, issuer) for name in ("server", "client"))
    # Of the account which the inspection goes on as.
    server.key.chmod(0o644)
    config = tmp_path / "config.toml"
    config.write_text(
        f'listen = "{cable.near_address}:10135"\ntls_certificate = "{server.certificate}"\n'
        f'tls_key = "{server.key}"\ntls_client_ca = "{issuer.certificate}"\n'
    )
    with inspecting(cable, tmp_path, "--mode", "generic", "--config", str(config)) as inspector:
        inspector.wait_until_attached()
        assert inspector.lines[1:] == [f"metrics https://{cable.near_address}:10135/metrics", "decoder: compiled"]
        context = ssl.create_default_context(cafile=str(issuer.certificate))
        context.check_hostname = False
        with inside(cable.there):
            with pytest.raises((ssl.SSLError, OSError)):
                urllib.request.urlopen(f"https://{cable.near_address}:10135/metrics", context=context, timeout=5)
            context.load_cert_chain(client.certificate, client.key)
            with urllib.request.urlopen(
                f"https://{cable.near_address}:10135/metrics", context=context, timeout=5
            ) as answer:
                assert b"epm_inspector_program_attached" in answer.read()


def test_certificates_that_cannot_be_used(cable: Cable, tmp_path: Path) -> None:
    """One line, and nothing is attached."""
    config = tmp_path / "config.toml"
    config.write_text('tls_certificate = "/nowhere/tls.crt"\ntls_key = "/nowhere/tls.key"\n')
    with inspecting(cable, tmp_path, "--config", str(config)) as inspector:
        assert inspector.process.wait(60) == 1
        [line] = inspector.lines
    assert line.startswith("epm-inspector: TLS: /nowhere/tls.crt with /nowhere/tls.key cannot be used: No such file")
    assert cable.programs() == []
