"""`epm-inspector attach`: from the interface to findings and metrics, until a signal ends it."""

from __future__ import annotations

import contextlib
import logging
import math
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from prometheus_client import CollectorRegistry

from inspector import codecache
from inspector.capture.recording import Recording
from inspector.config import Config, split_listen
from inspector.decode import is_compiled
from inspector.errors import Anomaly, ListenError
from inspector.evidence.recorder import open_evidence
from inspector.http.overview import Overview
from inspector.http.routes import Routes
from inspector.http.server import MetricsServer
from inspector.http.tls import Certificates, TlsFiles
from inspector.inspection.delivery import Delivery, Sinks
from inspector.inspection.privileges import Files, choose_account, give_up_privileges, hand_over, naming
from inspector.inspection.runtime import LocalSocket, open_local_socket
from inspector.inspection.signals import Signals
from inspector.inspection.snapshot import Beginning, take_snapshot
from inspector.inspection.upkeep import Upkeep
from inspector.metrics.updates import Metrics
from inspector.model import Finding, FindingBatch, Verdict
from inspector.output.console import Tally
from inspector.output.standard import tally_of, warn
from inspector.pipeline import Pipeline
from inspector.record import record_of, record_time
from inspector.systemd import Notifier

if TYPE_CHECKING:
    from inspector.live.rings.ringbuf import Block
    from inspector.live.session import Session
    from inspector.model import Mode

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


@dataclass(frozen=True, slots=True)
class AttachArguments:
    """What the command line of `attach` says; `load` reads the configuration again."""

    interfaces: Sequence[str]
    config: Config
    mode: Mode
    netns: str | None
    json: bool
    listen: str
    write: Path | None
    load: Callable[[], Config]
    config_file: Path | None = None
    runtime_directory: Path | None = None
    drop_all: bool = False


def _divided(blocks: Iterable[Block]) -> Iterator[list[Block]]:
    """Yield blocks, in order, in groups of at most `_ROWS` rows; longer ones are cut."""
    group: list[Block] = []
    count = 0
    for block in blocks:
        for start in range(0, len(block), _ROWS):
            rows = block[start : start + _ROWS]
            if group and count + len(rows) > _ROWS:
                yield group
                group, count = [], 0
            group.append(rows)
            count += len(rows)
    if group:
        yield group


class Inspection:
    """One running inspection: the main loop, and what the metrics server asks about it."""

    def __init__(
        self,
        session: Session,
        arguments: AttachArguments,
        sinks: Sinks,
        beginning: Beginning,
        signals: Signals,
    ) -> None:
        self._beginning = beginning
        self._signals = signals
        self._session = session
        self._metrics, self._overview, self._output, self._recording, self._evidence = sinks
        config = arguments.config
        self._pipeline = Pipeline(
            config.policy(),
            lambda index: session.interface_names.get(index, str(index)),
            config.decoder_limits(),
            engine=is_compiled(),
        )
        self._counted: Counter[Anomaly] = Counter()
        self._refresh_due = 0.0
        self._alive_at = time.monotonic()
        self._end_by = math.inf
        self._unread = 0
        self._lost = 0
        self._notifier = Notifier()
        self._upkeep = Upkeep(session, self._pipeline, sinks, config, arguments.config_file, arguments.load)
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
                self._report(self._pipeline.advance(time.time_ns() - _QUIET_NS))
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
            _LOG.warning("%d records were not read any more: there were too many to end soon", self._unread)
        self._report(self._pipeline.flush())
        if self._evidence is not None:
            self._evidence.close()
        if self._recording is not None:
            self._recording.close()
        self._refresh(force=True)

    def _take(self, blocks: list[Block]) -> None:
        """Decode blocks, by so many rows at a time that metrics and watchdog are not kept waiting by hostile ones."""
        self._pipeline.losing = self._session.losing
        for some in _divided(blocks):
            if self._signals.ending:
                self._end_by = min(self._end_by, time.monotonic() + _FAREWELL_S)
            if time.monotonic() < self._end_by:
                self._take_rows(some)
                self._refresh()
            else:
                self._unread += sum(map(len, some))

    def _take_rows(self, blocks: list[Block]) -> None:
        for block in blocks:
            if self._recording is not None:
                for row in block:
                    self._recording.write(record_of(row))
            if self._evidence is not None:
                self._evidence.keep(block)
        self._report(self._pipeline.feed_batches(blocks))
        newest_ns = record_time(record_of(blocks[-1][-1]))
        age_s = max(0.0, (time.time_ns() - newest_ns) / 1e9)
        self._metrics.records_consumed(sum(map(len, blocks)), newest_ns, age_s)

    def _report(self, findings: Iterable[Finding | FindingBatch]) -> None:
        for found in findings if self._evidence is None else self._evidence.name(findings):
            if isinstance(found, Finding):
                self._metrics.observe(found)
                self._overview.observe(found)
                self._output.show(found)
            else:
                self._metrics.observe_batch(found)
                self._overview.observe_batch(found)
                self._output.show_batch(found)

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
        for anomaly, count in self._pipeline.anomalies.items():
            self._metrics.observe_anomaly(anomaly, count - self._counted[anomaly])
            self._counted[anomaly] = count
        self._metrics.update_losses(self._output.losses())
        if self._recording is not None:
            self._recording.flush(time.time_ns())
            self._metrics.update_losses(self._recording.losses())
        if self._evidence is not None:
            self._metrics.update_evidence(*self._evidence.counts())
        self.snapshot = take_snapshot(self._beginning, self._upkeep, self._session, self._pipeline, counters)
        tally = tally_of(counters.values(), [self._pipeline])
        self._lost = sum(tally.lost.values())
        self._output.status(tally)

    def _state(self) -> str:
        """Return how it stands, for the service manager."""
        interfaces = ", ".join(attachment.interface for attachment in self._session.attachments)
        mismatches = self._pipeline.verdicts[Verdict.MISMATCH]
        return f"inspecting {interfaces}: {self._pipeline.records} records, {mismatches} mismatches, {self._lost} lost"

    def tally(self) -> Tally:
        """Return the counts so far."""
        return tally_of(self._session.counters().values(), [self._pipeline])


