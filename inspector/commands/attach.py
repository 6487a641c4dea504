"""`epm-inspector attach`: from the interface to findings and metrics, until a signal ends it."""

from __future__ import annotations

import contextlib
import signal
import sys
import time
from collections import Counter as Totals
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Final

from prometheus_client import CollectorRegistry

from inspector import codecache
from inspector.commands.output import Output, tally_of
from inspector.config import Config, split_listen
from inspector.errors import Anomaly, ConfigError
from inspector.model import CountedPairs, Finding, FindingBatch
from inspector.pipeline import Pipeline
from inspector.record import record_of, record_time
from inspector.sinks.capture import CaptureWriter
from inspector.sinks.console import Tally
from inspector.sinks.metrics import CONTENT_TYPE, Metrics
from inspector.sinks.server import MetricsServer, Response

if TYPE_CHECKING:
    from inspector.live.attach import Mode
    from inspector.live.ring import Block
    from inspector.live.session import Session

_POLL_S: Final = 0.5
_REFRESH_S: Final = 1.0
# Without a word from the main loop for this long, the inspector is not healthy.
_STALLED_S: Final = 10.0
# Time moves on without records only this far behind the clock: some may still be on their way.
_QUIET_NS: Final = 1_000_000_000


@dataclass(frozen=True, slots=True)
class AttachArguments:
    """What the command line of `attach` says."""

    interfaces: Sequence[str]
    config: Config
    mode: Mode
    netns: str | None
    json: bool
    listen: str
    write: Path | None


class Inspection:
    """One running inspection: the main loop, and what the metrics server asks about it."""

    def __init__(
        self, session: Session, config: Config, metrics: Metrics, output: Output, writer: CaptureWriter | None
    ) -> None:
        self._session = session
        self._metrics = metrics
        self._output = output
        self._writer = writer
        self._pipeline = Pipeline(
            config.policy(), lambda index: session.interface_names.get(index, str(index)), config.decoder_limits()
        )
        self._counted: Totals[Anomaly] = Totals()
        self._refresh_due = 0.0
        self._alive_at = time.monotonic()
        self._stopping = False

    @property
    def healthy(self) -> bool:
        """Whether the main loop has been round lately."""
        return time.monotonic() - self._alive_at < _STALLED_S

    def stop(self) -> None:
        """End `run` soon; may be called from a signal handler."""
        self._stopping = True
        self._session.wake()

    def run(self) -> None:
        """Inspect until `stop`; then detach, read what is left, and decide what is open."""
        while not self._stopping:
            blocks = self._session.poll(_POLL_S)
            self._take(blocks)
            if not blocks:
                self._report(self._pipeline.advance(time.time_ns() - _QUIET_NS))
            self._refresh()
        self._session.detach()
        self._count(self._session.collect(everything=True))
        self._take(self._session.drain())
        self._report(self._pipeline.flush())
        self._refresh(force=True)

    def _take(self, blocks: list[Block]) -> None:
        self._pipeline.losing = self._session.losing
        for block in blocks:
            if self._writer is not None:
                for row in block:
                    self._writer.write(record_of(row))
            self._report(self._pipeline.feed_batch(block))
            newest_ns = record_time(record_of(block[-1]))
            self._metrics.records_consumed(len(block), newest_ns, max(0.0, (time.time_ns() - newest_ns) / 1e9))

    def _count(self, counted: Iterable[CountedPairs]) -> None:
        """Count what the kernel program counted; these findings are not shown."""
        for pairs in counted:
            finding = self._pipeline.count(pairs)
            if finding is not None:
                self._metrics.observe_pairs(finding, pairs)

    def _report(self, findings: Iterable[Finding | FindingBatch]) -> None:
        for found in findings:
            if isinstance(found, Finding):
                self._metrics.observe(found)
                self._output.show(found)
            else:
                self._metrics.observe_batch(found)
                self._output.show_batch(found)

    def _refresh(self, *, force: bool = False) -> None:
        """Bring the metrics up to date with the kernel's counters and the decoder's, about once a second."""
        now = self._alive_at = time.monotonic()
        if now < self._refresh_due and not force:
            return
        self._refresh_due = now + _REFRESH_S
        self._count(self._session.collect())
        self._metrics.requests_held(self._session.held())
        counters = self._session.counters()
        self._metrics.update_kernel(counters)
        self._metrics.update_ring(*self._session.ring_usage())
        self._metrics.tracked_connections(self._pipeline.tracked_connections)
        for anomaly, count in self._pipeline.anomalies.items():
            self._metrics.observe_anomaly(anomaly, count - self._counted[anomaly])
            self._counted[anomaly] = count
        self._output.status(tally_of(counters.values(), [self._pipeline]))
        if self._writer is not None:
            self._writer.flush()

    def tally(self) -> Tally:
        """Return the counts so far."""
        return tally_of(self._session.counters().values(), [self._pipeline])


def run(arguments: AttachArguments) -> int:
    """Run the command; returns the exit status. Raises InspectorError before anything is attached, or undoes it."""
    # bcc and netlink are needed by this command only: reading a capture works without them.
    from inspector.live.session import open_session

    config = arguments.config
    if config.tunnels and config.suspects_only:
        raise ConfigError("tunnels and suspects_only do not go together: pairs are recognised in plain packets only")
    # Once for each version, and before there is anything to lose.
    codecache.complete()
    metrics = Metrics(CollectorRegistry(), vips=config.vip_labels(), learned_vips=config.learned_vips)
    host, port = split_listen(arguments.listen)
    with contextlib.ExitStack() as stack:
        state: list[Inspection] = []
        server = MetricsServer(host, port, _routes(metrics, state))
        stack.callback(server.close)
        session = stack.enter_context(
            open_session(
                arguments.interfaces,
                mode=arguments.mode,
                ports=config.ports,
                netns=arguments.netns,
                tunnels=config.tunnels,
                silent_ns=config.decoder_limits().idle_ns if config.suspects_only else 0,
                pools=config.policy().pools,
            )
        )
        writer = None
        if arguments.write is not None:
            writer = stack.enter_context(CaptureWriter(arguments.write, session.interface_names))
        output = stack.enter_context(Output(json=arguments.json))
        inspection = Inspection(session, config, metrics, output, writer)
        state.append(inspection)
        _announce(session, metrics, server)
        with _signals_to(inspection):
            inspection.run()
        for attachment in session.attachments:
            metrics.detached(attachment.interface)
        output.summary(inspection.tally())
    return 0


def _routes(metrics: Metrics, state: list[Inspection]) -> dict[str, Callable[[], Response]]:
    def health() -> Response:
        if state and state[0].healthy:
            return Response(200, b"attached and reading\n")
        return Response(503, b"the main loop does not run\n")

    return {"/metrics": lambda: Response(200, metrics.render(), CONTENT_TYPE), "/healthz": health}


def _announce(session: Session, metrics: Metrics, server: MetricsServer) -> None:
    server.start()
    for attachment in session.attachments:
        metrics.attached(attachment.interface, attachment.hook, attachment.mode)
        print(f"attached {attachment.interface}: {attachment.explanation}", file=sys.stderr)
    print(f"metrics {server.url}/metrics", file=sys.stderr, flush=True)


@contextlib.contextmanager
def _signals_to(inspection: Inspection) -> Iterator[None]:
    """Let Ctrl-C and SIGTERM end the inspection in good order."""

    def handle(_number: int, _frame: FrameType | None) -> None:
        inspection.stop()

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
