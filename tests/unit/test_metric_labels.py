"""Labels of the metrics: which values get one of their own, and that there is an end to them."""

from __future__ import annotations

from ipaddress import IPv4Address
from uuid import UUID

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from inspector.decode import layout
from inspector.decode.batch import FindingBatch
from inspector.metrics.series import FOLLOW_UP_OUTCOMES, LEARNED_INTERFACES
from inspector.metrics.updates import Metrics
from inspector.model import Finding, RpcInterface, Verdict
from tests.build.blocks import batch_of
from tests.build.findings import MAPI, UNNAMED, Scraped, finding, mapping


@pytest.fixture
def metrics() -> Metrics:
    """Return metrics in a registry of their own, with one configured VIP."""
    return Metrics(CollectorRegistry(), vips=["10.11.2.2"], learned_vips=2)


def lasting(templates: list[Finding], *numbers: int) -> FindingBatch:
    """Return a batch with a row for each number of a template."""
    rows = np.zeros((len(numbers), layout.FOUND_WORDS), np.int64)
    rows[:, layout.FOUND_TEMPLATE] = numbers
    rows[:, layout.FOUND_ASKED] = -1
    return FindingBatch(rows, templates)


def test_a_learned_vip_is_counted_apart_from_then_on(metrics: Metrics) -> None:
    """What was asked of it before is under `other`, also where the judgement is the one of before."""
    templates = [finding(asked="10.9.9.9"), finding(Verdict.MATCH, asked="10.9.9.9")]
    for _ in range(2):
        metrics.observe(lasting(templates, 1, 1, 1))
    metrics.observe(lasting(templates, 0, 1, 1, 1, 1, 1))
    scraped = Scraped(metrics)
    assert scraped("vip_responses_total", interface="eth0", vip="other", verdict="match") == 6
    assert scraped("vip_responses_total", interface="eth0", vip="10.9.9.9", verdict="match") == 5
    assert scraped("vip_responses_total", interface="eth0", vip="10.9.9.9", verdict="mismatch") == 1
    assert scraped("service_responses_total", interface="eth0", vip="10.9.9.9", service="MAPI") == 6
    assert scraped("mismatches_total", interface="eth0", vip="10.9.9.9", service="MAPI") == 1


def test_vips_are_learned_up_to_a_number(metrics: Metrics) -> None:
    """Configured ones always have a label, the first few others too, the rest share one and are counted."""
    for last in (5, 6, 7, 8, 5, 2):
        metrics.observe(batch_of(finding(asked=f"10.11.2.{last}")))
    scraped = Scraped(metrics)
    counts = {
        vip: scraped("mismatches_total", interface="eth0", vip=vip, service="MAPI")
        for vip in ("10.11.2.5", "10.11.2.6", "10.11.2.7", "10.11.2.2", "other")
    }
    assert counts == {"10.11.2.5": 2, "10.11.2.6": 1, "10.11.2.7": None, "10.11.2.2": 1, "other": 2}
    assert scraped("label_overflow_total", label="vip") == 2


def test_configured_vips_are_compared_as_addresses() -> None:
    """An IPv6 address may be written in several ways."""
    metrics = Metrics(CollectorRegistry(), vips=["2001:DB8:0::1"], learned_vips=0)
    metrics.observe(batch_of(finding(asked="2001:db8::1")))
    assert Scraped(metrics)("mismatches_total", interface="eth0", vip="2001:db8::1", service="MAPI") == 1


def test_services_without_a_name_share_a_label(metrics: Metrics) -> None:
    """A UUID is never a label; the name is the mismatching mapping's before the request's."""
    metrics.observe(batch_of(finding(mappings=(mapping(interface=UNNAMED),), requested=None)))
    metrics.observe(batch_of(finding(mappings=(mapping(interface=None),), requested=MAPI)))
    scraped = Scraped(metrics)
    assert scraped("mismatches_total", interface="eth0", vip="10.11.2.2", service="other") == 1
    assert scraped("mismatches_total", interface="eth0", vip="10.11.2.2", service="MAPI") == 1
    assert scraped("label_overflow_total", label="service") == 1


def test_a_storm_of_forged_findings_mints_nothing(metrics: Metrics) -> None:
    """Random addresses, UUIDs and sources leave the number of series where the bounds are."""
    for number in range(500):
        metrics.observe(
            batch_of(
                finding(
                    asked=str(IPv4Address(number)),
                    source=f"source {number}",
                    mappings=(mapping(interface=RpcInterface(UUID(int=number), 1)),),
                    requested=None,
                )
            )
        )
    scraped = Scraped(metrics)
    assert scraped.series("responses_total") <= (LEARNED_INTERFACES + 1) * len(Verdict)
    assert scraped.series("mismatches_total") <= (LEARNED_INTERFACES + 1) * 4
    assert scraped("label_overflow_total", label="interface") == 500 - LEARNED_INTERFACES
    assert scraped.series("vip_responses_total") <= (LEARNED_INTERFACES + 1) * 4 * len(Verdict)
    assert scraped.series("service_responses_total") <= (LEARNED_INTERFACES + 1) * 4
    before = len(scraped.samples)
    for number in range(1000, 1500):
        metrics.observe(batch_of(finding(asked=str(IPv4Address(number)), source=f"source {number}")))
    # Of the one service that is named now: its mismatches, its answers, and its follow-ups.
    assert len(Scraped(metrics).samples) <= before + 2 + len(FOLLOW_UP_OUTCOMES)


def test_how_many_vips_may_be_learned_can_change(metrics: Metrics) -> None:
    """What was learned keeps its label and its place in the count."""
    for last, allowed in ((3, 2), (4, 2), (5, 2), (6, 3), (7, 3), (8, 1)):
        metrics.reconfigure([], allowed)
        metrics.observe(batch_of(finding(asked=f"10.11.2.{last}")))
    metrics.observe(batch_of(finding(asked="10.11.2.3")))
    scraped = Scraped(metrics)
    learned = {
        f"10.11.2.{last}": scraped("mismatches_total", interface="eth0", vip=f"10.11.2.{last}", service="MAPI")
        for last in range(3, 9)
    }
    assert learned == {
        "10.11.2.3": 2,
        "10.11.2.4": 1,
        "10.11.2.5": None,
        "10.11.2.6": 1,
        "10.11.2.7": None,
        "10.11.2.8": None,
    }
    assert scraped("label_overflow_total", label="vip") == 3


def test_made_up_reasons_are_other(metrics: Metrics) -> None:
    """A message is not a label."""
    metrics.attach_failure("eth0", "device busy at 0x7fff")
    assert Scraped(metrics)("attach_failures_total", interface="eth0", reason="other") == 1
