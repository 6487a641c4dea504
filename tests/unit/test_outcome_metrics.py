"""Metrics of what answers led to, counted from findings which captures gave."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from prometheus_client import CollectorRegistry

from inspector.consequence import HARMFUL, Cause, Outcome
from inspector.decode.batch import FindingBatch
from inspector.metrics import series
from inspector.metrics.series import FOLLOW_UP_OUTCOMES, MAPPER_OUTCOMES
from inspector.metrics.updates import Metrics
from inspector.model import Verdict
from tests.build.findings import Scraped, finding
from tests.build.following import Followed
from tests.cases.dialogue import CLIENT, MAPI, OTHER_DIP, SAMR, VIP, bound, called, map_answer, map_question, mapped
from tests.cases.network import Network

if TYPE_CHECKING:
    from pathlib import Path

    from inspector.model import Finding

AT_VIP = {"interface": "eth0", "vip": VIP}


def counted(network: Network, folder: Path, **more: object) -> Scraped:
    """Return the metrics of what a network's capture gives."""
    metrics = Metrics(CollectorRegistry(), **more)  # type: ignore[arg-type]  # keywords as they are
    metrics.observe(FindingBatch.of([on_interface(one) for one in Followed(network, folder).given]))
    return Scraped(metrics)


def on_interface(finding: Finding) -> Finding:
    """Return a finding of a file as an interface has it."""
    later = finding.follow_up
    return replace(finding, source="eth0", follow_up=on_interface(later) if later is not None else None)


def follow_ups(scraped: Scraped, service: str, outcome: Outcome) -> float | None:
    """Return a sample of the follow-ups to the VIP."""
    return scraped("follow_ups_total", **AT_VIP, service=service, outcome=str(outcome))


@pytest.fixture
def network() -> Network:
    """Return a network on which one client is refused and another gets through."""
    network = Network()
    mapped(network, VIP, SAMR, (OTHER_DIP, 49155))
    network.connect(CLIENT, VIP, 49155).refused()
    mapped(network, VIP, SAMR, (OTHER_DIP, 49155), client="10.20.1.16")
    called(network, VIP, 49155, SAMR, client="10.20.1.16")
    return network


def test_follow_ups_are_counted_by_outcome(network: Network, tmp_path: Path) -> None:
    """Those which go with their answer, and later ones; the answers themselves are counted as ever, each once."""
    network.connect("10.20.1.16", VIP, 49155).syns(3)
    scraped = counted(network, tmp_path)
    assert follow_ups(scraped, "SAMR", Outcome.REFUSED) == 1
    assert follow_ups(scraped, "SAMR", Outcome.REACHED) == 1
    assert follow_ups(scraped, "SAMR", Outcome.TIMED_OUT) == 1
    assert follow_ups(scraped, "SAMR", Outcome.DENIED) == 0
    assert scraped("responses_total", interface="eth0", verdict="mismatch") == 2
    assert scraped("mismatches_total", **AT_VIP, service="SAMR") == 2
    assert scraped("causes_total", **AT_VIP, cause=str(Cause.PORTS_NOT_PUBLISHED)) == 1
    assert scraped("causes_total", **AT_VIP, cause=str(Cause.POOL_MEMBER_DIFFERS)) == 1
    assert scraped("causes_total", **AT_VIP, cause=str(Cause.UNKNOWN)) == 0
    # The one which got through, within the time of one packet.
    assert scraped("connect_latency_seconds_count") == 1
    assert scraped("connect_latency_seconds_sum") == pytest.approx(0.0012)


def test_answers_that_did_not_arrive(network: Network, tmp_path: Path) -> None:
    """By interface and VIP; they are no connections."""
    connection = bound(network.connect(CLIENT, VIP)).say(0, map_question(MAPI))
    connection.say(1, map_answer(MAPI, (OTHER_DIP, 41376)), acknowledged=False)
    connection.repeat(1, map_answer(MAPI, (OTHER_DIP, 41376)), 4)
    network.later(60)
    scraped = counted(network, tmp_path)
    assert scraped("answers_undelivered_total", **AT_VIP) == 1
    assert scraped("responses_total", interface="eth0", verdict="mismatch") == 3
    assert scraped("connections_total", **AT_VIP, outcome=str(Outcome.UNDELIVERED)) == 0


def test_connections_to_the_mapper_that_failed(network: Network, tmp_path: Path) -> None:
    """Port 135 refused and silent; neither is an answer."""
    network.connect(CLIENT, VIP).refused()
    network.connect(CLIENT, VIP).syns(3)
    network.later(60)
    scraped = counted(network, tmp_path)
    assert scraped("connections_total", **AT_VIP, outcome=str(Outcome.REFUSED)) == 1
    assert scraped("connections_total", **AT_VIP, outcome=str(Outcome.TIMED_OUT)) == 1
    assert scraped("responses_total", interface="eth0", verdict="unanswered") == 0
    assert scraped("causes_total", **AT_VIP, cause=str(Cause.MAPPER_REFUSES)) == 1


