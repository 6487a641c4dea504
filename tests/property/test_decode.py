"""The compiled decoder and the scalar one say the same of the same records, whatever these are, however they come."""

from __future__ import annotations

import itertools
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from random import Random

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from inspector import protocols
from inspector.capture.blocks import read_batches
from inspector.config import Config, load_config
from inspector.decode import layout
from inspector.decode.batch import singly
from inspector.decode.decoder import Decoder
from inspector.decode.exchange import export, key_of
from inspector.judge.policy import Policy
from inspector.judge.verdict import judge
from inspector.model import Finding, Segment
from inspector.pipeline import Pipeline
from inspector.record import LATEST_TIME_NS, Attribute, pack_record, unpack_record, unpack_row
from inspector.wire.body import ContextElement, Syntax
from inspector.wire.contexts import EPM_UUID, Proposal
from inspector.wire.conversations import Conversations, flow_of
from inspector.wire.limits import Limits
from inspector.wire.stream import WINDOW
from tests.build import pdu
from tests.build.blocks import ENTRY_HEADER, block_of, findings_of_batch
from tests.build.connection import Wire
from tests.build.traffic import forged, traffic
from tests.build.windows import windows_traffic
from tests.choice import examples

TRACES = Path(__file__).parents[1] / "golden" / "traces"

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


def unroll(batch: npt.NDArray[np.uint64] | bytes) -> list[bytes]:
    """Return the records of a batch."""
    if isinstance(batch, bytes):
        return [batch]
    return [row.tobytes() for row in batch.view(np.uint8)[:, ENTRY_HEADER:]]


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
    scalar = Pipeline(Policy(), str, limits)
    engine = Pipeline(Policy(), str, limits, engine=True)
    expected: list[Finding] = []
    found: list[Finding] = []
    batches = zip(batches_of(segments, random), itertools.cycle(losing), strict=False)
    for number, (batch, is_losing) in enumerate(batches):
        if settings_at and number in settings_at:
            scalar.reconfigure(*settings_at[number])
            engine.reconfigure(*settings_at[number])
        scalar.losing = engine.losing = is_losing
        for record in unroll(batch):
            expected += findings_of_batch(scalar, record)
        found += list(findings_of_batch(engine, batch))
        assert found == expected
        assert state_of(engine) == state_of(scalar)
    last_ns = segments[-1].time_ns + 20 * 10**9 if segments else 0
    assert list(singly(engine.advance(last_ns))) == list(singly(scalar.advance(last_ns)))
    assert list(singly(engine.flush())) == list(singly(scalar.flush()))
    assert state_of(engine) == state_of(scalar)
    assert engine._decoder is not None
    return engine._decoder


@examples(60)
@given(seeds, st.integers(1, 400), st.sampled_from([0.0, 0.02, 0.3]))
def test_both_decoders_agree(seed: int, actions: int, trouble: float) -> None:
    """Findings in order, verdicts, anomalies and the number of connections are equal after every batch."""
    random = Random(seed)  # noqa: S311  # traffic for a test
    compare(traffic(random, actions, trouble=trouble), random)


@examples(40)
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


@examples(60)
@given(seeds, st.lists(st.booleans(), min_size=1, max_size=5), st.sampled_from([0.02, 0.2]))
def test_both_decoders_agree_where_records_are_lost(seed: int, losing: list[bool], trouble: float) -> None:
    """They agree too while the source loses records, so that nobody waits for missing bytes."""
    random = Random(seed)  # noqa: S311  # traffic for a test
    compare(traffic(random, 300, trouble=trouble), random, losing=losing)


@examples(150)
@given(
    seeds,
    st.integers(20, 300),
    st.sampled_from([0.01, 0.1, 0.5]),
    st.sampled_from([0.0, 0.02, 0.2]),
    st.lists(st.booleans(), min_size=1, max_size=3),
)
# A SYN that comes again after a gap was skipped, 1 MiB long.
@example(seed=1219829529, actions=213, share=0.5, trouble=0.2, losing=[True])
def test_both_decoders_agree_on_forged_segments(
    seed: int, actions: int, share: float, trouble: float, losing: list[bool]
) -> None:
    """SYN, RST, FIN and data that neither end has sent, in and out of the windows: both say the same of them."""
    random = Random(seed)  # noqa: S311  # traffic for a test
    compare(forged(random, traffic(random, actions, trouble=trouble), share), random, losing=losing)


