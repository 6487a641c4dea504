"""What answers led to, as it is kept for people: from captures, and bounded whatever comes."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address
from typing import TYPE_CHECKING, Any

import pytest

from inspector.consequence import HARMFUL, Cause, Outcome
from inspector.http.outcomes import CLIENTS, HURT, LASTING_NS, MINUTES, SERVERS
from inspector.http.overview import Overview
from inspector.http.pictures import hour_picture, servers_picture
from tests.build.blocks import batch_of
from tests.build.following import Followed
from tests.cases.dialogue import (
    CLIENT,
    DIP,
    MAPI,
    OTHER_DIP,
    SAMR,
    VIP,
    bound,
    called,
    map_answer,
    map_question,
    mapped,
)
from tests.cases.network import Network
from tests.unit.test_console import FINDING
from tests.unit.test_follow_up_output import LATER, REACHED

if TYPE_CHECKING:
    from pathlib import Path

    from inspector.model import Finding

MINUTE_NS = 60_000_000_000
ANOTHER = "10.20.1.16"


def seen(*findings: Finding) -> Overview:
    """Return an overview of findings."""
    overview = Overview()
    for finding in findings:
        overview.observe(batch_of(finding))
    return overview


def refused(**more: Any) -> Finding:
    """Return a finding of a refused follow-up that differs from the usual one."""
    return replace(LATER, **more)


@pytest.fixture
def overview(tmp_path: Path) -> Overview:
    """Return what a capture shows: two clients are refused, one gets through, an answer is lost, port 135 refuses."""
    network = Network()
    for client in (CLIENT, ANOTHER):
        mapped(network, VIP, SAMR, (OTHER_DIP, 49155), client=client)
        network.connect(client, VIP, 49155).refused()
    network.wait(60)
    mapped(network, VIP, MAPI, (DIP, 49210))
    called(network, VIP, 49210, MAPI)
    mapped(network, VIP, MAPI, (DIP, 49211))
    connection = bound(network.connect(CLIENT, VIP)).say(0, map_question(MAPI))
    connection.say(1, map_answer(MAPI, (DIP, 41376)), acknowledged=False)
    connection.repeat(1, map_answer(MAPI, (DIP, 41376)), 4)
    network.connect(CLIENT, VIP).refused()
    network.later(60)
    return seen(*Followed(network, tmp_path).given)


def test_who_was_hurt(overview: Overview) -> None:
    """Address, service, where to, what, why, whom and since when; who got through is not in it."""
    rows = overview.outcomes()["hurt"]
    kinds = {(row["service"], row["target"], row["outcome"], row["cause"], row["count"]) for row in rows}
    assert kinds == {
        ("SAMR", "asked", "refused", "ports_not_published", 2),
        ("MAPI", None, "undelivered", "strict_rpc_filter", 1),
        (None, None, "refused", "mapper_refuses", 1),
    }
    first = rows[0]
    assert (first["asked"], first["clients"], first["more_clients"]) == (VIP, [CLIENT, ANOTHER], False)
    assert first["since"] < first["last"]
    assert "publish" in first["remedy"]
    assert "was refused" in first["why"]


def test_sums(overview: Overview) -> None:
    """By outcome, and by cause of what hurt: as many of the one as of the other."""
    outcomes, causes = overview.sums()
    assert {one: count for one, count in outcomes.items() if count} == {
        Outcome.REFUSED: 3,
        Outcome.REACHED: 1,
        Outcome.UNDELIVERED: 1,
    }
    assert causes == {Cause.PORTS_NOT_PUBLISHED: 2, Cause.STRICT_RPC_FILTER: 1, Cause.MAPPER_REFUSES: 1}
    assert Outcome.NOT_FOLLOWED not in outcomes
    assert sum(outcomes[one] for one in HARMFUL) == sum(causes.values())


def test_servers_behind_an_address(overview: Overview) -> None:
    """What came of the answers which name each; port 135 itself is none of them."""
    servers = {(row["asked"], row["offered"]): row["outcomes"] for row in overview.outcomes()["servers"]}
    assert servers == {
        (VIP, OTHER_DIP): {"refused": 2},
        (VIP, DIP): {"undelivered": 1, "reached": 1},
        (VIP, None): {"refused": 1},
    }


def test_the_minutes_of_the_last_hour(overview: Overview) -> None:
    """Each answer in the minute in which it came, whenever its outcome was known; failed connections in theirs."""
    first, second = overview.outcomes()["minutes"]
    assert first["outcomes"] == {"refused": 2}
    assert second["outcomes"] == {"refused": 1, "undelivered": 1, "reached": 1, "open": 1}


def test_a_later_outcome_settles_its_answer() -> None:
    """An answer without outcome becomes one with it, in its own minute; what came before the hour is left alone."""
    overview = seen(FINDING, FINDING)
    assert overview.outcomes()["minutes"][0]["outcomes"] == {"open": 2}
    overview.observe(batch_of(refused(time_ns=FINDING.time_ns + 5 * MINUTE_NS)))
    assert [row["outcomes"] for row in overview.outcomes()["minutes"]] == [{"refused": 1, "open": 1}]
    overview.observe(batch_of(replace(FINDING, time_ns=FINDING.time_ns + MINUTES * MINUTE_NS)))
    overview.observe(batch_of(refused(time_ns=FINDING.time_ns + MINUTES * MINUTE_NS)))
    assert [row["outcomes"] for row in overview.outcomes()["minutes"]] == [{"open": 1}]


def test_everything_is_bounded() -> None:
    """Kinds of harm, clients of each, servers and minutes; sums have all of it."""
    overview = Overview()
    wanted = 3 * max(HURT, SERVERS)
    for number in range(wanted):
        server = replace(FINDING.mappings[0], address=IPv4Address(number))
        time_ns = FINDING.time_ns + number * MINUTE_NS
        overview.observe(batch_of(replace(FINDING, time_ns=time_ns)))
        overview.observe(batch_of(refused(asked=IPv4Address(number), mappings=(server,), time_ns=time_ns)))
    for number in range(CLIENTS + 5):
        overview.observe(batch_of(refused(client=IPv4Address(number), time_ns=FINDING.time_ns + wanted * MINUTE_NS)))
    found = overview.outcomes()
    assert len(found["hurt"]) == HURT
    assert len(found["servers"]) == SERVERS
    assert len(found["minutes"]) == MINUTES
    assert (len(found["hurt"][0]["clients"]), found["hurt"][0]["more_clients"]) == (CLIENTS, True)
    assert overview.sums()[0][Outcome.REFUSED] == wanted + CLIENTS + 5


def test_harm_that_lasts_comes_first() -> None:
    """The most frequent of it, then the rest; what is over comes after it, however often it was."""
    over = [refused(asked=IPv4Address("10.0.0.1"))] * 9
    later_ns = FINDING.time_ns + 2 * LASTING_NS
    once = refused(asked=IPv4Address("10.0.0.2"), time_ns=later_ns)
    often = [refused(asked=IPv4Address("10.0.0.3"), time_ns=later_ns - 1)] * 3
    rows = seen(*over, *often, once).outcomes()["hurt"]
    assert [row["asked"] for row in rows] == ["10.0.0.3", "10.0.0.2", "10.0.0.1"]


def test_the_picture_of_servers() -> None:
    """Each address with its servers, answers and outcomes in words; what hurts comes first and is marked."""
    well = replace(FINDING, asked=IPv4Address("10.9.9.9"))
    overview = seen(well, replace(FINDING, follow_up=REACHED), replace(FINDING, follow_up=LATER))
    picture = servers_picture(overview.offers()[0], overview.outcomes()["servers"])
    assert 0 < picture.index(">10.11.2.2<") < picture.index(">10.11.2.7<") < picture.index(">10.9.9.9<")
    assert ">2 answers: refused 1, reached 1<" in picture
    assert ">1 answer: no outcome known<" in picture
    assert picture.count("box hurt") == 2
    assert picture.count("box calm") == 2
    assert 'class="o-refused"' in picture
    assert servers_picture([], []) == ""


def test_the_picture_of_servers_is_bounded() -> None:
    """So many addresses with so many servers each; how many addresses are left out is said."""
    servers = [
        {"asked": f"10.1.{asked}.1", "offered": f"10.2.{asked}.{offered}", "outcomes": {"refused": 1}}
        for asked in range(20)
        for offered in range(20)
    ]
    picture = servers_picture([], servers)
    assert picture.count('<rect class="box') == 12 * (1 + 8)
    assert "8 more asked addresses are not in the picture." in picture


def test_the_picture_of_the_hour() -> None:
    """A bar for each minute with answers, what hurts at its foot, and however little it is it can be seen."""
    minutes = [
        {"start": "2026-11-25T08:00:00.000000000Z", "outcomes": {"reached": 5}},
        {"start": "2026-11-25T08:01:00.000000000Z", "outcomes": {"refused": 1, "reached": 9999, "open": 2}},
        {"start": "2026-11-25T09:00:00.000000000Z", "outcomes": {"denied": 7}},
    ]
    picture = hour_picture(minutes, "2026-11-25T09:00:30.000000000Z")
    assert 'aria-label="The hour up to 09:00 UTC, by minute: refused 1, denied 7, reached 9,999, no outcome' in picture
    assert "<title>08:01: refused 1, reached 9,999, no outcome known 2</title>" in picture
    assert "08:00:" not in picture
    assert 'class="o-refused" x="61" y="147.0" width="12" height="3.0"' in picture
    assert "<li>" in picture
    assert hour_picture(minutes, "2026-11-25T12:00:00.000000000Z") == ""
