"""The packets of mismatching conversations, kept as capture files which the findings name.

Records are held for some seconds (`inspector.evidence.recent`), in the thread that reads them. When a finding says
mismatch, those of its connection are copied, the finding gets the file's name and goes on its way; a thread of its
own does the rest, since bringing a file to the disk may take long.
"""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections import Counter, deque
from dataclasses import replace
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from inspector.consequence import FindingKind
from inspector.decode.batch import FindingBatch, packed
from inspector.evidence.conversation import capture_of
from inspector.evidence.folder import EvidenceFolder, file_name
from inspector.evidence.followed import Case, FollowedCases
from inspector.evidence.quota import Allowance, LeftOut
from inspector.evidence.recent import RecentRecords
from inspector.losses import Trouble, reason_of
from inspector.model import Finding, Verdict
from inspector.output.standard import warn
from inspector.record import record_time

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path

    import numpy.typing as npt

    from inspector.config import Config, EvidenceSettings

WINDOW_NS: Final = 2_000_000_000
"""How long records should stay: where they come too fast for that, the share of connections is made smaller."""

MOST_RECORDS: Final = 1000
MOST_BYTES: Final = 1 << 20
"""Bounds of one file; of a longer conversation the last records are kept."""

_QUEUED: Final = 64
# After a file could not be written, none is promised for so long.
_PAUSE_S: Final = 10.0
_END_S: Final = 10.0


class EvidenceCounts(NamedTuple):
    """What became of mismatches: files written, and those without a file by reason; `one_of` as in `RecentRecords`."""

    written: int
    left_out: Mapping[LeftOut, int]
    one_of: int


