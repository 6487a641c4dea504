"""Segments through the whole decoder and judge, as a command does it: in the scalar decoder and the compiled one."""

from __future__ import annotations

from collections.abc import Iterable

from inspector.decode.batch import singly
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
    """Return the findings and the counted anomalies of segments in the given order, the same of both decoders."""
    records = [pack_record(segment) for segment in segments]
    pipeline = _pipeline(policy, limits, engine=False)
    findings = [one for record in records for one in findings_of_batch(pipeline, record)]
    if flush:
        findings += singly(pipeline.flush())
    anomalies = {anomaly: count for anomaly, count in pipeline.anomalies.items() if count}
    again = _pipeline(policy, limits, engine=True)
    found = [one for record in records for one in findings_of_batch(again, block_of([record]))]
    if flush:
        found += singly(again.flush())
    assert (found, +again.anomalies) == (findings, anomalies)
    return findings, anomalies


def _pipeline(policy: Policy | None, limits: Limits | None, *, engine: bool) -> Pipeline:
    return Pipeline(policy or Policy(), lambda index: f"port{index}", limits, engine=engine)
