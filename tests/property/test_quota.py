"""What the scalar decoder is given is bounded for each client and for all; who is within the quota loses nothing."""

from __future__ import annotations

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from inspector.decode.batch import singly
from inspector.decode.quota import Quota
from inspector.errors import Anomaly
from inspector.judge.policy import Policy
from inspector.model import Finding, Segment
from inspector.pipeline import Pipeline
from inspector.record import pack_record
from tests.build import dcom, pdu
from tests.build.blocks import block_of, findings_of_batch
from tests.build.connection import START_NS, Wire, raw_address, udp
from tests.build.epm import NDR20, SAMR, map_request, map_response, tcp_tower
from tests.build.windows import windows_traffic
from tests.choice import examples

_HOSTILE = "203.0.113.66"
_SECOND = 10**9

seeds = st.integers(0, 2**32 - 1)


def needing_the_scalar_decoder(random: Random, connections: int, client: str = _HOSTILE) -> list[Segment]:
    """Return what one client sends only for that: bytes out of order, contradictions, big-endian PDUs, datagrams."""
    segments = []
    for port in range(connections):
        wire = Wire(client, client_port=1024 + port, client_sequence=random.getrandbits(32))
        kind = random.randrange(4)
        if kind == 0:
            wire.open().client(pdu.bind()).server(pdu.bind_ack())
            wire.segments[3:5] = wire.segments[4:2:-1]
        elif kind == 1:
            wire.open().client(pdu.bind())
            wire.segments.append(wire.segments[-1]._replace(payload=wire.segments[-1].payload[::-1]))
        elif kind == 2:
            wire.open().client(pdu.bind(big_endian=True)).server(pdu.bind_ack(big_endian=True))
        else:
            wire.segments.append(udp(pdu.datagram(0, map_request(tcp_tower(SAMR))), client=client, client_port=port))
        segments += wire.segments
    return segments


def in_turn(random: Random, *senders: list[Segment], seconds: float) -> list[Segment]:
    """Return the segments of all, each sender's in its order, evenly over so much time."""
    places = [number for number, segments in enumerate(senders) for _ in segments]
    random.shuffle(places)
    left = [iter(segments) for segments in senders]
    step = int(seconds * _SECOND / max(len(places), 1))
    return [next(left[place])._replace(time_ns=START_NS + at * step) for at, place in enumerate(places)]


def decode(
    segments: list[Segment], quota: Quota | None = None, *, engine: bool = True
) -> tuple[Pipeline, list[Finding]]:
    """Return a pipeline with all that it finds of segments, without the times."""
    pipeline = Pipeline(Policy(), str, engine=engine, quota=quota)
    found: list[Finding] = []
    for start in range(0, len(segments), 97):
        found += findings_of_batch(pipeline, block_of([pack_record(one) for one in segments[start : start + 97]]))
    found += singly(pipeline.advance(segments[-1].time_ns + 20 * _SECOND))
    return pipeline, found + list(singly(pipeline.flush()))


def handed_over(pipeline: Pipeline) -> int:
    """Return how many records went to the scalar decoder."""
    assert pipeline._decoder is not None
    return pipeline._decoder.handed_over


@examples(25)
@given(seeds, st.sampled_from([200, 300]), st.sampled_from([0.2, 2.0]))
def test_a_hostile_client_takes_no_more_than_its_quota(seed: int, rate: int, seconds: float) -> None:
    """Beside it honest conversations are found as they are alone, also those which need the scalar decoder."""
    random = Random(seed)  # noqa: S311  # traffic for a test
    honest = windows_traffic(random, 12, cut=0.4, damage=0.02)
    segments = in_turn(random, honest, needing_the_scalar_decoder(random, 1000), seconds=seconds)
    hostile = raw_address(_HOSTILE)
    of_honest = [one for one in segments if hostile not in (one.source_address, one.destination_address)]
    _, expected = decode(of_honest, engine=False)
    alone, _ = decode(of_honest)
    pipeline, found = decode(segments, Quota(rate_of_client=rate))
    assert [one for one in found if str(one.client) != _HOSTILE] == expected
    assert pipeline.anomalies[Anomaly.DECODER_QUOTA] > 0
    assert handed_over(pipeline) - handed_over(alone) <= rate * (1 + seconds) + 1


@examples(10)
@given(seeds)
def test_all_clients_together_take_no_more_than_the_quota_of_all(seed: int) -> None:
    """A storm of forged clients, of which each is within its quota, is bounded too; what is over is counted."""
    random = Random(seed)  # noqa: S311  # traffic for a test
    storms = [needing_the_scalar_decoder(random, 5, f"203.0.{number >> 8}.{number & 255}") for number in range(300)]
    segments = in_turn(random, *storms, seconds=0.5)
    pipeline, _ = decode(segments, Quota(rate=200))
    assert pipeline.records == len(segments)
    assert handed_over(pipeline) <= 200 * (0.5 + 0.1) + 1
    assert pipeline.anomalies[Anomaly.DECODER_QUOTA] > 0


