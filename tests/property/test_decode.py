"""The compiled decoder and the scalar one say the same of the same records, whatever these are and however they come."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from ipaddress import IPv4Address, IPv4Network
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inspector.decode.decoder import Decoder
from inspector.judge.policy import Policy
from inspector.model import Segment
from inspector.pipeline import Pipeline
from inspector.wire.limits import Limits
from tests.build.blocks import findings_of_batch
from tests.build.traffic import traffic
from tests.property.test_columns import batches_of, state_of, unroll

seeds = st.integers(0, 2**32 - 1)


def compare(
    segments: list[Segment],
    random: Random,
    limits: Limits | None = None,
    *,
    losing: Iterable[bool] = (False,),
    settings_at: Mapping[int, tuple[Policy, Limits]] | None = None,
) -> Decoder:
    """Feed segments to both decoders, compare all they say, and return the compiled one.

    `losing` is what the source says of itself, batch by batch, over and over; `settings_at` gives policy and limits
    from the batch of that number on.
    """
    scalar = Pipeline(Policy(), str, limits, columns=False)
    engine = Pipeline(Policy(), str, limits, engine=True)
    assert engine.load_columns()
    expected, found = [], []
    batches = zip(batches_of(segments, random), itertools.cycle(losing), strict=False)
    for number, (batch, is_losing) in enumerate(batches):
        if settings_at and number in settings_at:
            scalar.reconfigure(*settings_at[number])
            engine.reconfigure(*settings_at[number])
        scalar.losing = engine.losing = is_losing
        for record in unroll(batch):
            expected += list(scalar.feed(record))
        found += list(findings_of_batch(engine, batch))
        assert found == expected
        assert state_of(engine) == state_of(scalar)
    last_ns = segments[-1].time_ns + 20 * 10**9 if segments else 0
    assert list(engine.advance(last_ns)) == list(scalar.advance(last_ns))
    assert list(engine.flush()) == list(scalar.flush())
    assert state_of(engine) == state_of(scalar)
    assert engine._decoder is not None
    return engine._decoder


@settings(deadline=None, max_examples=60)
@given(seeds, st.integers(1, 400), st.sampled_from([0.0, 0.02, 0.3]))
def test_both_decoders_agree(seed: int, actions: int, trouble: float) -> None:
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
def test_both_decoders_agree_at_their_limits(seed: int, limits: Limits) -> None:
    """They also agree where connections are evicted, fall silent, or too much waits."""
    random = Random(seed)  # noqa: S311  # traffic for a test
    compare(traffic(random, 200, trouble=0.05), random, limits)


@settings(deadline=None, max_examples=60)
@given(seeds, st.lists(st.booleans(), min_size=1, max_size=5), st.sampled_from([0.02, 0.2]))
def test_both_decoders_agree_where_records_are_lost(seed: int, losing: list[bool], trouble: float) -> None:
    """They agree too while the source loses records, so that nobody waits for missing bytes."""
    random = Random(seed)  # noqa: S311  # traffic for a test
    compare(traffic(random, 300, trouble=trouble), random, losing=losing)


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
def test_both_decoders_agree_when_they_are_reconfigured(
    seed: int, limits: Limits, settings_at: dict[int, tuple[Policy, Limits]], trouble: float
) -> None:
    """Policy and limits that change on the way hold from the same record on, also for what waits already."""
    random = Random(seed)  # noqa: S311  # traffic for a test
    compare(traffic(random, 400, trouble=trouble), random, limits, settings_at=settings_at)


@pytest.mark.parametrize("seed", range(6))
def test_both_decoders_agree_for_long(seed: int) -> None:
    """They agree over thousands of records, most of which the compiled decoder keeps."""
    random = Random(seed)  # noqa: S311  # traffic for a test
    compare(traffic(random, 3000, clients=60, trouble=0.002), random)
