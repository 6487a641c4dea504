"""Captures of a network, read with their follow-ups."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from inspector.config import Config
from inspector.reading.filereader import FileReader

if TYPE_CHECKING:
    from pathlib import Path

    from inspector.model import Finding
    from tests.cases.network import Network


class Followed:
    """What reading a network's capture gives; `findings` has follow-ups behind their answers.

    `given` are the findings as outputs take them: with the follow-up that goes with an answer inside of it.
    """

    def __init__(self, network: Network, folder: Path, config: Config | None = None) -> None:
        path = folder / "capture.pcapng"
        path.write_bytes(network.scenes[0].capture())
        warnings: list[str] = []
        reader = FileReader(path, (config or Config()).model_copy(update={"follow_up": True}))
        self.given = [one for batch in reader.findings(warnings.append) for one in batch.findings()]
        self.findings = [one for finding in self.given for one in finding.with_follow_up()]
        counts = reader.counts()
        self.outcomes = +counts.outcomes
        self.anomalies = Counter({str(one): count for one, count in counts.anomalies.items() if count})

    def kinds(self) -> list[tuple[str, str | None]]:
        """Return kind and outcome of each finding."""
        return [(str(one.kind), self._outcome(one)) for one in self.findings]

    @staticmethod
    def _outcome(finding: Finding) -> str | None:
        return str(finding.outcome) if finding.outcome is not None else None
