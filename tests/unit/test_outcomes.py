"""What became of answers: what is told, what is not, and when."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from inspector.consequence import Outcome, Target
from inspector.model import Verdict
from tests.build import pdu
from tests.build.connection import ACK, FIN, PSH, RST, SYN
from tests.build.following import Followed
from tests.cases.dialogue import (
    CLIENT,
    DIP,
    MAPI,
    OTHER_DIP,
    SAMR,
    VIP,
    acceptance_of,
    bind_of,
    bound,
    called,
    map_answer,
    map_question,
    mapped,
)
from tests.cases.network import Network

if TYPE_CHECKING:
    from pathlib import Path

PORT = 49155
ANSWER, REACHED = ("answer", None), ("follow_up", "reached")


@pytest.fixture
def network() -> Network:
    """Return hosts of which nothing was heard yet."""
    return Network()


def test_a_follow_up_refers_to_its_answer(network: Network, tmp_path: Path) -> None:
    """Time, port, call and frame of the answer; frame and endpoint of its own."""
    mapped(network, VIP, SAMR, (VIP, PORT))
    called(network, VIP, PORT, SAMR)
    followed = Followed(network, tmp_path)
    answer, follow_up = followed.findings
    assert followed.kinds() == [ANSWER, REACHED]
    said = follow_up.as_dict()
    assert said["answer"] == {
        "time": answer.as_dict()["time"],
        "client_port": answer.client_port,
        "call_id": 2,
        "frame": answer.frame,
    }
    assert (said["target"], said["endpoint"]) == ("asked", {"address": VIP, "port": PORT})
    assert said["connect_ms"] == 1.2
    # SYN, SYN-ACK, ACK, bind, ACK, bind_ack, ACK, request, ACK, response; the SYN of the follow-up comes after 4 more.
    assert (answer.frame, follow_up.frame) == (10, 15)
    assert follow_up.client_port == answer.client_port + 1


def test_the_time_to_connect_counts_from_the_first_syn(network: Network, tmp_path: Path) -> None:
    """A SYN that was sent again is part of it; where nothing answered there is no such time."""
    mapped(network, VIP, SAMR, (VIP, PORT))
    connection = network.connect(CLIENT, VIP, PORT).send(0, SYN)
    network.wait(3)
    connection.send(0, SYN, again=True).send(1, SYN | ACK).send(0, ACK)
    mapped(network, VIP, MAPI, (VIP, 49156))
    network.connect(CLIENT, VIP, 49156).refused()
    late, refused = (one.as_dict() for one in Followed(network, tmp_path).findings if one.kind == "follow_up")
    assert late["outcome"] == "reached"
    assert 3000 < late["connect_ms"] < 3010
    assert "connect_ms" not in refused


def test_a_late_answer_keeps_its_question(network: Network, tmp_path: Path) -> None:
    """One finding with its latency, and no unanswered one before it."""
    connection = bound(network.connect(CLIENT, VIP)).say(0, map_question(SAMR))
    network.wait(15)
    connection.say(1, map_answer(SAMR, (VIP, PORT)))
    (finding,) = Followed(network, tmp_path).findings
    assert finding.verdict is Verdict.MATCH
    assert finding.latency_ns is not None
    assert round(finding.latency_ns / 1e9) == 15
    assert "after 15.0 s" in finding.why


def test_any_packet_shows_that_time_passed(network: Network, tmp_path: Path) -> None:
    """A question is given up by the clock of the file, whatever else is in it."""
    bound(network.connect(CLIENT, VIP)).say(0, map_question(SAMR))
    network.wait(60)
    network.connect("10.20.9.9", "10.20.9.8", 80).send(0, SYN)
    (finding,) = Followed(network, tmp_path).findings
    assert (finding.verdict, finding.operation) == (Verdict.UNANSWERED, "ept_map")
    assert "not answered in 10.0 s" in finding.why


def test_a_question_just_asked_is_not_open(network: Network, tmp_path: Path) -> None:
    """A file that ends within a second of it says nothing of it."""
    bound(network.connect(CLIENT, VIP)).say(0, map_question(SAMR))
    assert Followed(network, tmp_path).findings == []


def test_a_connection_can_come_before_its_answer(network: Network, tmp_path: Path) -> None:
    """Packets of two interfaces are out of order by some milliseconds: the client is known from port 135."""
    connection = bound(network.connect(CLIENT, VIP)).say(0, map_question(SAMR))
    endpoint = network.connect(CLIENT, VIP, PORT).open()
    connection.say(1, map_answer(SAMR, (VIP, PORT)))
    endpoint.ask(bind_of(SAMR), acceptance_of())
    assert Followed(network, tmp_path).kinds() == [ANSWER, REACHED]


@pytest.mark.parametrize(
    ("address", "target"),
    [(VIP, Target.ASKED), (DIP, Target.OFFERED), (OTHER_DIP, Target.OTHER), ("10.30.9.9", None)],
)
def test_targets(network: Network, tmp_path: Path, address: str, target: Target | None) -> None:
    """The asked address, the offered one, another one of the same VIP; a connection elsewhere is none of these."""
    mapped(network, VIP, MAPI, (OTHER_DIP, 1), client="10.20.1.16")
    mapped(network, VIP, SAMR, (DIP, PORT))
    called(network, address, PORT, SAMR)
    followed = Followed(network, tmp_path)
    targets = [one.consequence.target for one in followed.findings if one.kind == "follow_up" and one.consequence]
    assert targets == ([target] if target is not None else [])


def test_after_an_encrypted_answer(network: Network, tmp_path: Path) -> None:
    """The endpoint is not known: the first connection to the asked address at a high port is the follow-up."""
    token = (6, bytes(16))
    connection = bound(network.connect(CLIENT, VIP), wide=False)
    connection.ask(pdu.request(bytes(96), call_id=2, auth=token), pdu.response(bytes(152), call_id=2, auth=token))
    called(network, VIP, 445, SAMR)
    called(network, VIP, PORT, SAMR)
    followed = Followed(network, tmp_path)
    assert followed.kinds() == [ANSWER, REACHED]
    assert followed.findings[0].verdict is Verdict.SEALED
    assert followed.findings[1].consequence is not None
    assert str(followed.findings[1].consequence.endpoint) == f"{VIP}:{PORT}"


def test_an_endpoint_that_worked_and_fell_silent(network: Network, tmp_path: Path) -> None:
    """A second finding, once a call is sent again and again and not even acknowledged."""
    mapped(network, VIP, SAMR, (VIP, PORT))
    connection = network.connect(CLIENT, VIP, PORT).open().ask(bind_of(SAMR), acceptance_of())
    call = pdu.request(bytes(40), call_id=3)
    connection.send(0, PSH | ACK, call, arrives=False).repeat(0, call, 5)
    network.later(60)
    followed = Followed(network, tmp_path)
    assert followed.kinds() == [ANSWER, REACHED, ("follow_up", "broken")]
    assert "sent 6 times" in followed.findings[2].why


def test_a_call_may_take_its_time(network: Network, tmp_path: Path) -> None:
    """Notifications wait for minutes: silence after an acknowledged call is no failure."""
    mapped(network, VIP, SAMR, (VIP, PORT))
    connection = network.connect(CLIENT, VIP, PORT).open().ask(bind_of(SAMR), acceptance_of())
    connection.say(0, pdu.request(bytes(40), call_id=3))
    network.later(200)
    connection.close()
    assert Followed(network, tmp_path).kinds() == [ANSWER, REACHED]


def test_a_denied_call(network: Network, tmp_path: Path) -> None:
    """Access denied, said of a call after the bind was accepted."""
    mapped(network, VIP, SAMR, (VIP, PORT))
    connection = network.connect(CLIENT, VIP, PORT).open().ask(bind_of(SAMR), acceptance_of())
    connection.ask(pdu.request(bytes(40), call_id=3), pdu.fault(5, call_id=3))
    assert Followed(network, tmp_path).kinds() == [ANSWER, REACHED, ("follow_up", "denied")]


def test_a_reset_that_its_receiver_ignores(network: Network, tmp_path: Path) -> None:
    """A sender that goes on talking was not reset."""
    mapped(network, VIP, SAMR, (VIP, PORT))
    connection = network.connect(CLIENT, VIP, PORT).open().say(0, bind_of(SAMR))
    connection.send(1, RST | ACK).say(1, acceptance_of())
    assert Followed(network, tmp_path).kinds() == [ANSWER, REACHED]


def test_a_bind_without_answer(network: Network, tmp_path: Path) -> None:
    """Reset, or silence for longer than a bind takes."""
    for number in range(2):
        mapped(network, VIP, SAMR, (VIP, PORT), client=f"10.20.1.{number + 1}")
    network.connect("10.20.1.1", VIP, PORT).open().say(0, bind_of(SAMR)).reset()
    network.connect("10.20.1.2", VIP, PORT).open().say(0, bind_of(SAMR))
    network.later(60)
    followed = Followed(network, tmp_path)
    assert followed.outcomes == {Outcome.BROKEN: 2}


def test_nobody_followed(network: Network, tmp_path: Path) -> None:
    """Counted after 30 s, and no finding; an answer at the end of the file is not counted."""
    mapped(network, VIP, SAMR, (VIP, PORT))
    network.wait(40)
    mapped(network, VIP, SAMR, (VIP, PORT))
    followed = Followed(network, tmp_path)
    assert followed.outcomes == {Outcome.NOT_FOLLOWED: 1}
    assert followed.kinds() == [ANSWER, ANSWER]


def test_an_early_connection_is_none(network: Network, tmp_path: Path) -> None:
    """31 s after the answer a connection to its port is something else."""
    mapped(network, VIP, SAMR, (VIP, PORT))
    network.wait(31)
    called(network, VIP, PORT, SAMR)
    followed = Followed(network, tmp_path)
    assert followed.outcomes == {Outcome.NOT_FOLLOWED: 1}


@pytest.mark.parametrize("times", [1, 5])
def test_an_answer_that_arrives_late_was_delivered(network: Network, tmp_path: Path, times: int) -> None:
    """Sent again, and acknowledged in the end."""
    answer = map_answer(SAMR, (VIP, PORT))
    connection = bound(network.connect(CLIENT, VIP)).say(0, map_question(SAMR))
    connection.send(1, PSH | ACK, answer, arrives=False).repeat(1, answer, times)
    connection.send(1, PSH | ACK, answer, again=True).send(0, ACK).close()
    assert Followed(network, tmp_path).kinds() == [ANSWER]


@pytest.mark.parametrize("end", [FIN | ACK, RST | ACK])
def test_a_client_that_goes_at_once_lost_interest(network: Network, tmp_path: Path, end: int) -> None:
    """An answer on its way to a client that has gone is no lost answer."""
    connection = bound(network.connect(CLIENT, VIP)).say(0, map_question(SAMR))
    connection.send(1, PSH | ACK, map_answer(SAMR, (VIP, PORT)), arrives=False).send(0, end)
    assert Followed(network, tmp_path).kinds() == [ANSWER]


def test_the_end_of_the_file_is_no_loss(network: Network, tmp_path: Path) -> None:
    """An answer that was sent once or twice may have been acknowledged after the capture."""
    answer = map_answer(SAMR, (VIP, PORT))
    connection = bound(network.connect(CLIENT, VIP)).say(0, map_question(SAMR))
    connection.send(1, PSH | ACK, answer, arrives=False).repeat(1, answer, 1)
    assert Followed(network, tmp_path).kinds() == [ANSWER]


def test_a_half_open_connection(network: Network, tmp_path: Path) -> None:
    """The SYN-ACK never arrives at the client; SYNs that are sent again are no second connection."""
    connection = network.connect(CLIENT, VIP).send(0, SYN, arrives=True)
    for _ in range(3):
        connection.send(1, SYN | ACK, again=_ > 0, arrives=False)
        network.wait(1)
    network.later(20)
    (finding,) = Followed(network, tmp_path).findings
    assert (finding.kind, finding.operation) == ("connection", "connect")
    assert "its SYN-ACK, sent 3 times, is never acknowledged" in finding.why


@pytest.mark.parametrize("end", [(FIN | ACK,), (RST,), (ACK, FIN | ACK), (ACK, RST | ACK)])
def test_health_checks_and_scans_are_no_failures(network: Network, tmp_path: Path, end: tuple[int, ...]) -> None:
    """A client that connects and goes: a health check of a balancer, or somebody who looks for open ports."""
    for _ in range(20):
        connection = network.connect(CLIENT, VIP).send(0, SYN).send(1, SYN | ACK)
        for flags in end:
            connection.send(0, flags)
    network.later(60)
    followed = Followed(network, tmp_path)
    assert (followed.findings, followed.outcomes) == ([], {})


def test_one_direction_is_told_once(network: Network, tmp_path: Path) -> None:
    """After eight connections, not again, and nothing else is claimed of that address."""
    for number in range(20):
        connection = network.connect(f"10.20.1.{number + 1}", VIP).send(0, SYN).send(0, ACK)
        connection.send(0, PSH | ACK, bind_of())
        network.connect(f"10.20.2.{number + 1}", VIP).syns(2)
        network.wait(1)
        connection.send(0, FIN | ACK)
    network.later(60)
    (finding,) = Followed(network, tmp_path).findings
    assert "8 connections of" in finding.why
    assert finding.consequence is not None
    assert finding.consequence.cause == "one_way_view"


def test_a_gap_of_the_capture_is_none_of_the_client(network: Network, tmp_path: Path) -> None:
    """Bytes that the client acknowledges arrived, wherever the packet went."""
    answer = map_answer(SAMR, *((VIP, PORT + number) for number in range(20)))
    connection = bound(network.connect(CLIENT, VIP)).say(0, map_question(SAMR))
    connection.send(1, PSH | ACK, answer[700:], skip=700).send(0, ACK).close()
    network.later(30)
    assert Followed(network, tmp_path).kinds() == []


def test_a_clock_far_ahead_ends_nothing(network: Network, tmp_path: Path) -> None:
    """A time beyond the year 2225 is read as that: what comes after it in the file is still followed."""
    network.clock.now_ns = 2**64 - 2**40
    network.connect("10.20.9.9", VIP).syns(3, (0, 0))
    mapped(network, VIP, SAMR, (VIP, PORT))
    called(network, VIP, PORT, SAMR)
    followed = Followed(network, tmp_path)
    assert followed.kinds() == [ANSWER, REACHED, ("connection", "timed_out")]
    assert all(finding.as_dict()["time"].startswith("2225") for finding in followed.findings)


def test_a_part_that_nobody_acknowledged_again(network: Network, tmp_path: Path) -> None:
    """What the client had before the later part of an answer came does not show that it misses the earlier one."""
    answer = map_answer(SAMR, *((VIP, PORT + number) for number in range(20)))
    connection = bound(network.connect(CLIENT, VIP)).say(0, map_question(SAMR))
    connection.send(1, PSH | ACK, answer[700:], skip=700, arrives=False)
    network.later(30)
    assert Followed(network, tmp_path).kinds() == []


def test_another_connection_between_the_same_ports(network: Network, tmp_path: Path) -> None:
    """The server's SYN-ACK confirms it: what was sent on the former one is not sent again."""
    for number in range(3):
        network._port = 50000
        connection = network.connect(CLIENT, VIP)
        connection._next = [1000 * number, 77_000 * (3 - number)]
        bound(connection).ask(map_question(SAMR), map_answer(SAMR, (VIP, PORT)))
        network.wait(1)
    assert Followed(network, tmp_path).kinds() == [ANSWER, ANSWER, ANSWER]
