"""Which findings of a capture are to be shown and counted: those of a verdict, a client, a VIP, a service."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network
from typing import TYPE_CHECKING

from inspector.consequence import FindingKind, Outcome
from inspector.decode.batch import FindingBatch
from inspector.model import Verdict

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from inspector.model import Finding, IPAddress, RpcInterface

    Network = IPv4Network | IPv6Network


@dataclass(frozen=True, slots=True)
class Selection:
    """What a finding must have, of each kind one; nothing of a kind: anything.

    Services are names, UUIDs, or the first eight digits of these at least, in small letters.
    """

    words: frozenset[Verdict | Outcome] = frozenset()
    clients: tuple[Network, ...] = ()
    vips: tuple[Network, ...] = ()
    services: frozenset[str] = frozenset()

    def __bool__(self) -> bool:
        return bool(self.words or self.clients or self.vips or self.services)

    def takes(self, finding: Finding) -> bool:
        """Return whether a finding, or what it led to, is one of those."""
        return (
            _within(finding.client, self.clients)
            and (_within(finding.asked, self.vips) or _within(finding.asked_raw, self.vips))
            and (not self.services or any(map(self._is_service, _interfaces(finding))))
            and (not self.words or bool(self.words & set(_words(finding))))
        )

    def _is_service(self, interface: RpcInterface) -> bool:
        name, uuid = (interface.name or "").lower(), str(interface.uuid)
        return name in self.services or any(len(one) >= 8 and uuid.startswith(one) for one in self.services)


@dataclass(slots=True)
class Selected:
    """Findings that were selected, counted."""

    selection: Selection
    verdicts: Counter[Verdict] = field(default_factory=Counter)
    outcomes: Counter[Outcome] = field(default_factory=Counter)

    def of(self, batches: Iterable[FindingBatch]) -> Iterator[FindingBatch]:
        """Yield batches of the findings that are selected."""
        for batch in batches:
            chosen = [finding for finding in batch.findings() if self.selection.takes(finding)]
            for finding in chosen:
                if finding.kind is FindingKind.ANSWER:
                    self.verdicts[finding.verdict] += 1
                self.outcomes.update(finding.outcomes)
            if chosen:
                yield FindingBatch.of(chosen)


def _within(address: IPAddress, networks: tuple[Network, ...]) -> bool:
    return not networks or any(address.version == one.version and address in one for one in networks)


def _interfaces(finding: Finding) -> Iterator[RpcInterface]:
    if finding.requested is not None:
        yield finding.requested
    yield from (mapping.interface for mapping in finding.mappings if mapping.interface is not None)


def _words(finding: Finding) -> Iterator[Verdict | Outcome]:
    """Yield verdict and outcomes of a finding, also of its mappings, and of what it led to."""
    yield finding.verdict
    yield from (mapping.verdict for mapping in finding.mappings)
    yield from finding.outcomes
