"""The one way through, from record to finding; both the ring and capture files enter here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator

from inspector.errors import Anomaly
from inspector.judge.policy import Policy
from inspector.judge.verdict import judge
from inspector.model import Finding, Verdict
from inspector.record import unpack_record
from inspector.wire.conversations import Conversations
from inspector.wire.exchange import Observed
from inspector.wire.limits import Limits


class Pipeline:
    """Records in, findings out; `records` and `verdicts` count what went through, `anomalies` what was not read."""

    def __init__(self, policy: Policy, source_name: Callable[[int], str], limits: Limits | None = None) -> None:
        self._policy = policy
        self._source_name = source_name
        self._conversations = Conversations(limits)
        self.records = 0
        self.verdicts: Counter[Verdict] = Counter()

    @property
    def anomalies(self) -> Counter[Anomaly]:
        """Everything that could not be read so far, by reason."""
        return self._conversations.anomalies

    @property
    def tracked_connections(self) -> int:
        """Connections in the table now."""
        return len(self._conversations)

    def feed(self, record: bytes | memoryview) -> Iterator[Finding]:
        """Take one record; yield the findings it completes."""
        self.records += 1
        yield from self._judge(self._conversations.feed(unpack_record(record)))

    def advance(self, now_ns: int) -> Iterator[Finding]:
        """Move time forward when no record does."""
        yield from self._judge(self._conversations.advance(now_ns))

    def flush(self) -> Iterator[Finding]:
        """End the input: what waits for bytes that will not come is decided without them."""
        yield from self._judge(self._conversations.flush())

    def _judge(self, observations: Iterable[Observed]) -> Iterator[Finding]:
        for observed in observations:
            finding = judge(observed, self._policy, self._source_name(observed.interface_index))
            self.verdicts[finding.verdict] += 1
            yield finding
