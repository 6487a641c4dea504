"""Suspects only: busy and wild traffic, and the golden traces, give the same metrics in both modes."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from random import Random

import pytest

from inspector.model import Segment
from inspector.record import Attribute, Counter, unpack_record
from inspector.sources.pcap import read_records
from tests.build.connection import START_NS
from tests.build.traffic import traffic
from tests.golden.store import GOLDEN
from tests.kernel.both_modes import POOLED, SECOND, VIP, Modes, answer, ask, counted, opened
from tests.kernel.harness import PORTS
from tests.kernel.oddities import ODDITIES

pytestmark = [pytest.mark.kernel, pytest.mark.usefixtures("bpf")]


def _frames_only(segments: Iterable[Segment]) -> list[Segment]:
    """Leave out what a plain frame cannot show: tunnels, fragments, records which a capture cut short."""
    kept = int(Attribute.FROM_SERVER | Attribute.IPV6 | Attribute.UDP)
    return [
        segment._replace(attributes=segment.attributes & kept, tunnel=None)
        for segment in segments
        if len(segment.payload) == segment.payload_length
    ]


@pytest.mark.parametrize("seed", range(12))
def test_generated_traffic(modes: Modes, seed: int) -> None:
    """Wild conversations, and a network that loses, repeats and reorders: little is understood, nothing misjudged."""
    trouble = (0.0, 0.0, 0.02, 0.1)[seed % 4]
    modes.compare(_frames_only(traffic(Random(seed), 400, trouble=trouble)))  # noqa: S311 - reproducible


def _busy_client(random: Random, number: int) -> list[Segment]:
    """Return a connection of many calls, of which some are odd."""
    wide = random.random() < 0.4
    wire = opened(
        wide,
        client_port=41000 + number,
        server=random.choice((VIP, VIP, "10.11.2.3")),
        client_sequence=random.getrandbits(32),
        server_sequence=random.getrandbits(32),
        start_ns=START_NS + random.randrange(SECOND),
    )
    addresses = (VIP,) * 8 + (POOLED, "10.11.2.3", "0.0.0.0")  # noqa: S104 - offered, not bound
    for call_id in range(2, random.randrange(3, 30)):
        ask(wire, call_id, wide)
        wire.wait(random.choice((0, 0, 0.03, 0.4, 1.3)))
        answer(wire, call_id, random.choice(addresses), wide, random.choice((1, 2)))
        if random.random() < 0.02:
            random.choice(ODDITIES)(wire)
        if random.random() < 0.02:
            wire.segments.append(random.choice(wire.segments)._replace(time_ns=wire.time_ns))
    ends = ((wire.reset,), (wire.client_fin, wire.server_fin), (wire.server_fin, wire.client_fin), ())
    for end in random.choice(ends):
        end()
    return wire.segments


@pytest.mark.parametrize("seed", range(8))
def test_busy_connections(modes: Modes, seed: int) -> None:
    """Many calls on many connections at once, with repetitions and oddities anywhere between them."""
    random = Random(seed)  # noqa: S311 - reproducible
    segments = [segment for number in range(12) for segment in _busy_client(random, number)]
    segments.sort(key=lambda segment: segment.time_ns)
    _, suspects = modes.compare(segments)
    assert counted(suspects) > 20


@pytest.mark.parametrize("path", sorted((GOLDEN / "traces").glob("*.pcapng")), ids=lambda path: path.stem)
def test_golden_traces(modes: Modes, path: Path) -> None:
    """What each golden trace has of the endpoint mapper, in plain frames, gives the same metrics."""
    records = read_records(path, ports=PORTS, counters=[0] * len(Counter))
    modes.compare(_frames_only(map(unpack_record, records)))
