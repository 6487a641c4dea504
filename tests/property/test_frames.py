"""Each finding of a file names a packet, whatever is missing, damaged or cut."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from random import Random

from hypothesis import example, given, settings
from hypothesis import strategies as st

from inspector.config import Config
from inspector.reading.filereader import FileReader
from tests.build.connection import START_NS
from tests.cases.network import Network
from tests.property.test_triage import follow_up, mapper

_HEADERS = 54


def _damaged(random: Random) -> bytes:
    """Return a capture of some conversations of which packets are missing, changed or cut."""
    network = Network()
    for _ in range(random.randint(1, 8)):
        network.clock.now_ns = START_NS + random.randrange(4 * 10**9)
        client = f"10.20.0.{random.randint(1, 4)}"
        mapper(network, random, client)
        follow_up(network, random, client)
    frames = network.scenes[0].frames
    frames.sort(key=lambda frame: frame.time_ns)
    for _ in range(random.randint(0, 6)):
        kind, number = random.random(), random.randrange(len(frames))
        data = bytearray(frames[number].data)
        if kind < 0.3:
            del frames[number]
        elif kind < 0.8 and len(data) > _HEADERS:
            data[random.randrange(_HEADERS, len(data))] = random.randrange(256)
            frames[number] = replace(frames[number], data=bytes(data))
        else:
            frames[number] = frames[number].cut(random.choice((60, 90, 120)))
    if random.random() < 0.5:
        network.later(50)
    return network.scenes[0].capture()


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1))
@example(45)
@example(117)
def test_each_finding_has_a_frame(seed: int) -> None:
    """Also views of what a capture does not show, questions that were given up, and references to answers."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.pcap"
        path.write_bytes(_damaged(Random(seed)))  # noqa: S311 - traffic, no secret
        for batch in FileReader(path, Config(follow_up=True)).findings(lambda _: None):
            for finding in (part for one in batch.findings() for part in one.with_follow_up()):
                assert finding.frame is not None
                answer = finding.consequence.answer if finding.consequence is not None else None
                assert answer is None or answer.frame is not None
