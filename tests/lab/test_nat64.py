"""The original case's two sides: an IPv6 client asks through a real NAT64, and the gateway sees both conversations."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from inspector.lab import nat64, topology
from inspector.lab.clients import LOOKUP_COMMANDS, MAP_COMMANDS, QUESTIONS
from inspector.lab.scrape import responses_by_verdict
from tests.conftest import unavailable
from tests.lab.conftest import why_no_nat64
from tests.lab.scenario import PORTS, Scenario, play, read

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from prometheus_client import Metric

    from inspector.lab.gateway import Laboratory

pytestmark = pytest.mark.lab

# An answer comes within milliseconds; what is said where none comes can be waited for.
CONFIG = f'nat64_prefixes = ["{nat64.PREFIX}"]\n[limits]\nunanswered_seconds = 2.0\n'
# Each question is a connection of its own, with one bind.
CONNECTIONS = len(QUESTIONS) + len(MAP_COMMANDS) + len(LOOKUP_COMMANDS)
FLOW = ("client", "asked", "asked_raw", "server_port")
OUTER_FLOW = (nat64.CLIENT_ADDRESS, "10.11.2.2", "2002:a01:86e8:8001::a0b:202", 135)
INNER_FLOW = (nat64.TRANSLATED_CLIENT_ADDRESS, "10.11.2.2", None, 135)
# What the two sides of the translator cannot have in common.
OF_THE_SIDE = {"time", "source", "client", "asked_raw", "latency_ms", "evidence", "frame"}
OF_THE_PLACE = {"source", "evidence", "frame"}


@pytest.fixture(scope="module")
def translating(
    laboratory: Laboratory,
    bpf: None,  # noqa: ARG001 - asked for what it requires, not for a value
) -> Laboratory:
    """Return the laboratory, whose gateway translates; skip with the reason where it cannot."""
    reason = why_no_nat64()
    if reason is not None:
        unavailable(reason)
    assert laboratory.nat64
    return laboratory


@pytest.fixture(scope="module")
def arriving(translating: Laboratory, tmp_path_factory: pytest.TempPathFactory) -> Scenario:
    """Play with XDP on both ports, which sees what arrives; wait until no answer is awaited any more."""
    return play_nat64(translating, tmp_path_factory.mktemp("arriving"), PORTS, "--mode", "auto", complete=nothing_open)


@pytest.fixture(scope="module")
def outer(translating: Laboratory, tmp_path_factory: pytest.TempPathFactory) -> Scenario:
    """Play with tc on the port toward the clients, which sees both directions of the outer side."""
    return play_nat64(translating, tmp_path_factory.mktemp("outer"), [topology.CLIENT_PORT], "--mode", "tc")


def play_nat64(laboratory: Laboratory, folder: Path, ports: Sequence[str], *options: str, **more: Any) -> Scenario:
    """Play the scenario over IPv6 with the prefix declared; the configuration goes beside the captures."""
    config = folder / "config.toml"
    config.write_text(CONFIG)
    options = ("--config", str(config), *options)
    return play(laboratory, folder, ports=ports, server=nat64.VIRTUAL_ADDRESS, options=options, **more)


def anomalies(metrics: dict[str, Metric]) -> dict[str, float]:
    """Return the counted anomalies which are not zero."""
    samples = metrics["epm_inspector_anomalies"].samples
    return {
        sample.labels["reason"]: sample.value for sample in samples if sample.name.endswith("_total") and sample.value
    }


def nothing_open(metrics: dict[str, Metric]) -> bool:
    """Whether every question of the outer side, binds and requests, was given up."""
    return anomalies(metrics).get("response_not_visible", 0) >= responses_by_verdict(metrics).total() + CONNECTIONS


def flows(findings: list[dict[str, Any]]) -> set[tuple[Any, ...]]:
    """Return who asked whom."""
    return {tuple(finding.get(key) for key in FLOW) for finding in findings}


def offered(findings: list[dict[str, Any]]) -> Counter[tuple[str, str | None]]:
    """Return the mappings over TCP/IP by verdict and address."""
    mappings = (mapping for finding in findings for mapping in finding["mappings"])
    return Counter((one["verdict"], one["address"]) for one in mappings if one["protocol"] == "ncacn_ip_tcp")


def findings_of(capture: Path) -> list[dict[str, Any]]:
    """Return what the inspector reads in a capture, with the configuration that lies beside it."""
    return [json.loads(line) for line in read(capture, "--config", "config.toml").splitlines()]


def without(keys: set[str], findings: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the findings less these keys."""
    return [{key: value for key, value in finding.items() if key not in keys} for finding in findings]