def test_a_skipped_connection_is_read_again_when_it_begins_again() -> None:
    """The quota costs a client no more than the connections for which it was over it."""
    random = Random(1)  # noqa: S311  # traffic for a test
    quota = Quota(rate_of_client=1)
    wire = Wire(_HOSTILE).open().client(pdu.bind()).server(pdu.bind_ack())
    wire.segments[3:5] = wire.segments[4:2:-1]
    answer = pdu.response(map_response([tcp_tower(SAMR, 49152, "10.11.2.7")]))
    segments = []
    for port in (1, 2):
        # What this answer is must be known, since an unknown one counts as well.
        known = Wire(client_port=port).open().client(pdu.bind()).server(pdu.bind_ack())
        segments += known.client(pdu.request(map_request(tcp_tower(SAMR)))).server(answer).segments
    segments += needing_the_scalar_decoder(random, 20) + wire.segments
    skipped = Wire(_HOSTILE, client_sequence=5).client(pdu.request(map_request(tcp_tower(SAMR)))).server(answer)
    begun = Wire(_HOSTILE, client_sequence=9).open().client(pdu.bind()).server(pdu.bind_ack())
    begun.client(pdu.request(map_request(tcp_tower(SAMR)))).server(answer)
    segments += skipped.segments + begun.segments
    pipeline, found = decode([one._replace(time_ns=START_NS) for one in segments], quota)
    assert pipeline.anomalies[Anomaly.DECODER_QUOTA] > 0
    assert [one.verdict for one in found if one.client_port == 33654] == ["mismatch"]


def test_a_pending_question_that_is_over_the_quota_is_let_go() -> None:
    """Half-open binds by the thousand: when their time is over, only so many are looked at."""
    segments = []
    for port in range(500):
        segments += Wire(_HOSTILE, client_port=1024 + port).open().client(pdu.bind()).segments
    segments = [one._replace(time_ns=START_NS) for one in segments]
    pipeline, found = decode(segments, Quota(rate_of_client=100))
    assert pipeline.anomalies[Anomaly.DECODER_QUOTA] + len(found) == 500
    assert len(found) <= 101


class TestQuota:
    """The buckets, by themselves."""

    def test_a_burst_of_one_second_is_free(self) -> None:
        """Then the rate holds, in the time of the records."""
        quota = Quota(rate_of_client=10)
        client = raw_address("10.0.0.1")
        assert [quota.take(client, 0) for _ in range(13)].count(True) == 11
        assert [quota.take(client, _SECOND // 2) for _ in range(10)].count(True) == 5

    def test_all_clients_together_have_a_tenth_of_a_second(self) -> None:
        """Then nobody's record is taken up to the time that the engine is told."""
        quota = Quota(rate=40)
        clients = [raw_address(f"10.0.0.{number}") for number in range(1, 30)]
        assert [quota.take(client, 0) for client in clients].count(True) == 5
        assert not quota.take(clients[0], quota.refused_until - 1)
        assert quota.take(clients[0], quota.refused_until)

    def test_clients_have_quotas_of_their_own(self) -> None:
        """Also where they are in one network of IPv4; those of an IPv6 /64 share one."""
        quota = Quota(rate_of_client=10)
        for address in ("10.0.0.1", "10.0.0.2", "2001:db8::1"):
            assert [quota.take(raw_address(address), 0) for _ in range(13)].count(True) == 11
        assert not quota.take(raw_address("2001:db8::2"), 0)
        assert quota.take(raw_address("2001:db8:0:1::2"), 0)

    def test_a_clock_that_was_set_back_ends_no_quota(self) -> None:
        """The bucket begins again, at once or after as much time as the burst is."""
        quota = Quota(rate_of_client=10)
        client = raw_address("10.0.0.1")
        assert [quota.take(client, 100 * _SECOND) for _ in range(13)].count(True) == 11
        assert [quota.take(client, 50 * _SECOND) for _ in range(13)].count(True) == 11


def test_calls_of_dcom_are_within_the_quota() -> None:
    """A client that activates as fast as it can costs no more than its share; others' activations are read."""
    random = Random(5)  # noqa: S311  # traffic for a test
    asked = dcom.create_instance_request(bytes(16), bytes(500))
    answer = dcom.create_instance_response(bytes(8), ["10.11.2.7[49155]"])
    # Each answer of the storm names another exporter: none is like another.
    answers = [dcom.create_instance_response(number.to_bytes(8, "big"), ["10.11.2.7[49155]"]) for number in range(500)]
    storm = Wire(_HOSTILE).open().client(pdu.bind([(0, dcom.SCM_ACTIVATOR, (NDR20,))])).server(pdu.bind_ack())
    for call_id in range(2, 500):
        storm.client(pdu.request(asked, opnum=4, call_id=call_id))
        storm.server(pdu.response(answers[call_id], call_id=call_id))
    honest = Wire().open().client(pdu.bind([(0, dcom.SCM_ACTIVATOR, (NDR20,))])).server(pdu.bind_ack())
    for call_id in range(2, 6):
        honest.client(pdu.request(asked, opnum=4, call_id=call_id)).server(pdu.response(answer, call_id=call_id))
    segments = in_turn(random, storm.segments, honest.segments, seconds=0.1)
    pipeline, found = decode(segments, Quota(rate=1600))
    # Its first answer may be one of those which are not read.
    honestly = [str(one.client) for one in found].count("10.1.1.1")
    assert honestly >= 3
    assert pipeline.anomalies[Anomaly.DECODER_QUOTA] > 0
    # Of 400 answers a second a client may take half, and at once those of a second; one of 256 bytes and more is two.
    assert 10 < len(found) - honestly <= 200 * 1.1 / 2 + 1
