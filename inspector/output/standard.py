"""Where a command's findings go: a table for a person, or one JSON object per line for a program."""

from __future__ import annotations

import logging
import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Final, Protocol, Self

from inspector.consequence import Outcome
from inspector.errors import Anomaly
from inspector.model import Verdict
from inspector.output.console import Tally
from inspector.output.filetable import FileTable
from inspector.output.jsonl import JsonLines, StreamLines
from inspector.record import KernelCounter

if TYPE_CHECKING:
    from inspector.decode.batch import FindingBatch
    from inspector.output.sums import Sums

_LOG: Final = logging.getLogger(__name__)

_LOST = {
    KernelCounter.LOST_COMPACT_FULL: "compact ring full",
    KernelCounter.LOST_BULK_FULL: "bulk ring full",
    KernelCounter.LOST_COPY: "payload not copied",
}
_UNREAD = {
    KernelCounter.LATER_FRAGMENTS: Anomaly.IP_FRAGMENT,
    KernelCounter.UNREADABLE_HEADERS: Anomaly.UNREADABLE_FRAME,
}


class Counts(Protocol):
    """What a `Pipeline` counts; also when it has gone, or is in another process."""

    @property
    def records(self) -> int:
        """Records that went in."""

    @property
    def verdicts(self) -> Mapping[Verdict, int]:
        """Findings by verdict."""

    @property
    def anomalies(self) -> Mapping[Anomaly, int]:
        """What could not be read, by reason."""


def tally_of(
    counters: Iterable[Mapping[KernelCounter, int]],
    pipelines: Iterable[Counts],
    outcomes: Iterable[Mapping[Outcome, int]] = (),
) -> Tally:
    """Return the counts of a run from the counters of its sources, the decoders behind them, and what was followed."""
    packets: Counter[KernelCounter] = Counter()
    for one in counters:
        packets.update(one)
    verdicts: Counter[Verdict] = Counter()
    anomalies: Counter[str] = Counter({str(name): packets[counter] for counter, name in _UNREAD.items()})
    records = 0
    for pipeline in pipelines:
        records += pipeline.records
        verdicts.update(pipeline.verdicts)
        anomalies.update({str(anomaly): count for anomaly, count in pipeline.anomalies.items()})
    return Tally(
        seen=packets[KernelCounter.PACKETS_TO_SERVER] + packets[KernelCounter.PACKETS_FROM_SERVER],
        decoded=records,
        lost={reason: packets[counter] for counter, reason in _LOST.items()},
        verdicts=verdicts,
        anomalies=anomalies,
        outcomes=sum(map(Counter, outcomes), Counter[Outcome]()),
    )


class Output:
    """Findings to standard output; with `json` everything else goes to standard error."""

    def __init__(self, *, json: bool) -> None:
        # Faster than this nobody reads, and a slow terminal would hold up the inspection.
        self.console = FileTable(sys.stderr if json else sys.stdout, rows_per_second=200)
        self._findings = JsonLines(StreamLines(sys.stdout)) if json else self.console

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.console.close()

    def show(self, batch: FindingBatch) -> bool:
        """Show findings; return False once nobody reads any more."""
        return self._findings.show(batch)

    def show_text(self, text: str) -> bool:
        """Show what was made of findings elsewhere, by the same kind of sink; return what `show` does."""
        return self._findings.show_text(text)

    def status(self, tally: Tally) -> None:
        """Show how the run stands, on a terminal."""
        self.console.status(tally)

    def summary(self, tally: Tally) -> None:
        """Show the closing table."""
        self.console.summary(tally)

    def services(self, sums: Sums) -> None:
        """Show sums by address and service, and the ports that a firewall must let pass."""
        self.console.show_lines("by asked address and service", sums.lines())
        self.console.show_lines(
            "ports which clients need",
            (
                f"  to {one['to']}: "
                + "; ".join(f"{port['port']} {', '.join(port['services'])}" for port in one["ports"])
                for one in sums.ports_to_open()
            ),
        )


def warn(message: str) -> None:
    """Show a warning on standard error."""
    _LOG.warning("%s", message)


def fail(message: str) -> None:
    """Show on standard error what could not be done, where the command goes on."""
    _LOG.error("%s", message)
