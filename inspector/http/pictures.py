"""Pictures of the page, drawn here as SVG: addresses with their servers, and the last hour.

They need no script, no style of their own and nothing from elsewhere: colours are classes of the page's one style. What
comes from packets is escaped. Each picture has a name, and what it shows stands in it in words as well.
"""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta
from html import escape as escape_markup
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from inspector.consequence import HARMFUL, Outcome
from inspector.escape import harmless

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

VIPS: Final = 12
"""Asked addresses in the picture at most, those whose clients are hurt most first; of each so many servers."""
SERVERS: Final = 8

OPEN: Final = "open"
_ORDER: Final = (*(str(one) for one in Outcome if one in HARMFUL), str(Outcome.REACHED), OPEN)
"""From the bottom of a bar to its top: what hurts stands where it is seen."""
_WORDS: Final = {OPEN: "no outcome known"}
_MAPPER: Final = "port 135 itself"

# Of the picture of servers, in its own units.
_WIDTH: Final = 1240
_ROW: Final = 38
_BOX: Final = 26
_VIP_WIDTH: Final = 300
_SERVER_AT: Final = 370
_SERVER_WIDTH: Final = 300
_BAR_AT: Final = 690
_BAR_WIDTH: Final = 540
# Of the picture of the hour.
_HOUR_HEIGHT: Final = 150
_LEFT: Final = 60
_STEP: Final = 15
_LEAST: Final = 3


class _Server(NamedTuple):
    """A server behind an asked address: its name, how many answers named it, and what became of them."""

    name: str
    answers: int
    outcomes: Counter[str]

    @property
    def harm(self) -> int:
        """How often a client was hurt."""
        return sum(self.outcomes[str(one)] for one in HARMFUL)


def escape(text: str) -> str:
    """Return text as it can be put into the page: neither markup nor anything else that does not print."""
    return escape_markup(harmless(text))


def servers_picture(offers: Iterable[Mapping[str, Any]], servers: Iterable[Mapping[str, Any]]) -> str:
    """Return the addresses that were asked, the servers that answers of them name, and what came of these.

    `offers` and `servers` are those of `Overview`. Empty where there are none.
    """
    groups = sorted(_groups(offers, servers).items(), key=lambda item: -sum(one.harm for one in item[1]))
    rows: list[str] = []
    height = 0
    for asked, behind in groups[:VIPS]:
        behind.sort(key=lambda one: (-one.harm, -one.answers))
        rows.append(_group(asked, behind[:SERVERS], height))
        height += _ROW * min(len(behind), SERVERS)
    if not rows:
        return ""
    left_out = len(groups) - VIPS
    note = f"<p>{left_out} more asked addresses are not in the picture.</p>" if left_out > 0 else ""
    label = "Asked addresses, the servers that their answers name, and what came of it"
    return f"{_svg(label, _WIDTH, height, rows)}{note}"


def hour_picture(minutes: Iterable[Mapping[str, Any]], now: str) -> str:
    """Return the hour before `now` (RFC 3339): a bar for each minute, answers and failed connections by outcome."""
    columns = _last_hour(minutes, now)
    sums = hour_sums(minutes, now)
    if not sums:
        return ""
    highest = max(sum(counts.values()) for _, counts in columns)
    marks = [_axis(highest)]
    for number, (start, counts) in enumerate(columns):
        marks.append(_bar(_LEFT + number * _STEP, f"{start:%H:%M}", counts, highest))
        if number % 10 == 9:
            x = _LEFT + number * _STEP + _STEP // 2
            marks.append(
                f'<text class="quiet" x="{x}" y="{_HOUR_HEIGHT + 18}" text-anchor="middle">{start:%H:%M}</text>'
            )
    label = f"The hour up to {columns[-1][0]:%H:%M} UTC, by minute: {_in_words(sums)}"
    return _svg(label, _LEFT + 61 * _STEP, _HOUR_HEIGHT + 26, marks) + _legend(sums)


def hour_sums(minutes: Iterable[Mapping[str, Any]], now: str) -> Counter[str]:
    """Return the sums by outcome of the hour before `now`."""
    sums = Counter[str]()
    for _, counts in _last_hour(minutes, now):
        sums.update(counts)
    return sums


def _last_hour(minutes: Iterable[Mapping[str, Any]], now: str) -> list[tuple[datetime, Mapping[str, int]]]:
    """Return start and counts of each minute of the hour before `now`, which is part of the last."""
    last = datetime.fromisoformat(f"{now[:16]}:00+00:00")
    known = {str(one["start"])[:16]: one["outcomes"] for one in minutes}
    starts = [last - timedelta(minutes=ago) for ago in range(59, -1, -1)]
    return [(start, known.get(f"{start:%Y-%m-%dT%H:%M}", {})) for start in starts]


