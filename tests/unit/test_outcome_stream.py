"""One direction of a connection: what is new, what is missing, and what the other end has."""

from __future__ import annotations

import pytest

from inspector.outcomes.stream import Stream, after

LAST = 2**32 - 1


@pytest.mark.parametrize(
    ("one", "other", "expected"), [(2, 1, True), (1, 2, False), (1, 1, False), (0, LAST, True), (LAST, 0, False)]
)
def test_numbers_wrap(one: int, other: int, *, expected: bool) -> None:
    """Sequence numbers are compared modulo 2**32."""
    assert after(one, other) is expected


def test_new_bytes_and_repetitions() -> None:
    """A segment is new where it ends behind all others."""
    stream = Stream()
    stream.begin(LAST - 9)
    assert [stream.take(LAST - 9, 10), stream.take(LAST - 9, 10), stream.take(LAST - 4, 20)] == [True, False, True]
    assert (stream.contiguous, stream.has_hole) == (15, False)


def test_a_hole_is_filled_in_any_order() -> None:
    """What came early counts once what is before it is there."""
    stream = Stream()
    stream.begin(100)
    assert stream.take(140, 10)
    assert stream.take(120, 20) is False
    assert (stream.contiguous, stream.has_hole) == (100, True)
    stream.take(100, 20)
    assert (stream.contiguous, stream.has_hole) == (150, False)


def test_bytes_that_the_other_end_has_are_no_loss() -> None:
    """An acknowledgment closes a hole: the packet was not seen here, but it arrived."""
    stream = Stream()
    stream.begin(100)
    stream.take(120, 20)
    stream.acknowledge(100)
    assert stream.has_hole
    stream.acknowledge(120)
    assert (stream.contiguous, stream.has_hole) == (140, False)
    assert (stream.is_acknowledged(120), stream.is_acknowledged(121)) == (True, False)


def test_forged_numbers_far_ahead_change_nothing() -> None:
    """Neither data nor an acknowledgment moves the stream by more than a window."""
    stream = Stream()
    stream.begin(100)
    stream.take(100, 10)
    assert stream.take(100 + (1 << 28), 10) is False
    stream.acknowledge(100 + (1 << 28))
    assert (stream.highest, stream.acknowledged) == (110, None)


def test_early_pieces_are_bounded() -> None:
    """Of many holes some are remembered, and the rest counts as missing."""
    stream = Stream()
    stream.begin(0)
    for number in range(1, 1000):
        stream.take(number * 20, 10)
    assert stream.highest == 999 * 20 + 10
    assert len(stream._early) <= 16
