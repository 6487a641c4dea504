"""The one way through, from record to finding; both the ring and capture files enter here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from inspector.decode.batch import FindingBatch
from inspector.decode.grouping import GroupCounts
from inspector.errors import Anomaly
from inspector.judge.policy import Policy
from inspector.judge.verdict import judge
from inspector.model import Finding, Verdict
from inspector.record import Attribute, unpack_record, unpack_row
from inspector.wire.conversations import Conversations
from inspector.wire.exchange import Observed
from inspector.wire.limits import Limits

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from inspector.decode.decoder import Decoder
    from inspector.decode.quota import Quota

    Block = npt.NDArray[np.uint64]
    Batch = Block | bytes | memoryview


_NOT_OF_MAPPER: Final = int(Attribute.ENDPOINT | Attribute.ICMP)
# Findings of one batch, of those which were judged singly: each may have some hundred mappings.
_TOGETHER: Final = 64


def _verdict_of(template: Finding) -> tuple[Verdict]:
    return (template.verdict,)


class _Judge:
    """Makes the finding of what was observed, by the policy of the moment.

    An object of its own, so that pipeline and decoder do not refer to each other: a decoder's tables take tens of
    megabytes, which would wait for the collector of cycles.
    """

    def __init__(self, policy: Policy, source_name: Callable[[int], str]) -> None:
        self.policy = policy
        self._source_name = source_name

    def __call__(self, observed: Observed) -> Finding:
        return judge(observed, self.policy, self._source_name(observed.interface_index))


class Pipeline:
    """Records in, findings out; `records` and `verdicts` count what went through, `anomalies` what was not read.

    With `engine`, `inspector.decode` follows the connections: it has the same results, faster if it was compiled;
    `quota` bounds what it gives to the scalar decoder.
    """

    def __init__(
        self,
        policy: Policy,
        source_name: Callable[[int], str],
        limits: Limits | None = None,
        *,
        engine: bool = False,
        quota: Quota | None = None,
    ) -> None:
        self._judge = _Judge(policy, source_name)
        self._conversations = Conversations(limits)
        self._records = 0
        self.verdicts: Counter[Verdict] = Counter()
        self._groups = GroupCounts(_verdict_of)
        self._decoder: Decoder | None = None
        if engine:
            # Where nothing was compiled, memory stays small.
            from inspector.decode.decoder import Decoder

            self._decoder = Decoder(self._conversations, self._judge, quota)

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
        return len(self._conversations) + (len(self._decoder) if self._decoder is not None else 0)

    @property
    def due_ns(self) -> int | None:
        """The time at which `advance` has something to do next, or None."""
        return self._decoder.waiting[0] if self._decoder is not None else self._conversations.standing()[2]

    @property
    def held(self) -> int:
        """How many findings wait, after `feed` with `hold`."""
        return self._decoder.waiting[1] if self._decoder is not None else 0

    def reconfigure(self, policy: Policy, limits: Limits) -> None:
        """Judge by another policy and wait for other times from now on; limits on memory stay what they were."""
        self._judge.policy = policy
        held = self._conversations.limits
        limits = replace(held, idle_ns=limits.idle_ns, gap_ns=limits.gap_ns, unanswered_ns=limits.unanswered_ns)
        if limits != held:
            self._conversations.change_limits(limits)
            if self._decoder is not None:
                self._decoder.change_limits()
        self.forget_judgements()

    def forget_judgements(self) -> None:
        """Judge anew what was judged before: policy or names have changed."""
        if self._decoder is not None:
            self._decoder.forget_judgements()

    def feed(self, batches: Sequence[Batch], *, hold: bool = False) -> Iterator[FindingBatch]:
        """Take blocks of records (uint64[n, words], as in `inspector.decode.layout`) and single records.

        Yield the findings they complete, in order; a batch is valid until the next thing is asked for. With `hold`,
        findings may wait until more of them have come, or until the next call without it.
        """
        if self._decoder is not None:
            return self._judged(self._decoder.feed(batches, hold=hold))
        return self._judged(self._decode(batches))

    def advance(self, now_ns: int) -> Iterator[FindingBatch]:
        """Move time forward when no record does."""
        return self._judged((self._decoder or self._conversations).advance(now_ns))

    def flush(self) -> Iterator[FindingBatch]:
        """End the input: what waits for bytes that will not come is decided without them."""
        if self._decoder is not None:
            yield from self._judged(self._decoder.drain())
        yield from self._judged(self._conversations.flush())

    def count_open(self, now_ns: int) -> int:
        """Return how many questions wait for an answer still; they are given up, and counted nowhere else."""
        self.reconfigure(self._judge.policy, replace(self._conversations.limits, unanswered_ns=1))
        count = 0
        for one in (self._decoder or self._conversations).advance(now_ns):
            if isinstance(one, Observed):
                count += self._judge(one).verdict is Verdict.UNANSWERED
            else:
                count += sum(number for template, number in one.counts() if template.verdict is Verdict.UNANSWERED)
        return count

    def _decode(self, batches: Iterable[Batch]) -> Iterator[Observed]:
        """Let the scalar decoder take records, one by one."""
        for batch in batches:
            segments = [unpack_record(batch)] if isinstance(batch, bytes | memoryview) else map(unpack_row, batch)
            for segment in segments:
                self._records += 1
                if segment.attributes & _NOT_OF_MAPPER:
                    yield from self._conversations.advance(segment.time_ns)
                else:
                    yield from self._conversations.feed(segment)

    def _judged(self, found: Iterable[Observed | FindingBatch]) -> Iterator[FindingBatch]:
        """Count what was found by verdict, and yield it; what was observed singly is judged, and put together."""
        held: list[Finding] = []
        for one in found:
            if isinstance(one, Observed):
                held.append(self._judge(one))
                self.verdicts[held[-1].verdict] += 1
            if held and (len(held) >= _TOGETHER or not isinstance(one, Observed)):
                yield FindingBatch.of(held)
                held = []
            if isinstance(one, FindingBatch):
                for verdict, count in self._groups.totals(one):
                    self.verdicts[verdict] += count
                yield one
        if held:
            yield FindingBatch.of(held)
