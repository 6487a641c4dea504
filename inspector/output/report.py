"""A page of what a capture shows, to attach to a ticket: one file without scripts, with pictures as SVG."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING, Any, Final

from inspector import __version__
from inspector.errors import OutputError
from inspector.escape import harmless
from inspector.model import format_time
from inspector.output.sums import period_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from inspector.output.console import Tally
    from inspector.output.sums import Example, Sums

_STYLE: Final = """
:root { color-scheme: light dark; font: 15px/1.45 system-ui, sans-serif; }
html { background: light-dark(#fff, #141414); color: light-dark(#1b1b1b, #e6e6e6); }
body { background: inherit; margin: 1.5rem auto; max-width: 72rem; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2rem; }
table { border-collapse: collapse; width: 100%; } caption { text-align: left; font-weight: 600; padding: .3rem 0; }
th, td { border-bottom: 1px solid #8886; padding: .3rem .6rem .3rem 0; text-align: left; vertical-align: top; }
td { overflow-wrap: anywhere; } table.fixed { table-layout: fixed; }
.bad { color: light-dark(#a40000, #ff9a9a); font-weight: 600; }
svg { display: block; height: auto; max-width: 100%; } svg text { fill: currentColor; font-size: 12px; }
svg .ok { fill: light-dark(#2e7d32, #81c784); } svg .hurt { fill: light-dark(#b00020, #ff8a80); }
svg line { stroke: currentColor; stroke-width: 1; }
@media print { :root { color-scheme: light; } body { max-width: none; } tr, svg { break-inside: avoid; } }
"""
_WIDTH: Final = 720
_PLOT: Final = 90
_BARS: Final = 60
_ROW: Final = 22
_NAMES: Final = 300
_SHOWN: Final = 24


def write_report(path: Path, sums: Sums, tally: Tally, files: Sequence[str], notes: Sequence[str]) -> None:
    """Write the page; raises OutputError where it cannot be written."""
    try:
        path.write_text(report(sums, tally, files, notes), encoding="utf-8")
    except OSError as error:
        raise OutputError(f"{path}: cannot be written: {error.strerror or error}") from None


def report(sums: Sums, tally: Tally, files: Sequence[str], notes: Sequence[str]) -> str:
    """Return the page as HTML."""
    services = sums.services()
    hurt = sorted({client for one in services for client in one["clients_hurt"]})
    title = "What clients of the endpoint mapper met"
    parts = [
        f"<h1>{title}</h1>",
        f"<p>{_text(period_of(sums))}; {_files(files)}.</p>",
        f"<p>{_verdict(hurt, tally)}</p>",
        _timeline(sums),
        _hurt_table(sums.examples),
        "<h2>Asked addresses and services</h2>",
        _bars(services),
        _services_table(services),
        "<h2>Ports which clients need</h2>",
        _ports_table(sums.ports_to_open()),
        "<h2>What was not looked into</h2>",
        _list(_not_looked_into(tally, notes, sums)),
        f"<p><small>Written by epm-inspector {_text(__version__)}. Times are those of the packets, in UTC.</small></p>",
    ]
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{title}</title>'
    head = f"<head>{head}<style>{_STYLE}</style></head>"
    return f'<!DOCTYPE html>\n<html lang="en">{head}<body><main>{"".join(parts)}</main></body></html>\n'


def _text(text: object) -> str:
    return html.escape(harmless(str(text)))


def _files(files: Sequence[str]) -> str:
    named = ", ".join(_text(name.rpartition("/")[2]) for name in files[:5])
    return f"{named} and {len(files) - 5} other files" if len(files) > 5 else named


def _verdict(hurt: Sequence[str], tally: Tally) -> str:
    """Return who was hurt, in a sentence."""
    answers = sum(tally.verdicts.values())
    if hurt:
        named = ", ".join(map(_text, hurt[:8])) + (" and others" if len(hurt) > 8 else "")
        noun = "client was" if len(hurt) == 1 else "clients were"
        return f'<span class="bad">{len(hurt)} {noun} hurt:</span> {named}. {answers} answers were judged.'
    return f"No client was seen to be hurt. {answers} answers were judged."


def _hurt_table(examples: Sequence[Example]) -> str:
    """Return a row for those who met the same: since when, how often, and the frames that prove it."""
    if not examples:
        return ""
    groups: dict[tuple[str, ...], list[Example]] = {}
    for one in examples:
        key = (one.client, one.asked, one.service, one.word, one.cause, one.remedy)
        groups.setdefault(key, []).append(one)
    rows = [
        (
            format_time(group[0].time_ns)[:19].replace("T", " "),
            len(group),
            group[0].client,
            f"{group[0].asked} {group[0].service}",
            group[0].word.replace("_", " "),
            "; ".join(filter(None, (group[0].why, group[0].cause.replace("_", " ")))),
            group[0].remedy,
            _proof(group),
        )
        for group in groups.values()
    ]
    headings = ("Since (UTC)", "Times", "Client", "Asked", "What happened", "Why", "What to do", "Proof")
    return _table("Who was hurt, why, and what to do", headings, rows, bad=4, widths=(9, 5, 11, 11, 9, 23, 21, 11))


def _proof(group: Sequence[Example]) -> str:
    """Return files with the numbers of frames in them."""
    frames: dict[str, list[str]] = {}
    for one in group:
        found = frames.setdefault(one.source.rpartition("/")[2], [])
        if one.frame is not None:
            found.append(str(one.frame))
    return "; ".join(
        f"{name}: {'frame' if len(found) == 1 else 'frames'} {', '.join(found[:8])}{' ...' if len(found) > 8 else ''}"
        if found
        else name
        for name, found in frames.items()
    )


def _table(
    caption: str, headings: Sequence[str], rows: Iterable[Sequence[object]], bad: int = -1, widths: Sequence[int] = ()
) -> str:
    """Return a table; `bad` is the column of words that hurt, `widths` are percentages."""
    head = "".join(f'<th scope="col">{_text(one)}</th>' for one in headings)
    body = "".join(
        "<tr>"
        + "".join(
            f'<td class="bad">{_text(cell)}</td>' if number == bad else f"<td>{_text(cell)}</td>"
            for number, cell in enumerate(row)
        )
        + "</tr>"
        for row in rows
    )
    columns = "".join(f'<col style="width: {width}%">' for width in widths)
    start = f"<table{' class=fixed' if widths else ''}><caption>{_text(caption)}</caption>{columns}"
    return f"{start}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _svg(label: str, height: int, marks: str) -> str:
    return f'<svg role="img" aria-label="{_text(label)}" viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}">{marks}</svg>'


def _timeline(sums: Sums) -> str:
    """Return findings over time as bars: those of clients that were hurt below the others."""
    if not sums.times:
        return "<p>Nothing was found.</p>"
    first, last = min(step for step, _ in sums.times), max(step for step, _ in sums.times)
    width = -(-(last - first + 1) // _BARS)
    heights: dict[tuple[int, bool], int] = {}
    for (step, harmful), count in sums.times.items():
        at = (step - first) // width, harmful
        heights[at] = heights.get(at, 0) + count
    bars = (last - first) // width + 1
    highest = max(heights.get((bar, True), 0) + heights.get((bar, False), 0) for bar in range(bars))
    wide = (_WIDTH - 40) / max(bars, 12)
    marks = [f'<line x1="40" y1="{_PLOT}" x2="{_WIDTH}" y2="{_PLOT}"/><text x="0" y="12">{highest}</text>']
    for bar in range(bars):
        base = float(_PLOT)
        for harmful, kind in ((True, "hurt"), (False, "ok")):
            tall = heights.get((bar, harmful), 0) / highest * (_PLOT - 8)
            base -= tall
            if tall:
                marks.append(
                    f'<rect class="{kind}" x="{40 + bar * wide:.1f}" y="{base:.1f}" width="{max(wide - 1, 1):.1f}" '
                    f'height="{tall:.1f}"/>'
                )
    times = [format_time(step * sums.unit_ns)[11:19] for step in (first, last)]
    marks.append(f'<text x="40" y="{_PLOT + 16}">{times[0]}</text>')
    marks.append(f'<text x="{_WIDTH}" y="{_PLOT + 16}" text-anchor="end">{times[1]}</text>')
    hurt = sum(count for (_, harmful), count in sums.times.items() if harmful)
    label = f"{sum(sums.times.values())} findings from {times[0]} to {times[1]}, {hurt} of clients that were hurt"
    return _svg(label, _PLOT + 22, "".join(marks)) + f"<p>{_text(label)}.</p>"


def _bars(services: Sequence[dict[str, Any]]) -> str:
    """Return a bar for each address and service: its answers, and how many clients were hurt."""
    chosen = services[:_SHOWN]
    if not chosen:
        return "<p>No answer was seen.</p>"
    highest = max(1, *(sum(one["answers"].values()) for one in chosen))
    marks = []
    for number, one in enumerate(chosen):
        top = number * _ROW
        answers, hurt = sum(one["answers"].values()), len(one["clients_hurt"])
        long = answers / highest * (_WIDTH - _NAMES - 160)
        name = f"{one['asked']} {one['service']}"
        marks.append(f'<text x="0" y="{top + 15}">{_text(name[:44])}</text>')
        kind = "hurt" if hurt else "ok"
        marks.append(f'<rect class="{kind}" x="{_NAMES}" y="{top + 4}" width="{long:.1f}" height="{_ROW - 8}"/>')
        words = f"{answers} answers" + (f", {hurt} clients hurt" if hurt else "")
        marks.append(f'<text x="{_NAMES + long + 6:.1f}" y="{top + 15}">{words}</text>')
    return _svg("Answers by asked address and service", len(chosen) * _ROW, "".join(marks))


def _services_table(services: Sequence[dict[str, Any]]) -> str:
    rows = [
        (
            one["asked"],
            one["service"],
            _counts(one["answers"]),
            _counts(one["outcomes"]),
            ", ".join(one["servers"]),
            ", ".join(map(str, one["ports"])),
            ", ".join(f"{name} {value:g}" for name, value in one["latency_ms"].items()),
        )
        for one in services
    ]
    headings = ("Asked", "Service", "Answers", "Outcomes", "Offered servers", "Offered ports", "Latency (ms)")
    return _table("By asked address and service", headings, rows)


def _ports_table(found: Sequence[dict[str, Any]]) -> str:
    rows = [(one["to"], port["port"], ", ".join(port["services"])) for one in found for port in one["ports"]]
    return _table("A firewall before these addresses must let pass", ("To", "TCP port", "For"), rows)


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {word}" for word, count in counts.items())


def _not_looked_into(tally: Tally, notes: Sequence[str], sums: Sums) -> list[str]:
    found = list(notes)
    if tally.unread_files:
        found.append(f"{tally.unread_files} files could not be read, or not to their ends")
    found += [f"{count} packets in {name}" for name, count in sorted(tally.not_looked_into.items())]
    found += [f"{count} times {word.replace('_', ' ')}" for word, count in sorted(tally.anomalies.items()) if count]
    if sums.left_out:
        found.append(f"{sums.left_out} findings of services beyond the bound of these tables")
    return found or ["nothing: all was read"]


def _list(lines: Sequence[str]) -> str:
    return f"<ul>{''.join(f'<li>{_text(line)}</li>' for line in lines)}</ul>"
