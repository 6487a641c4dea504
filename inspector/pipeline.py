"""The one way through, from record to finding; both the ring and capture files enter here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from inspector import codecache
from inspector.errors import Anomaly
from inspector.judge.policy import Policy
from inspector.judge.verdict import judge
from inspector.model import Finding, FindingBatch, Verdict
from inspector.record import unpack_record, unpack_row
from inspector.wire.conversations import Conversations
from inspector.wire.exchange import Observed
from inspector.wire.limits import Limits

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from inspector.columns.decoder import Columns
    from inspector.decode.decoder import Decoder
    from inspector.decode.quota import Quota

    Block = npt.NDArray[np.uint64]
    Batch = Block | bytes | memoryview

COLUMNS_FROM: Final = 256
"""Records in a block from which on compiled code is worth being loaded; before, memory stays small."""


class Pipeline:
    """Records in, findings out; `records` and `verdicts` count what went through, `anomalies` what was not read.

    `columns` says whether the compiled path may be used: `inspector.columns` has the same results, and is loaded
    with the first block of many records. `engine` takes `inspector.decode` in its place; `quota` bounds what its scalar
    decoder is given.
    """

    def __init__(
        self,
        policy: Policy,
        source_name: Callable[[int], str],
        limits: Limits | None = None,
        *,
        columns: bool = True,
        engine: bool = False,
        quota: Quota | None = None,
    ) -> None:
        self._policy = policy
        self._source_name = source_name
        self._conversations = Conversations(limits)
        self._may_load = columns and codecache.has_compiler()
        self._columns: Columns | None = None
        self._may_load_engine = engine
        self._quota = quota
        self._decoder: Decoder | None = None
        self._records = 0
        self.verdicts: Counter[Verdict] = Counter()

    @property
    def records(self) -> int:
        """How many records came so far."""
        return self._records + (self._decoder.records if self._decoder is not None else 0)

    @property
    def anomalies(self) -> Counter[Anomaly]:
        """Everything that could not be read so far, by reason."""
        return self._conversations.anomalies

    @property
    def losing(self) -> bool:
        """Whether records get lost on their way here: then missing bytes are given up at once, not waited for."""
        return self._conversations.losing

    @losing.setter
    def losing(self, losing: bool) -> None:
        self._conversations.losing = losing
        if self._decoder is not None:
            self._decoder.losing = losing

    @property
    def tracked_connections(self) -> int:
        """Connections in the tables now."""
        compiled = self._decoder if self._decoder is not None else self._columns
        return len(self._conversations) + (len(compiled) if compiled is not None else 0)

    def load_columns(self) -> bool:
        """Load the compiled path now, if there is one; return whether it is used."""
        if self._decoder is None and self._may_load_engine:
            from inspector.decode.decoder import Decoder

            self._decoder = Decoder(self._conversations, self._finding, self._quota)
        if self._decoder is not None:
            return True
        if self._columns is None and self._may_load:
            from inspector.columns.decoder import Columns

            self._columns = Columns(self._conversations, self._finding)
        return self._columns is not None

    def reconfigure(self, policy: Policy, limits: Limits) -> None:
        """Judge by another policy and wait for other times from now on; limits on memory stay what they were."""
        self._policy = policy
        held = self._conversations.limits
        limits = replace(held, idle_ns=limits.idle_ns, gap_ns=limits.gap_ns, unanswered_ns=limits.unanswered_ns)
        if limits != held:
            self._conversations.change_limits(limits)
            for compiled in (self._columns, self._decoder):
                if compiled is not None:
                    compiled.change_limits()
        self.forget_judgements()

    def forget_judgements(self) -> None:
        """Judge anew what was judged before: policy or names have changed."""
        for compiled in (self._columns, self._decoder):
            if compiled is not None:
                compiled.forget_judgements()

    def feed(self, record: bytes | memoryview) -> Iterator[Finding]:
        """Take one record; yield the findings it completes."""
        yield from self._singly(self.feed_batch(record))

    def feed_batches(self, batches: Sequence[Batch], *, hold: bool = False) -> Iterator[Finding | FindingBatch]:
        """Take many batches at once, as `feed_batch` takes one.

        With `hold`, findings may wait until more of them have come, or until the next call without it.
        """
        if not self._may_load_engine:
            for batch in batches:
                yield from self.feed_batch(batch)
            return
        self.load_columns()
        assert self._decoder is not None  # noqa: S101 - said by the line above
        yield from self._count(self._decoder.feed(batches, hold=hold))

    def feed_batch(self, batch: Batch) -> Iterator[Finding | FindingBatch]:
        """Take a block of records (uint64[n, words], as in `inspector.columns.layout`) or one record.

        Yield the findings they complete, in order; a batch of findings is valid until the next thing is asked for.
        """
        if self._may_load_engine:
            yield from self.feed_batches((batch,))
            return
        if isinstance(batch, bytes | memoryview):
            self._records += 1
            if self._columns is None:
                yield from self._judge(self._conversations.feed(unpack_record(batch)))
            else:
                yield from self._count(self._columns.feed_record(batch))
            return
        self._records += len(batch)
        if self._columns is not None or (len(batch) >= COLUMNS_FROM and self.load_columns()):
            assert self._columns is not None  # noqa: S101 - said by the line above
            yield from self._count(self._columns.feed(batch))
            return
        for row in batch:
            yield from self._judge(self._conversations.feed(unpack_row(row)))

    def advance(self, now_ns: int) -> Iterator[Finding]:
        """Move time forward when no record does."""
        if self._decoder is not None:
            yield from self._singly(self._count(self._decoder.advance(now_ns)))
        else:
            yield from self._judge((self._columns or self._conversations).advance(now_ns))

    def flush(self) -> Iterator[Finding]:
        """End the input: what waits for bytes that will not come is decided without them."""
        if self._decoder is not None:
            yield from self._singly(self._count(self._decoder.drain()))
        yield from self._judge(self._conversations.flush())

    @staticmethod
    def _singly(found: Iterable[Finding | FindingBatch]) -> Iterator[Finding]:
        for one in found:
            if isinstance(one, Finding):
                yield one
            else:
                yield from one.findings()

    def _finding(self, observed: Observed) -> Finding:
        return judge(observed, self._policy, self._source_name(observed.interface_index))

    def _judge(self, observations: Iterable[Observed]) -> Iterator[Finding]:
        for observed in observations:
            finding = self._finding(observed)
            self.verdicts[finding.verdict] += 1
            yield finding

    def _count(self, found: Iterable[Observed | FindingBatch]) -> Iterator[Finding | FindingBatch]:
        for one in found:
            if isinstance(one, Observed):
                yield from self._judge((one,))
                continue
            for judgement, count in one.counts():
                self.verdicts[judgement.verdict] += count
            yield one
