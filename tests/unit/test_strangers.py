"""Other protocols on port 135 are named."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from inspector import cli
from inspector.capture.frames import build_frame
from inspector.reading.strangers import protocol_of
from tests.bench.conversations import write_capture
from tests.build.capture_files import pcap
from tests.build.connection import Wire

if TYPE_CHECKING:
    from pathlib import Path

SENT = {
    "HTTP": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "SMB": b"\0\0\0\x54\xfeSMB" + bytes(80),
    "TLS": b"\x16\x03\x01\0\x54\x01" + bytes(83),
    "SSH": b"SSH-2.0-OpenSSH_9.2\r\n",
}


def write(path: Path, sent: bytes, port: int = 135) -> Path:
    """Write two connections on which this was sent, and answered by nothing known."""
    wires = [
        Wire(client_port=number, server_port=port).open().client(sent).server(b"who are you?") for number in (1, 2)
    ]
    segments = [segment for wire in wires for segment in wire.server_fin().client_fin().segments]
    path.write_bytes(pcap("<", [(one.time_ns // 10**9, 0, build_frame(one)) for one in segments]))
    return path


@pytest.mark.parametrize(("name", "sent"), SENT.items())
@pytest.mark.parametrize("follow_up", ["--follow-up", "--no-follow-up"])
def test_they_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, sent: bytes, follow_up: str
) -> None:
    """One line with the number of connections; no finding claims that a bind was missed."""
    path = write(tmp_path / "a.pcap", sent)
    assert cli.main(["read", "--json", follow_up, str(path)]) == 0
    output, errors = capsys.readouterr()
    assert f"{path}: sent to a port of the endpoint mapper, and no RPC: {name} (2 connections)\n" in errors
    assert "bind_not_seen" not in output


def test_nothing_is_said_of_rpc(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nor of bytes that are nothing known."""
    write_capture(tmp_path / "a.pcapng", 3)
    assert cli.main(["read", str(tmp_path / "a.pcapng"), str(write(tmp_path / "b.pcap", b"?" * 60))]) == 0
    assert "no RPC" not in capsys.readouterr().err
    assert protocol_of(b"\x05\x00\x0b\x03\x10\0\0\0") is None
