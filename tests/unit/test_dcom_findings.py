"""Findings of DCOM: verdicts of bindings, authentication, what tables and metrics show, and what clients did next."""

from __future__ import annotations

import io
from ipaddress import IPv4Address, IPv4Network, IPv6Address
from typing import TYPE_CHECKING

import pytest
from prometheus_client import CollectorRegistry

from inspector.consequence import Cause, Outcome, Target
from inspector.dcom import Reach, Role
from inspector.http.overview import Overview
from inspector.judge.policy import Policy
from inspector.liveview.screen import finding_rows
from inspector.metrics.updates import Metrics
from inspector.model import Finding, Verdict
from inspector.output.console import Console
from tests.build import dcom, pdu
from tests.build.blocks import batch_of
from tests.build.connection import Wire
from tests.build.epm import NDR20
from tests.build.findings import Scraped
from tests.build.following import Followed
from tests.build.observe import findings_of, observe
from tests.cases.dialogue import MAPI, called, mapped
from tests.cases.network import Connection, Network

if TYPE_CHECKING:
    from pathlib import Path

VIP, DIP, BACKUP, SIX = "10.11.2.2", "10.11.2.7", "192.168.50.11", "2001:db8::11"
CLIENT = "10.20.1.15"
OXID = bytes(range(8))


def alive(addresses: list[dcom.Address], *, server: str = VIP, policy: Policy | None = None) -> Finding:
    """Return the finding of a ServerAlive2 answer."""
    wire = Wire(client="2001:db8::1" if ":" in server else "10.1.1.1", server=server).open()
    wire.client(pdu.bind([(0, dcom.OBJECT_EXPORTER, (NDR20,))])).server(pdu.bind_ack())
    wire.client(pdu.request(b"", opnum=5, call_id=2))
    wire.server(pdu.response(dcom.server_alive_2_response(addresses), call_id=2))
    [finding] = findings_of(wire.segments, policy=policy)
    return finding


def activated(
    addresses: list[str], *, bind_level: int = 0, call_level: int = 0, service: int = 10, status: int = 0
) -> Finding:
    """Return the finding of an activation, with levels of the bind and of the call."""
    wire = Wire().open()
    bind = bytearray(
        pdu.bind([(0, dcom.SCM_ACTIVATOR, (NDR20,))], auth=(bind_level, bytes(16)) if bind_level else None)
    )
    if bind_level:
        bind[-24] = service
    wire.client(bytes(bind)).server(pdu.bind_ack())
    auth = (call_level, bytes(16)) if call_level else None
    wire.client(pdu.request(dcom.create_instance_request(bytes(16)), opnum=4, call_id=2, auth=auth))
    answer = dcom.create_instance_response(OXID, [f"{address}[49155]" for address in addresses], status=status)
    wire.server(pdu.response(answer, call_id=2, auth=auth))
    [finding] = findings_of(wire.segments)
    return finding


def verdicts(finding: Finding) -> list[Verdict]:
    """Return those of the bindings."""
    return [one.verdict for one in finding.mappings]


def test_one_binding_that_leads_there_is_enough() -> None:
    """Clients try the bindings in turn: other networks of the server harm nobody; each has its own verdict."""
    finding = alive([BACKUP, "SRV01", VIP, SIX, "fe80::1"])
    assert finding.verdict is Verdict.MATCH
    assert verdicts(finding) == [
        Verdict.MISMATCH, Verdict.NO_ADDRESS, Verdict.MATCH, Verdict.MISMATCH, Verdict.UNROUTABLE,
    ]  # fmt: skip
    reaches = [one.binding.reach for one in finding.mappings if one.binding is not None]
    assert reaches == [
        Reach.OTHER_ADDRESS, Reach.NAME_ONLY, Reach.ASKED_ADDRESS, Reach.OTHER_ADDRESS, Reach.OTHER_ADDRESS,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("addresses", "verdict", "words"),
    [
        (["SRV01"], Verdict.NO_ADDRESS, "a bare name"),
        (["srv01.example.com"], Verdict.NO_ADDRESS, "a name: clients have to resolve it to 10.11.2.2"),
        (["0.0.0.0"], Verdict.UNSPECIFIED, "clients connect to 10.11.2.2"),  # noqa: S104
        (["127.0.0.1"], Verdict.UNROUTABLE, "where no other host can connect"),
        (["SRV01", DIP], Verdict.MISMATCH, "SRV01, 10.11.2.7: none of them is 10.11.2.2"),
    ],
)
def test_verdicts(addresses: list[dcom.Address], verdict: Verdict, words: str) -> None:
    """Those of towers, in words of DCOM's clients."""
    finding = alive(addresses)
    assert finding.verdict is verdict
    assert words in finding.why


def test_asked_over_ipv6() -> None:
    """IPv6 bindings are compared, as are IPv4 bindings with the address behind NAT64."""
    native = alive([DIP, SIX], server=SIX)
    assert (native.verdict, verdicts(native)) == (Verdict.MATCH, [Verdict.MISMATCH, Verdict.MATCH])
    assert native.mappings[1].address == IPv6Address(SIX)
    assert alive(["2001:db8::12"], server=SIX).verdict is Verdict.MISMATCH
    behind = alive([VIP, "64:ff9b::a0b:202"], server="64:ff9b::a0b:202")
    assert verdicts(behind) == [Verdict.MATCH, Verdict.MATCH]


