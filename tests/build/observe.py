"""Segments through the whole decoder and judge, as a command does it."""

from __future__ import annotations

from collections.abc import Iterable

from inspector.errors import Anomaly
from inspector.judge.policy import Policy
from inspector.model import Finding, Segment
from inspector.pipeline import Pipeline
from inspector.record import pack_record
from inspector.wire.limits import Limits


def findings_of(
    segments: Iterable[Segment], *, policy: Policy | None = None, limits: Limits | None = None, flush: bool = True
) -> list[Finding]:
    """Return the findings of segments in the given order."""
    return observe(segments, policy=policy, limits=limits, flush=flush)[0]


def observe(
    segments: Iterable[Segment], *, policy: Policy | None = None, limits: Limits | None = None, flush: bool = True
) -> tuple[list[Finding], dict[Anomaly, int]]:
    """Return the findings and the counted anomalies of segments in the given order."""
    pipeline = Pipeline(policy or Policy(), lambda index: f"port{index}", limits)
    findings = [one for segment in segments for one in pipeline.feed(pack_record(segment))]
    if flush:
        findings += pipeline.flush()
    return findings, {anomaly: count for anomaly, count in pipeline.anomalies.items() if count}