def test_every_outcome_that_hurts_has_a_cause(network: Network, tmp_path: Path) -> None:
    """The sum over causes is that over what hurt clients: nothing is counted in one of them alone."""
    network.connect(CLIENT, VIP).refused()
    mute = bound(network.connect(CLIENT, VIP)).say(0, map_question(MAPI))
    network.later(5)
    mute.reset(0)
    network.connect("10.20.1.16", VIP, 49155).syns(3)
    network.later(60)
    samples = counted(network, tmp_path).samples
    hurt = sum(
        value
        for (name, labels), value in samples.items()
        if name in {"follow_ups_total", "connections_total", "answers_undelivered_total"}
        and dict(labels).get("outcome", "undelivered") in HARMFUL
    )
    causes = sum(value for (name, _), value in samples.items() if name == "causes_total")
    assert hurt == causes == 4


def test_series_start_at_zero_with_the_first_answer() -> None:
    """A rate() sees the first client that is hurt; without follow-ups no 0 says that nobody is."""
    for follow_up in (True, False):
        metrics = Metrics(CollectorRegistry(), vips=["10.11.2.2"], follow_up=follow_up)
        metrics.observe(FindingBatch.of([finding(Verdict.MATCH)]))
        scraped, zero = Scraped(metrics), 0 if follow_up else None
        vip = {"interface": "eth0", "vip": "10.11.2.2"}
        assert scraped("answers_undelivered_total", **vip) == zero
        assert scraped("causes_total", **vip, cause="unknown") == zero
        for outcome in FOLLOW_UP_OUTCOMES:
            assert scraped("follow_ups_total", **vip, service="MAPI", outcome=str(outcome)) == zero
        for of_mapper in MAPPER_OUTCOMES:
            assert scraped("connections_total", **vip, outcome=str(of_mapper)) == zero
    assert set(FOLLOW_UP_OUTCOMES) | set(MAPPER_OUTCOMES) == set(Outcome)


def test_answers_that_nobody_follows_are_counted() -> None:
    """By service and VIP; they hurt nobody, so an undeclared address gets no label by them."""
    metrics = Metrics(CollectorRegistry(), vips=["10.11.2.2"])
    metrics.observe_not_followed([finding(Verdict.MATCH), finding(Verdict.MATCH, asked="10.99.0.1")])
    scraped = Scraped(metrics)
    for vip in ("10.11.2.2", "other"):
        assert scraped("follow_ups_total", interface="eth0", vip=vip, service="MAPI", outcome="not_followed") == 1
        assert scraped("follow_ups_total", interface="eth0", vip=vip, service="MAPI", outcome="reached") == 0
    assert sum(value for (name, _), value in scraped.samples.items() if name == "causes_total") == 0


def test_a_scan_of_the_network_learns_no_vip(tmp_path: Path) -> None:
    """Thousands of addresses that never answer share one label, and take none from those which do."""
    network = Network()
    mapped(network, VIP, SAMR, (VIP, 49155))
    network.wait(40)
    for last in range(1, 100):
        network.connect(CLIENT, f"10.99.0.{last}").syns(3)
    network.connect(CLIENT, VIP).refused()
    network.later(60)
    scraped = counted(network, tmp_path, learned_vips=2)
    assert scraped("connections_total", interface="eth0", vip="other", outcome="timed_out") == 99
    assert scraped("connections_total", **AT_VIP, outcome="refused") == 1
    assert scraped("label_overflow_total", label="vip") == 0


def test_no_more_addresses_are_remembered_than_a_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond it an address that fails is `other`, and that is counted."""
    monkeypatch.setattr(series, "ANSWERING", 0)
    network = Network()
    mapped(network, VIP, SAMR, (VIP, 49155))
    network.wait(40)
    network.connect(CLIENT, VIP).refused()
    scraped = counted(network, tmp_path)
    assert scraped("connections_total", interface="eth0", vip="other", outcome="refused") == 1


def test_harm_learns_a_vip(network: Network, tmp_path: Path) -> None:
    """An undeclared address whose clients are hurt gets a label, also where its answers match."""
    network = Network()
    mapped(network, VIP, SAMR, (VIP, 49155))
    network.connect(CLIENT, VIP, 49155).refused()
    network.wait(40)
    assert follow_ups(counted(network, tmp_path), "SAMR", Outcome.REFUSED) == 1
    assert follow_ups(counted(network, tmp_path, learned_vips=0), "SAMR", Outcome.REFUSED) is None


def test_an_address_that_answers_gets_a_label_from_then_on(tmp_path: Path) -> None:
    """The same failure is counted under `other` before its first answer, and under the address afterwards."""
    network = Network()
    network.connect(CLIENT, VIP).refused()
    network.wait(40)
    mapped(network, VIP, SAMR, (VIP, 49155))
    network.wait(40)
    network.connect(CLIENT, VIP).refused()
    scraped = counted(network, tmp_path)
    for vip in ("other", VIP):
        assert scraped("connections_total", interface="eth0", vip=vip, outcome="refused") == 1


def test_what_is_kept_of_findings_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many kinds of findings come, each is counted once."""
    monkeypatch.setattr(series, "_ALIKE", 8)
    metrics = Metrics(CollectorRegistry(), learned_vips=0)
    for number in range(100):
        metrics.observe(FindingBatch.of([finding(asked=f"10.0.0.{number}")] * 2))
    assert len(metrics._series._alike) <= 8
    assert Scraped(metrics)("responses_total", interface="eth0", verdict="mismatch") == 200
