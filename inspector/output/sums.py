"""Sums over the findings of a run: by asked address and service, with the ports that were offered, and who was hurt.

All tables are bounded; what found no room is counted. Latencies are kept in buckets a quarter of a power of two wide,
so that quantiles are right within a tenth.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from inspector.consequence import HARMFUL, Cause, FindingKind, Outcome
from inspector.model import Verdict, format_time
from inspector.output.templatesums import PARTS, TemplateSums, bucket_of
from inspector.protocols import EPM_PORT, TCP_SEQUENCES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from inspector.decode.batch import FindingBatch
    from inspector.model import Finding, OfferedEndpoint, RpcInterface
    from inspector.output.templatesums import TemplateSum

HARMFUL_VERDICTS: Final = frozenset(
    {Verdict.NOT_REGISTERED, Verdict.REJECTED, Verdict.FAULT, Verdict.UNANSWERED, Verdict.MALFORMED}
)
"""Verdicts of answers which no client can use."""

MAPPER: Final = "endpoint mapper"
LISTING: Final = "listing"

_ROWS: Final = 1000
_TOGETHER: Final = 16_384
"""Findings that are added up at once."""
_KEPT: Final = 256
_EXAMPLES: Final = 200
_STEPS: Final = 600
_QUANTILES: Final = (("p50", 0.5), ("p90", 0.9), ("p99", 0.99))


@dataclass(slots=True)
class ServiceSums:
    """What was seen of one service at one address; `left_out` counts servers, ports and clients beyond the bound."""

    uuid: str | None = None
    answers: Counter[str] = field(default_factory=Counter)
    outcomes: Counter[str] = field(default_factory=Counter)
    servers: Counter[str] = field(default_factory=Counter)
    ports: Counter[int] = field(default_factory=Counter)
    hurt: Counter[str] = field(default_factory=Counter)
    causes: Counter[tuple[str, str]] = field(default_factory=Counter)
    latencies: Counter[int] = field(default_factory=Counter)
    longest_ns: int = 0
    left_out: int = 0

    def put(self, counter: Counter[Any], key: Any, count: int = 1) -> None:
        """Count something, within the bound."""
        if key in counter or len(counter) < _KEPT:
            counter[key] += count
        else:
            self.left_out += count

    def put_latency(self, value: int) -> None:
        """Count a time in nanoseconds."""
        self.latencies[bucket_of(value)] += 1
        self.longest_ns = max(self.longest_ns, value)

    def latency_ms(self) -> dict[str, float]:
        """Return quantiles, and the longest; nothing where no latency was seen."""
        total = sum(self.latencies.values())
        if not total:
            return {}
        ordered = sorted(self.latencies.items())
        result = {}
        for name, share in _QUANTILES:
            left = share * total
            for bucket, count in ordered:
                left -= count
                if left <= 0:
                    result[name] = _milliseconds(bucket)
                    break
        longest = self.longest_ns / 1e6
        return {name: min(value, longest) for name, value in result.items()} | {"max": longest}

    def add(self, other: ServiceSums) -> None:
        """Add those of another file."""
        for name in ("answers", "outcomes", "servers", "ports", "hurt", "causes", "latencies"):
            for key, count in getattr(other, name).items():
                self.put(getattr(self, name), key, count)
        self.left_out += other.left_out
        self.longest_ns = max(self.longest_ns, other.longest_ns)


@dataclass(frozen=True, slots=True)
class Example:
    """A finding of a client that was hurt, in short."""

    time_ns: int
    source: str
    frame: int | None
    client: str
    asked: str
    service: str
    word: str
    why: str
    cause: str
    remedy: str


@dataclass(slots=True)
class Sums:
    """Sums by asked address and service; `times` are findings by steps of time and whether a client was hurt."""

    rows: dict[tuple[str, str], ServiceSums] = field(default_factory=dict)
    examples: list[Example] = field(default_factory=list)
    times: Counter[tuple[int, bool]] = field(default_factory=Counter)
    unit_ns: int = 1_000_000_000
    left_out: int = 0

    def take(self, batches: Iterable[FindingBatch]) -> Iterator[FindingBatch]:
        """Yield batches, and count them."""
        counted = CountedBatches(self)
        for batch in batches:
            if batch.lasting:
                counted.add(batch.kept())
            else:
                for finding in batch.findings():
                    self.add_finding(finding)
            yield batch
        counted.finish()

    def add_template(self, one: TemplateSum) -> None:
        """Count the findings of a template."""
        row = self._add(one.template, one.times)
        if row is None:
            return
        row.latencies.update(one.latencies)
        row.longest_ns = max(row.longest_ns, one.longest_ns)
        for client in one.clients:
            row.put(row.hurt, client)
        if one.clients:
            self._add_cause(one.template, row, one.times)

    def add_outcome(self, finding: Finding, outcome: Outcome, times: int) -> None:
        """Count an outcome of answers of which no finding is made."""
        row = self._row(finding, finding.requested)
        if row is not None:
            row.outcomes[str(outcome)] += times

    def add_finding(self, finding: Finding) -> None:
        """Count one finding, and what is known already of what it led to."""
        row = self._add(finding, 1)
        if row is not None and finding.latency_ns is not None and finding.kind is FindingKind.ANSWER:
            row.put_latency(finding.latency_ns)
        for one in finding.with_follow_up():
            self._add_consequence(one, row)

    def _add(self, finding: Finding, count: int) -> ServiceSums | None:
        """Count answers and what they offer."""
        row = self._row(finding, finding.requested)
        if row is not None and finding.kind is FindingKind.ANSWER:
            row.answers[str(finding.verdict)] += count
        if finding.kind is FindingKind.ANSWER:
            for mapping in finding.mappings:
                offered = self._row(finding, mapping.interface or finding.requested)
                if offered is not None:
                    _offer(offered, mapping, count)
        return row

    def _add_consequence(self, finding: Finding, row: ServiceSums | None) -> None:
        outcome = finding.outcome
        harmful = _is_harmful(finding)
        self._add_time(finding.time_ns, harmful=harmful)
        if row is None:
            return
        if outcome is not None:
            row.outcomes[str(outcome)] += 1
        if not harmful:
            return
        row.put(row.hurt, str(finding.client))
        named, remedy = self._add_cause(finding, row, 1)
        if len(self.examples) < _EXAMPLES:
            self.examples.append(_example(finding, outcome, named, remedy))

    def _add_cause(self, finding: Finding, row: ServiceSums, times: int) -> tuple[str, str]:
        """Count why clients are hurt, and what to do; return both, in words."""
        consequence = finding.consequence
        cause = consequence.cause if consequence is not None else None
        named = str(cause) if cause is not None and cause is not Cause.UNKNOWN else ""
        remedy = (consequence.remedy or "") if consequence is not None else ""
        if named or remedy:
            row.put(row.causes, (named, remedy), times)
        return named, remedy

    def _add_time(self, time_ns: int, *, harmful: bool) -> None:
        self.times[time_ns // self.unit_ns, harmful] += 1
        while len(self.times) > 2 * _STEPS:
            self._widen()

    def _widen(self) -> None:
        self.unit_ns *= 2
        halved: Counter[tuple[int, bool]] = Counter()
        for (step, harmful), count in self.times.items():
            halved[step // 2, harmful] += count
        self.times = halved

    def _row(self, finding: Finding, interface: RpcInterface | None) -> ServiceSums | None:
        key = (str(finding.asked), service_of(finding, interface))
        row = self.rows.get(key)
        if row is None:
            if len(self.rows) >= _ROWS:
                self.left_out += 1
                return None
            row = self.rows[key] = ServiceSums(str(interface.uuid) if interface is not None else None)
        return row

    def add(self, other: Sums) -> None:
        """Add those of another file."""
        for key, row in other.rows.items():
            if key in self.rows or len(self.rows) < _ROWS:
                self.rows.setdefault(key, ServiceSums(row.uuid)).add(row)
            else:
                self.left_out += 1
        self.left_out += other.left_out
        self.examples += other.examples[: _EXAMPLES - len(self.examples)]
        while self.unit_ns < other.unit_ns:
            self._widen()
        factor = self.unit_ns // other.unit_ns
        for (step, harmful), count in other.times.items():
            self.times[step // factor, harmful] += count
        while len(self.times) > 2 * _STEPS:
            self._widen()

    def services(self) -> list[dict[str, Any]]:
        """Return the sums by address and service, as JSON has them, those that hurt most first."""
        ordered = sorted(self.rows.items(), key=lambda item: (-len(item[1].hurt), item[0]))
        return [
            {
                "asked": asked,
                "service": service,
                "uuid": row.uuid,
                "answers": dict(row.answers.most_common()),
                "outcomes": dict(row.outcomes.most_common()),
                "servers": dict(row.servers.most_common()),
                "ports": sorted(row.ports),
                "clients_hurt": sorted(row.hurt),
                "causes": [
                    {"cause": cause or None, "remedy": remedy or None, "count": count}
                    for (cause, remedy), count in row.causes.most_common()
                ],
                "latency_ms": row.latency_ms(),
                "left_out": row.left_out,
            }
            for (asked, service), row in ordered
        ]

    def ports_to_open(self) -> list[dict[str, Any]]:
        """Return for each asked address the TCP ports which clients need: the mapper's, and those it offered."""
        found: dict[str, dict[int, set[str]]] = {}
        for (asked, service), row in self.rows.items():
            ports = found.setdefault(asked, {EPM_PORT: {MAPPER}})
            for port in row.ports:
                ports.setdefault(port, set()).add(service)
        return [
            {"to": asked, "ports": [{"port": port, "services": sorted(ports[port])} for port in sorted(ports)]}
            for asked, ports in sorted(found.items())
        ]

    def lines(self) -> Iterator[str]:
        """Yield the sums in words, a line for each address and service."""
        for one in self.services():
            parts = [_counts("answers", one["answers"]), _counts("outcomes", one["outcomes"])]
            parts += [f"servers {', '.join(one['servers'])}"] if one["servers"] else []
            parts += [f"ports {', '.join(map(str, one['ports']))}"] if one["ports"] else []
            if one["clients_hurt"]:
                parts.append(f"clients hurt {len(one['clients_hurt'])}: {', '.join(one['clients_hurt'][:5])}")
            if one["latency_ms"]:
                latency = ", ".join(f"{name} {value:g}" for name, value in one["latency_ms"].items())
                parts.append(f"latency in ms {latency}")
            yield f"  {one['asked']} {one['service']}: {'; '.join(filter(None, parts))}"


