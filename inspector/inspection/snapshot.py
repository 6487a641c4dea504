"""What a running inspection says of itself: the object which `/status` serves as JSON (docs/status.md)."""

from __future__ import annotations

import os
import time
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from inspector import __version__
from inspector.decode import implementation
from inspector.model import Verdict, format_time
from inspector.record import LOSS_REASONS, KernelCounter

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from inspector.errors import Anomaly
    from inspector.http.overview import Overview
    from inspector.inspection.upkeep import Upkeep
    from inspector.live.attach.interfaces import InterfaceState
    from inspector.live.session import Session
    from inspector.pipeline import Pipeline


@dataclass(frozen=True, slots=True)
class Beginning:
    """What stays the same as long as the process runs: when it started, and the metrics' URL."""

    started_ns: int
    metrics_url: str


def take_snapshot(
    beginning: Beginning,
    upkeep: Upkeep,
    session: Session,
    pipeline: Pipeline,
    overview: Overview,
    anomalies: Mapping[Anomaly, int],
    counters: Mapping[str, Mapping[KernelCounter, int]],
) -> dict[str, Any]:
    """Return the state of a running inspection; keys and their order are an interface which people build on.

    `counters` are those of `Session.counters`, by interface name; nothing of the result changes later.
    """
    used, size = session.ring_usage()
    outcomes, causes = overview.sums()
    return {
        "version": __version__,
        "pid": os.getpid(),
        "decoder": implementation(),
        "started": format_time(beginning.started_ns),
        "time": format_time(time.time_ns()),
        "configuration": str(upkeep.file) if upkeep.file is not None else None,
        "configuration_read": format_time(upkeep.read_ns),
        "last_reload_successful": upkeep.valid,
        "metrics": beginning.metrics_url,
        "interfaces": [_interface(state, counters.get(state.name)) for state in session.interfaces],
        **_packets(counters.values()),
        "records_consumed": session.consumed,
        "ring": {"used_bytes": used, "size_bytes": size},
        "tracked_connections": pipeline.tracked_connections,
        "verdicts": {str(verdict): pipeline.verdicts[verdict] for verdict in Verdict},
        "outcomes": {str(outcome): count for outcome, count in outcomes.items()},
        "causes": dict(sorted((str(cause), count) for cause, count in causes.items())),
        "anomalies": dict(sorted((str(anomaly), count) for anomaly, count in anomalies.items() if count)),
    }


def _interface(state: InterfaceState, counters: Mapping[KernelCounter, int] | None) -> dict[str, Any]:
    """Return what is said of one interface; its counts are null where it has no counters of its own."""
    attachment = state.attachment
    counts = _packets([counters]) if counters is not None else dict.fromkeys(_packets([]))
    return {
        "name": state.name,
        "index": state.index,
        "netns": state.netns,
        "attached": attachment is not None,
        "since": format_time(state.since_ns),
        "explanation": state.explanation,
        "hook": attachment.hook if attachment else None,
        "mode": attachment.mode if attachment else None,
        "program_id": attachment.program_id if attachment else None,
        "program_tag": attachment.program_tag if attachment else None,
        "reattachments": state.reattachments,
        **counts,
    }


def _packets(slots: Iterable[Mapping[KernelCounter, int]]) -> dict[str, Any]:
    """Return the sums of the kernel program's counters."""
    totals: Counter[KernelCounter] = Counter()
    for slot in slots:
        totals.update(slot)
    return {
        "packets": {
            "to_server": totals[KernelCounter.PACKETS_TO_SERVER],
            "from_server": totals[KernelCounter.PACKETS_FROM_SERVER],
        },
        "matched": totals[KernelCounter.MATCHED],
        "submitted": totals[KernelCounter.SUBMITTED],
        "lost": {reason.name.removeprefix("LOST_").lower(): totals[reason] for reason in LOSS_REASONS},
    }
