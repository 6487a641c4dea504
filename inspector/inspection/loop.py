"""The main loop of a running inspection: blocks of records in, findings to every output, metrics kept up to date."""

from __future__ import annotations

import logging
import math
import time
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from inspector.decode import is_compiled
from inspector.decode.quota import Quota
from inspector.inspection.following import Following
from inspector.inspection.snapshot import Beginning, take_snapshot
from inspector.inspection.upkeep import Upkeep
from inspector.model import Verdict
from inspector.ordered import count_rows, divided, newest_ns
from inspector.output.standard import tally_of
from inspector.pipeline import Pipeline
from inspector.record import record_of
from inspector.systemd import Notifier

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from inspector.config import Config
    from inspector.decode.batch import FindingBatch
    from inspector.errors import Anomaly
    from inspector.inspection.delivery import Sinks
    from inspector.inspection.signals import Signals
    from inspector.live.rings.ringbuf import Block
    from inspector.live.session import Session
    from inspector.output.console import Tally

_LOG: Final = logging.getLogger(__name__)

_POLL_S: Final = 0.5
_REFRESH_S: Final = 1.0
# Without a word from the main loop for this long, the inspector is not healthy.
_STALLED_S: Final = 10.0
# Rows that are decoded in one go: less than a second's worth, also of those which cost most.
_ROWS: Final = 8192
# What is left when a signal comes is decoded for so long.
_FAREWELL_S: Final = 5.0
# Time moves on without records only this far behind the clock: some may still be on their way.
_QUIET_NS: Final = 1_000_000_000


