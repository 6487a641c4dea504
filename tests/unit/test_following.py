"""Following answers while they come: what is chosen, what is let go and counted, and that doubt gives no alarm."""

from __future__ import annotations

import numpy as np
import pytest

from inspector.decode.followed import CONNECTIONS, RATE, RATE_OF_CLIENT, RECORDS, Followed
from inspector.errors import Anomaly
from inspector.inspection.kernelview import KernelView
from inspector.model import Segment
from inspector.protocols import ACK, FIN, IPV4_MAPPED, RST, SYN
from inspector.record import ENDPOINTS, FLOWS, Attribute, KernelCounter, unpack_record
from tests.build import pdu
from tests.build.epm import map_response, pipe_tower, tcp_tower
from tests.build.livefollowing import LiveInspection, Maps, Session, block_of
from tests.cases.dialogue import CLIENT, SERVER, bound, called, map_answer, map_question, mapped
from tests.cases.network import Network
from tests.golden.dialogue import LSARPC

T0 = 1_700_000_000_000_000_000
PORT = 49664
SECOND = 1_000_000_000


def packet(
    client: int,
    flags: int,
    *,
    client_port: int = 40000,
    from_server: bool = False,
    payload: bytes = b"",
    time_ns: int = T0,
    interface: int = 1,
    sequence: int = 100,
    attributes: int = 0,
    port: int = 135,
) -> Segment:
    """Return a packet of a client, by number."""
    ends = [(IPV4_MAPPED + client.to_bytes(4, "big"), client_port), (IPV4_MAPPED + bytes((10, 9, 0, 1)), port)]
    (source, source_port), (destination, destination_port) = reversed(ends) if from_server else ends
    attributes |= Attribute.FROM_SERVER if from_server else 0
    return Segment(
        time_ns, source, destination, sequence, 1, source_port, destination_port, len(payload), flags,
        attributes, interface, payload,
    )  # fmt: skip


def chosen(followed: Followed, *segments: Segment) -> list[int]:
    """Return which rows are followed."""
    return [int(row) for row in followed.select([block_of(list(segments))])]


def show(live: LiveInspection, network: Network) -> None:
    """Let the frames of a network pass."""
    for scene in network.scenes:
        for frame in scene.frames:
            live.take(frame.data, frame.time_ns)


def test_a_connection_is_followed_from_its_first_packet_on() -> None:
    """Both directions, and until its end; a reset of a connection that nobody saw is of no interest."""
    followed = Followed()
    talk = [
        packet(1, SYN),
        packet(1, SYN | ACK, from_server=True),
        packet(1, ACK, payload=b"bind", sequence=101),
        packet(2, RST),
        packet(1, RST, from_server=True, sequence=101),
    ]
    assert chosen(followed, *talk) == [0, 1, 2, 4]
    columns = block_of([talk[0], talk[3], talk[0]])
    servers = columns[:, 4:6].copy()
    servers[2] += np.uint64(1)
    ports = np.array([40000] * 3)
    assert followed.are_followed(columns[:, 2:4], ports, servers).tolist() == [True, False, False]
    assert unpack_record(followed.record_of(2)).payload == b"bind"
    assert followed.refused == 0


def test_datagrams_are_not_followed_and_errors_are() -> None:
    """An ICMP error is rare, and the program has a budget for it."""
    followed = Followed()
    assert chosen(followed, packet(1, 0, attributes=Attribute.UDP), packet(1, 0, attributes=Attribute.ICMP)) == [1]


def test_a_packet_that_crosses_two_interfaces_is_taken_once() -> None:
    """Each direction where it was first seen; from elsewhere only what did not come there."""
    followed = Followed()
    assert chosen(
        followed,
        packet(1, SYN),
        packet(1, SYN, interface=2),
        packet(1, SYN | ACK, from_server=True, interface=2),
        packet(1, SYN | ACK, from_server=True),
        packet(1, ACK, payload=b"bind", sequence=101),
        packet(1, ACK, payload=b"bind", sequence=101, interface=2),
        packet(1, ACK, payload=b"bind", sequence=101),
        packet(1, ACK, payload=b"more", sequence=105, interface=2),
        packet(1, RST, sequence=109),
        packet(1, RST, sequence=109, interface=2),
    ) == [0, 2, 4, 6, 7, 8]