def test_a_declared_pool() -> None:
    """A declared server of the VIP is expected, and still where clients go."""
    policy = Policy(pools={IPv4Address(VIP): (IPv4Network("10.11.2.0/28"),)})
    finding = alive([DIP], policy=policy)
    assert finding.verdict is Verdict.POOLED
    assert "past the load balancer" in finding.why


@pytest.mark.parametrize(("bind_level", "call_level", "level"), [(0, 0, 0), (2, 0, 2), (2, 5, 5), (0, 5, 5)])
def test_authentication(bind_level: int, call_level: int, level: int) -> None:
    """The request's own verifier counts, else that of the bind; both decoders know it."""
    finding = activated([VIP], bind_level=bind_level, call_level=call_level)
    assert finding.dcom is not None
    assert (finding.dcom.level, finding.dcom.service) == (level, "ntlm" if level else None)
    assert ("KB5004442" in finding.why) == (0 < level < 5)


@pytest.mark.parametrize(
    ("service", "name"), [(16, "kerberos"), (9, "negotiate"), (68, "netlogon"), (99, "service 99")]
)
def test_authentication_services(service: int, name: str) -> None:
    """Also those which the engine's context has no room for."""
    finding = activated([VIP], bind_level=2, service=service)
    assert finding.dcom is not None
    assert finding.dcom.service == name


def test_refused_below_integrity() -> None:
    """The cause is told with the number that clients see, and the event of the server."""
    finding = activated([VIP], bind_level=4, status=dcom.ACCESS_DENIED)
    assert finding.verdict is Verdict.FAULT
    for words in ("0x80070005", "level 4 (packet)", "KB5004442", "10036"):
        assert words in finding.why


def test_sealed() -> None:
    """Operation and level are all that can be told."""
    finding = activated([DIP], bind_level=6, call_level=6)
    assert (finding.verdict, finding.operation, finding.mappings) == (Verdict.SEALED, "RemoteCreateInstance", ())


def test_the_server_as_the_client_calls_it() -> None:
    """An address in the client's own request, where its packets have another: translated before they are seen."""
    wire = Wire().open().client(pdu.bind([(0, dcom.SCM_ACTIVATOR, (NDR20,))])).server(pdu.bind_ack())
    asked = dcom.create_instance_request(bytes(16), server_name="203.0.113.33")
    wire.client(pdu.request(asked, opnum=4, call_id=2))
    wire.server(pdu.response(dcom.create_instance_response(OXID, [VIP]), call_id=2))
    [finding] = findings_of(wire.segments)
    assert finding.requested_address == IPv4Address("203.0.113.33")


def test_what_is_left_of_a_long_request() -> None:
    """A request above the limit is not kept: the answer is read by its structure, which is enough."""
    wire = Wire().open().client(pdu.bind([(0, dcom.SCM_ACTIVATOR, (NDR20,))])).server(pdu.bind_ack())
    asked = dcom.create_instance_request(bytes(16), bytes(9000))
    for flags, piece in pdu.fragments(asked, 4000):
        wire.client(pdu.request(piece, opnum=4, call_id=2, flags=flags))
    wire.server(pdu.response(dcom.create_instance_response(OXID, [DIP]), call_id=2))
    [finding], anomalies = observe(wire.segments)
    assert (finding.verdict, finding.anomalies) == (Verdict.MISMATCH, ("request_not_seen",))
    assert {str(anomaly) for anomaly in anomalies} == {"fragments_too_large", "request_not_seen"}


def test_the_table() -> None:
    """Names with their port; the row of the finding's verdict says all; resolvers have none beside exporters."""
    wire = Wire().open().client(pdu.bind([(0, dcom.SCM_ACTIVATOR, (NDR20,))])).server(pdu.bind_ack())
    wire.client(pdu.request(dcom.create_instance_request(bytes(16)), opnum=4, call_id=2))
    answer = dcom.create_instance_response(
        OXID, ["SRV01[49155]", f"{SIX}[49155]"], results=[(dcom.WBEM_LOGIN, 0)], resolvers=["SRV01"]
    )
    [finding] = findings_of(wire.server(pdu.response(answer, call_id=2)).segments)
    assert [one.binding.role for one in finding.mappings if one.binding] == [Role.EXPORTER] * 2 + [Role.RESOLVER]
    stream = io.StringIO()
    Console(stream, terminal=False, header=False).show(batch_of(finding))
    name, address = stream.getvalue().splitlines()
    assert " SRV01:49155 " in name
    assert f" [{SIX}]:49155 " in address
    assert "RemoteCreateInstance for WMI" in address


