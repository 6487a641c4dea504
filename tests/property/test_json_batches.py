"""Lines made of a batch are those made of its findings one by one."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from inspector.decode import layout
from inspector.decode.batch import FindingBatch
from inspector.judge.addresses import address_of
from inspector.model import Direction, Finding, FindingTunnel, OfferedEndpoint, RpcInterface, Verdict, format_time
from inspector.output import batchlines
from inspector.output.batchlines import BatchLines
from inspector.output.jsonl import JsonLines, StreamLines
from tests.build.connection import raw_address
from tests.build.epm import SAMR

_JUDGEMENT = Finding(
    time_ns=0,
    source='a "%s" 100%.pcap\u2028',
    direction=Direction.FROM_SERVER,
    client=IPv4Address(0),
    client_port=0,
    asked=IPv4Address("10.11.2.2"),
    asked_raw=IPv6Address("64:ff9b::a0b:202"),
    server_port=135,
    operation="ept_map",
    call_id=None,
    transfer_syntax="ndr20",
    status=0,
    verdict=Verdict.MISMATCH,
    why="50% of %d\u00e9",
    requested=RpcInterface(SAMR[0], 1, 0, "SAMR"),
    mappings=(OfferedEndpoint(None, "ncacn_np", None, None, "\\PIPE\\%s", Verdict.NO_ADDRESS, "why", "note %"),),
)
JUDGEMENTS = [
    _JUDGEMENT,
    replace(_JUDGEMENT, asked_raw=_JUDGEMENT.asked, requested=None, mappings=(), anomalies=("x",)),
    replace(_JUDGEMENT, tunnel=FindingTunnel("gre", IPv4Address(1), IPv6Address(2)), status=None),
]
ADDRESSES = ["10.1.1.1", "9.0.0.0", "255.255.255.255", "2001:db8::1", "::", "::1.2.3.4", "64:ff9b::a0b:202"]
times = st.integers(0, 2**63 - 1) | st.integers(0, 3 * 10**9)
latencies = st.integers(-5, 10**12) | st.sampled_from([0, 1, 99, 100, 101, 10**6, 1_234_567, 10**15 + 1])


@st.composite
def batches(draw: st.DrawFn) -> FindingBatch:
    """Batches of findings: any client, call, time and latency, or none."""
    rows = np.zeros((draw(st.integers(0, 6)), layout.FOUND_WORDS), np.int64)
    for row in rows:
        row[layout.FOUND_TEMPLATE] = draw(st.integers(0, len(JUDGEMENTS) - 1))
        row[layout.FOUND_CLIENT : layout.FOUND_CLIENT + 2] = np.frombuffer(
            raw_address(draw(st.sampled_from(ADDRESSES))), np.int64
        )
        row[layout.FOUND_PORT] = draw(st.integers(0, 65535))
        row[layout.FOUND_CALL] = draw(st.integers(0, 2**32 - 1))
        time_ns = draw(times)
        row[layout.FOUND_TIME] = time_ns
        row[layout.FOUND_ASKED] = max(time_ns - draw(latencies), -1) if draw(st.booleans()) else -1
        row[layout.FOUND_ASKED] = min(int(row[layout.FOUND_ASKED]), 2**63 - 1)
    frames = draw(st.none() | st.lists(st.integers(0, 2**40), min_size=len(rows), max_size=len(rows)))
    return FindingBatch(rows, JUDGEMENTS, frames=None if frames is None else np.array(frames, np.int64))


@settings(deadline=None)
@given(st.lists(batches(), max_size=3))
def test_lines_of_a_batch(found: list[FindingBatch]) -> None:
    """Byte for byte what `json.dumps` makes of each finding, whatever there is to escape."""
    stream = io.StringIO()
    sink = JsonLines(StreamLines(stream))
    for batch in found:
        assert sink.show(batch)
    expected = [
        json.dumps(finding.as_dict(), separators=(",", ":")) + "\n" for batch in found for finding in batch.findings()
    ]
    assert stream.getvalue() == "".join(expected)


def test_texts_are_bounded_and_numbers_may_come_to_mean_something_else() -> None:
    """However many judgements there are under however few numbers, only so many texts are kept."""
    made = BatchLines()
    rows = np.zeros((1, layout.FOUND_WORDS), np.int64)
    for status in range(3):
        judgement = replace(_JUDGEMENT, status=status)
        assert b"".join(made.make(FindingBatch(rows, [judgement]))).count(b'"status":%d,' % status) == 1
    rows = np.zeros((batchlines.JUDGEMENTS + 10, layout.FOUND_WORDS), np.int64)
    rows[:, layout.FOUND_TEMPLATE] = range(len(rows))
    batch = FindingBatch(rows, [replace(_JUDGEMENT, status=number) for number in range(len(rows))])
    for part in (batch, batch[:1], batch[-1:]):
        expected = [json.dumps(finding.as_dict(), separators=(",", ":")) + "\n" for finding in part.findings()]
        assert b"".join(made.make(part)) == "".join(expected).encode()
    assert len(made._judgements) <= 2


def test_a_line_longer_than_the_output() -> None:
    """A line is made whatever its length, and so are many lines of any length."""
    rows = np.zeros((3000, layout.FOUND_WORDS), np.int64)
    rows[:, layout.FOUND_TIME] = np.arange(3000) * 40
    for judgement in (_JUDGEMENT, replace(_JUDGEMENT, why="x" * 2 * batchlines.OUTPUT)):
        batch = FindingBatch(rows if judgement is _JUDGEMENT else rows[:3], [judgement])
        expected = [json.dumps(finding.as_dict(), separators=(",", ":")) + "\n" for finding in batch.findings()]
        assert b"".join(BatchLines().make(batch)) == "".join(expected).encode()


@settings(deadline=None)
@given(
    times,
    st.binary(min_size=16, max_size=16)
    | st.lists(st.sampled_from([b"\0\0", b"\0\1", b"\xab\0"]), min_size=8, max_size=8).map(b"".join),
)
def test_times_and_addresses(time_ns: int, packed: bytes) -> None:
    """Each time is written as `format_time` writes it, each address as Python writes it."""
    row = np.zeros((1, layout.FOUND_WORDS), np.int64)
    row[0, layout.FOUND_TIME], row[0, layout.FOUND_ASKED] = time_ns, -1
    row[0, layout.FOUND_CLIENT : layout.FOUND_CLIENT + 2] = np.frombuffer(packed, np.int64)
    line = json.loads(b"".join(BatchLines().make(FindingBatch(row, JUDGEMENTS))))
    assert (line["time"], line["client"]) == (format_time(time_ns), str(address_of(packed)))
