"""The first row of the overview: who is hurt, where, since when, why."""

from __future__ import annotations

from typing import Final

from dashboards.generator.harm import FAILED
from dashboards.generator.panels import ADDRESSED, PER_MINUTE, RATE, Colour, Panel, Query, State, number_panel
from dashboards.generator.promql import Window, total
from inspector.consequence import Outcome

SHOWN: Final = Window("$__range", "$__range_s")
_LATELY: Final = Window(RATE, "300")
_OF_A_SERVICE: Final = ("instance", "vip", "service")
_NONE_IS_GOOD: Final[tuple[tuple[float | None, Colour], ...]] = ((None, "green"), (1, "red"))
_FOLLOW_UPS: Final = "epm_inspector_follow_ups_total"
_UNDELIVERED: Final = "epm_inspector_answers_undelivered_total"
_CONNECTIONS: Final = "epm_inspector_connections_total"
_CAUSES: Final = "epm_inspector_causes_total"
_FAILED: Final = f'{ADDRESSED}, outcome=~"{FAILED}"'

OUTCOME_COLOURS: Final[dict[Outcome, Colour]] = {
    Outcome.REACHED: "green",
    Outcome.REFUSED: "red",
    Outcome.TIMED_OUT: "semi-dark-red",
    Outcome.UNREACHABLE: "orange",
    Outcome.WRONG_SERVER: "purple",
    Outcome.DENIED: "yellow",
    Outcome.BROKEN: "dark-orange",
    Outcome.UNDELIVERED: "dark-purple",
    Outcome.NOT_FOLLOWED: "text",
}


def hurt() -> tuple[Panel, ...]:
    """Return the panels, numbers first."""
    return (*_numbers(), _since_when(), *_courses(), *_tables())


def _numbers() -> tuple[Panel, ...]:
    return (
        _number(
            50,
            "Clients hurt in the time shown",
            "How often a client was hurt: follow-ups that failed, answers that never arrived, connections to port 135"
            " that failed. Only inspectors count which follow what answers lead to (`follow_up = true`).",
            _CAUSES,
            ADDRESSED,
            "EpmInspectorClientsFail",
        ),
        _number(
            51,
            "Follow-ups that failed",
            "Connections of clients to the endpoint that the mapper named, which were refused, not answered, broken off"
            " or denied, or reached the wrong server.",
            _FOLLOW_UPS,
            _FAILED,
            "EpmInspectorClientsFail",
        ),
        _number(
            52,
            "Answers swallowed",
            "Answers of endpoint mappers that never reached the client.",
            _UNDELIVERED,
            ADDRESSED,
            "EpmInspectorAnswersUndelivered",
        ),
        _number(
            53,
            "Failed connections to port 135",
            "Connections to the endpoint mapper itself that were refused, not answered, or ended before an answer.",
            _CONNECTIONS,
            ADDRESSED,
            "EpmInspectorMapperDown",
        ),
    )


def _number(number: int, title: str, description: str, metric: str, matchers: str, runbook: str) -> Panel:
    expression = f"sum({total(metric, SHOWN, ('instance',), matchers)}) or vector(0)"
    return number_panel(number, title, description, expression, _NONE_IS_GOOD, width=6, runbook=runbook)


def _since_when() -> Panel:
    follow_ups = total(_FOLLOW_UPS, _LATELY, _OF_A_SERVICE, _FAILED)
    undelivered = total(_UNDELIVERED, _LATELY, ("instance", "vip"), ADDRESSED)
    connections = total(_CONNECTIONS, _LATELY, ("instance", "vip"), ADDRESSED)
    return Panel(
        54,
        "state-timeline",
        "Hurt, by VIP and service",
        "Red while clients of that service at that VIP fail; `answers` are those that never arrive, `port 135` is the"
        " endpoint mapper itself. Shows since when, and whether it comes and goes.",
        "none",
        (
            Query(f"{follow_ups} > bool 0", "{{vip}} {{service}} ({{instance}})"),
            Query(f"{undelivered} > bool 0", "{{vip}} answers ({{instance}})"),
            Query(f"{connections} > bool 0", "{{vip}} port 135 ({{instance}})"),
        ),
        width=24,
        states={0: State("nobody", "green"), 1: State("hurt", "red")},
        runbook="EpmInspectorClientsFail",
    )


def _courses() -> tuple[Panel, ...]:
    return (
        _course(
            55,
            "Follow-ups that fail, per minute, by VIP and service",
            "Connections to the endpoint that the mapper named, which fail.",
            (_rate(_FOLLOW_UPS, ", ".join(_OF_A_SERVICE), _FAILED, "{{vip}} {{service}} ({{instance}})"),),
            "EpmInspectorClientsFail",
        ),
        Panel(
            56,
            "timeseries",
            "What came of follow-ups, per minute, by outcome",
            "All connections to endpoints that were offered. `reached` is as it should be; `not_followed` are answers"
            " after which the client did not connect, which is no fault by itself.",
            "cpm",
            (_rate(_FOLLOW_UPS, "outcome", ADDRESSED, "{{outcome}}"),),
            stacked=True,
            colours={str(outcome): colour for outcome, colour in OUTCOME_COLOURS.items()},
        ),
        _course(
            57,
            "Why, per minute, by cause",
            "The ten most frequent causes of what hurts clients, where the wire showed one; the findings have evidence"
            " and remedy.",
            (
                Query(
                    f"topk(10, sum by (cause) (rate({_CAUSES}{{{ADDRESSED}}}[{RATE}]))) * {PER_MINUTE}",
                    "{{cause}}",
                ),
            ),
            "EpmInspectorClientsFail",
        ),
        _course(
            58,
            "Port 135: failed connections and lost answers, per minute, by VIP",
            "The endpoint mapper itself: connections that fail, by outcome, and answers that never reach the client.",
            (
                _rate(_CONNECTIONS, "vip, outcome", ADDRESSED, "{{vip}} {{outcome}}"),
                _rate(_UNDELIVERED, "vip", ADDRESSED, "{{vip}} answers undelivered"),
            ),
            "EpmInspectorMapperDown",
        ),
    )


def _course(number: int, title: str, description: str, queries: tuple[Query, ...], runbook: str) -> Panel:
    return Panel(number, "timeseries", title, description, "cpm", queries, runbook=runbook)


def _rate(metric: str, by: str, matchers: str, legend: str) -> Query:
    return Query(f"sum by ({by}) (rate({metric}{{{matchers}}}[{RATE}])) * {PER_MINUTE}", legend)


def _tables() -> tuple[Panel, ...]:
    names = {"instance": "Inspector", "vip": "VIP"}
    return (
        Panel(
            59,
            "table",
            "Follow-ups that failed, by VIP, service and outcome",
            "In the time shown, every combination that was seen; worst first. `other` stands for VIPs and services"
            " without a label of their own; the findings name them.",
            "short",
            (Query(total(_FOLLOW_UPS, SHOWN, (*_OF_A_SERVICE, "outcome"), _FAILED), ""),),
            columns=names | {"service": "Service", "outcome": "Outcome", "A": "Follow-ups"},
            runbook="EpmInspectorClientsFail",
        ),
        Panel(
            60,
            "table",
            "Why, by VIP and cause",
            "In the time shown, how often each cause hurt clients of each VIP. `unknown`: the wire showed none.",
            "short",
            (Query(total(_CAUSES, SHOWN, ("instance", "vip", "cause"), ADDRESSED), ""),),
            columns=names | {"cause": "Cause", "A": "Clients hurt"},
            runbook="EpmInspectorClientsFail",
        ),
    )