def run(arguments: AttachArguments) -> int:
    """Run the command; returns the exit status. Raises InspectorError before anything is attached, or undoes it."""
    # bcc and netlink are needed by this command only: reading a capture works without them.
    from inspector.live.session import open_session

    config, started_ns = arguments.config, time.time_ns()
    account = choose_account(config.user)
    # Once for each version, and before there is anything to lose.
    codecache.complete()
    metrics = Metrics(CollectorRegistry(), vips=config.vip_labels(), learned_vips=config.learned_vips)
    host, port = split_listen(arguments.listen)
    with contextlib.ExitStack() as stack:
        signals = stack.enter_context(Signals())
        overview = Overview()
        routes = Routes(metrics, overview)
        server = MetricsServer(
            host,
            port,
            routes.table(with_findings=config.serve_findings),
            certificates=_certificates(config),
            hosts=config.hosts,
            scrapers=config.scrapers,
            report=lambda text: _LOG.warning("%s", text),
        )
        stack.callback(server.close)
        session = stack.enter_context(
            open_session(
                arguments.interfaces,
                mode=arguments.mode,
                ports=config.ports,
                netns=arguments.netns,
                tunnels=config.tunnels,
            )
        )
        files = Files.of(config, arguments.config_file, arguments.write)
        if account is not None:
            files.make(account)
        recording = None
        if arguments.write is not None:
            recording = stack.enter_context(Recording(arguments.write, config, session.interface_names, warn))
        output = stack.enter_context(Delivery(json=arguments.json, config=config, warn=warn))
        local = _serve_locally(server, routes, arguments.runtime_directory, stack)
        limits = hand_over(account, files, local) if account is not None else ""
        give_up_privileges(session, account, netns=arguments.netns is not None, everything=arguments.drop_all)
        with naming(account):
            evidence = open_evidence(config.evidence.directory, config, session.interface_names)
        if evidence is not None:
            stack.callback(evidence.close)
        beginning = Beginning(started_ns, server.url + "/metrics")
        sinks = Sinks(metrics, overview, output, recording, evidence)
        inspection = Inspection(session, arguments, sinks, beginning, signals)
        routes.inspection = inspection
        # Whoever reads that it is attached may end it at once, and expects a summary.
        signals.attend(session.wake)
        _announce(session, metrics, server, "metrics and findings" if config.serve_findings else "metrics")
        if limits:
            _LOG.warning("%s", limits)
        inspection.run()
        for attachment in session.attachments:
            metrics.detached(attachment.interface)
        if evidence is not None:
            _LOG.info("%s", evidence.summary())
        output.summary(inspection.tally())
    return 0


def _serve_locally(
    server: MetricsServer, routes: Routes, directory: Path | None, stack: contextlib.ExitStack
) -> LocalSocket | None:
    """Serve on a local socket too; where nobody chose its place, an inspector without one is still an inspector."""
    try:
        local = open_local_socket(directory)
    except ListenError as error:
        if directory is not None:
            raise
        _LOG.warning("'epm-inspector status' will not find this inspector: %s", error)
        return None
    stack.callback(local.close)
    server.add(local.socket, routes.table())
    return local


def _certificates(config: Config) -> Certificates | None:
    """Return what TLS needs, if the configuration asks for it. Raises ListenError."""
    if config.tls_certificate is None or config.tls_key is None:
        return None
    files = TlsFiles(config.tls_certificate, config.tls_key, config.tls_client_ca)
    return Certificates(files, lambda text: _LOG.warning("%s", text))


def _announce(session: Session, metrics: Metrics, server: MetricsServer, served: str) -> None:
    server.start()
    for attachment in session.attachments:
        metrics.attached(attachment.interface, attachment.hook, attachment.mode)
        _LOG.info("attached %s: %s", attachment.interface, attachment.explanation)
    _LOG.info("metrics %s/metrics", server.url)
    if server.is_exposed:
        advice = "set tls_certificate, tls_key and tls_client_ca"
        if served != "metrics":
            advice += ", or serve_findings = false"
        _LOG.warning(
            "%s: other machines can read %s, and so can networks on the way: there is no TLS; %s",
            server.url,
            served,
            advice,
        )