def test_follow_ups_of_clients_that_asked() -> None:
    """A SYN to an endpoint counts where its client has talked to a mapper; the rest of its connection goes with it."""
    followed = Followed()
    endpoint = {"client_port": 41000, "attributes": Attribute.ENDPOINT, "port": PORT}
    assert chosen(followed, packet(1, SYN, **endpoint)) == []  # type: ignore[arg-type]  # numbers
    assert chosen(followed, packet(1, SYN), packet(1, SYN, **endpoint), packet(2, SYN, **endpoint)) == [0, 1]  # type: ignore[arg-type]  # numbers
    assert chosen(followed, packet(1, RST, from_server=True, **endpoint)) == [0]  # type: ignore[arg-type]  # numbers
    assert followed.refused == 0


def test_one_client_takes_no_more_than_its_quota() -> None:
    """A storm of one client leaves another's connection alone; each that is not followed is counted, once."""
    followed = Followed()
    storm = [packet(1, SYN, client_port=1024 + number) for number in range(5000)]
    assert len(chosen(followed, *storm)) <= RATE_OF_CLIENT + 1
    refused = followed.refused
    assert refused >= 5000 - RATE_OF_CLIENT - 1
    assert chosen(followed, packet(2, SYN, time_ns=T0 + SECOND // 5)) == [0]
    assert chosen(followed, storm[-1], packet(1, SYN | ACK, client_port=6023, from_server=True)) == []
    assert followed.refused == refused


def test_a_storm_of_syns_leaves_room_for_those_who_talk() -> None:
    """SYNs from everywhere use up their quota; a connection is followed from its bind on, and no longer counted."""
    followed = Followed()
    storm = [packet(1000 + 65536 * number, SYN) for number in range(20_000)]
    assert len(chosen(followed, *storm)) <= RATE // 2 + 1
    refused = followed.refused
    honest = 7
    assert chosen(followed, packet(honest, SYN), packet(honest, SYN | ACK, from_server=True)) == []
    assert followed.refused == refused + 1
    assert chosen(followed, packet(honest, ACK, payload=b"bind", sequence=101)) == [0]
    assert followed.refused == refused
    assert chosen(followed, packet(8, SYN, time_ns=T0 + SECOND)) == [0]


def test_a_connection_over_the_quota_of_records_is_let_go_whole() -> None:
    """~number says so, once; the quota of records is that of all connections."""
    followed = Followed()
    talk = [packet(1, ACK, payload=b"x", sequence=100 + number) for number in range(2 * RECORDS)]
    rows = chosen(followed, *talk)
    assert rows[-1] == ~(len(rows) - 1)
    assert rows[:-1] == list(range(len(rows) - 1))
    assert len(rows) <= RECORDS
    assert followed.refused == 1
    assert chosen(followed, talk[0]) == []


def test_the_table_is_bounded_and_keeps_who_may_still_talk() -> None:
    """Connections that were refused make room, those that are followed do not, and the table has one size."""
    followed = Followed(rate=10**6, rate_of_client=10**6, records=10**8)
    assert chosen(followed, packet(0, SYN)) == [0]
    for start in range(0, 4 * CONNECTIONS, 8192):
        chosen(followed, *(packet(start + number + 1, SYN) for number in range(8192)))
    assert followed.refused >= 3 * CONNECTIONS
    assert chosen(followed, packet(0, SYN | ACK, from_server=True)) == [0]
    later = T0 + 70 * SECOND
    assert chosen(followed, *(packet(10**6 + number, SYN, time_ns=later) for number in range(100))) == list(range(100))


def test_a_port_that_is_used_again_is_another_connection() -> None:
    """After its end, a SYN is decided as any other."""
    followed = Followed()
    assert chosen(followed, packet(1, SYN), packet(1, FIN | ACK, sequence=101), packet(1, SYN)) == [0, 1, 2]
    followed.is_open = False
    assert chosen(followed, packet(1, FIN | ACK, sequence=101), packet(1, SYN)) == [0, ~1]
    assert followed.refused == 1


def test_while_records_get_lost_nothing_is_followed() -> None:
    """What was followed is let go without an alarm, and answers go on as they are."""
    live, network = LiveInspection(), Network()
    mapped(network, SERVER, LSARPC, (SERVER, PORT))
    network.connect(CLIENT, SERVER, PORT).syns(1)
    show(live, network)
    assert live.outcomes() == []
    live.session.losing = True
    more = Network()
    more.clock.now_ns = network.clock.now_ns + SECOND
    more._port = 51000
    mapped(more, SERVER, LSARPC, (SERVER, PORT))
    show(live, more)
    assert live.outcomes() == [("answer", None)] * 2
    live.wait()
    assert live.outcomes() == [("answer", None)] * 2
    assert live.following.anomalies[Anomaly.FOLLOW_UP_QUOTA] == 1
    assert live.following.anomalies[Anomaly.OUTCOME_EVICTED] > 0


def test_no_more_is_followed_while_the_rings_fill() -> None:
    """So that following costs nobody a record; it is counted."""
    live, network = LiveInspection(), Network()
    live.session.ring = (2, 4)
    mapped(network, SERVER, LSARPC, (SERVER, PORT))
    show(live, network)
    assert live.outcomes() == [("answer", None)]
    assert live.following.anomalies == {Anomaly.FOLLOW_UP_QUOTA: 1}


@pytest.mark.parametrize("forgotten", [False, True])
def test_an_endpoint_that_the_kernel_forgot_is_no_silence(forgotten: bool) -> None:
    """Its SYN-ACK would not have been recorded: nothing is said, and that is counted."""
    live, network = LiveInspection(), Network()
    mapped(network, SERVER, LSARPC, (SERVER, PORT))
    network.connect(CLIENT, SERVER, PORT).syns(2)
    show(live, network)
    if forgotten:
        live.maps.twin._endpoints.clear()
    live.wait()
    alarms = [] if forgotten else [("follow_up", "timed_out")]
    assert live.outcomes() == [("answer", None), *alarms]
    assert live.following.anomalies[Anomaly.OUTCOME_UNDECIDED] == forgotten


@pytest.mark.parametrize(("acknowledged", "crowded"), [(True, False), (False, False), (True, True), (False, True)])
def test_an_answer_that_is_sent_again(acknowledged: bool, crowded: bool) -> None:
    """The bare acknowledgment is known from the kernel's map alone; where that has forgotten some, nothing is said."""
    live, network = LiveInspection(), Network()
    answer = map_answer(LSARPC, (SERVER, PORT))
    connection = bound(network.connect(CLIENT, SERVER)).say(0, map_question(LSARPC))
    connection.say(1, answer, acknowledged=False).repeat(1, answer, 4)
    if acknowledged:
        connection.say(1, b"", acknowledged=True)
        connection._seen[1] = connection._next[1]
        connection.send(0, ACK)
    show(live, network)
    if crowded:
        live.maps.twin._acknowledged.clear()
        live.maps.twin.counted[KernelCounter.FLOWS_NOTED] += FLOWS
    live.wait()
    undelivered = ("delivery", "undelivered") in live.outcomes()
    assert undelivered == (not acknowledged and not crowded)
    assert live.following.anomalies[Anomaly.OUTCOME_UNDECIDED] == crowded


def test_the_client_itself_proves_what_it_lacks() -> None:
    """Its FIN acknowledges less than the answer: that needs no map."""
    live, network = LiveInspection(), Network()
    answer = map_answer(LSARPC, (SERVER, PORT))
    connection = bound(network.connect(CLIENT, SERVER)).say(0, map_question(LSARPC))
    connection.say(1, answer, acknowledged=False).repeat(1, answer, 4).send(0, FIN | ACK)
    show(live, network)
    live.maps.twin._acknowledged.clear()
    live.maps.twin.counted[KernelCounter.FLOWS_NOTED] += FLOWS
    live.wait()
    assert ("delivery", "undelivered") in live.outcomes()


def test_endpoints_are_given_to_the_kernel() -> None:
    """Those of the asked address and of the tower; declared addresses are servers from the start."""
    live, network = LiveInspection(), Network()
    mapped(network, SERVER, LSARPC, ("10.30.4.11", PORT))
    show(live, network)
    offered = {IPV4_MAPPED + bytes((10, 30, 4, last)) for last in (10, 11)}
    assert {address for address, _ in live.maps.twin._endpoints} == offered


def ask_for_much(network: Network, *towers: bytes) -> None:
    """Let a client get an answer with these towers behind nine of named pipes, and wait until it was given out."""
    pipes = [pipe_tower(LSARPC, rf"\pipe\lsass{number}", "SRV") for number in range(9)]
    answer = pdu.response(map_response([*pipes, *towers], wide=True, max_count=50), call_id=2, context_id=1)
    bound(network.connect(CLIENT, SERVER)).ask(map_question(LSARPC), answer).close()
    network.wait(3)


def test_what_is_followed_is_recorded() -> None:
    """Endpoints behind those of other protocols: the kernel is given the same which follow-ups are looked for at."""
    live, network = LiveInspection(), Network()
    ask_for_much(
        network, *(tcp_tower(LSARPC, PORT + number // 2, f"10.30.4.{11 + number % 2}") for number in range(30))
    )
    network.connect(CLIENT, "10.30.4.12", PORT + 7).syns(2)
    network.connect(CLIENT, SERVER, PORT + 7).syns(2)
    network.connect(CLIENT, SERVER, PORT + 8).syns(2)
    show(live, network)
    live.wait()
    raw = [IPV4_MAPPED + bytes((10, 30, 4, last)) for last in (10, 11, 12)]
    given = {(address, port) for address, port in live.maps.twin._endpoints if address in raw[1:]}
    assert given == {(address, PORT + number) for number in range(8) for address in raw[1:]}
    followed = [one.consequence for one in live.findings if one.kind == "follow_up"]
    assert [(str(one.target), one.endpoint and one.endpoint.port) for one in followed if one is not None] == [
        ("offered", PORT + 7),
        ("asked", PORT + 7),
    ]


def test_the_end_of_an_inspection_is_no_silence() -> None:
    """What waits is given out, and nothing is said of a SYN which has no answer yet."""
    live, network = LiveInspection(), Network()
    mapped(network, SERVER, LSARPC, (SERVER, PORT))
    called(network, SERVER, PORT, LSARPC)
    network.connect(CLIENT, SERVER, PORT).syns(1)
    network.connect(CLIENT, SERVER).syns(1)
    show(live, network)
    live.close()
    assert live.outcomes() == [("answer", None), ("follow_up", "reached")]


def test_entries_that_the_kernel_forgets_are_counted() -> None:
    """What was noted or given and is not there any more; only where a map is nearly full."""
    maps = Maps()
    session = Session(maps)
    view = KernelView(session, maps)  # type: ignore[arg-type]  # stand-ins
    addresses = [IPV4_MAPPED + number.to_bytes(4, "big") for number in range(ENDPOINTS + 100)]
    view.added += maps.add_endpoints([(address, PORT) for address in addresses], 0)
    view._due = 0
    view.refresh()
    assert view.evicted["endpoints"] == 100
    assert view.evicted["acknowledgments"] == 0
    assert view.used["endpoints"] == ENDPOINTS
