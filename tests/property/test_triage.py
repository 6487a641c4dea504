"""Healthy clients that compiled code follows have the findings that the tracker in Python has for their packets."""

from __future__ import annotations

import tempfile
from collections import Counter
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inspector.capture import layout
from inspector.capture.survey import survey_file
from inspector.config import Config
from inspector.decode import is_compiled
from inspector.output.sums import Sums
from inspector.reading import following
from inspector.reading.filereader import FileReader
from tests.build import dcom, pdu
from tests.build.connection import ACK, FIN, PSH, RST, START_NS
from tests.build.epm import NDR20
from tests.cases.dialogue import MAPI, NETLOGON, SERVER, VIP, acceptance_of, bind_of, bound, map_answer, map_question
from tests.cases.network import Connection, Network
from tests.choice import examples

if TYPE_CHECKING:
    from inspector.model import Finding

needs_compiled = pytest.mark.skipif(not is_compiled(), reason="without compiled code there is no triage")
seeds = st.integers(0, 2**32 - 1)
_PORTS = (49155, 49156, 41376, 445, 8080)
_CALL = pdu.request(bytes(40), call_id=3), pdu.response(bytes(90), call_id=3)


def mapper(network: Network, random: Random, client: str) -> None:
    """Let a client ask an endpoint mapper: mostly as it should be."""
    connection = network.connect(client, random.choice((SERVER, VIP)), server_ttl=random.choice((126, 126, 60)))
    wide, interface = random.random() < 0.5, random.choice((MAPI, NETLOGON))
    fault = random.random()
    if fault < 0.05:
        connection.syns(random.randint(1, 3))
        return
    if random.random() < 0.3:
        connection.ask(*_activation_bind())
        connection.ask(*_activation(random), random.choice((65000, 100)))
        _end(connection, random)
        return
    bound(connection, wide=wide)
    offers = [(random.choice((SERVER, VIP)), port) for port in random.sample(_PORTS[:3], random.randint(0, 2))]
    answer = map_answer(interface, *offers, wide=wide)
    if fault < 0.12:
        connection.say(0, map_question(interface, wide=wide))
        connection.say(1, answer, acknowledged=False).repeat(1, answer, random.randint(0, 3))
        if random.random() < 0.5:
            connection.send(0, ACK)
    elif fault < 0.16:
        connection.say(0, map_question(interface, wide=wide))
    else:
        connection.ask(map_question(interface, wide=wide), answer, random.choice((65000, 100)))
    _end(connection, random)


def _activation_bind() -> tuple[bytes, bytes]:
    return pdu.bind([(0, dcom.SCM_ACTIVATOR, (NDR20,))]), pdu.bind_ack()


def _activation(random: Random) -> tuple[bytes, bytes]:
    """Return a DCOM activation without authentication, and its answer with string bindings."""
    bindings = [f"{random.choice((SERVER, VIP, 'SRV01'))}[{random.choice(_PORTS[:3])}]" for _ in range(2)]
    asked = pdu.request(dcom.create_instance_request(bytes(16)), opnum=dcom.REMOTE_CREATE_INSTANCE, call_id=2)
    return asked, pdu.response(dcom.create_instance_response(bytes(8), bindings), call_id=2)


def follow_up(network: Network, random: Random, client: str) -> None:
    """Let a client connect somewhere: mostly to where RPC answers."""
    connection = network.connect(client, random.choice((SERVER, VIP)), random.choice(_PORTS))
    fault = random.random()
    if fault < 0.1:
        connection.refused(random.randint(1, 2))
    elif fault < 0.2:
        connection.syns(random.randint(1, 2))
    elif fault < 0.3:
        connection.open().say(0, b"GET / HTTP/1.0\r\n\r\n").say(1, b"HTTP/1.0 200 OK\r\n\r\n")
        _end(connection, random)
    elif fault < 0.35:
        connection.open().ask(bind_of(NETLOGON, wide=False), pdu.bind_nak(2))
        _end(connection, random)
    else:
        connection.open().ask(bind_of(NETLOGON, wide=False), acceptance_of(wide=False))
        for _ in range(random.randint(0, 3)):
            connection.ask(*_CALL)
        if random.random() < 0.2:
            connection.say(0, _CALL[0]).repeat(0, _CALL[0], random.randint(0, 3))
        if random.random() < 0.1:
            connection.ask(_CALL[0], pdu.fault(5, call_id=3))
        _end(connection, random)


