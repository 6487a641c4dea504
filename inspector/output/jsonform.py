"""The JSON form of a finding. The keys and their order are `Finding.as_dict`'s."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from inspector.model import Finding

LINE_BYTES: Final = 48 * 1024
"""Every line is shorter: systemd-journald splits longer ones (LineMax= in journald.conf), which are no JSON then."""


def json_of(value: object) -> str:
    """Return JSON without white space."""
    return json.dumps(value, separators=(",", ":"))


def lines_of(finding: Finding) -> list[str]:
    """Return a finding as JSON, without white space: one line, or several of less than LINE_BYTES each.

    Each of several is a whole finding with some of the mappings, and says which part of how many it is. What is known
    already of the answer's follow-up comes after it.
    """
    lines = _lines_of(finding)
    return lines if finding.follow_up is None else lines + _lines_of(finding.follow_up)


def _lines_of(finding: Finding) -> list[str]:
    whole = finding.as_dict()
    line = json_of(whole)
    if len(line) < LINE_BYTES:
        return [line]
    mappings = whole["mappings"]
    if len(mappings) < 2:
        return [line]
    room = LINE_BYTES - len(json_of({**whole, "mappings": [], "part": len(mappings), "parts": len(mappings)}))
    groups = _groups(mappings, [len(json_of(mapping)) + 1 for mapping in mappings], room)
    return [
        json_of({**whole, "mappings": group, "part": number, "parts": len(groups)})
        for number, group in enumerate(groups, 1)
    ]


def _groups(items: list[Any], sizes: list[int], room: int) -> list[list[Any]]:
    """Return items in groups whose sizes add up to at most `room`; one that is larger is a group of its own."""
    groups: list[list[Any]] = [[]]
    used = 0
    for item, size in zip(items, sizes, strict=True):
        if used + size > room and groups[-1]:
            groups.append([])
            used = 0
        groups[-1].append(item)
        used += size
    return groups
