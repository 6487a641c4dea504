"""The mixes are what they say: each conversation has bytes of its own, and pages, captures and frames hold the same."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from random import Random
from types import ModuleType

import numpy as np
import pytest

from inspector.capture.blocks import read_batches
from inspector.model import Segment
from inspector.record import LOSS_REASONS, KernelCounter, pack_record, unpack_row
from tests.bench import hostile_mix, real_mix
from tests.bench.frames import CHANGES, changes_of
from tests.bench.hostile_mix import forged_templates, hostile_templates, scaled
from tests.bench.memory_source import MemorySource
from tests.bench.mix import Mix, write_capture
from tests.bench.real_mix import Server, real_templates
from tests.bench.template import MOST_VALUES, Values, learn, stamp

CONVERSATIONS = 300


@pytest.fixture(scope="module")
def real() -> Mix:
    """Return a small real mix."""
    return Mix(real_templates(), CONVERSATIONS)


def segments_of(mix: Mix) -> list[Segment]:
    """Return the records which a consumer reads, in order."""
    source, segments = MemorySource(mix), []
    while blocks := source.poll():
        segments += [unpack_row(row) for block in blocks for row in block]
    return segments


@pytest.mark.parametrize("module", [real_mix, hostile_mix])
def test_shares_are_those_of_the_table(module: ModuleType) -> None:
    """The docstring's table says what the code does, and adds up to a hundred."""
    kinds = [(kind.name, kind.share) for kind in real_mix.KINDS]
    if module is hostile_mix:
        kinds = [(name, share) for name, share, _ in hostile_mix.KINDS]
    table = re.findall(r"^\| (\w+) \| (\d+) \|", module.__doc__ or "", re.MULTILINE)
    assert [(name, int(share)) for name, share in table] == kinds
    assert sum(share for _, share in kinds) == 100


@pytest.mark.parametrize("kind", real_mix.KINDS, ids=lambda kind: kind.name)
def test_stamping_is_building(kind: real_mix.Kind) -> None:
    """A stamped conversation is byte for byte what the builders make of the same values."""
    template = learn(lambda values: kind.build(Server(Random(3)), values))  # noqa: S311 - a test
    data = np.random.default_rng(4).integers(0, 256, MOST_VALUES, np.uint8)
    built = kind.build(Server(Random(3)), Values(data.tobytes())).segments  # noqa: S311 - a test
    stamped = stamp(template, data[None, : template.values])
    assert [rows[0].tobytes() for rows in stamped] == [segment.payload for segment in built]


def test_conversations_have_bytes_of_their_own(real: Mix) -> None:
    """No client comes twice, and no bind_ack, map response with a handle, or authenticated bind."""
    segments = segments_of(real)
    opened = Counter((one.source_address, one.source_port) for one in segments if one.tcp_flags == 2)
    assert len(opened) == CONVERSATIONS
    own = [one for one in segments if one.payload[2:3] == b"\x0c" or (one.payload[2:3] == b"\x0b" and one.payload[10])]
    assert len(own) > CONVERSATIONS
    assert len({one.payload for one in own}) == len(own)
    repeated = segments_of(Mix(real_templates(), CONVERSATIONS, repeated=True))
    assert len({one.payload for one in repeated}) < len({one.payload for one in segments}) / 2


def test_rings_and_capture_are_the_same(real: Mix, tmp_path: Path) -> None:
    """A capture file has the records of the rings' pages, in the same order."""
    path = tmp_path / "real.pcap"
    packets, answers = write_capture(path, real_templates(), CONVERSATIONS)
    assert (packets, answers) == (real.records, real.answers)
    counters = dict.fromkeys(KernelCounter, 0)
    read = [unpack_row(row) for block in read_batches(path, ports=[135], counters=counters) for row in rows_of(block)]
    assert not any(counters[reason] for reason in LOSS_REASONS)
    assert [one._replace(interface_index=0) for one in read] == [
        one._replace(interface_index=0) for one in segments_of(real)
    ]


def rows_of(block: np.ndarray | bytes) -> np.ndarray:
    """Return a block, or a single record as a block of one."""
    if isinstance(block, np.ndarray):
        return block
    row = np.zeros(8 + -(-len(block) // 8) * 8, np.uint8)
    row[8 : 8 + len(block)] = np.frombuffer(block, np.uint8)
    return row.view(np.uint64)[None]


def test_same_seed_same_bytes(real: Mix) -> None:
    """Two mixes of one seed are equal, two of different seeds are not."""
    again, other = (Mix(real_templates(), CONVERSATIONS, seed=seed) for seed in (1, 2))
    assert segments_of(again) == segments_of(real) != segments_of(other)


def test_records_of_the_hostile_mix_differ() -> None:
    """Nearly no payload comes twice; forged records are of other clients, and have the share that they should."""
    honest, forged = hostile_templates(0.1)
    mix = Mix(honest, 3000, forged)
    segments = [one for one in segments_of(mix) if one.payload]
    attacking = [
        one for one in segments if bytes([172, 16]) in (one.source_address[12:14], one.destination_address[12:14])
    ]
    assert 0.85 < len(attacking) / len(segments) < 0.95
    assert len({one.payload for one in attacking}) > 0.85 * len(attacking)
    payloads = [bytes(pack_record(one)) for one in attacking]
    assert len(set(payloads)) == len(payloads)


def test_weights_are_shares_of_records() -> None:
    """Scaled templates have the share of all records that was asked for."""
    templates = scaled(forged_templates(), 0.9)
    assert sum(weight * len(template.segments) for weight, template in templates) == pytest.approx(0.9)


def test_producer_changes_what_is_a_conversations_own(real: Mix) -> None:
    """Each packet which begins a PDU has fields to change, within the frame, and none more than there is room for."""
    for part in real._parts:
        changes = changes_of(part)
        assert len(changes) < CHANGES
        assert all(54 <= at < 54 + len(part.segment.payload) for at, _ in changes)
        assert changes or part.segment.payload[:2] != b"\x05\x00"
