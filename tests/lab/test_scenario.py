"""The demonstration's scenario, end to end: what was asked is what was found, exported and written."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from inspector.lab import topology
from inspector.lab.clients import NOT_REGISTERED, QUESTIONS
from inspector.lab.scrape import responses_by_verdict
from tests.lab.scenario import PORTS, read

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.lab.scenario import Scenario

pytestmark = pytest.mark.lab

# Findings of the same packets, captured elsewhere or at another moment, cannot be equal in these.
OF_THE_PLACE = {"source", "evidence", "frame"}
OF_THE_MOMENT = {"source", "evidence", "frame", "time", "latency_ms"}


def without(keys: set[str], lines: str) -> list[str]:
    """Return findings as JSON lines, less these keys."""
    findings = (json.loads(line) for line in lines.splitlines())
    return [json.dumps({key: value for key, value in finding.items() if key not in keys}) for finding in findings]


def samples(scenario: Scenario, name: str) -> list[tuple[dict[str, str], float]]:
    """Return labels and value of every sample of a metric that is not zero."""
    family = scenario.metrics[name.removesuffix("_total")]
    return [(sample.labels, sample.value) for sample in family.samples if sample.name == name and sample.value]


def total(scenario: Scenario, name: str) -> float:
    """Return the sum of a metric over all labels."""
    return sum(value for _, value in samples(scenario, name))


def maps_of(findings: Iterable[dict[str, Any]], service: str) -> list[dict[str, Any]]:
    """Return the findings that answer a map request for this service."""
    return [finding for finding in findings if finding.get("requested", {}).get("name") == service]


@pytest.mark.parametrize("service", [question.name for question in QUESTIONS if question.registered])
def test_a_registered_interface_is_a_mismatch(scenario: Scenario, service: str) -> None:
    """The virtual address was asked, the tower names the real server: asked, offered and verdict say so."""
    found = [finding for finding in maps_of(scenario.findings, service) if finding["verdict"] != "no_address"]
    assert found
    for finding in found:
        assert finding["verdict"] == "mismatch"
        assert (finding["client"], finding["asked"], finding["server_port"]) == ("10.1.1.1", "10.11.2.2", 135)
        assert (finding["operation"], finding["transfer_syntax"], finding["status"]) == ("ept_map", "ndr20", 0)
        assert [mapping["address"] for mapping in finding["mappings"]] == ["10.11.2.7"]
        assert [mapping["name"] for mapping in finding["mappings"]] == [service]
        assert topology.SERVER_ADDRESS in finding["why"]


@pytest.mark.parametrize("service", [question.name for question in QUESTIONS if not question.registered])
def test_an_unregistered_interface_is_not_registered(scenario: Scenario, service: str) -> None:
    """The server's status code comes through, and no mapping is made up."""
    (finding,) = maps_of(scenario.findings, service)
    assert (finding["verdict"], finding["status"], finding["mappings"]) == ("not_registered", NOT_REGISTERED, [])


def test_every_answer_that_impacket_had_was_found(scenario: Scenario) -> None:
    """Question by question: the status and the port are those which the client was told."""
    told = [answer for answer in scenario.answers if answer["client"] == "impacket"]
    assert len(told) == len(QUESTIONS)
    for answer, finding in zip(told, scenario.findings, strict=False):
        assert finding["requested"]["uuid"] == answer["uuid"]
        assert finding["status"] == answer["status"]
        ports = [f"ncacn_ip_tcp:{topology.VIRTUAL_ADDRESS}[{mapping['port']}]" for mapping in finding["mappings"]]
        assert ports == ([answer["answer"]] if answer["status"] == 0 else [])


def test_every_endpoint_that_rpcclient_listed_was_found(scenario: Scenario) -> None:
    """The lookup's findings hold the bindings which rpcclient printed, in that order, and the one it overlooks."""
    (listing,) = (answer["answer"] for answer in scenario.answers if answer["question"] == "epmlookup")
    printed = [line.split(maxsplit=1)[1] for line in listing.splitlines()]
    *lookups, last = (finding for finding in scenario.findings if finding["operation"] == "ept_lookup")
    assert len(printed) > 30
    assert [binding_of(mapping) for finding in lookups for mapping in finding["mappings"]] == printed
    # The last page ends the listing by its status and still has an entry, which rpcclient throws away.
    assert (last["status"], len(last["mappings"])) == (NOT_REGISTERED, 1)


