"""How much may come out of what was received: bytes of every output, and of memory."""

from __future__ import annotations

import io
import tracemalloc
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry

from inspector.decode.batch import singly
from inspector.http.overview import Overview
from inspector.http.routes import Routes
from inspector.judge.policy import Policy
from inspector.metrics.updates import Metrics
from inspector.model import Finding, Segment
from inspector.output.console import Console
from inspector.output.journal import encode, fields_of
from inspector.output.jsonform import LINE_BYTES, lines_of
from inspector.pipeline import Pipeline
from inspector.record import pack_record
from inspector.wire.limits import Limits
from tests.build.blocks import batch_of, findings_of_batch
from tests.build.state import STATE

CONSTANT = 48 * 1024
"""Bytes of output which need no input: the page's frame, headings."""

FACTOR = 40
"""Bytes of output for each byte received; a bind_nak of 18 bytes is a finding of 500."""

MEMORY = 16 << 20
"""Bytes of memory which need no input: what is kept of one answer on its way, and of well-known names."""

MEMORY_FACTOR = 40

ANSWER = (1 << 20) + CONSTANT
"""Bytes of any answer over HTTP."""


class Outputs:
    """Every output of findings; `sizes` are bytes so far, by output."""

    def __init__(self) -> None:
        self.overview = Overview(clock=iter(range(1 << 60)).__next__)
        self.routes = Routes(Metrics(CollectorRegistry()), self.overview)
        self.routes.inspection = Inspected()
        self.sizes: Counter[str] = Counter()

    def take(self, finding: Finding) -> None:
        """Take one finding to all of them."""
        self.sizes.update(sizes_of(finding))
        self.sizes["terminal"] += len(shown(finding, terminal=True))
        self.overview.observe(batch_of(finding))

    def check(self, received: int) -> None:
        """Compare all sizes with their bounds."""
        bodies = {path: len(route().body) for path, route in self.routes.table().items() if path != "/metrics"}
        for name, size in (self.sizes | bodies).items():
            assert size <= CONSTANT + FACTOR * received, (name, size, received)
        assert max(bodies.values()) <= ANSWER


class Inspected:
    """A running inspection."""

    healthy = True
    snapshot = STATE


def sizes_of(finding: Finding) -> dict[str, int]:
    """Return how many bytes of each output a finding makes; every line of JSON must be short enough."""
    lines = lines_of(finding)
    assert all(len(line) < LINE_BYTES for line in lines)
    return {
        "lines": sum(map(len, lines)) + len(lines),
        "journal": len(encode(fields_of(finding))),
        "rows": len(shown(finding, terminal=False)),
    }


def check_sizes(findings: Iterable[Finding], received: int) -> None:
    """Compare the sizes of what findings are written as with that of what was received."""
    sizes: Counter[str] = Counter()
    for finding in findings:
        sizes.update(sizes_of(finding))
    for name, size in sizes.items():
        assert size <= CONSTANT + FACTOR * received, (name, size, received)


def shown(finding: Finding, *, terminal: bool) -> str:
    """Return what the console shows of a finding."""
    stream = io.StringIO()
    Console(stream, terminal=terminal, width=80, header=False).show(batch_of(finding))
    return stream.getvalue()


def received_of(segments: Iterable[Segment]) -> int:
    """Return how many bytes were received with segments, those of headers included."""
    return sum(len(pack_record(segment)) for segment in segments)


def check_output(segments: Iterable[Segment], findings: Iterable[Finding]) -> None:
    """Compare the size of all outputs with that of what was received."""
    outputs = Outputs()
    for finding in findings:
        outputs.take(finding)
    outputs.check(received_of(segments))


def check_memory(segments: Iterable[Segment]) -> None:
    """Compare the peak of memory while segments become output with the size of what was received."""
    records = [pack_record(segment) for segment in segments]
    with peak_below(MEMORY + MEMORY_FACTOR * sum(map(len, records))):
        outputs = Outputs()
        for finding in _findings(records):
            outputs.take(finding)


def _findings(records: list[bytes]) -> Iterator[Finding]:
    pipeline = Pipeline(Policy(), str, Limits(connections=1000))
    for record in records:
        yield from findings_of_batch(pipeline, record)
    yield from singly(pipeline.flush())


@contextmanager
def peak_below(limit: int) -> Iterator[None]:
    """Require that memory taken within stays below a limit."""
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        yield
        peak = tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()
    assert peak <= limit, f"{peak} bytes at once, {limit} are allowed"
