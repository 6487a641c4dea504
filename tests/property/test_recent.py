"""The records that are held, against a list of all that came."""

from __future__ import annotations

from itertools import count

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inspector.evidence.recent import ENTRY, RecentRecords
from inspector.model import Segment, Tunnel, TunnelKind
from inspector.record import Attribute, pack_record, record_time
from tests.build.blocks import block_of
from tests.build.connection import raw_address
from tests.choice import examples

SECOND = 10**9
SIZE = 1 << 14
SERVERS = [(raw_address("10.11.2.2"), 135), (raw_address("2001:db8::2"), 593)]
# The last two differ from the first in what both halves of an address have in common only: their numbers are equal.
CLIENTS = [
    (raw_address("10.1.1.1"), 40000),
    (raw_address("10.1.1.1"), 40001),
    (raw_address("2001:db8::1"), 135),
    (bytes(8) + raw_address("10.1.1.1")[8:], 40000),
    (b"\x01" + bytes(7) + raw_address("10.1.1.1")[8:], 40000),
]
TUNNEL = Tunnel(TunnelKind.GRE, raw_address("192.0.2.1"), raw_address("192.0.2.2"))
LIMIT = 7
ROOM = 1 << 20


def segment(client: int, server: int, *, answer: bool, length: int, tunnelled: bool, time_ns: int) -> Segment:
    """Return a segment of one of the connections."""
    ends = [CLIENTS[client], SERVERS[server]]
    (source, source_port), (destination, destination_port) = ends[::-1] if answer else ends
    attributes = int(answer) | (int(Attribute.TUNNELLED) if tunnelled else 0)
    tunnel = TUNNEL if tunnelled else None
    payload = bytes([time_ns % 251]) * length
    return Segment(
        time_ns, source, destination, 0, 0, source_port, destination_port, length, 24, attributes, 1, payload, tunnel
    )


segments = st.builds(
    lambda **choices: choices,
    client=st.integers(0, len(CLIENTS) - 1),
    server=st.integers(0, len(SERVERS) - 1),
    answer=st.booleans(),
    length=st.sampled_from([0, 1, 100, 184, 1000, 3000]),
    tunnelled=st.booleans(),
)


@examples(200)
@given(st.lists(st.tuples(st.booleans(), st.lists(segments, min_size=1, max_size=12)), max_size=30))
def test_it_holds_the_newest(batches: list[tuple[bool, list[dict[str, int]]]]) -> None:
    """Of each connection the last records that came, byte for byte and in order, as far as memory reaches."""
    held, clock = RecentRecords(SIZE), count(1)
    came: list[tuple[bytes, int]] = []
    for single, choices in batches:
        records = [pack_record(segment(**one, time_ns=next(clock))) for one in choices]  # type: ignore[arg-type]
        if single:
            for record in records:
                held.keep(record)
                came.append((record, max(ENTRY, len(record) + 15)))
        else:
            block = block_of(records)
            held.keep(block)
            came += [(record, block.shape[1] * 8) for record in records]
    # No record is in two pieces: up to a row's length is left unused, once.
    widest = max((width for _, width in came), default=0)
    surely, room = set(), SIZE - widest
    for record, width in reversed(came):
        room -= width
        if room < 0:
            break
        surely.add(record_time(record))
    for client in CLIENTS:
        for server in SERVERS:
            found = held.of(client, server, LIMIT, ROOM)
            all_of_it = [record for record, _ in came if ends_of(record) == {client, server}]
            assert found == all_of_it[len(all_of_it) - len(found) :]
            assert len(found) >= min(LIMIT, sum(record_time(record) in surely for record in all_of_it))
    held.forget()
    assert all(held.of(client, server, LIMIT, ROOM) == [] for client in CLIENTS for server in SERVERS)


def ends_of(record: bytes) -> set[tuple[bytes, int]]:
    """Return both ends of a record's connection."""
    ports = np.frombuffer(record, np.uint16, 2, 48).tolist()
    return {(record[8:24], ports[0]), (record[24:40], ports[1])}


def block_at(time_ns: int, ports: range) -> np.ndarray[tuple[int, int], np.dtype[np.uint64]]:
    """Return a block of one record for each client port, all at one time."""
    server = SERVERS[0]
    template = pack_record(segment(0, 0, answer=False, length=1, tunnelled=False, time_ns=time_ns))
    block = np.repeat(block_of([template]), len(ports), axis=0)
    block.view(np.uint16)[:, 28] = np.array(ports)
    assert ends_of(block.view(np.uint8)[-1, 8:].tobytes()) == {(CLIENTS[0][0], ports[-1]), server}
    return block


def feed(held: RecentRecords, start_ns: int, per_second: int, seconds: float) -> int:
    """Let records come at a rate, for so long; return when it ended."""
    step_ns = SECOND // 100
    for number in range(int(seconds * 100)):
        held.keep(block_at(start_ns + number * step_ns, range(1024, 1024 + per_second // 100)))
    return start_ns + int(seconds * SECOND)


@pytest.mark.parametrize(("per_second", "one_of"), [(1000, 1), (8000, 1), (30_000, 4), (260_000, 32)])
def test_the_share_follows_the_rate(per_second: int, one_of: int) -> None:
    """Memory for 16,384 records is to last for 2 seconds; when the rate falls all connections are held again."""
    held = RecentRecords(16_384 * ENTRY, 2 * SECOND)
    now = feed(held, 1000 * SECOND, per_second, 3)
    assert held.one_of == one_of
    now = feed(held, now, 1000, 10)
    assert held.one_of == 1
    feed(held, now - 20 * SECOND, per_second, 3)
    assert held.one_of == one_of, "a clock that was set back is a new beginning"


def test_what_is_held_is_held_whole() -> None:
    """A connection is held in both directions or not at all, and `keeps` says which; shares are as declared."""
    held = RecentRecords(16_384 * ENTRY, 2 * SECOND)
    now = feed(held, 1000 * SECOND, 260_000, 3)
    ports = np.arange(1024, 65536, dtype=np.uint16)
    kept = held.keeps(ports, 135)
    for some in (ports % 2 == 0, ports % 2 == 1, ports < 40000):
        assert kept[some].mean() == pytest.approx(1 / held.one_of, rel=0.1), "whatever clients choose their ports by"
    block = block_at(now, range(20000, 20400))
    answers = block.copy()
    answers[:, 2:4], answers[:, 4:6] = block[:, 4:6], block[:, 2:4]
    answers.view(np.uint16)[:, 28], answers.view(np.uint16)[:, 29] = 135, block.view(np.uint16)[:, 28]
    held.keep(block)
    held.keep(answers)
    for port in range(20000, 20400):
        found = held.of((CLIENTS[0][0], port), SERVERS[0], 10, ROOM)
        newest = [record for record in found if record_time(record) == now]
        assert len(newest) == (2 if held.keeps(np.array([port], np.uint16), 135)[0] else 0)


def test_odd_sizes() -> None:
    """A record longer than the memory is let go; nothing of nothing is nothing."""
    held = RecentRecords(1000)
    one = segment(0, 0, answer=False, length=2000, tunnelled=False, time_ns=1)
    held.keep(pack_record(one))
    held.keep(block_of([])[:0])
    assert held.of(CLIENTS[0], SERVERS[0], 10, ROOM) == []
    short = pack_record(one._replace(payload=b"x"))
    for _ in range(10):
        held.keep(short)
    assert held.of(CLIENTS[0], SERVERS[0], 10, ROOM) == [short] * 3, "memory for so many entries"
    assert held.of(CLIENTS[0], SERVERS[0], 10, 2 * len(short) + 1) == [short] * 2
