"""A finding as the rows of a table: where it leads, the verdict or the outcome, and why."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from inspector.consequence import HARMFUL, Cause, Consequence, FindingKind, Outcome
from inspector.dcom import Role
from inspector.model import Finding, OfferedEndpoint, RpcInterface, Verdict, format_time

if TYPE_CHECKING:
    from collections.abc import Iterator


class Row(NamedTuple):
    """The cells of one row without its verdict, and that; an outcome that hurts stands in its place."""

    cells: tuple[str, ...]
    verdict: Verdict | Outcome
    why: str


def rows_of(finding: Finding) -> Iterator[Row]:
    """Yield a row for each mapping, or one for the finding where there is none."""
    head = (format_time(finding.time_ns)[11:23], str(finding.client), str(finding.server))
    if not finding.mappings:
        yield Row((*head, "-", _service(finding.requested)), *_result(finding, finding.verdict, finding.why))
    followed, led = _followed(finding), _leading(finding)
    for mapping in _shown(finding):
        cells = (*head, _offered(mapping), _service(mapping.interface or finding.requested, mapping.annotation))
        word: Verdict | Outcome = mapping.verdict
        why = mapping.why
        if mapping is followed:
            # The worst mapping's reason is the finding's, with what is known of the answer itself.
            own = finding.why if finding.kind is not FindingKind.ANSWER or finding.why.startswith(why) else why
            word, why = _result(finding, mapping.verdict, own)
        elif mapping is led:
            why = finding.why
        proved = finding.evidence is not None and mapping.verdict is finding.verdict
        yield Row(cells, word, f"{why} [{finding.evidence}]" if proved else why)


def _shown(finding: Finding) -> tuple[OfferedEndpoint, ...]:
    """Return the mappings that have rows: bindings of resolvers only where the answer has no others."""
    bindings = tuple(one for one in finding.mappings if one.binding is None or one.binding.role is Role.EXPORTER)
    return bindings or finding.mappings


def _leading(finding: Finding) -> OfferedEndpoint | None:
    """Return the binding of a DCOM answer whose row says what the finding says of all."""
    if finding.dcom is None:
        return None
    return next((one for one in _shown(finding) if one.verdict is finding.verdict), None)


def _followed(finding: Finding) -> OfferedEndpoint | None:
    """Return the mapping whose row says what became of the answer: where the client went, else one of its verdict."""
    about = finding.follow_up or finding
    if about.consequence is None or not finding.mappings:
        return None
    if about.consequence.endpoint is not None:
        found = [mapping for mapping in finding.mappings if mapping.port == about.consequence.endpoint.port]
    else:
        found = [mapping for mapping in finding.mappings if mapping.verdict is finding.verdict]
    return found[0] if found else finding.mappings[0]


def _result(finding: Finding, verdict: Verdict, why: str) -> tuple[Verdict | Outcome, str]:
    """Return what a row says: an outcome that hurts stands before the verdict, any other after it."""
    later = finding.follow_up
    consequence = finding.consequence
    if later is None or later.consequence is None:
        outcome = finding.outcome
        shown = outcome is not None and (outcome in HARMFUL or finding.kind is not FindingKind.ANSWER)
        return (outcome if outcome is not None and shown else verdict), f"{why}{_cause(consequence)}"
    if later.outcome in HARMFUL:
        return later.outcome, f"{later.why}{_cause(later.consequence)}; {verdict}: {why}"
    return verdict, f"{why}{_cause(consequence)}; {later.why}"


def _cause(consequence: Consequence | None) -> str:
    """Return a cause in words and what to do, in brackets; nothing where there is neither."""
    if consequence is None or consequence.cause is None:
        return ""
    cause = str(consequence.cause).replace("_", " ") if consequence.cause is not Cause.UNKNOWN else None
    words = "; ".join(filter(None, (cause, consequence.remedy)))
    return f" ({words})" if words else ""


def _offered(mapping: OfferedEndpoint) -> str:
    """Return where a mapping leads: address or name and port, or the name of a pipe or local endpoint."""
    if mapping.address is not None:
        address = f"[{mapping.address}]" if mapping.address.version == 6 else str(mapping.address)
        return str(mapping.address) if mapping.port is None else f"{address}:{mapping.port}"
    if mapping.host:
        return mapping.host if mapping.port is None else f"{mapping.host}:{mapping.port}"
    if mapping.endpoint:
        return mapping.endpoint
    return mapping.protocol if mapping.port is None else f"{mapping.protocol}:{mapping.port}"


def _service(interface: RpcInterface | None, annotation: str | None = None) -> str:
    """Return an interface's name, else what the server notes beside it, else the start of its UUID; and the version."""
    if interface is None:
        return annotation or "-"
    return f"{interface.name or annotation or str(interface.uuid)[:8]} {interface.version}"