class Evidence:
    """Keeps records, and gives findings the names of their files.

    A file is written when the answer has come, and once more with what followed, unless follow-ups are turned off:
    `note` takes what is reported, `refresh` is to be called often. `warn` is told what cannot be written. Without
    `live` files are written once, by the caller's thread, and all connections are kept. Raises OutputError where the
    folder cannot be used. Another `config` may be set at any time: its policy and limits are what conversations are
    read anew with.
    """

    def __init__(
        self,
        folder: Path,
        config: Config,
        interface_names: Mapping[int, str],
        *,
        live: bool = True,
        warn: Callable[[str], None] = warn,
    ) -> None:
        settings: EvidenceSettings = config.evidence
        self.config = config
        self._names = interface_names
        self._folder = EvidenceFolder(folder, settings.most_files, settings.most_bytes, warn)
        self._recent = RecentRecords(settings.memory_bytes, WINDOW_NS if live else None)
        self._followed = FollowedCases(self._recent, MOST_RECORDS, MOST_BYTES)
        self._left_out: Counter[LeftOut] = Counter()
        self._allowance = Allowance(
            settings.per_minute, settings.per_vip_minute, settings.per_client_minute, self._left_out
        )
        self._trouble = Trouble(f"evidence in {folder}", warn)
        self._paused_until = 0.0
        self._written = 0
        # By the writing thread: added to the others when somebody asks.
        self._failed = 0
        self._last_names: deque[str] = deque(maxlen=_QUEUED)
        self._cases: queue.Queue[Case | None] | None = None
        if live:
            self._cases = queue.Queue(_QUEUED)
            self._thread = threading.Thread(target=self._write_all, args=(self._cases,), name="evidence", daemon=True)
            self._thread.start()

    def keep(self, batch: npt.NDArray[np.uint64] | bytes | memoryview) -> None:
        """Keep records which the pipeline is about to take."""
        self._recent.keep(batch)

    def forget(self) -> None:
        """Forget all records: what follows comes from elsewhere."""
        self._recent.forget()

    def counts(self) -> EvidenceCounts:
        """Return what became of mismatches so far."""
        left_out = self._left_out + Counter({LeftOut.WRITE_FAILED: self._failed})
        return EvidenceCounts(self._written, left_out, self._recent.one_of)

    def summary(self) -> str:
        """Return the counts in a line."""
        counts = self.counts()
        rest = ", ".join(f"{count} {reason}" for reason, count in counts.left_out.items())
        without = f"; mismatches without a file: {rest}" if rest else ""
        return f"evidence: {counts.written} files written to {self._folder.path}{without}"

    def note(self, batch: FindingBatch) -> None:
        """Take what is reported: it may tell what became of an answer that has a file."""
        if self._followed:
            for one, _ in batch.counts():
                if one.evidence is not None:
                    self._followed.note(one)

    def refresh(self, now_ns: int) -> None:
        """Write again the files of answers whose outcome is known by then, or whose time is over."""
        for case in self._followed.refresh(now_ns):
            self._write_again(case)

    def reopen(self) -> None:
        """Look anew at the folder, before the next file."""
        self._folder.reopen()

    def close(self) -> None:
        """Write what is still to be written, if that does not take too long."""
        for case in self._followed.close():
            self._write_again(case)
        cases, self._cases = self._cases, None
        if cases is not None:
            deadline = time.monotonic() + _END_S
            with contextlib.suppress(queue.Full):
                cases.put(None, timeout=_END_S)
                self._thread.join(deadline - time.monotonic())
            if self._thread.is_alive():
                # Its disk may never come back.
                self._left_out[LeftOut.WRITER_BEHIND] += sum(case is not None for case in list(cases.queue))
                return
        self._folder.close()

    def name(self, found: Iterable[FindingBatch]) -> Iterator[FindingBatch]:
        """Yield what was found, in order; a finding whose conversation is written apart, with the file's name."""
        for batch in found:
            yield from self._name_some(batch)

    def _name_some(self, batch: FindingBatch) -> Iterator[FindingBatch]:
        done = 0
        for row in self._choose(batch):
            if row > done:
                yield batch[done:row]
            yield FindingBatch.of([self._name(finding) for finding in batch[row : row + 1].findings()])
            done = row + 1
        if done < len(batch):
            yield batch[done:]

    def _choose(self, batch: FindingBatch) -> list[int]:
        """Return which findings of a batch get a file, by row."""
        chosen: list[int] = []
        for number, judgement, count in batch.numbered():
            if judgement.kind is not FindingKind.ANSWER or judgement.verdict is not Verdict.MISMATCH:
                continue
            if self._is_paused(count):
                continue
            time_ns = batch.first_ns
            if not self._allowance.has_any(judgement.asked, time_ns, count):
                continue
            rows = batch.rows_of(number)
            kept = rows[self._recent.keeps(batch.ports(rows), judgement.server_port)]
            self._left_out[LeftOut.SAMPLED] += len(rows) - len(kept)
            granted = self._allowance.grant(judgement.asked, batch.clients(kept), time_ns)
            chosen += kept[granted].tolist()
        return sorted(chosen)

    def _is_paused(self, count: int) -> bool:
        paused = time.monotonic() < self._paused_until
        self._left_out[LeftOut.WRITE_FAILED] += count if paused else 0
        return paused

    def _name(self, finding: Finding) -> Finding:
        """Return a finding with the name of its file, if it has one."""
        client = packed(finding.client), finding.client_port
        server = packed(finding.asked_raw), finding.server_port
        records = self._recent.of(client, server, MOST_RECORDS, MOST_BYTES)
        if all(record_time(record) != finding.time_ns for record in records):
            self._left_out[LeftOut.OVERWRITTEN] += 1
            return finding
        name = self._new_name(finding)
        case = Case(name, finding, records, self._recent.one_of)
        if not self._put(case):
            return finding
        if self._cases is not None and self.config.follow_up:
            for done in self._followed.add(case):
                self._write_again(done)
        return replace(finding, evidence=name)

    def _put(self, case: Case) -> bool:
        """Write a case's file, here or in the thread; return whether it is there, or will be as far as is known."""
        if self._cases is None:
            return self._write(case)
        try:
            self._cases.put_nowait(case)
        except queue.Full:
            self._left_out[LeftOut.WRITER_BEHIND] += 1
            return False
        return True

    def _write_again(self, case: Case) -> None:
        """Write the file of a case with its follow-up, if there is one: without room for it the first one stays."""
        if self._cases is not None and case.is_followed:
            with contextlib.suppress(queue.Full):
                self._cases.put_nowait(case)

    def _new_name(self, finding: Finding) -> str:
        number = 0
        while (name := file_name(finding, number)) in self._last_names:
            number += 1
        self._last_names.append(name)
        return name

    def _write_all(self, cases: queue.Queue[Case | None]) -> None:
        while (case := cases.get()) is not None:
            try:
                self._write(case)
            except Exception as error:  # noqa: BLE001  # a defect costs this file, and not all that follow
                self._fail(f"internal error: {type(error).__name__}: {error}", count=not case.is_followed)

    def _write(self, case: Case) -> bool:
        """Write a case's file; return whether it is there. One that is there already stays where that fails."""
        content = capture_of(case, self.config, self._names)
        try:
            self._folder.write(case.name, content)
        except OSError as error:
            self._fail(reason_of(error), count=not case.is_followed)
            return False
        self._written += not case.is_followed
        self._trouble.succeeded()
        return True

    def _fail(self, reason: str, *, count: bool = True) -> None:
        self._failed += count
        self._paused_until = time.monotonic() + _PAUSE_S
        self._trouble.failed(reason)


def open_evidence(
    folder: Path | None, config: Config, interface_names: Mapping[int, str], *, live: bool = True
) -> Evidence | None:
    """Return what keeps evidence in a folder, None without one; arguments and errors are those of `Evidence`."""
    return None if folder is None else Evidence(folder, config, interface_names, live=live)
