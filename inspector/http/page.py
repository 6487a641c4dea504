"""The page which the metrics server shows to people without Grafana: who is hurt, state, offers, the last findings.

Plain HTML without scripts or anything from elsewhere: a browser is told to load nothing (Content-Security-Policy). All
that comes from packets is escaped. Tables have captions and headings in rows and columns, for those who hear them; a
verdict or outcome is a word, which colour only underlines. Red is what hurts a client: a mismatch by itself does not.
"""

from __future__ import annotations

import base64
import hashlib
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from inspector.consequence import HARMFUL, Cause, Outcome
from inspector.http.overview import word_of
from inspector.http.pictures import escape, hour_picture, hour_sums, servers_picture
from inspector.metrics.labels import service_name
from inspector.model import Verdict, format_time

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from inspector.model import Finding

HTML: Final = "text/html; charset=utf-8"
REFRESH_SECONDS: Final = 10
FINDINGS: Final = 20
"""The last findings of each verdict, and of each outcome that hurts a client, which are on the page."""

_STYLE: Final = """
:root { color-scheme: light dark; }
html { background: light-dark(#fff, #15171a); color: light-dark(#1b1b1b, #e6e6e6); }
body { font: 1rem/1.45 system-ui, sans-serif; margin: 0 auto; max-width: 80rem; padding: 1rem; }
header { align-items: baseline; display: flex; flex-wrap: wrap; gap: .5rem 2rem; }
h1 { font-size: 1.5rem; margin: 0; }
nav a { margin-right: 1rem; }
section { margin: 1.5rem 0; overflow-x: auto; }
table { border-collapse: collapse; width: 100%; }
caption, h2 { font-size: 1.15rem; margin: 0; font-weight: 600; padding: .4rem 0; text-align: left; }
th, td { border-bottom: 1px solid #8886; padding: .3rem .6rem; text-align: left; vertical-align: top; }
th { font-weight: 600; }
thead th { border-bottom-width: 2px; white-space: nowrap; }
tbody th { font-weight: 400; }
.time { font-variant-numeric: tabular-nums; white-space: nowrap; }
.why { min-width: 20rem; overflow-wrap: anywhere; width: 60%; }
.number { font-variant-numeric: tabular-nums; text-align: right; white-space: nowrap; }
.bad { color: light-dark(#9a1c1c, #ff9c94); font-weight: 600; }
.doubt { color: light-dark(#7a4a00, #f2bd61); }
.good { color: light-dark(#1d5d2c, #86d993); }
a { color: light-dark(#0b4fb3, #8cb8ff); }
svg { display: block; font-size: 13px; height: auto; max-width: 100%; }
svg text { fill: light-dark(#1b1b1b, #e6e6e6); }
svg .small { font-size: 12px; }
svg .quiet { fill: light-dark(#4d4d4d, #b5b5b5); font-size: 12px; }
svg.key { display: inline-block; height: .8rem; width: .8rem; }
.legend { display: flex; flex-wrap: wrap; gap: .2rem 1.2rem; list-style: none; margin: .4rem 0; padding: 0; }
.box { fill: light-dark(#f3f4f6, #24282e); stroke: #888; }
.box.hurt, .way.hurt { stroke: light-dark(#b3261e, #ff8a80); stroke-width: 2; }
.way { fill: none; stroke: #888; }
.o-refused { fill: light-dark(#b3261e, #ff8a80); }
.o-timed_out { fill: light-dark(#7f1d1d, #d9534f); }
.o-unreachable { fill: light-dark(#d9480f, #ff9f5a); }
.o-wrong_server { fill: light-dark(#8e24aa, #d59be8); }
.o-denied { fill: light-dark(#b8860b, #e6c35c); }
.o-broken { fill: light-dark(#c2185b, #f48fb1); }
.o-undelivered { fill: light-dark(#4a148c, #a98be0); }
.o-reached { fill: light-dark(#2e7d32, #86d993); }
.o-open { fill: light-dark(#a3a9b1, #5d646d); }
"""
_STYLE_HASH: Final = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()

HEADERS: Final = (
    (
        b"Content-Security-Policy",
        f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'".encode(),
    ),
    (b"Referrer-Policy", b"no-referrer"),
    (b"Cache-Control", b"no-store"),
)

_GOOD: Final = frozenset(
    {Verdict.MATCH, Verdict.UNSPECIFIED, Verdict.POOLED, Verdict.OTHER_FAMILY, Verdict.NO_ADDRESS, Outcome.REACHED}
)
_BAD: Final = HARMFUL | {Verdict.UNROUTABLE, Verdict.REJECTED, Verdict.FAULT, Verdict.UNANSWERED}
_NOTHING: Final = "-"

Cell = tuple[str | tuple[str, ...], str]
"""Text, of one line or several, and class of a cell."""