@examples(100)
@given(
    seeds,
    st.integers(1, 20),
    st.sampled_from([0.01, 0.1, 0.5]),
    st.sampled_from([0.0, 0.3, 1.0]),
    st.sampled_from([0.0, 0.0, 0.1]),
    st.lists(st.booleans(), min_size=1, max_size=3),
)
def test_both_decoders_agree_on_forged_segments_between_cut_ones(
    seed: int, connections: int, share: float, cut: float, damage: float, losing: list[bool]
) -> None:
    """Likewise where PDUs begin in one segment and end in another, and several come in one."""
    random = Random(seed)  # noqa: S311  # traffic for a test
    segments = windows_traffic(random, connections, cut=cut, damage=damage)
    compare(forged(random, segments, share), random, losing=losing)


some_limits = st.builds(
    Limits,
    connections=st.sampled_from([1, 262_144]),
    buffered_bytes=st.sampled_from([150, 64 << 20]),
    idle_ns=st.sampled_from([10**8, 300 * 10**9]),
    gap_ns=st.sampled_from([10**6, 2 * 10**9]),
    unanswered_ns=st.sampled_from([10**6, 10**9, 10 * 10**9]),
)
some_policies = st.sampled_from([Policy(), Policy({IPv4Address("10.11.2.2"): (IPv4Network("10.11.2.0/24"),)})])


@examples(60)
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


@examples(60)
@given(seeds, st.integers(1, 25), st.sampled_from([0.0, 0.3, 1.0]), st.sampled_from([0.0, 0.0, 0.1]))
def test_both_decoders_agree_on_windows_traffic(seed: int, connections: int, cut: float, damage: float) -> None:
    """Tokens, association groups, handles, several calls at once; PDUs cut, merged, damaged."""
    random = Random(seed)  # noqa: S311  # traffic for a test
    compare(windows_traffic(random, connections, cut=cut, damage=damage), random)


@examples(30)
@given(
    seeds,
    st.builds(
        Limits,
        connections=st.sampled_from([3, 262_144]),
        buffered_bytes=st.sampled_from([200, 3000, 64 << 20]),
        stub_bytes=st.sampled_from([100, 1 << 20]),
        request_stub_bytes=st.sampled_from([40, 140, 8192]),
        calls_per_connection=st.sampled_from([1, 2, 128]),
        contexts_per_connection=st.sampled_from([1, 2, 64]),
        idle_ns=st.sampled_from([3 * 10**6, 300 * 10**9]),
        unanswered_ns=st.sampled_from([10**6, 10 * 10**9]),
    ),
)
def test_both_decoders_agree_on_windows_traffic_at_their_limits(seed: int, limits: Limits) -> None:
    """All limits of the scalar decoder hold in the compiled one."""
    random = Random(seed)  # noqa: S311  # traffic for a test
    compare(windows_traffic(random, 12, cut=0.5, damage=0.02), random, limits)


@pytest.mark.parametrize("name", sorted(path.stem for path in TRACES.glob("*.pcapng")))
def test_both_decoders_agree_on_golden_traces(name: str) -> None:
    """Every trace, with its own limits and policy, in blocks of all sizes."""
    configuration = TRACES / f"{name}.toml"
    config = load_config(configuration) if configuration.exists() else Config()
    batches = read_batches(TRACES / f"{name}.pcapng", ports=config.ports, counters=[0] * 32, tunnels=config.tunnels)
    segments = [
        segment
        for batch in batches
        for segment in ([unpack_record(batch)] if isinstance(batch, bytes) else [unpack_row(row) for row in batch])
    ]
    for seed in range(3):
        compare(segments, Random(seed), config.decoder_limits())  # noqa: S311  # sizes of blocks


def test_windows_traffic_stays_in_the_compiled_decoder() -> None:
    """Undamaged connections whose bind was seen are not handed over but for the odd end."""
    random = Random(5)  # noqa: S311  # traffic for a test
    segments = windows_traffic(random, 400, cut=0.3, unseen=0.0)
    decoder = compare(segments, random)
    assert decoder.handed_over < len(segments) / 50


def test_findings_may_be_held_over_several_blocks() -> None:
    """Held findings come with the next call that does not hold them, in order, and before time moves on."""
    random = Random(3)  # noqa: S311  # traffic for a test
    records = [pack_record(segment) for segment in windows_traffic(random, 60)]
    blocks: list[npt.NDArray[np.uint64]] = [
        block_of(records[start : start + 50]) for start in range(0, len(records), 50)
    ]
    plain, held = Pipeline(Policy(), str, engine=True), Pipeline(Policy(), str, engine=True)
    expected = [finding for block in blocks for finding in findings_of_batch(plain, block)]
    expected += singly(plain.flush())
    found: list[Finding] = []
    for block in blocks:
        found += singly(held.feed([block], hold=True))
    assert len(found) < len(expected)
    found += singly(held.flush())
    assert found == expected
    assert held.verdicts == plain.verdicts


