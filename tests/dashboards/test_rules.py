"""Alerts: promtool's own checks and tests, in both forms, and that those tests can fail."""

from __future__ import annotations

import copy
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from dashboards.generator.harm import FAILED, NO_CONNECTION
from inspector.consequence import HARMFUL
from inspector.metrics.series import FOLLOW_UP_OUTCOMES, MAPPER_OUTCOMES
from tests.conftest import require_tools
from tests.dashboards.committed import (
    GRAFANA_ALERTS,
    RULE_TESTS,
    RULES,
    RUNBOOK,
    load_alerts,
    load_dashboards,
    load_grafana_rules,
    load_rules,
    panels_of,
)

ALERTS = [alert["alert"] for alert in load_alerts()]
OPERATORS = {"gt": ">", "lt": "<"}
# Beyond what differs from rule to rule, as Grafana's documentation of file provisioning lists them.
RULE_KEYS = {
    "uid", "title", "condition", "data", "dashboardUid", "panelId", "noDataState", "execErrState", "for", "labels",
    "annotations", "isPaused",
}  # fmt: skip


@pytest.fixture(autouse=True, scope="module")
def promtool() -> None:
    """Ask for promtool."""
    require_tools(["promtool"])


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run promtool; return what it said."""
    return subprocess.run(["promtool", *arguments], capture_output=True, text=True, check=False, timeout=60)


def cases() -> Iterator[dict[str, Any]]:
    """Yield what is expected of an alert at a time, with the file and test it belongs to."""
    for file in RULE_TESTS:
        for test in yaml.safe_load(file.read_text())["tests"]:
            for case in test["alert_rule_test"]:
                yield case | {"test": (file.name, test["name"])}


def with_rules(folder: Path, rules: list[dict[str, Any]]) -> list[Path]:
    """Write rules and the tests for them into a folder; return the tests' paths."""
    (folder / "tests").mkdir()
    # In one group, as they are: promtool takes several in any order.
    text = yaml.safe_dump({"groups": [{"name": "all", "rules": rules}]})
    (folder / RULES.name).write_text(text)
    paths = []
    for file in RULE_TESTS:
        paths.append(folder / "tests" / file.name)
        paths[-1].write_text(file.read_text())
    return paths


def in_prometheus_form(rule: dict[str, Any]) -> dict[str, Any]:
    """Return one of Grafana's rules as Prometheus would write it: query A, with threshold B on it."""
    query, threshold = (part["model"] for part in rule["data"])
    (condition,) = threshold["conditions"]
    evaluator = condition["evaluator"]
    return {
        "alert": rule["title"],
        "expr": f"({query['expr']}) {OPERATORS[evaluator['type']]} {evaluator['params'][0]}",
        "for": rule["for"],
        "labels": rule["labels"],
        "annotations": {key: text.replace(".Values.A.Value", ".Value") for key, text in rule["annotations"].items()},
    }


def test_promtool_accepts_the_rules() -> None:
    """Every rule, in the syntax of Prometheus."""
    done = run("check", "rules", RULES)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(load_rules())} rules found" in done.stdout


@pytest.mark.parametrize("file", RULE_TESTS, ids=lambda file: file.stem)
def test_alerts_do_what_is_expected(file: Path) -> None:
    """They fire, with these words; they do not where they should not; they end."""
    done = run("test", "rules", file)
    assert done.returncode == 0, done.stdout + done.stderr


def test_grafanas_form_passes_the_same_tests(tmp_path: Path) -> None:
    """The rules which Grafana provisions fire, stay silent, speak and end as those of Prometheus do."""
    recordings = [rule for rule in load_rules() if "record" in rule]
    tests = with_rules(tmp_path, [*recordings, *map(in_prometheus_form, load_grafana_rules())])
    done = run("test", "rules", *tests)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", ALERTS)
def test_every_alert_is_tested(name: str) -> None:
    """In one and the same test it is silent, fires, and ends."""
    by_test: dict[tuple[str, str], list[bool]] = {}
    for case in cases():
        if case["alertname"] == name:
            by_test.setdefault(case["test"], []).append(bool(case["exp_alerts"]))
    assert any(firing[0] is False and True in firing and firing[-1] is False for firing in by_test.values()), by_test


def without_conditions(rule: dict[str, Any]) -> None:
    """Leave what an alert judges, and drop what else must hold: the minimum of events, or that it is new."""
    rule["expr"] = re.split(r"^(?:and|unless)$", rule["expr"], flags=re.MULTILINE)[0]


def never(rule: dict[str, Any]) -> None:
    """Let an alert never fire."""
    rule["expr"] = f"({rule['expr']}) and vector(1) > 2"


def without_threshold(rule: dict[str, Any]) -> None:
    """Let every value fire."""
    if not rule["expr"].startswith("absent("):
        rule["expr"] = re.sub(r" [<>] [\d.]+$", " > -1", rule["expr"], count=1, flags=re.MULTILINE)


def without_patience(rule: dict[str, Any]) -> None:
    """Let an alert fire at once."""
    del rule["for"]


def in_other_words(rule: dict[str, Any]) -> None:
    """Let an alert say something else."""
    rule["annotations"]["summary"] += "!"


