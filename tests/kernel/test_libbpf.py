"""Where pages cannot be read in order, libbpf's consumer reads the ring: the same records, nothing lost."""

from __future__ import annotations

import platform
import random

import pytest

from inspector.live.bpf import loader, syscalls
from inspector.live.bpf.counters import possible_cpus
from inspector.live.bpf.options import pack_options
from inspector.live.rings.libbpf import LibbpfRing
from inspector.live.rings.percpu import Lane
from inspector.live.rings.readers import open_bulk, open_compact
from inspector.live.rings.ringbuf import Entries, Ring
from inspector.record import record_of, unpack_record
from tests.kernel import frames
from tests.kernel.conftest import Cable
from tests.kernel.live import attached, collect, conserved, stream

pytestmark = pytest.mark.kernel

RING_BYTES = 1 << 20


def contents(entries: Entries) -> list[bytes]:
    """Return the records of entries, one by one."""
    return [bytes(record_of(row)) for block in entries.blocks() for row in block]


@pytest.fixture
def another_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let this machine be one whose memory order is weak."""
    monkeypatch.setattr(loader, "ORDERED_MACHINES", frozenset())


@pytest.mark.usefixtures("another_machine")
def test_a_conversation_through_libbpf(cable: Cable) -> None:
    """A session on such a machine uses it by itself, and counts every record."""
    answer = frames.payload(20000)
    with attached(cable, "generic") as session:
        cable.converse(frames.payload(156), answer)
        segments = [unpack_record(record) for record in collect(session, 1000, timeout_s=0.5)]
        conserved(session)
    assert stream(segments, from_server=True) == answer


def test_both_consumers_read_the_same() -> None:
    """Records of all sizes, given back in parts, come out of both readers equal and in order."""
    choose = random.Random(1)  # noqa: S311 - reproducible, not secret
    sent = [choose.choice(("response", "request", "syn")) for _ in range(300)]
    seen = []
    for kind in (Ring, LibbpfRing):
        program = loader.load(
            (loader.XDP_PROGRAM,), compact_ring_bytes=RING_BYTES, bulk_ring_bytes=RING_BYTES, lanes=False
        )
        syscalls.map_update(program.maps["epm_options"], 0, pack_options([], (135,)))
        ring = kind(program.maps["epm_compact"], RING_BYTES)
        found: list[bytes] = []
        for number, name in enumerate(sent):
            syscalls.run_program(program.programs[loader.XDP_PROGRAM], frames.FRAMES[name])
            if number % 7 == 0:
                entries = ring.look()
                assert entries.complete
                assert ring.used() == entries.bytes_before(len(entries))
                keep = min(2, len(entries))
                found += contents(entries)[: len(entries) - keep]
                ring.give_back(entries.bytes_before(len(entries) - keep))
        found += contents(ring.look())
        seen.append([record[8:72] for record in found])
        ring.close()
        program.close()
    assert len(seen[0]) == len(sent)
    assert seen[0] == seen[1]


def test_this_machine_reads_the_pages() -> None:
    """On x86-64, and only there, the compact ring has lanes, and both rings are read in place."""
    program = loader.load((loader.XDP_PROGRAM,), compact_ring_bytes=RING_BYTES)
    rings = [*open_compact(program), open_bulk(program)]
    assert all(isinstance(ring, Lane | Ring) for ring in rings) == (platform.machine() == "x86_64")
    assert len(rings) == 1 + (possible_cpus() if platform.machine() == "x86_64" else 1)
    for ring in rings:
        ring.close()
    program.close()
