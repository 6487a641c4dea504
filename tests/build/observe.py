"""Segments through the whole decoder and judge, as a command does it: in the scalar decoder and both compiled ones."""

from __future__ import annotations

from collections.abc import Iterable

from inspector.errors import Anomaly
from inspector.judge.policy import Policy
from inspector.model import Finding, Segment
from inspector.pipeline import Pipeline
from inspector.record import pack_record
from inspector.wire.limits import Limits
from tests.build.blocks import block_of, findings_of_batch


def findings_of(
    segments: Iterable[Segment], *, policy: Policy | None = None, limits: Limits | None = None, flush: bool = True
) -> list[Finding]:
    """Return the findings of segments in the given order."""
    return observe(segments, policy=policy, limits=limits, flush=flush)[0]


def observe(
    segments: Iterable[Segment], *, policy: Policy | None = None, limits: Limits | None = None, flush: bool = True
) -> tuple[list[Finding], dict[Anomaly, int]]:
    """Return the findings and the counted anomalies of segments in the given order, the same of all decoders."""
    records = [pack_record(segment) for segment in segments]
    pipeline = _pipeline(policy, limits, columns=False)
    findings = [one for record in records for one in pipeline.feed(record)]
    if flush:
        findings += pipeline.flush()
    anomalies = {anomaly: count for anomaly, count in pipeline.anomalies.items() if count}
    for engine in (False, True):
        again = _pipeline(policy, limits, columns=True, engine=engine)
        assert again.load_columns()
        found = [one for record in records for one in findings_of_batch(again, block_of([record]))]
        if flush:
            found += again.flush()
        assert (found, +again.anomalies) == (findings, anomalies), f"engine={engine}: another decoder says so"
    return findings, anomalies


def _pipeline(policy: Policy | None, limits: Limits | None, *, columns: bool, engine: bool = False) -> Pipeline:
    return Pipeline(policy or Policy(), lambda index: f"port{index}", limits, columns=columns, engine=engine)
