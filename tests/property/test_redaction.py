"""No byte of an auth_value is left, however a stream is cut, delayed, repeated or seen in part; the rest stays."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inspector.capture.redaction import Redactor, redact
from inspector.model import Segment
from tests.build import ntlm
from tests.build.connection import FIN, PSH, SYN, Wire
from tests.choice import examples

EXAMPLES = examples(300)
START = 2**32 - 700


def cut(random: Random, data: bytes, most: int) -> list[tuple[int, bytes]]:
    """Return data in pieces of any size, each with its offset."""
    pieces, at = [], 0
    while at < len(data):
        size = random.randint(1, most)
        pieces.append((at, data[at : at + size]))
        at += size
    return pieces


def segments_of(pieces: list[tuple[int, bytes]], *, syn: bool = True) -> list[Segment]:
    """Return the client's segments, after its SYN; sequence numbers wrap around on the way."""
    wire = Wire(client_sequence=START)
    if syn:
        wire.open()
    plain = Wire(client_sequence=START + 1).client(b"?").segments[0]
    return wire.segments[:1] + [
        plain._replace(
            sequence=(START + 1 + at) % 2**32,
            payload=data,
            payload_length=len(data),
            time_ns=plain.time_ns + number,
        )
        for number, (at, data) in enumerate(pieces)
    ]


def offset_of(segment: Segment) -> int:
    """Return where in the stream a segment begins."""
    return (segment.sequence - START - 1) % 2**32


def disturb(random: Random, pieces: list[tuple[int, bytes]], stream: bytes, *, lose: bool) -> list[tuple[int, bytes]]:
    """Return pieces out of order, repeated with other bounds, and some of them lost."""
    found = list(pieces)
    for _ in range(random.randrange(6)):
        at = random.randrange(len(stream))
        found.insert(random.randint(0, len(found)), (at, stream[at : at + random.randint(1, 900)]))
    for _ in range(random.randrange(8)):
        one, other = random.randrange(len(found)), random.randrange(len(found))
        found[one], found[other] = found[other], found[one]
    if lose:
        found = [piece for piece in found if random.random() < 0.8] or found
    return found


@EXAMPLES
@given(seed=st.integers(0, 2**32), most=st.sampled_from((1, 3, 17, 60, 200, 1460, 9000)), big_endian=st.booleans())
def test_in_order_only_the_values_are_blanked(seed: int, most: int, big_endian: bool) -> None:
    """Several PDUs in a segment, one in many, headers and trailers cut anywhere: every other byte is as it was."""
    random = Random(seed)  # noqa: S311 - no real secret
    for spoken in ntlm.conversation(random, big_endian=big_endian):
        segments = segments_of(cut(random, spoken.stream, most))
        redacted = redact(segments)
        assert b"".join(one.segment.payload for one in redacted) == spoken.without_values
        assert sum(one.blanked for one in redacted) == sum(map(len, spoken.values))
        assert not any(one.unknown for one in redacted)
        assert [one.segment._replace(payload=b"") for one in redacted] == [
            one._replace(payload=b"") for one in segments
        ]


@EXAMPLES
@given(seed=st.integers(0, 2**32), most=st.sampled_from((5, 60, 200, 1460)), syn=st.booleans(), lose=st.booleans())
def test_no_byte_of_a_value_is_left(seed: int, most: int, syn: bool, lose: bool) -> None:
    """Out of order, repeated, lost, with and without the start: nothing but what was there, or 0; values are 0."""
    random = Random(seed)  # noqa: S311 - no real secret
    for spoken in ntlm.conversation(random):
        pieces = disturb(random, cut(random, spoken.stream, most), spoken.stream, lose=lose)
        segments = segments_of(pieces[0 if syn else random.randrange(len(pieces)) :], syn=syn)
        redacted = redact(segments)
        assert len(redacted) == len(segments)
        for before, after in zip(segments, (one.segment for one in redacted), strict=True):
            assert after._replace(payload=before.payload) == before
            harmless = spoken.without_values[offset_of(before) :][: len(before.payload)]
            if before.tcp_flags & SYN:
                continue
            assert all(theirs == ours or not theirs for theirs, ours in zip(after.payload, harmless, strict=True))
            assert len(after.payload) == len(before.payload)
        if syn and not lose and len(segments) <= 256:
            # All came in the end, and no more waited than may: then nothing else is blanked.
            for one in redacted[1:]:
                at = offset_of(one.segment)
                assert one.segment.payload == spoken.without_values[at : at + len(one.segment.payload)]