@pytest.mark.parametrize("length", [0, 15])
def test_a_header_with_a_length_below_its_own_is_no_pdu(length: int) -> None:
    """Found by the fuzzer: it was taken for a PDU of which more had to come."""
    wire = Wire().open().client(pdu.bind())
    answer = bytearray(pdu.bind_ack())
    answer[8:10] = length.to_bytes(2, "little")
    compare(wire.server(bytes(answer)).server(pdu.bind_ack()).segments, Random(0))  # noqa: S311  # sizes of blocks


def test_a_fin_behind_a_gap_ends_nothing() -> None:
    """Where records are lost, the gap is given up after it was looked whether both ends have closed."""
    wire = Wire().open().client(pdu.bind()).server(pdu.bind_ack()).client_fin()
    lost = len(wire.segments)
    wire.server(pdu.fault(5)).server(pdu.fault(5)).server_fin()
    data, fin = wire.segments[lost + 1 :]
    closing = data._replace(tcp_flags=data.tcp_flags | fin.tcp_flags)
    segments = [*wire.segments[:lost], closing, fin, data]
    compare(segments, Random(0), losing=(True,))  # noqa: S311  # sizes of blocks


def test_limits_of_the_scalar_decoder_are_known() -> None:
    """Constants which compiled code needs as numbers are those of the modules that define them."""
    element = ContextElement(0, Syntax(EPM_UUID, 3, 0), ())
    assert Proposal(0, (element,)).size == layout.ELEMENT_BYTES
    assert (layout.WINDOW, layout.LATEST_TIME) == (WINDOW, LATEST_TIME_NS)
    flags = layout.FIN, layout.SYN, layout.RST, layout.ACK
    assert flags == (protocols.FIN, protocols.SYN, protocols.RST, protocols.ACK)


@examples(60)
@given(st.binary(max_size=300), st.integers(0, 20))
def test_checksums_are_those_of_the_scalar_decoder(data: bytes, cut: int) -> None:
    """Of PDUs in one segment, in several, and behind the end of one that began before."""
    whole = pdu.fault(5) + pdu.response(data) + pdu.fault(6)
    wire = Wire().open().client(pdu.bind()).server(pdu.bind_ack())
    wire.server(whole[:cut] or whole[:1]).server(whole[cut or 1 :])
    conversations = Conversations()
    decoder = Decoder(conversations, lambda observed: judge(observed, Policy(), "test"))
    scalar = Conversations()
    for segment in wire.segments:
        list(decoder.feed([pack_record(segment)]))
        list(scalar.feed(segment))
    flow = flow_of(wire.segments[0])
    expected, found = scalar.get(flow), conversations.get(flow)
    assert expected is not None
    if found is None:
        slot = decoder._engine.lookup(key_of(flow))
        found = export(decoder._engine, slot, conversations.limits, conversations.anomalies, None)
    for ours, theirs in ((found.client, expected.client), (found.server, expected.server)):
        assert (ours.stream.position, ours.stream.origin) == (theirs.stream.position, theirs.stream.origin)
        assert ours.stream.last == theirs.stream.last


def test_modules_that_are_not_compiled_say_the_same() -> None:
    """The Python files run as they are, where there was no compiler or somebody looks for a fault."""
    script = """
import importlib.util, sys
from pathlib import Path

class Sources:
    def find_spec(self, name, path, target=None):
        if name.startswith("inspector.") and path:
            file = Path(path[0]) / f"{name.rpartition('.')[2]}.py"
            return importlib.util.spec_from_file_location(name, file) if file.is_file() else None

sys.meta_path.insert(0, Sources())
from random import Random
import numpy as np
import inspector.decode
from inspector.capture import blocks, scan
from inspector.config import Config
from inspector.decode import engine
from inspector.live.rings import scan as rings
from inspector.output import lines
from inspector.reading.filereader import FileReader
from tests.build.windows import windows_traffic
from tests.property.test_decode import compare
from tests.property.test_json_batches import test_lines_of_a_batch
from tests.property.test_read_batches import compare as compare_files
assert all(module.__file__.endswith(".py") for module in (engine, lines, rings, scan))
assert not inspector.decode.is_compiled() and inspector.decode.implementation() == "interpreted"
for seed in range(3):
    compare(windows_traffic(Random(seed), 12, cut=0.4, damage=0.02), Random(seed))
blocks.is_compiled = lambda: True
for name in sys.argv[1:]:
    compare_files(Path(name))
    list(FileReader(Path(name), Config(follow_up=True)).findings(print))
test_lines_of_a_batch()
words = np.array([7, 0, 7, 0, 8, 0], np.uint64)
assert [rings.count_like(words, 7, at, 2, (6 - at) // 2) for at in (0, 2, 4)] == [2, 1, 0]
"""
    names = [str(path) for path in sorted(TRACES.glob("*.pcapng"))[::8]]
    assert names
    subprocess.run([sys.executable, "-c", script, *names], cwd=TRACES.parents[2], check=True)