class CountedBatches:
    """Batches on their way into sums: added up by template, and given to the sums at last.

    `explain` returns a finding with its cause; it is called for those which hurt.
    """

    def __init__(self, sums: Sums, explain: Callable[[Finding], Finding] | None = None) -> None:
        self._sums = sums
        self._explain = explain
        self._templates = TemplateSums(_is_harmful)
        self._held: list[FindingBatch] = []
        self._count = 0

    def add(self, batch: FindingBatch) -> None:
        """Count the findings of a lasting batch, which stays valid."""
        if not len(batch):
            return
        if not self._templates.fits(batch) or (self._held and not self._held[0].joins(batch)):
            self.finish()
            self._templates.fits(batch)
        self._held.append(batch)
        self._count += len(batch)
        if self._count >= _TOGETHER:
            self._add_held()

    def _add_held(self) -> None:
        if self._held:
            self._templates.add(self._held[0].joined(self._held[1:]))
        self._held.clear()
        self._count = 0

    def finish(self) -> None:
        """Give what was counted to the sums."""
        self._add_held()
        for one in self._templates.give():
            if self._explain is not None and one.clients:
                one = one._replace(template=self._explain(one.template))
            self._sums.add_template(one)


def service_of(finding: Finding, interface: RpcInterface | None) -> str:
    """Return what a service is called in sums."""
    if interface is not None:
        return f"{interface.name or interface.uuid} {interface.version}"
    return LISTING if finding.operation == "ept_lookup" else MAPPER