def page(
    state: Mapping[str, Any],
    outcomes: Mapping[str, Any],
    offers: Sequence[Mapping[str, Any]],
    findings: Iterable[Finding],
    *,
    healthy: bool,
    refresh: bool,
) -> str:
    """Return the page: `state` is what `/status` serves; `outcomes`, `offers` and `findings` are those of `Overview`.

    With `refresh` a browser asks for it again every ten seconds; there is a link which ends that.
    """
    attached = sum(interface["attached"] for interface in state["interfaces"])
    hour = hour_sums(outcomes["minutes"], state["time"])
    title = _title(state, sum(hour[outcome] for outcome in HARMFUL))
    meta = f'<meta http-equiv="refresh" content="{REFRESH_SECONDS}">' if refresh else ""
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
{meta}<title>{escape(title)} - epm-inspector</title>
<style>{_STYLE}</style>
</head>
<body>
<header>
<h1>epm-inspector</h1>
<nav aria-label="Other forms">{_links(refresh=refresh)}</nav>
</header>
<main>
<p>{_harm(state, hour)}</p>
<p>{_summary(state, attached, healthy=healthy)}</p>
{_hurt(outcomes["hurt"])}
{_picture("What answers led to in the last hour", hour_picture(outcomes["minutes"], state["time"]))}
{_picture("Asked addresses and their servers", servers_picture(offers, outcomes["servers"]))}
{_recent(findings)}
{_offers(offers)}
{_interfaces(state)}
{_counts(state)}
</main>
<footer><p>State of {_moment(state["time"])} UTC; running since {_moment(state["started"])} UTC; version
{escape(state["version"])}, process {state["pid"]}.</p></footer>
</body>
</html>
"""


def _links(*, refresh: bool) -> str:
    again = ("/", "stop refreshing") if refresh else ("/live", f"refresh every {REFRESH_SECONDS} s")
    links = (
        again,
        ("/outcomes", "outcomes as JSON"),
        ("/findings", "findings as JSON"),
        ("/status", "state as JSON"),
        ("/metrics", "metrics"),
    )
    return " ".join(f'<a href="{target}">{text}</a>' for target, text in links)


def _title(state: Mapping[str, Any], failures: int) -> str:
    """Return the title of the page: what a tab of the browser shows. `failures` are those of the last hour."""
    if failures:
        return f"{failures:,} failure{'s' if failures > 1 else ''} in the last hour"
    mismatches = state["verdicts"][Verdict.MISMATCH]
    return f"{mismatches:,} mismatches" if mismatches else "no mismatch"


def _harm(state: Mapping[str, Any], hour: Mapping[str, int]) -> str:
    """Return whether clients are hurt, how often and by what: in the last hour (`hour`, by outcome), and ever."""
    lately, ever = _failures(hour), _failures(state["outcomes"])
    reached = state["outcomes"][Outcome.REACHED]
    through = f"Since the start {reached:,} connections to what was offered got through"
    if lately:
        return f"{_marked(f'Clients were hurt in the last hour: {lately}.', 'bad')} {through}; failed: {ever}."
    if ever:
        return f"{_marked('No client was hurt in the last hour.', 'doubt')} {through}; failed: {ever}."
    if reached:
        return _marked(f"No client was hurt. {through}.", "good")
    return _marked("What answers led to was not seen so far.", "doubt")


def _failures(counts: Mapping[str, int]) -> str:
    """Return what hurt clients, in words; nothing where there is none."""
    return ", ".join(f"{one} {counts[one]:,}" for one in Outcome if one in HARMFUL and counts[one])


def _summary(state: Mapping[str, Any], attached: int, *, healthy: bool) -> str:
    """Return the state of the inspector, one sentence for each subject."""
    interfaces, lost = len(state["interfaces"]), sum(state["lost"].values())
    sentences = [
        _marked(f"Attached to {attached} of {interfaces} interfaces.", "good" if attached == interfaces else "bad"),
        _marked("The main loop runs.", "good") if healthy else _marked("The main loop does not run.", "bad"),
        f"{state['packets']['to_server'] + state['packets']['from_server']:,} packets were seen.",
        _marked(f"{lost:,} of them were lost on the way here.", "bad") if lost else _marked("None was lost.", "good"),
    ]
    mismatches = state["verdicts"][Verdict.MISMATCH]
    if mismatches:
        text = f"{mismatches:,} answers offered another address than the one that was asked."
        sentences.append(_marked(text, "doubt"))
    return " ".join(sentences)


def _marked(text: str, kind: str) -> str:
    return f'<span class="{kind}">{escape(text)}</span>'


def _picture(caption: str, picture: str) -> str:
    """Return a section with a picture; where there is nothing to draw, a sentence."""
    if not picture:
        return f"<section><h2>{caption}</h2><p>Nothing so far.</p></section>"
    return f'<section tabindex="0" aria-label="{caption}"><h2>{caption}</h2>{picture}</section>'


def _hurt(hurt: Iterable[Mapping[str, Any]]) -> str:
    rows: list[list[Cell]] = [
        [
            ((one["asked"], one["service"] or "port 135", _clients(one)), ""),
            ((one["outcome"], f"{one['count']:,} times" if one["count"] > 1 else "once"), "bad"),
            ((_moment(one["since"]), _moment(one["last"])), "time"),
            (_why(one), "why"),
        ]
        for one in hurt
    ]
    headings = ("Asked address, service, client", "Outcome", "Since, last (UTC)", "Why, and what to do")
    return _table("Who is hurt, where, since when, why", headings, rows)


def _clients(hurt: Mapping[str, Any]) -> str:
    """Return the clients of a kind of harm: the first by name, and how many more."""
    first, *others = hurt["clients"]
    if not others:
        return f"client {first}"
    more = " or more" if hurt["more_clients"] else ""
    return f"client {first} and {len(others)}{more} other{'s' if len(others) > 1 else ''}"


def _why(hurt: Mapping[str, Any]) -> tuple[str, ...]:
    """Return why, with the cause before it, and what to do in a line of its own."""
    cause = "" if hurt["cause"] == Cause.UNKNOWN else f"{hurt['cause'].replace('_', ' ')}: "
    return (f"{cause}{hurt['why']}", *([f"To do: {hurt['remedy']}"] if hurt["remedy"] else []))


def _interfaces(state: Mapping[str, Any]) -> str:
    rows = []
    for one in state["interfaces"]:
        name = one["name"] if one["netns"] is None else f"{one['name']}@{one['netns']}"
        packets = one["packets"]
        rows.append(
            [
                (name, ""),
                ("yes", "good") if one["attached"] else ("no", "bad"),
                (f"{one['hook']}, {one['mode']}" if one["attached"] else _NOTHING, ""),
                (_moment(one["since"]), "time"),
                (_NOTHING if packets is None else f"{sum(packets.values()):,}", "number"),
                (one["explanation"], ""),
            ]
        )
    return _table(
        "Interfaces", ("Interface", "Attached", "Hook, mode", "Since (UTC)", "Packets", "How, or why not"), rows
    )


def _offers(offers: Iterable[Mapping[str, Any]]) -> str:
    rows = [
        [
            (one["asked"], ""),
            (one["service"] or _NOTHING, ""),
            (one["offered"] or _NOTHING, ""),
            (one["verdict"], _class_of(Verdict(one["verdict"]))),
            (f"{one['answers']:,}", "number"),
            (_moment(one["last"]), "time"),
        ]
        for one in offers
    ]
    headings = ("Asked address", "Service", "Offered address", "Verdict", "Answers", "Last (UTC)")
    return _table("What was offered", headings, rows)


def _recent(findings: Iterable[Finding]) -> str:
    rows: list[list[Cell]] = [
        [
            (_moment(format_time(one.time_ns)), "time"),
            (str(word_of(one)), _class_of(word_of(one))),
            ((str(one.client), str(one.asked)), ""),
            (service_name(one) or _NOTHING, ""),
            ("; ".join(part.why for part in reversed(one.with_follow_up())), "why"),
        ]
        for one in _newest(findings)
    ]
    headings = ("Time (UTC)", "Outcome or verdict", "Client, asked address", "Service", "Why")
    return _table("Last findings", headings, rows)


def _newest(findings: Iterable[Finding]) -> Iterator[Finding]:
    """Yield findings, of each verdict and outcome that hurts the first so many: the newest."""
    shown: Counter[Verdict | Outcome] = Counter()
    for finding in findings:
        shown[word_of(finding)] += 1
        if shown[word_of(finding)] <= FINDINGS:
            yield finding


def _counts(state: Mapping[str, Any]) -> str:
    rows: list[list[Cell]] = [
        [(name, _class_of(Verdict(name))), (f"{count:,}", "number")]
        for name, count in state["verdicts"].items()
        if count
    ]
    anomalies: list[list[Cell]] = [[(name, ""), (f"{count:,}", "number")] for name, count in state["anomalies"].items()]
    return _table("Answers by verdict", ("Verdict", "Answers"), rows) + _table(
        "What could not be read, or only with doubt", ("Reason", "How often"), anomalies
    )


def _moment(time: str) -> str:
    """Return a time (RFC 3339) to the second, as people read it."""
    return escape(time[:19].replace("T", " "))


def _class_of(word: Verdict | Outcome) -> str:
    return "good" if word in _GOOD else "bad" if word in _BAD else "doubt"


def _table(caption: str, headings: Sequence[str], rows: Sequence[Sequence[Cell]]) -> str:
    """Return a table whose first column names its rows; where there are none, a sentence."""
    if not rows:
        return f"<section><h2>{caption}</h2><p>Nothing so far.</p></section>"
    head = "".join(f'<th scope="col">{heading}</th>' for heading in headings)
    body = "\n".join(f"<tr>{_row(row)}</tr>" for row in rows)
    # A table wider than the screen can be scrolled by keyboard.
    return (
        f'<section tabindex="0" aria-label="{caption}"><table><caption>{caption}</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>\n{body}\n</tbody></table></section>"
    )


def _row(cells: Sequence[Cell]) -> str:
    (first, kind), *others = cells
    text = f'<th scope="row"{_attribute(kind)}>{_lines(first)}</th>'
    return text + "".join(f"<td{_attribute(kind)}>{_lines(cell)}</td>" for cell, kind in others)


def _lines(text: str | tuple[str, ...]) -> str:
    return "<br>".join(map(escape, (text,) if isinstance(text, str) else text))


def _attribute(kind: str) -> str:
    return f' class="{kind}"' if kind else ""
