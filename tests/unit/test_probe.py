"""`epm-inspector probe`: asks a mapper that is there, and says what a client would have met."""

from __future__ import annotations

import json
import socket
import struct
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from inspector import cli
from inspector.consequence import HARMFUL
from tests.build import pdu
from tests.build.epm import MAPI, map_response, tcp_tower

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


def read_pdu(connection: socket.socket) -> bytes:
    """Return a whole PDU, nothing at the end of the connection."""
    head = connection.recv(16, socket.MSG_WAITALL)
    if len(head) < 16:
        return b""
    (length,) = struct.unpack_from("<H", head, 8)
    return head + connection.recv(length - 16, socket.MSG_WAITALL)


@contextmanager
def serving(address: str, answer: Callable[[bytes], bytes | None]) -> Iterator[int]:
    """Serve connections one after the other, and give the port; an answer of None leaves the PDU without one."""
    listening = socket.create_server((address, 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            with connection:
                while (request := read_pdu(connection)) != b"":
                    reply = answer(request)
                    if reply is not None:
                        connection.sendall(reply)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield listening.getsockname()[1]
    finally:
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()
        thread.join(5)


def call_id_of(request: bytes) -> int:
    """Return the number of a call."""
    return int.from_bytes(request[12:16], "little")


def service(request: bytes) -> bytes:
    """Accept any bind."""
    return pdu.bind_ack(call_id=call_id_of(request))


def mapper(port: int, offered: str = "127.0.0.1") -> Callable[[bytes], bytes | None]:
    """Return a mapper which offers MAPI at a port."""

    def answer(request: bytes) -> bytes | None:
        if request[2] == 11:
            return pdu.bind_ack(call_id=call_id_of(request))
        stub = map_response([tcp_tower(MAPI, port, offered)])
        return pdu.response(stub, call_id=call_id_of(request))

    return answer


def probe(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, list[dict[str, Any]]]:
    """Return status and findings."""
    status = cli.main(["probe", "--json", "--timeout", "1", *map(str, arguments)])
    return status, [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_all_is_well(capsys: pytest.CaptureFixture[str]) -> None:
    """The answer is judged, the endpoint is reached."""
    with serving("127.0.0.1", service) as port, serving("127.0.0.1", mapper(port)) as mapper_port:
        status, found = probe(capsys, "127.0.0.1", "MAPI", "--port", mapper_port)
    assert status == 0, found
    [answer] = [one for one in found if one["kind"] == "answer" and one["operation"] == "ept_map"]
    assert (answer["verdict"], answer["requested"]["name"]) == ("match", "MAPI")
    assert [one["outcome"] for one in found if one["kind"] == "follow_up"] == ["reached"]


def test_the_endpoint_refuses(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """A port at which nobody listens: refused, with a cause; what was said is kept where that is wanted."""
    with socket.create_server(("127.0.0.1", 0)) as one:
        port = one.getsockname()[1]
    kept = tmp_path / "kept.pcap"
    with serving("127.0.0.1", mapper(port)) as mapper_port:
        status, found = probe(capsys, "127.0.0.1", "MAPI", "--port", mapper_port, "--write", kept)
        assert status == 3
        assert "refused" in [one.get("outcome") for one in found]
    config = tmp_path / "c.toml"
    config.write_text(f"ports = [{mapper_port}]\n")
    assert cli.main(["read", "--follow-up", "--json", "--fail-on", "refused", "--config", str(config), str(kept)]) == 3


def test_another_address_is_offered(capsys: pytest.CaptureFixture[str]) -> None:
    """Both are connected to: the one asked, and the one offered, which nobody has (RFC 5737)."""
    with serving("127.0.0.1", service) as port, serving("127.0.0.1", mapper(port, "192.0.2.1")) as mapper_port:
        status, found = probe(capsys, "127.0.0.1", "MAPI", "--port", mapper_port)
    assert status == 3
    assert "mismatch" in [one["verdict"] for one in found if one["operation"] == "ept_map"]
    outcomes = {one["endpoint"]["address"]: one["outcome"] for one in found if one["kind"] == "follow_up"}
    assert outcomes["127.0.0.1"] == "reached"
    # What answers in the name of nobody is the network's affair.
    assert outcomes["192.0.2.1"] in HARMFUL


def test_what_is_not_registered(capsys: pytest.CaptureFixture[str]) -> None:
    """Is a failure where it was asked for by name."""

    def answer(request: bytes) -> bytes:
        call_id = call_id_of(request)
        if request[2] == 11:
            return pdu.bind_ack(call_id=call_id)
        return pdu.response(map_response([], status=0x16C9A0D6), call_id=call_id)

    with serving("127.0.0.1", answer) as port:
        assert probe(capsys, "127.0.0.1", "MAPI", "--port", port)[0] == 3
        assert probe(capsys, "127.0.0.1", "--port", port)[0] == 0


def test_nobody_listens(capsys: pytest.CaptureFixture[str]) -> None:
    """The mapper itself refuses."""
    with socket.create_server(("127.0.0.1", 0)) as one:
        port = one.getsockname()[1]
    status, found = probe(capsys, "127.0.0.1", "--port", port)
    assert status == 3
    assert [one["outcome"] for one in found] == ["refused"]


def test_a_mapper_that_is_mute(capsys: pytest.CaptureFixture[str]) -> None:
    """It accepts the connection and says nothing."""
    with serving("127.0.0.1", lambda _: None) as port:
        status, found = probe(capsys, "127.0.0.1", "MAPI", "--port", port)
    assert status == 3
    assert "broken" in [one.get("outcome") for one in found]


@pytest.mark.parametrize("arguments", [["127.0.0.1", "NOSUCH"], ["name.invalid", "MAPI"]])
def test_mistakes(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    """One line each."""
    assert cli.main(["probe", *arguments]) == 1
    assert len(capsys.readouterr().err.splitlines()) == 1
