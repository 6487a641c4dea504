"""The page which the metrics server shows to people without Grafana: state, offers, the last findings.

Plain HTML without scripts or anything from elsewhere: a browser is told to load nothing (Content-Security-Policy). All
that comes from packets is escaped. Tables have captions and headings in rows and columns, for those who hear them; a
verdict is a word, which colour only underlines.
"""

from __future__ import annotations

import base64
import hashlib
from html import escape as escape_markup
from typing import TYPE_CHECKING, Any, Final

from inspector.escape import harmless
from inspector.metrics.labels import service_name
from inspector.model import Verdict, format_time

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from inspector.model import Finding

HTML: Final = "text/html; charset=utf-8"
REFRESH_SECONDS: Final = 10

_STYLE: Final = """
:root { color-scheme: light dark; }
html { background: light-dark(#fff, #15171a); color: light-dark(#1b1b1b, #e6e6e6); }
body { font: 1rem/1.45 system-ui, sans-serif; margin: 0 auto; max-width: 80rem; padding: 1rem; }
header { align-items: baseline; display: flex; flex-wrap: wrap; gap: .5rem 2rem; }
h1 { font-size: 1.5rem; margin: 0; }
nav a { margin-right: 1rem; }
section { margin: 1.5rem 0; overflow-x: auto; }
table { border-collapse: collapse; width: 100%; }
caption { font-size: 1.15rem; font-weight: 600; padding: .4rem 0; text-align: left; }
th, td { border-bottom: 1px solid #8886; padding: .3rem .6rem; text-align: left; vertical-align: top; }
th { font-weight: 600; }
thead th { border-bottom-width: 2px; white-space: nowrap; }
tbody th { font-weight: 400; }
.time { font-variant-numeric: tabular-nums; white-space: nowrap; }
.number { font-variant-numeric: tabular-nums; text-align: right; white-space: nowrap; }
.bad { color: light-dark(#9a1c1c, #ff9c94); font-weight: 600; }
.doubt { color: light-dark(#7a4a00, #f2bd61); }
.good { color: light-dark(#1d5d2c, #86d993); }
a { color: light-dark(#0b4fb3, #8cb8ff); }
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

_GOOD: Final = frozenset({Verdict.MATCH, Verdict.UNSPECIFIED, Verdict.POOLED, Verdict.NO_ADDRESS})
_BAD: Final = frozenset({Verdict.MISMATCH, Verdict.UNROUTABLE, Verdict.REJECTED, Verdict.FAULT, Verdict.UNANSWERED})
_NOTHING: Final = "-"

Cell = tuple[str, str]
"""Text, and class of a cell."""


def page(
    state: Mapping[str, Any],
    offers: Iterable[Mapping[str, Any]],
    findings: Iterable[Finding],
    *,
    healthy: bool,
    refresh: bool,
) -> str:
    """Return the page: `state` is what `/status` serves, `offers` and `findings` are those of `Overview`.

    With `refresh` a browser asks for it again every ten seconds; there is a link which ends that.
    """
    attached = sum(interface["attached"] for interface in state["interfaces"])
    mismatches = state["verdicts"][Verdict.MISMATCH]
    title = f"{mismatches:,} mismatches" if mismatches else "no mismatch"
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
<p>{_summary(state, attached, healthy=healthy)}</p>
{_interfaces(state)}
{_offers(offers)}
{_recent(findings)}
{_counts(state)}
</main>
<footer><p>State of {_moment(state["time"])} UTC; running since {_moment(state["started"])} UTC; version
{escape(state["version"])}, process {state["pid"]}.</p></footer>
</body>
</html>
"""


def _links(*, refresh: bool) -> str:
    again = ("/", "stop refreshing") if refresh else ("/live", f"refresh every {REFRESH_SECONDS} s")
    links = (again, ("/findings", "findings as JSON"), ("/status", "state as JSON"), ("/metrics", "metrics"))
    return " ".join(f'<a href="{target}">{text}</a>' for target, text in links)


def _summary(state: Mapping[str, Any], attached: int, *, healthy: bool) -> str:
    """Return how it stands, in a sentence for each thing that matters."""
    interfaces, lost = len(state["interfaces"]), sum(state["lost"].values())
    sentences = [
        _marked(f"Attached to {attached} of {interfaces} interfaces.", "good" if attached == interfaces else "bad"),
        _marked("The main loop runs.", "good") if healthy else _marked("The main loop does not run.", "bad"),
        f"{state['packets']['to_server'] + state['packets']['from_server']:,} packets were seen.",
        _marked(f"{lost:,} of them were lost on the way here.", "bad") if lost else _marked("None was lost.", "good"),
    ]
    mismatches = state["verdicts"][Verdict.MISMATCH]
    if mismatches:
        sentences.append(_marked(f"{mismatches:,} answers offered another address than the one that was asked.", "bad"))
    return " ".join(sentences)


def escape(text: str) -> str:
    """Return text as it can be put into the page: neither markup nor anything else that does not print."""
    return escape_markup(harmless(text))


def _marked(text: str, kind: str) -> str:
    return f'<span class="{kind}">{escape(text)}</span>'


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
            (str(one.verdict), _class_of(one.verdict)),
            (str(one.client), ""),
            (str(one.asked), ""),
            (service_name(one) or _NOTHING, ""),
            (one.why, ""),
        ]
        for one in findings
    ]
    return _table("Last findings", ("Time (UTC)", "Verdict", "Client", "Asked address", "Service", "Why"), rows)


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


def _class_of(verdict: Verdict) -> str:
    return "good" if verdict in _GOOD else "bad" if verdict in _BAD else "doubt"


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
    text = f'<th scope="row"{_attribute(kind)}>{escape(str(first))}</th>'
    return text + "".join(f"<td{_attribute(kind)}>{escape(str(cell))}</td>" for cell, kind in others)


def _attribute(kind: str) -> str:
    return f' class="{kind}"' if kind else ""