def _offer(row: ServiceSums, mapping: OfferedEndpoint, count: int) -> None:
    if mapping.address is not None:
        row.put(row.servers, str(mapping.address), count)
    if mapping.port is not None and mapping.protocol in TCP_SEQUENCES:
        row.put(row.ports, mapping.port, count)


def _is_harmful(finding: Finding) -> bool:
    if finding.outcome is not None:
        return finding.outcome in HARMFUL
    return finding.kind is FindingKind.ANSWER and finding.verdict in HARMFUL_VERDICTS


def _example(finding: Finding, outcome: Outcome | None, cause: str, remedy: str) -> Example:
    return Example(
        finding.time_ns,
        finding.source,
        finding.frame,
        str(finding.client),
        str(finding.asked),
        service_of(finding, finding.requested),
        str(outcome or finding.verdict),
        finding.why,
        cause,
        remedy,
    )


def _milliseconds(bucket: int) -> float:
    return float(f"{2 ** ((bucket - 0.5) / PARTS) / 1e6:.3g}")


def _counts(name: str, counts: dict[str, int]) -> str:
    return f"{name} {', '.join(f'{word} {count}' for word, count in counts.items())}" if counts else ""


def period_of(sums: Sums) -> str:
    """Return the first and the last time, in words."""
    if not sums.times:
        return "nothing was found"
    steps = [step for step, _ in sums.times]
    first, last = (format_time(step * sums.unit_ns)[:19].replace("T", " ") for step in (min(steps), max(steps)))
    return f"{first} to {last} UTC" if first != last else f"{first} UTC"