@EXAMPLES
@given(seed=st.integers(0, 2**32), most=st.sampled_from((5, 60, 200, 1460)))
def test_what_is_written_at_once_is_no_worse(seed: int, most: int) -> None:
    """With little patience, and when others wait: segments leave in the order in which they came, values are 0."""
    random = Random(seed)  # noqa: S311 - no real secret
    spoken, _ = ntlm.conversation(random)
    pieces = disturb(random, cut(random, spoken.stream, most), spoken.stream, lose=True)
    segments = segments_of(pieces)
    redactor = Redactor(patience_ns=random.choice((0, 1, 3, 1000)))
    redacted = [one for segment in segments for one in redactor.feed(segment)] + list(redactor.flush())
    assert [offset_of(one.segment) for one in redacted] == [offset_of(one) for one in segments]
    for one in redacted[1:]:
        harmless = spoken.without_values[offset_of(one.segment) :]
        assert all(theirs == ours or not theirs for theirs, ours in zip(one.segment.payload, harmless, strict=False))


@EXAMPLES
@given(seed=st.integers(0, 2**32), most=st.sampled_from((60, 200, 1460)))
def test_what_others_forge_keeps_no_value(seed: int, most: int) -> None:
    """SYN, FIN, junk, PDUs with false lengths, anywhere in the connection: honest values are 0 all the same."""
    random = Random(seed)  # noqa: S311 - no real secret
    spoken, _ = ntlm.conversation(random)
    honest = segments_of(cut(random, spoken.stream, most))
    mixed: list[tuple[bool, Segment]] = [(True, honest[0])]
    for segment in honest[1:]:
        mixed += [(False, forged(random, segment)) for _ in range(random.randrange(3))]
        mixed.append((True, segment))
    redacted = redact([segment for _, segment in mixed])
    for (is_honest, before), one in zip(mixed, redacted, strict=True):
        if is_honest:
            harmless = spoken.without_values[offset_of(before) :]
            assert all(
                theirs == ours or not theirs for theirs, ours in zip(one.segment.payload, harmless, strict=False)
            )


def forged(random: Random, segment: Segment) -> Segment:
    """Return a segment that claims to be of the same connection."""
    sequence = (segment.sequence + random.choice((0, 0, 1, -1, 500, random.getrandbits(32)))) % 2**32
    header = bytes((5, 0, random.choice((0, 2, 11)), 3, 16, 0, 0, 0)) + random.randbytes(2) + bytes(6)
    payload = random.choice((b"", random.randbytes(40), header, header + bytes(400)))
    flags = random.choice((SYN, FIN, PSH, PSH))
    return segment._replace(sequence=sequence, payload=payload, payload_length=len(payload), tcp_flags=flags)


@pytest.mark.parametrize("size", [1, 7, 14, 15, 30, 2000])
def test_the_greeting_stays(size: int) -> None:
    """A server of port 593 says who it is before its first PDU, also in pieces."""
    _, spoken = ntlm.conversation(Random(1))  # noqa: S311 - no real secret
    stream, harmless = (b"ncacn_http/1.0" + data for data in (spoken.stream, spoken.without_values))
    pieces = [(at, stream[at : at + size]) for at in range(0, len(stream), size)]
    assert b"".join(one.segment.payload for one in redact(segments_of(pieces))) == harmless
