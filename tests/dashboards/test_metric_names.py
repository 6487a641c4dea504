"""Every metric that a dashboard or a rule names is one that the inspector declares, with the labels it uses."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache

import pytest
from prometheus_client import CollectorRegistry

from inspector.errors import Anomaly
from inspector.metrics.updates import Metrics
from tests.build.blocks import batch_of
from tests.dashboards.committed import (
    Expression,
    load_rules,
    panel_expressions,
    rule_expressions,
    variable_selectors,
)
from tests.unit.test_metrics import Scraped, finding

# Of Prometheus itself, for every target and for its alerts.
OF_PROMETHEUS = {"up": {"job", "instance"}, "ALERTS": {"alertname", "alertstate", "job", "instance"}}
TARGET_LABELS = {"job", "instance"}
WORDS = {
    "sum", "by", "rate", "increase", "unless", "and", "or", "on", "offset", "time", "max", "min", "max_over_time",
    "count", "absent", "histogram_quantile", "vector", "topk", "changes", "bool", "group_left",
    "clamp_min",
}  # fmt: skip
EXPRESSIONS = [*panel_expressions(), *variable_selectors(), *rule_expressions()]


@cache
def declared() -> dict[str, set[str]]:
    """Return the labels of each metric of an inspector that has something of everything."""
    metrics = Metrics(CollectorRegistry(), vips=["10.11.2.2"])
    metrics.attached("eth0", "xdp", "native")
    metrics.observe(batch_of(finding(latency_ns=1_000_000)))
    metrics.observe_anomaly(Anomaly.STREAM_GAP)
    labels: dict[str, set[str]] = {}
    for name, pairs in Scraped(metrics).samples:
        full = name if name.startswith("process_") else f"epm_inspector_{name}"
        labels.setdefault(full, set()).update(label for label, _ in pairs)
    return labels


def names_in(expression: str) -> Iterator[str]:
    """Yield the names of series in an expression: what is neither label, word, text nor duration."""
    bare = re.sub(r'"[^"]*"', "", expression)
    bare = re.sub(r"\{[^}]*\}|\[[^\]]*\]|\b(?:by|on|group_left) ?\([^)]*\)|offset [\w$]+|\$\w+", " ", bare)
    yield from (name for name in re.findall(r"[a-zA-Z_][\w:]*", bare) if name not in WORDS)


def labels_in(expression: str) -> Iterator[tuple[str, str]]:
    """Yield each name with a label by which it is selected."""
    for name, selector in re.findall(r"([a-zA-Z_][\w:]*)\{([^}]*)\}", expression):
        for label in re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", selector):
            yield name, label


@pytest.mark.parametrize("expression", EXPRESSIONS, ids=lambda expression: expression.where)
def test_names_and_labels_are_declared(expression: Expression) -> None:
    """A renamed metric fails here, before a dashboard is empty."""
    recorded = {rule["record"] for rule in load_rules() if "record" in rule}
    names = set(names_in(expression.text))
    assert names, "an expression of no metric"
    assert names - declared().keys() - OF_PROMETHEUS.keys() - recorded == set()
    for name, label in labels_in(expression.text):
        if name in declared():
            assert label in declared()[name] | TARGET_LABELS, f"{name} has no label {label}"
        elif name in OF_PROMETHEUS:
            assert label in OF_PROMETHEUS[name]


def test_a_name_that_does_not_exist_is_found() -> None:
    """The reader of names sees through functions, selectors and groupings."""
    text = 'sum by (job) (rate(epm_inspector_nonsense_total{job=~"$job"}[5m] offset 5m)) > bool 0 or on (job) up'
    assert set(names_in(text)) == {"epm_inspector_nonsense_total", "up"}
    assert set(labels_in(text)) == {("epm_inspector_nonsense_total", "job")}
