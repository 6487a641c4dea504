"""The quantities which alerts judge, recorded so that they are computed once and can be federated."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Final

from dashboards.generator.pace import MINUTE, Pace
from dashboards.generator.promql import Window, grouped, select, total

WINDOW_SECONDS: Final = 10 * MINUTE
"""What rates and ratios are taken over: long enough for quiet sites, short enough for the person on call."""

OF_A_SERVICE: Final = ("job", "instance", "vip", "service")
OF_A_VERDICT: Final = ("job", "instance", "vip", "verdict")
OF_A_FOLLOW_UP: Final = (*OF_A_SERVICE, "outcome")
OF_A_CONNECTION: Final = ("job", "instance", "vip", "outcome")
OF_A_VIP: Final = ("job", "instance", "vip")


@dataclass(frozen=True, slots=True)
class Recording:
    """One recording rule: the name of the series it makes, and its expression."""

    name: str
    expression: str


@dataclass(frozen=True, slots=True)
class Quantities:
    """How expressions refer to each quantity: by the name of its recording, or by an expression in its place.

    Functions take label matchers, which may be empty.
    """

    mismatches: str
    mismatch_ratio: str
    undelivered: str
    vip_responses: Callable[[str], str]
    follow_ups: Callable[[str], str]
    connections: Callable[[str], str]


def window_of(pace: Pace, seconds: int = WINDOW_SECONDS) -> Window:
    """Return a window at that pace."""
    return Window(pace.text(seconds), str(pace.seconds(seconds)))


def recordings(pace: Pace) -> Mapping[str, Recording]:
    """Return the recording rules by quantity, in the order in which they build on each other."""
    window = window_of(pace)
    names = {
        "mismatches": f"instance_vip_service:epm_inspector_mismatches:increase{window.text}",
        "service_responses": f"instance_vip_service:epm_inspector_service_responses:increase{window.text}",
        "mismatch_ratio": f"instance_vip_service:epm_inspector_mismatches:ratio{window.text}",
        "vip_responses": f"instance_vip_verdict:epm_inspector_vip_responses:increase{window.text}",
        "follow_ups": f"instance_vip_service_outcome:epm_inspector_follow_ups:increase{window.text}",
        "undelivered": f"instance_vip:epm_inspector_answers_undelivered:increase{window.text}",
        "connections": f"instance_vip_outcome:epm_inspector_connections:increase{window.text}",
    }
    expressions = {
        "mismatches": total("epm_inspector_mismatches_total", window, OF_A_SERVICE),
        "service_responses": total("epm_inspector_service_responses_total", window, OF_A_SERVICE),
        "mismatch_ratio": ratio(names["mismatches"], names["service_responses"]),
        "vip_responses": total("epm_inspector_vip_responses_total", window, OF_A_VERDICT),
        "follow_ups": total("epm_inspector_follow_ups_total", window, OF_A_FOLLOW_UP),
        "undelivered": total("epm_inspector_answers_undelivered_total", window, OF_A_VIP),
        "connections": total("epm_inspector_connections_total", window, OF_A_CONNECTION),
    }
    return {quantity: Recording(name, expressions[quantity]) for quantity, name in names.items()}


def recorded(pace: Pace) -> Quantities:
    """Return references to the recordings, for rules that are evaluated where those are."""
    rules = recordings(pace)
    return Quantities(
        mismatches=rules["mismatches"].name,
        mismatch_ratio=rules["mismatch_ratio"].name,
        undelivered=rules["undelivered"].name,
        vip_responses=partial(select, rules["vip_responses"].name),
        follow_ups=partial(select, rules["follow_ups"].name),
        connections=partial(select, rules["connections"].name),
    )


def expanded(pace: Pace) -> Quantities:
    """Return whole expressions, for rules that cannot count on any recording."""
    window, rules = window_of(pace), recordings(pace)
    mismatches = rules["mismatches"].expression
    return Quantities(
        mismatches=mismatches,
        mismatch_ratio=ratio(mismatches, rules["service_responses"].expression),
        undelivered=rules["undelivered"].expression,
        vip_responses=partial(total, "epm_inspector_vip_responses_total", window, OF_A_VERDICT),
        follow_ups=partial(total, "epm_inspector_follow_ups_total", window, OF_A_FOLLOW_UP),
        connections=partial(total, "epm_inspector_connections_total", window, OF_A_CONNECTION),
    )


def ratio(part: str, whole: str) -> str:
    """Return a ratio which is absent, and not NaN, where there is no traffic."""
    return f"{grouped(part)}\n/\n({grouped(whole)} > 0)"
