"""Healthy networks as odd captures show them: no finding may call what the capture does to packets harm."""

# ruff: noqa: D401  # a case's docstring says what happened: it describes a scene, not a deed
from __future__ import annotations

from dataclasses import replace

from tests.build import pdu
from tests.build.connection import ACK, PSH, RST, SYN
from tests.build.epm import lookup_request, lookup_response, tcp_tower
from tests.cases.case import case
from tests.cases.dialogue import (
    CLIENT,
    NETLOGON,
    SAMR,
    SERVER,
    acceptance_of,
    bind_of,
    bound,
    called,
    map_answer,
    map_question,
    mapped,
)
from tests.cases.network import Connection, Network

_CALL = pdu.request(bytes(4), call_id=3), pdu.response(bytes(4), call_id=3)
_LARGE = [(tcp_tower(SAMR, 1025 + number, SERVER), f"endpoint {number}") for number in range(400)]


def _calling(network: Network) -> Connection:
    mapped(network, SERVER, NETLOGON, (SERVER, 49155))
    return network.connect(CLIENT, SERVER, 49155).open().ask(bind_of(NETLOGON), acceptance_of()).ask(*_CALL)


@case("healthy-both-sides-of-a-router", variant=True)
def captured_before_and_behind_a_router(network: Network) -> None:
    """Each packet comes once more three milliseconds later, over one hop more; a SYN and an answer are the last."""
    _calling(network).reset(0)
    network.connect(CLIENT, SERVER).send(0, SYN).send(1, SYN | ACK).send(0, RST)
    network.connect(CLIENT, SERVER, 49155).send(0, SYN)
    bound(network.connect(CLIENT, SERVER)).say(0, map_question(SAMR)).send(1, PSH | ACK, map_answer(SAMR, (SERVER, 1)))
    network.scenes[0].copy_frames(3_000_000, hops=1)


@case("healthy-out-of-order", variant=True)
def captured_out_of_order(network: Network) -> None:
    """A capture of several queues has every second packet before the one that it answers."""
    _calling(network).close()
    frames = network.scenes[0].frames
    for number in range(0, len(frames) - 1, 2):
        first, second = frames[number : number + 2]
        frames[number : number + 2] = replace(first, time_ns=second.time_ns), replace(second, time_ns=first.time_ns)
    network.later(40)


@case("healthy-offloaded", variant=True)
def captured_before_segmentation(network: Network) -> None:
    """The adapter divides and joins segments: a listing is one frame of 50 KB, and is acknowledged piece by piece."""
    answer = pdu.response(lookup_response(_LARGE), call_id=2)
    connection = bound(network.connect(CLIENT, SERVER), wide=False)
    connection.say(0, pdu.request(lookup_request(), opnum=2, call_id=2))
    connection.send(1, PSH | ACK, answer, arrives=False)
    for piece in range(1460, len(answer), 2920):
        connection.acknowledge_part(len(answer) - piece)
    connection.send(0, ACK).close()
    called(network, SERVER, 49155, NETLOGON)
    network.later(40)


@case("healthy-one-way-of-some", variant=True)
def captured_one_way_of_some(network: Network) -> None:
    """Of every second connection the capture has what one end sends: requests of some, answers of others."""
    for number in range(9):
        client = f"10.20.1.{20 + number}"
        mapped(network, SERVER, NETLOGON, (SERVER, 49155), client=client)
        called(network, SERVER, 49155, NETLOGON, client=client)
    scene = network.scenes[0]
    scene.frames = [
        frame
        for frame in scene.frames
        if not (frame.data[29] % 4 == 1 or frame.data[33] % 4 == 3) or frame.time_ns < scene.frames[80].time_ns
    ]
    network.later(40)