def _end(connection: Connection, random: Random) -> None:
    kind = random.random()
    if kind < 0.6:
        connection.close()
    elif kind < 0.7:
        connection.send(0, FIN | ACK).send(1, FIN | ACK).send(0, RST)
    elif kind < 0.8:
        connection.reset(random.randint(0, 1))
    elif kind < 0.85:
        connection.keep_alive()
    elif kind < 0.9:
        connection.send(0, PSH | ACK, bytes(9), skip=random.choice((0, 300)))


def conversations(random: Random) -> bytes:
    """Return a capture file of conversations between some clients and two servers, at the same time."""
    network = Network()
    clients = [f"10.20.0.{number}" for number in range(1, random.choice((2, 9)))]
    for _ in range(random.randint(1, 14)):
        network.clock.now_ns = START_NS + random.randrange(random.choice((1, 40)) * 10**9)
        client = random.choice(clients)
        mapper(network, random, client)
        for _ in range(random.choice((0, 1, 1, 2))):
            network.wait(random.choice((0.001, 0.001, 2)))
            follow_up(network, random, client)
    if random.random() < 0.7:
        network.clock.now_ns = max(frame.time_ns for frame in network.scenes[0].frames)
        network.later(random.choice((2, 50)))
    return network.scenes[0].capture()


def _read(path: Path, *, shown: bool = True) -> tuple[list[Any], Any]:
    reader = FileReader(path, Config().model_copy(update={"follow_up": True}), shown=shown, sums=Sums())
    found: list[Any] = []
    for batch in reader.findings(pytest.fail):
        found += batch.findings()
    counts = reader.counts()
    services = sorted(counts.sums.services(), key=lambda one: (one["asked"], one["service"]))
    # A cause may be known at the end that was not known before.
    sums = [one | {"causes": sum(cause["count"] for cause in one["causes"])} for one in services]
    return found, (counts.records, counts.verdicts, +counts.outcomes, +counts.anomalies, counts.counters, sums)


def _parts(found: list[Finding]) -> list[str]:
    """Return findings and those that go with them, sorted."""
    return sorted(repr(replace(part, follow_up=None)) for one in found for part in one.with_follow_up())


def check(capture: bytes) -> None:
    """Compare what is found with a survey, without one, and where each packet is read in Python.

    Of two outcomes that become known in the same moment either may come first, and go with the answer.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.pcap"
        path.write_bytes(capture)
        fast, counted = _read(path)
        _, counted_only = _read(path, shown=False)
        with patch.object(following, "survey_file", lambda *_arguments, **_named: None):
            slow, expected = _read(path)
        with patch.object(following, "is_compiled", lambda: False):
            slowest, counted_singly = _read(path)
    assert _parts(fast) == _parts(slow) == _parts(slowest)
    assert counted_singly == expected
    assert counted == expected
    assert counted_only == expected


@needs_compiled
@examples(60)
@given(seeds)
def test_findings_are_those_of_the_tracker(seed: int) -> None:
    """Findings, verdicts, outcomes and counters."""
    check(conversations(Random(seed)))  # noqa: S311 - traffic, no secret


@needs_compiled
def test_healthy_clients_are_told_from_others(tmp_path: Path) -> None:
    """Of clients who all have what they want none is left to Python, of the others each is."""
    network = Network()
    for number in range(20):
        client = f"10.20.0.{number}"
        question = bound(network.connect(client, SERVER)).ask(map_question(MAPI), map_answer(MAPI, (SERVER, 49155)))
        question.close()
        if number == 7:
            network.connect(client, SERVER, 49155).refused()
        else:
            network.connect(client, SERVER, 49155).open().ask(bind_of(MAPI), acceptance_of()).close()
            network.connect(client, SERVER, 8080).refused()
    path = tmp_path / "a.pcap"
    path.write_bytes(network.scenes[0].capture())
    flags = survey_file(path, ports=(135,), tunnels=False).clients
    counts = Counter({flag: int(np.count_nonzero(flags & flag)) for flag in (2, 4)})
    assert counts == {layout.CLIENT_PYTHON: 1, layout.CLIENT_FOLLOWS: 20}
