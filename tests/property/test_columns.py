"""The column path and the scalar path say the same of the same records, whatever these are and however they come."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from ipaddress import IPv4Address, IPv4Network
from random import Random

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from inspector.columns import knowledge
from inspector.judge.policy import Policy
from inspector.model import Finding, Segment, Verdict
from inspector.pipeline import Pipeline
from inspector.record import Attribute, pack_record
from inspector.wire.limits import Limits
from tests.build import pdu
from tests.build.blocks import ENTRY_HEADER, block_of, findings_of_batch
from tests.build.connection import Wire
from tests.build.epm import SAMR, map_request, map_response, tcp_tower
from tests.build.traffic import forged, traffic

seeds = st.integers(0, 2**32 - 1)


def batches_of(segments: list[Segment], random: Random) -> Iterator[npt.NDArray[np.uint64] | bytes]:
    """Yield records as blocks of many sizes, and singly where they fit none."""
    waiting: list[bytes] = []
    words, size = 32, 1
    for segment in segments:
        record = pack_record(segment)
        fits = len(record) + ENTRY_HEADER <= words * 8 and not segment.attributes & Attribute.TUNNELLED
        if waiting and (not fits or len(waiting) >= size):
            yield block_of(waiting, words)
            waiting = []
            words, size = random.choice((32, 32, 64)), random.choice((1, 7, 100))
            fits = len(record) + ENTRY_HEADER <= words * 8 and not segment.attributes & Attribute.TUNNELLED
        if fits:
            waiting.append(record)
        else:
            yield record
    if waiting:
        yield block_of(waiting, words)


def state_of(pipeline: Pipeline) -> dict[str, object]:
    """Return what a pipeline says of itself."""
    return {
        "records": pipeline.records,
        "verdicts": pipeline.verdicts,
        "anomalies": +pipeline.anomalies,
        "connections": pipeline.tracked_connections,
    }


def compare(
    segments: list[Segment],
    random: Random,
    limits: Limits | None = None,
    *,
    losing: Iterable[bool] = (False,),
    settings_at: Mapping[int, tuple[Policy, Limits]] | None = None,
) -> Pipeline:
    """Feed segments to both paths, compare all they say, and return the one with columns.

    `losing` is what the source says of itself, batch by batch, over and over; `settings_at` gives policy and limits
    from the batch of that number on.
    """
    scalar = Pipeline(Policy(), str, limits, columns=False)
    columns = Pipeline(Policy(), str, limits)
    assert columns.load_columns()
    expected, found = [], []
    batches = zip(batches_of(segments, random), itertools.cycle(losing), strict=False)
    for number, (batch, is_losing) in enumerate(batches):
        if settings_at and number in settings_at:
            scalar.reconfigure(*settings_at[number])
            columns.reconfigure(*settings_at[number])
        scalar.losing = columns.losing = is_losing
        for record in unroll(batch):
            expected += list(scalar.feed(record))
        found += list(findings_of_batch(columns, batch))
        assert found == expected
        assert state_of(columns) == state_of(scalar)
    last_ns = segments[-1].time_ns + 20 * 10**9 if segments else 0
    assert list(columns.advance(last_ns)) == list(scalar.advance(last_ns))
    assert list(columns.flush()) == list(scalar.flush())
    assert state_of(columns) == state_of(scalar)
    return columns


def unroll(batch: npt.NDArray[np.uint64] | bytes) -> list[bytes]:
    """Return the records of a batch."""
    if isinstance(batch, bytes):
        return [batch]
    return [row.tobytes() for row in batch.view(np.uint8)[:, ENTRY_HEADER:]]


@settings(deadline=None, max_examples=60)
@given(seeds, st.integers(1, 400), st.sampled_from([0.0, 0.02, 0.3]))
def test_both_paths_agree(seed: int, actions: int, trouble: float) -> None:
    """Findings in order, verdicts, anomalies and the number of connections are equal after every batch."""
    random = Random(seed)  # noqa: S311  # traffic for a test
    compare(traffic(random, actions, trouble=trouble), random)


@settings(deadline=None, max_examples=40)
@given(
    seeds,
    st.builds(
        Limits,
        connections=st.sampled_from([1, 2, 5, 262_144]),
        buffered_bytes=st.sampled_from([1, 150, 1000, 64 << 20]),
        idle_ns=st.sampled_from([10**8, 5 * 10**9, 300 * 10**9]),
        unanswered_ns=st.sampled_from([10**6, 10**9, 10 * 10**9]),
        calls_per_connection=st.sampled_from([1, 128]),
    ),
)
def test_both_paths_agree_at_their_limits(seed: int, limits: Limits) -> None:
    """They also agree where connections are evicted, fall silent, or too much waits."""
    random = Random(seed)  # noqa: S311  # traffic for a test
    compare(traffic(random, 200, trouble=0.05), random, limits)


@settings(deadline=None, max_examples=60)
@given(seeds, st.lists(st.booleans(), min_size=1, max_size=5), st.sampled_from([0.02, 0.2]))
def test_both_paths_agree_where_records_are_lost(seed: int, losing: list[bool], trouble: float) -> None:
    """They agree too while the source loses records, so that nobody waits for missing bytes."""
    random = Random(seed)  # noqa: S311  # traffic for a test
    compare(traffic(random, 300, trouble=trouble), random, losing=losing)


@settings(deadline=None, max_examples=150)
@given(
    seeds,
    st.integers(20, 300),
    st.sampled_from([0.01, 0.1, 0.5]),
    st.sampled_from([0.0, 0.02, 0.2]),
    st.lists(st.booleans(), min_size=1, max_size=3),
)
# A SYN that comes again after a gap was skipped, 1 MiB long.
@example(seed=1219829529, actions=213, share=0.5, trouble=0.2, losing=[True])
def test_both_paths_agree_on_forged_segments(
    seed: int, actions: int, share: float, trouble: float, losing: list[bool]
) -> None:
    """SYN, RST, FIN and data that neither end has sent, in and out of the windows: both paths say the same of them."""
    random = Random(seed)  # noqa: S311  # traffic for a test
    compare(forged(random, traffic(random, actions, trouble=trouble), share), random, losing=losing)


some_limits = st.builds(
    Limits,
    connections=st.sampled_from([1, 262_144]),
    buffered_bytes=st.sampled_from([150, 64 << 20]),
    idle_ns=st.sampled_from([10**8, 300 * 10**9]),
    gap_ns=st.sampled_from([10**6, 2 * 10**9]),
    unanswered_ns=st.sampled_from([10**6, 10**9, 10 * 10**9]),
)
some_policies = st.sampled_from([Policy(), Policy({IPv4Address("10.11.2.2"): (IPv4Network("10.11.2.0/24"),)})])


@settings(deadline=None, max_examples=60)
@given(
    seeds,
    some_limits,
    st.dictionaries(st.integers(1, 60), st.tuples(some_policies, some_limits), min_size=1, max_size=4),
    st.sampled_from([0.0, 0.05]),
)
def test_both_paths_agree_when_they_are_reconfigured(
    seed: int, limits: Limits, settings_at: dict[int, tuple[Policy, Limits]], trouble: float
) -> None:
    """Policy and limits that change on the way hold from the same record on, also for what waits already."""
    random = Random(seed)  # noqa: S311  # traffic for a test
    compare(traffic(random, 400, trouble=trouble), random, limits, settings_at=settings_at)


@pytest.mark.parametrize("seed", range(6))
def test_both_paths_agree_for_long(seed: int) -> None:
    """They agree over thousands of records, most of which the column path keeps."""
    random = Random(seed)  # noqa: S311  # traffic for a test
    compare(traffic(random, 3000, clients=60, trouble=0.002), random)


def test_knowledge_that_is_full_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a table is full the column path begins anew, and says the same."""
    monkeypatch.setattr(knowledge, "PAYLOADS", 20)
    random = Random(1)  # noqa: S311  # traffic for a test
    compare(traffic(random, 2000, clients=30, trouble=0.01), random)


def test_plain_traffic_stays_in_the_column_path() -> None:
    """Without trouble in the network nothing but several PDUs in a segment, and the like, is handed over."""
    wires = [Wire(client_port=40000 + number).open() for number in range(50)]
    for wire in wires:
        wire.client(pdu.bind()).server(pdu.bind_ack())
        wire.client(pdu.request(map_request(tcp_tower(SAMR)), call_id=2))
        wire.server(pdu.response(map_response([tcp_tower(SAMR, 49152, "10.11.2.7")]), call_id=2))
        wire.client_fin().server_fin()
    records = [pack_record(segment) for wire in wires for segment in wire.segments]
    pipeline = Pipeline(Policy(), str)
    found = list(pipeline.feed_batch(block_of(records)))
    assert not any(isinstance(one, Finding) for one in found)
    assert pipeline.verdicts == {Verdict.MISMATCH: 50}