def _groups(offers: Iterable[Mapping[str, Any]], servers: Iterable[Mapping[str, Any]]) -> dict[str, list[_Server]]:
    answers: Counter[tuple[str, str | None]] = Counter()
    for one in offers:
        if one["offered"] is not None:
            answers[one["asked"], one["offered"]] += one["answers"]
    outcomes = {(one["asked"], one["offered"]): Counter[str](one["outcomes"]) for one in servers}
    groups: dict[str, list[_Server]] = {}
    for asked, offered in dict.fromkeys([*outcomes, *answers]):
        server = _Server(offered or _MAPPER, answers[asked, offered], outcomes.get((asked, offered), Counter()))
        groups.setdefault(asked, []).append(server)
    return groups


def _group(asked: str, servers: Sequence[_Server], top: int) -> str:
    """Return an asked address with lines to its servers."""
    middle = top + _ROW * len(servers) / 2
    hurt = any(one.harm for one in servers)
    parts = [_box(0, middle, _VIP_WIDTH, asked, "hurt" if hurt else "calm")]
    for number, server in enumerate(servers):
        y = top + _ROW * number + _ROW / 2
        kind = "hurt" if server.harm else "calm"
        parts.append(f'<path class="way {kind}" d="M{_VIP_WIDTH} {middle:g}L{_SERVER_AT} {y:g}"/>')
        parts.append(_box(_SERVER_AT, y, _SERVER_WIDTH, server.name, kind))
        parts.append(_result(server, y))
    return "".join(parts)


def _box(x: float, y: float, width: int, name: str, kind: str) -> str:
    top = y - _BOX / 2
    return (
        f'<rect class="box {kind}" x="{x + 1:g}" y="{top:g}" width="{width - 2}" height="{_BOX}" rx="5"/>'
        f'<text x="{x + 12:g}" y="{y + 5:g}">{escape(name)}</text>'
    )


def _result(server: _Server, y: float) -> str:
    """Return what came of a server's answers: a bar of shares, and below it the counts in words."""
    total = sum(server.outcomes.values())
    words = _in_words(server.outcomes) if total else "no outcome known"
    if server.answers:
        words = f"{server.answers:,} answer{'s' if server.answers != 1 else ''}: {words}"
    bar, x = "", float(_BAR_AT)
    for name in _ORDER:
        if server.outcomes[name]:
            width = max(_LEAST, _BAR_WIDTH * server.outcomes[name] / total)
            width = min(width, _BAR_AT + _BAR_WIDTH - x)
            bar += f'<rect class="o-{name}" x="{x:.1f}" y="{y - 12:g}" width="{width:.1f}" height="7"/>'
            x += width
    return f'{bar}<text class="small" x="{_BAR_AT}" y="{y + 9:g}">{escape(words)}</text>'


def _axis(highest: int) -> str:
    right = _LEFT + 60 * _STEP
    return (
        f'<text class="quiet" x="{_LEFT - 8}" y="14" text-anchor="end">{highest:,}</text>'
        f'<text class="quiet" x="{_LEFT - 8}" y="{_HOUR_HEIGHT}" text-anchor="end">0</text>'
        f'<path class="way calm" d="M{_LEFT} {_HOUR_HEIGHT}H{right}"/>'
    )


def _bar(x: int, start: str, counts: Mapping[str, int], highest: int) -> str:
    """Return the bar of a minute; what came at all is seen, however little it is."""
    if not counts:
        return ""
    parts, y = [f"<title>{start}: {escape(_in_words(counts))}</title>"], float(_HOUR_HEIGHT)
    for name in _ORDER:
        if counts.get(name):
            height = min(max(_LEAST, (_HOUR_HEIGHT - 5) * counts[name] / highest), y)
            y -= height
            parts.append(f'<rect class="o-{name}" x="{x + 1}" y="{y:.1f}" width="{_STEP - 3}" height="{height:.1f}"/>')
    return f"<g>{''.join(parts)}</g>"


def _legend(sums: Mapping[str, int]) -> str:
    """Return what the colours mean, with counts, as text below the picture."""
    items = []
    for name in filter(sums.get, _ORDER):
        square = f'<rect class="o-{name}" width="10" height="10"/>'
        key = f'<svg class="key" viewBox="0 0 10 10" aria-hidden="true">{square}</svg>'
        items.append(f"<li>{key} {_WORDS.get(name, name)} {sums[name]:,}</li>")
    return f'<ul class="legend">{"".join(items)}</ul>'


def _in_words(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{_WORDS.get(name, name)} {counts[name]:,}" for name in _ORDER if counts.get(name))


def _svg(label: str, width: int, height: float, parts: Iterable[str]) -> str:
    box = f'width="{width}" viewBox="0 0 {width} {height:g}"'
    return f'<svg role="img" aria-label="{escape(label)}" {box}>{"".join(parts)}</svg>'
