"""Findings of the original case, and the metrics as a scraper sees them."""

from __future__ import annotations

from ipaddress import IPv4Address, ip_address
from typing import TYPE_CHECKING, Any
from uuid import UUID

from prometheus_client.parser import text_string_to_metric_families

from inspector.model import Direction, Finding, OfferedEndpoint, RpcInterface, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterable

    from inspector.metrics.updates import Metrics

MAPI = RpcInterface(UUID("a4f1db00-ca47-1067-b31f-00dd010662da"), 0, 81, "MAPI")
UNNAMED = RpcInterface(UUID(int=7), 1)
PREFIX = "epm_inspector_"


def mapping(verdict: Verdict = Verdict.MISMATCH, interface: RpcInterface | None = MAPI) -> OfferedEndpoint:
    """Return a mapping of the original case."""
    return OfferedEndpoint(interface, "ncacn_ip_tcp", IPv4Address("10.11.2.7"), 41376, None, verdict, "why")


def finding(
    verdict: Verdict = Verdict.MISMATCH,
    *,
    source: str = "eth0",
    asked: str = "10.11.2.2",
    mappings: tuple[OfferedEndpoint, ...] | None = None,
    requested: RpcInterface | None = MAPI,
    latency_ns: int | None = None,
) -> Finding:
    """Return a finding of the original case."""
    return Finding(
        time_ns=0,
        source=source,
        direction=Direction.FROM_SERVER,
        client=ip_address("10.1.1.1"),
        client_port=33654,
        asked=ip_address(asked),
        asked_raw=ip_address(asked),
        server_port=135,
        operation="ept_map",
        call_id=2,
        transfer_syntax="ndr20",
        status=0,
        verdict=verdict,
        why="why",
        requested=requested,
        latency_ns=latency_ns,
        mappings=(mapping(verdict),) if mappings is None else mappings,
    )


def joined(parts: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Return the finding whose lines these are; they must be all of them, in order, and differ in mappings only."""
    first, *others = [dict(part) for part in parts]
    numbers = [(part.pop("part", 1), part.pop("parts", 1)) for part in (first, *others)]
    assert numbers == [(number, len(numbers)) for number in range(1, len(numbers) + 1)]
    mappings = [mapping for part in (first, *others) for mapping in part["mappings"]]
    assert all(part | {"mappings": []} == first | {"mappings": []} for part in others)
    return first | {"mappings": mappings}


class Scraped:
    """The metrics as a scraper sees them."""

    def __init__(self, metrics: Metrics) -> None:
        self.samples = {
            (sample.name.removeprefix(PREFIX), tuple(sorted(sample.labels.items()))): sample.value
            for family in text_string_to_metric_families(metrics.render().decode())
            for sample in family.samples
        }

    def __call__(self, name: str, **labels: str) -> float | None:
        """Return a sample's value, None if there is no such series."""
        return self.samples.get((name, tuple(sorted(labels.items()))))

    def series(self, name: str) -> int:
        """Return how many series have that name."""
        return sum(1 for found, _ in self.samples if found == name)
