"""Read the inspector's metrics the way Prometheus does."""

from __future__ import annotations

import http.client
from collections import Counter
from typing import Final

from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

RESPONSES: Final = "epm_inspector_responses"
ATTACHED: Final = "epm_inspector_program_attached"


def scrape(address: str) -> dict[str, Metric]:
    """Return the metric families which `address` (host:port) serves, by name (counters without `_total`).

    Raises OSError or http.client.HTTPException when it serves none (yet).
    """
    connection = http.client.HTTPConnection(address, timeout=5)
    try:
        connection.request("GET", "/metrics")
        response = connection.getresponse()
        if response.status != http.HTTPStatus.OK:
            raise http.client.HTTPException(f"status {response.status}")
        text = response.read().decode()
    finally:
        connection.close()
    return {family.name: family for family in text_string_to_metric_families(text)}


def responses_by_verdict(families: dict[str, Metric]) -> Counter[str]:
    """Return how many responses got each verdict, over all interfaces."""
    totals: Counter[str] = Counter()
    for sample in families[RESPONSES].samples if RESPONSES in families else ():
        if sample.name == f"{RESPONSES}_total":
            totals[sample.labels["verdict"]] += int(sample.value)
    return totals


def attached_interfaces(families: dict[str, Metric]) -> set[str]:
    """Return the names of the interfaces to which the program is attached right now."""
    samples = families[ATTACHED].samples if ATTACHED in families else ()
    return {sample.labels["interface"] for sample in samples if sample.value == 1}