def test_the_clients_were_answered_through_the_translator(arriving: Scenario, outer: Scenario) -> None:
    """Registered interfaces, asked for over IPv6, are where the conforming client asked: at the mapped address."""
    for scenario in (arriving, outer):
        told = [answer for answer in scenario.answers if answer["client"] == "impacket"]
        assert [answer["status"] == 0 for answer in told] == [question.registered for question in QUESTIONS]
        places = {answer["answer"].partition("[")[0] for answer in told if answer["status"] == 0}
        assert places == {f"ncacn_ip_tcp:{nat64.VIRTUAL_ADDRESS}"}


def test_xdp_finds_the_mismatch_on_the_inner_side(arriving: Scenario) -> None:
    """The IPv4 answers arrive from the servers: asked 10.11.2.2, offered 10.11.2.7; the requests left unseen."""
    assert flows(arriving.findings) == {INNER_FLOW}
    assert {finding["source"] for finding in arriving.findings} == {topology.SERVER_PORT}
    assert offered(arriving.findings)["mismatch", topology.SERVER_ADDRESS] > len(QUESTIONS)
    assert {tuple(finding["anomalies"]) for finding in arriving.findings} == {("bind_not_seen", "request_not_seen")}


def test_what_xdp_cannot_see_is_not_called_unanswered(arriving: Scenario) -> None:
    """The outer answers leave where XDP does not look: each question is counted as such, and none is a finding."""
    responses = responses_by_verdict(arriving.metrics)
    assert responses["unanswered"] == 0
    assert responses.total() == len(arriving.findings) > 40
    assert anomalies(arriving.metrics) == {
        "bind_not_seen": responses.total(),
        "request_not_seen": responses.total(),
        "response_not_visible": responses.total() + CONNECTIONS,
    }


def test_tc_finds_the_mismatch_on_the_outer_side(outer: Scenario) -> None:
    """Both directions are seen: asked is the unmapped address, beside it the one which the client used."""
    assert flows(outer.findings) == {OUTER_FLOW}
    assert {finding["source"] for finding in outer.findings} == {topology.CLIENT_PORT}
    assert offered(outer.findings)["mismatch", topology.SERVER_ADDRESS] > len(QUESTIONS)
    assert anomalies(outer.metrics) == {}
    assert all(finding["latency_ms"] >= 0 for finding in outer.findings)


def test_both_sides_lead_to_the_same_verdicts(arriving: Scenario, outer: Scenario) -> None:
    """Half of the inner side or all of the outer one: the same questions, the same verdicts and offers."""
    assert responses_by_verdict(arriving.metrics) == responses_by_verdict(outer.metrics)
    assert offered(arriving.findings) == offered(outer.findings)


def test_captures_of_both_sides_say_the_same(outer: Scenario) -> None:
    """The translator rewrites headers and leaves the payload alone: the findings differ in nothing else."""
    inner_findings, outer_findings = (findings_of(outer.wires[port]) for port in reversed(PORTS))
    assert flows(inner_findings) == {INNER_FLOW}
    assert flows(outer_findings) == {OUTER_FLOW}
    assert without(OF_THE_SIDE, inner_findings) == without(OF_THE_SIDE, outer_findings)


def test_reading_what_was_written_gives_the_same_findings(arriving: Scenario, outer: Scenario) -> None:
    """Live and offline are one path for IPv6, too, and for questions whose answers were not seen."""
    for scenario in (arriving, outer):
        assert without(OF_THE_PLACE, findings_of(scenario.written)) == without(OF_THE_PLACE, scenario.findings)


def test_evidence_of_the_outer_side(outer: Scenario) -> None:
    """A file over IPv6 has dashes for colons, and read with the prefix declared it gives its finding."""
    named = [finding for finding in outer.findings if "evidence" in finding]
    assert len(named) == 2
    for finding in named:
        client = finding["client"].replace(":", "-")
        assert finding["evidence"].endswith(f"Z_{client}_{finding['asked']}.pcapng")
        capture = outer.evidence / finding["evidence"]
        (capture.parent / "config.toml").write_text(CONFIG)
        assert without(OF_THE_PLACE, [finding]) == without(OF_THE_PLACE, findings_of(capture)[-1:])


def test_an_undeclared_prefix_is_taken_for_6to4(outer: Scenario) -> None:
    """Why the prefix must be declared: it lies in 2002::/16, where the address of a 6to4 router would be found."""
    findings = [json.loads(line) for line in read(outer.wire).splitlines()]
    assert {(finding["asked"], finding["asked_raw"]) for finding in findings} == {
        ("10.1.134.232", nat64.VIRTUAL_ADDRESS)
    }