class Inspection:
    """One running inspection: the main loop, and what the metrics server asks about it.

    `load` reads the configuration again, from `config_file` if it came from one.
    """

    def __init__(
        self,
        session: Session,
        config: Config,
        sinks: Sinks,
        beginning: Beginning,
        signals: Signals,
        *,
        config_file: Path | None,
        load: Callable[[], Config],
    ) -> None:
        self._beginning = beginning
        self._signals = signals
        self._session = session
        self._metrics, self._overview, self._output, self._recording, self._evidence = sinks
        self._pipeline = Pipeline(
            config.policy(),
            lambda index: session.interface_names.get(index, str(index)),
            config.decoder_limits(),
            engine=is_compiled(),
            quota=Quota(),
        )
        maps = session.follow_ups
        self._following = None if maps is None else Following(session, maps, config)
        self._counted: Counter[Anomaly] = Counter()
        self._refresh_due = 0.0
        self._alive_at = time.monotonic()
        self._end_by = math.inf
        self._unread = 0
        self._lost = 0
        self._notifier = Notifier()
        self._upkeep = Upkeep(session, self._pipeline, self._following, sinks, config, config_file, load)
        self.snapshot: Mapping[str, Any] = {}
        self._refresh(force=True)

    @property
    def healthy(self) -> bool:
        """Whether the main loop has been round lately."""
        return time.monotonic() - self._alive_at < _STALLED_S

    def run(self) -> None:
        """Inspect until a signal ends it; then detach, read what is left, and decide what is open."""
        self._session.watch()
        self._notifier.ready(self._state())
        while not self._signals.ending:
            blocks = self._session.poll(_POLL_S)
            self._take(blocks)
            if not blocks:
                self._advance(time.time_ns() - _QUIET_NS)
            if self._signals.take_reload():
                self._notifier.reloading()
                try:
                    self._upkeep.reload()
                finally:
                    self._notifier.ready(self._state())
            self._upkeep.look()
            self._refresh()
        self._notifier.stopping()
        self._session.detach()
        self._take(self._session.drain())
        if self._unread:
            _LOG.warning("shutdown: %d records left unread after 5 s", self._unread)
        self._end()
        if self._evidence is not None:
            self._evidence.close()
        if self._recording is not None:
            self._recording.close()
        self._refresh(force=True)

    def _take(self, blocks: Sequence[Block]) -> None:
        """Decode blocks, by so many rows at a time that metrics and watchdog are not kept waiting by hostile ones."""
        self._pipeline.losing = self._session.losing
        for some in divided(blocks, _ROWS):
            if self._signals.ending:
                self._end_by = min(self._end_by, time.monotonic() + _FAREWELL_S)
            if time.monotonic() < self._end_by:
                self._take_rows(some)
                self._refresh()
            else:
                self._unread += count_rows(some)

    def _take_rows(self, blocks: Sequence[Block]) -> None:
        if self._recording is not None or self._evidence is not None:
            self._keep(blocks)
        time_ns = newest_ns(blocks)
        following = self._following
        if following is None:
            self._report(self._named(self._pipeline.feed(blocks)))
        else:
            self._report(following.select(blocks))
            self._report(following.take(self._named(self._pipeline.feed(blocks)), time_ns))
        if self._evidence is not None:
            self._evidence.refresh(time_ns)
        age_s = max(0.0, (time.time_ns() - time_ns) / 1e9)
        self._metrics.records_consumed(count_rows(blocks), time_ns, age_s)

    def _keep(self, blocks: Sequence[Block]) -> None:
        """Hand rows to the recording and to the evidence."""
        for block in blocks:
            if self._recording is not None:
                for row in block:
                    self._recording.write(record_of(row))
            if self._evidence is not None:
                self._evidence.keep(block)

    def _advance(self, now_ns: int) -> None:
        """Move time on without records."""
        found = self._named(self._pipeline.advance(now_ns))
        self._report(found if self._following is None else self._following.advance(found, now_ns))
        if self._evidence is not None:
            self._evidence.refresh(now_ns)

    def _end(self) -> None:
        """Decide what is open."""
        found = self._named(self._pipeline.flush())
        self._report(found if self._following is None else self._following.close(found))

    def _named(self, findings: Iterable[FindingBatch]) -> Iterable[FindingBatch]:
        """Return findings with the names of their evidence files, which are made while their packets are held."""
        return findings if self._evidence is None else self._evidence.name(findings)

    def _report(self, findings: Iterable[FindingBatch]) -> None:
        for batch in findings:
            if self._evidence is not None:
                self._evidence.note(batch)
            self._metrics.observe(batch)
            self._overview.observe(batch)
            self._output.show(batch)

    def _refresh(self, *, force: bool = False) -> None:
        """Bring the metrics up to date with the kernel's counters and the decoder's, about once a second."""
        now = self._alive_at = time.monotonic()
        self._metrics.went_round(time.time())
        self._notifier.alive(self._state())
        if now < self._refresh_due and not force:
            return
        self._refresh_due = now + _REFRESH_S
        counters = self._session.counters()
        self._metrics.update_kernel(counters)
        self._metrics.update_ring(*self._session.ring_usage())
        self._metrics.tracked_connections(self._pipeline.tracked_connections)
        if self._following is not None:
            self._following.refresh()
            self._metrics.update_follow_up_maps(*self._following.maps)
            self._metrics.observe_not_followed(self._following.take_not_followed())
        anomalies = self._anomalies()
        for anomaly, count in anomalies.items():
            self._metrics.observe_anomaly(anomaly, count - self._counted[anomaly])
            self._counted[anomaly] = count
        self._metrics.update_losses(self._output.losses())
        if self._recording is not None:
            self._recording.flush(time.time_ns())
            self._metrics.update_losses(self._recording.losses())
        if self._evidence is not None:
            self._metrics.update_evidence(*self._evidence.counts())
        self.snapshot = take_snapshot(
            self._beginning, self._upkeep, self._session, self._pipeline, self._overview, anomalies, counters
        )
        tally = self.tally()
        self._lost = sum(tally.lost.values())
        self._output.status(tally)

    def _state(self) -> str:
        """Return how it stands, for the service manager."""
        interfaces = ", ".join(attachment.interface for attachment in self._session.attachments)
        mismatches = self._pipeline.verdicts[Verdict.MISMATCH]
        return f"inspecting {interfaces}: {self._pipeline.records} records, {mismatches} mismatches, {self._lost} lost"

    def tally(self) -> Tally:
        """Return the counts so far."""
        followed = self._following
        outcomes = () if followed is None else (followed.outcomes,)
        tally = tally_of(self._session.counters().values(), [self._pipeline], outcomes)
        if followed is None:
            return tally
        anomalies = {str(anomaly): count for anomaly, count in followed.anomalies.items()}
        return replace(tally, anomalies=Counter(tally.anomalies) + Counter(anomalies))

    def _anomalies(self) -> Counter[Anomaly]:
        """Return what could not be read so far, or not be followed."""
        return self._pipeline.anomalies + (Counter() if self._following is None else self._following.anomalies)