def binding_of(mapping: dict[str, Any]) -> str:
    """Return a mapping the way rpcclient prints it; Samba leaves the minor version out."""
    major = int(mapping["version"].split(".")[0])
    endpoint = mapping["endpoint"] if mapping["port"] is None else mapping["port"]
    # Samba's words are host:[endpoint,...] with an address, and :[endpoint,...] without.
    host = f"{mapping['address']}[" if mapping["address"] else "["
    return (
        f"{mapping['protocol']}:{host}{endpoint},"
        f"abstract_syntax={mapping['uuid']}/0x{major:08x}]: {mapping['annotation']}"
    )


def test_metrics_say_what_the_findings_say(scenario: Scenario) -> None:
    """Responses by verdict and interface, and mismatches by virtual address and service, add up exactly."""
    findings = scenario.findings
    assert responses_by_verdict(scenario.metrics) == Counter(finding["verdict"] for finding in findings)
    assert {labels["interface"] for labels, _ in samples(scenario, "epm_inspector_responses_total")} == {
        finding["source"] for finding in findings
    }
    mismatches = Counter(
        (finding["source"], finding["asked"], mapping["name"])
        for finding in findings
        for mapping in finding["mappings"]
        if mapping["verdict"] == "mismatch"
    )
    assert mismatches == {
        (labels["interface"], labels["vip"], labels["service"]): value
        for labels, value in samples(scenario, "epm_inspector_mismatches_total")
    }


def test_nothing_was_lost_on_the_way(scenario: Scenario) -> None:
    """Matched is submitted plus lost in the kernel, and submitted is consumed across it; nothing was lost."""
    lost = total(scenario, "epm_inspector_ring_lost_total")
    submitted = total(scenario, "epm_inspector_ring_submitted_total")
    assert total(scenario, "epm_inspector_packets_matched_total") == submitted + lost
    assert total(scenario, "epm_inspector_records_consumed_total") == submitted > 0
    assert lost == 0
    assert total(scenario, "epm_inspector_anomalies_total") == 0


def test_the_inspector_was_attached_to_both_ports(scenario: Scenario) -> None:
    """The log announces each port, the gauge agrees, and each saw the direction that enters there."""
    attached = samples(scenario, "epm_inspector_program_attached")
    assert {labels["interface"] for labels, _ in attached} == set(PORTS)
    assert all(f"attached {port}" in scenario.log for port in PORTS)
    seen = {
        (labels["interface"], labels["direction"]) for labels, _ in samples(scenario, "epm_inspector_packets_total")
    }
    assert seen == {(topology.CLIENT_PORT, "to_server"), (topology.SERVER_PORT, "from_server")}


def test_sigterm_ends_it_with_a_summary(scenario: Scenario) -> None:
    """Exit status 0, and a summary on standard error with the number of findings by verdict."""
    assert scenario.status == 0
    summary = dict(line.rsplit(maxsplit=1) for line in scenario.log.partition("summary")[2].strip().splitlines())
    counts = {name.strip(): int(count) for name, count in summary.items()}
    assert counts["findings"] == len(scenario.findings)
    assert counts["records lost"] == 0
    for verdict, count in Counter(finding["verdict"] for finding in scenario.findings).items():
        assert counts[verdict] == count


def test_reading_what_was_written_gives_the_same_findings(scenario: Scenario) -> None:
    """Byte for byte but for the source: live and offline are one path."""
    assert without(OF_THE_PLACE, read(scenario.written)) == without(OF_THE_PLACE, scenario.output)


def test_reading_what_tcpdump_recorded_gives_the_same_findings(scenario: Scenario) -> None:
    """A capture by another program, on one port only, leads to the same findings but for time and source."""
    assert without(OF_THE_MOMENT, read(scenario.wire)) == without(OF_THE_MOMENT, scenario.output)


def test_the_original_sizes_are_on_the_wire(scenario: Scenario) -> None:
    """Request 156 and response 152 bytes, as in the case the project started from."""
    from inspector.capture.pcap import read_packets

    lengths = Counter(len(packet.data) - 14 - 20 - 32 for packet in read_packets(scenario.wire))
    assert lengths[156] >= 3
    assert lengths[152] >= 3