def test_metrics() -> None:
    """One mismatch for an answer that is one; none for another network of a server that is reached. No latency."""
    metrics = Metrics(CollectorRegistry())
    metrics.reconfigure([], 4)
    for finding in (alive([DIP, BACKUP]), alive([VIP, BACKUP])):
        metrics.observe(batch_of(finding))
    scraped = Scraped(metrics)
    labels = {"interface": "port1", "vip": VIP, "service": "IObjectExporter"}
    assert scraped("mismatches_total", **labels) == 1
    assert scraped("service_responses_total", **labels) == 2
    assert scraped("response_latency_seconds_count") == 0


def test_follow_ups_are_counted_by_interface(tmp_path: Path) -> None:
    """The label of a follow-up is the interface that the client asked, from the closed set of well-known names."""
    network = Network()
    _activation(network, [f"{VIP}[49155]"])
    called(network, VIP, 49155, (dcom.WBEM_LOGIN, 0, 0), client=CLIENT)
    metrics = Metrics(CollectorRegistry())
    metrics.reconfigure([], 4)
    for finding in Followed(network, tmp_path).given:
        metrics.observe(batch_of(finding))
    source = str(tmp_path / "capture.pcapng")
    labels = {"interface": source, "vip": "other", "service": "IRemoteSCMActivator", "outcome": "reached"}
    assert Scraped(metrics)("follow_ups_total", **labels) == 1


def test_names_on_the_page_and_in_the_live_view() -> None:
    """A binding without an address is shown by its name; an address comes first."""
    named, addressed = alive(["SRV01", "SRV01.example"]), alive(["SRV01", DIP])
    overview = Overview()
    overview.observe(batch_of(named))
    overview.observe(batch_of(addressed))
    offers, _ = overview.offers()
    assert {(one["service"], one["offered"], one["verdict"]) for one in offers} == {
        ("IObjectExporter", "SRV01", "no_address"),
        ("IObjectExporter", DIP, "mismatch"),
    }
    rows = finding_rows([named.as_dict(), addressed.as_dict()])
    assert [row[4:] for row in rows] == [("SRV01", "IObjectExporter"), (DIP, "IObjectExporter")]


def _activation(network: Network, bindings: list[str], server: str = VIP) -> Connection:
    """Let a client activate WMI at a server."""
    connection = network.connect(CLIENT, server).open()
    connection.ask(pdu.bind([(0, dcom.SCM_ACTIVATOR, (NDR20,))]), pdu.bind_ack())
    answer = dcom.create_instance_response(OXID, bindings)
    asked = pdu.request(dcom.create_instance_request(bytes(16)), opnum=4, call_id=2)
    return connection.ask(asked, pdu.response(answer, call_id=2)).close()


@pytest.mark.parametrize(
    ("bindings", "went_to", "target", "verdict"),
    [
        (["SRV01[49155]", f"{VIP}[49155]"], VIP, Target.ASKED, Verdict.MATCH),
        (["SRV01[49155]"], VIP, Target.ASKED, Verdict.NO_ADDRESS),
        (["SRV01[49155]", f"{DIP}[49155]"], DIP, Target.OFFERED, Verdict.MISMATCH),
    ],
)
def test_bindings_are_followed(
    bindings: list[str], went_to: str, target: Target, verdict: Verdict, tmp_path: Path
) -> None:
    """To the asked address, by a name, and to another address; the mapping is the binding that was followed."""
    network = Network()
    _activation(network, bindings)
    called(network, went_to, 49155, (dcom.WBEM_LOGIN, 0, 0), client=CLIENT)
    [_, follow_up] = Followed(network, tmp_path).findings
    assert follow_up.consequence is not None
    assert (follow_up.consequence.outcome, follow_up.consequence.target) == (Outcome.REACHED, target)
    assert follow_up.mappings[0].verdict is verdict


def test_a_dynamic_port_that_is_blocked(tmp_path: Path) -> None:
    """The binding has the asked address, and nobody answers there."""
    network = Network()
    _activation(network, [f"{VIP}[49155]"])
    network.connect(CLIENT, VIP, 49155).syns()
    network.later(31)
    follow_up = Followed(network, tmp_path).findings[-1]
    assert follow_up.consequence is not None
    assert (follow_up.consequence.outcome, follow_up.consequence.cause) == (Outcome.TIMED_OUT, Cause.PORTS_FILTERED)
    assert "DCOM's answer named port 49155" in "; ".join(follow_up.consequence.evidence_seen)


def test_networks_of_a_server_are_evidence_for_towers(tmp_path: Path) -> None:
    """A tower with another address is no load balancer's, where DCOM lists both addresses as one server's."""
    network = Network()
    connection = network.connect(CLIENT, VIP).open()
    connection.ask(pdu.bind([(0, dcom.OBJECT_EXPORTER, (NDR20,))]), pdu.bind_ack())
    answer = dcom.server_alive_2_response(["SRV01", VIP, BACKUP])
    connection.ask(pdu.request(b"", opnum=5, call_id=2), pdu.response(answer, call_id=2)).close()
    mapped(network, VIP, MAPI, (BACKUP, 49160), client=CLIENT)
    answers = [one for one in Followed(network, tmp_path).findings if one.operation == "ept_map"]
    assert [one.consequence.cause for one in answers if one.consequence is not None] == [Cause.MULTIHOMED_SERVER]