CHANGES = (never, without_threshold, without_patience, without_conditions, in_other_words)


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_the_tests_can_fail(change: Callable[[dict[str, Any]], None], tmp_path: Path) -> None:
    """Alerts that were changed are found out, every one of them."""
    rules = load_rules()
    changed = set()
    for rule in rules:
        if "alert" in rule:
            before = copy.deepcopy(rule)
            change(rule)
            changed |= {rule["alert"]} if rule != before else set()
    # Not every alert has a condition, and `absent` has one value only.
    few: dict[object, int] = {without_conditions: 5, without_threshold: 1}
    assert len(changed) >= len(ALERTS) - few.get(change, 0)
    done = run("test", "rules", *with_rules(tmp_path, rules))
    failed = set(re.findall(r"alertname: (\w+),", done.stdout + done.stderr))
    assert failed == changed


def test_both_forms_have_the_same_alerts() -> None:
    """One source, two forms: names, severity, patience, address of the runbook."""
    ours = {rule["alert"]: (rule["labels"], rule["for"], rule["annotations"]["runbook_url"]) for rule in load_alerts()}
    theirs = {
        rule["title"]: (rule["labels"], rule["for"], rule["annotations"]["runbook_url"])
        for rule in load_grafana_rules()
    }
    assert ours == theirs


@pytest.mark.parametrize("rule", load_alerts(), ids=lambda rule: rule["alert"])
def test_what_every_alert_has(rule: dict[str, Any]) -> None:
    """A severity, patience, a summary in one line, a description, and a section in the runbook."""
    assert rule["labels"].keys() == {"severity"}
    assert rule["labels"]["severity"] in {"critical", "warning", "info"}
    assert re.fullmatch(r"\d+m", rule["for"]), "an alert waits"
    summary, description = rule["annotations"]["summary"], rule["annotations"]["description"]
    assert "\n" not in summary
    assert not summary.endswith(".")
    assert description.endswith(".")
    if rule["alert"] != "EpmInspectorAbsent":
        assert ".Labels.instance" in summary, "a fleet is told apart by its instances"
    _, _, anchor = rule["annotations"]["runbook_url"].partition("#")
    headings = re.findall(r"^## (\w+)$", RUNBOOK.read_text(), re.MULTILINE)
    assert anchor == rule["alert"].lower()
    assert rule["alert"] in headings


def test_alerts_of_harm_come_first_and_are_critical() -> None:
    """What becomes of answers wakes people up; what an answer looks like does not, and no other alert is like that."""
    severities = {alert["alert"]: alert["labels"]["severity"] for alert in load_alerts()}
    assert ALERTS[:4] == [
        "EpmInspectorClientsFail",
        "EpmInspectorAffinityBroken",
        "EpmInspectorAnswersUndelivered",
        "EpmInspectorMapperDown",
    ]
    assert {severities[name] for name in ALERTS[:4]} == {"critical"}
    information = {name for name, severity in severities.items() if severity == "info"}
    assert information == {"EpmInspectorMismatches", "EpmInspectorNewMismatchingVip"}


def test_every_outcome_that_hurts_raises_an_alert() -> None:
    """Of a follow-up: the expression selects all that can be, and none that does no harm."""
    assert set(FAILED.split("|")) == {str(one) for one in FOLLOW_UP_OUTCOMES} & {str(one) for one in HARMFUL}
    assert set(NO_CONNECTION.split("|")) < {str(one) for one in MAPPER_OUTCOMES}


def test_the_runbook_is_about_alerts_that_exist() -> None:
    """One section for each alert, in their order, each with the same three questions."""
    text = RUNBOOK.read_text()
    sections = re.split(r"^## ", text, flags=re.MULTILINE)[1:]
    names = [section.partition("\n")[0] for section in sections]
    assert [name for name in names if name.startswith("EpmInspector")] == ALERTS
    for section in sections:
        if section.startswith("EpmInspector"):
            for question in ("**What it means.**", "**How to confirm.**", "**What to do.**"):
                assert question in section, section.partition("\n")[0]


@pytest.mark.parametrize("rule", load_grafana_rules(), ids=lambda rule: rule["title"])
def test_grafanas_rules_are_well_formed(rule: dict[str, Any]) -> None:
    """The keys which Grafana reads from files, and a panel that exists."""
    assert set(rule) == RULE_KEYS
    assert len(rule["uid"]) <= 40
    assert rule["condition"] == rule["data"][1]["refId"] == "B"
    assert [part["datasourceUid"] for part in rule["data"]] == ["prometheus", "__expr__"]
    assert rule["data"][1]["model"]["expression"] == rule["data"][0]["refId"] == "A"
    assert (rule["noDataState"], rule["execErrState"]) == ("OK", "Error")
    assert rule["panelId"] in {panel["id"] for panel in panels_of(load_dashboards()[rule["dashboardUid"]])}


def test_grafanas_file_holds_no_variable_of_the_environment() -> None:
    """Grafana replaces `$name` in provisioning files, so there is none."""
    assert "$" not in GRAFANA_ALERTS.read_text()
    uids = [rule["uid"] for rule in load_grafana_rules()]
    assert len(set(uids)) == len(uids)
