"""What a running inspection answers over HTTP: one method and one row of the table for each route.

The local socket serves all routes, the metrics' address too unless the configuration keeps findings from it. Routes are
called in the server's thread: they read what the main loop has left for them and never touch session or pipeline.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from typing import TYPE_CHECKING, Final, Protocol

from inspector.http.http1 import Response
from inspector.http.overview import word_of
from inspector.http.page import HEADERS, HTML, page
from inspector.metrics.updates import CONTENT_TYPE
from inspector.model import format_time
from inspector.output.jsonform import json_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from inspector.consequence import Outcome
    from inspector.http.overview import Overview
    from inspector.metrics.updates import Metrics
    from inspector.model import Finding, Verdict

JSON: Final = "application/json"

# Findings name clients and servers: no cache on the way or in a browser keeps them (RFC 9111 section 5.2.2.5).
_NOT_STORED: Final = ((b"Cache-Control", b"no-store"),)

ANSWER_BYTES: Final = 1 << 20
"""Bytes of findings at most. The number of offers, of rows of the page and of its words is bounded as well."""


class Inspected(Protocol):
    """What routes may ask of a running inspection, from another thread."""

    @property
    def healthy(self) -> bool:
        """Whether the main loop has been round lately."""

    @property
    def snapshot(self) -> Mapping[str, Any]:
        """The state of about a second ago (`inspector.inspection.snapshot`); never changed afterwards."""


class Routes:
    """The routes of one process. `inspection` is None until everything is attached."""

    def __init__(self, metrics: Metrics, overview: Overview) -> None:
        self._metrics = metrics
        self._overview = overview
        self.inspection: Inspected | None = None

    def table(self, *, with_findings: bool = True) -> dict[str, Callable[[], Response]]:
        """Return the function of each path; without findings, those that show clients and servers refuse with 403."""
        others: dict[str, Callable[[], Response]] = {
            "/healthz": self._health,
            "/metrics": self._render_metrics,
            "/status": self._status,
        }
        findings: dict[str, Callable[[], Response]] = {
            "/": lambda: self._page(refresh=False),
            "/live": lambda: self._page(refresh=True),
            "/findings": self._findings,
            "/offers": self._offers,
            "/outcomes": self._outcomes,
        }
        return others | (findings if with_findings else dict.fromkeys(findings, _refuse))

    def _render_metrics(self) -> Response:
        return Response(200, self._metrics.render(), CONTENT_TYPE)

    def _health(self) -> Response:
        if self.inspection is not None and self.inspection.healthy:
            interfaces = self.inspection.snapshot["interfaces"]
            attached = sum(interface["attached"] for interface in interfaces)
            return Response(200, f"reading; attached to {attached} of {len(interfaces)} interfaces\n".encode())
        return Response(503, b"the main loop does not run\n")

    def _status(self) -> Response:
        if self.inspection is None:
            return Response(503, b"nothing is attached yet\n")
        return _json(self.inspection.snapshot)

    def _findings(self) -> Response:
        lines, left_out = _lines_within(self._overview.findings(), ANSWER_BYTES)
        headers = ((b"X-Findings-Left-Out", str(left_out).encode()),) if left_out else ()
        return Response(200, "[\n{}\n]\n".format(",\n".join(lines)).encode(), JSON, (*_NOT_STORED, *headers))

    def _offers(self) -> Response:
        offers, others = self._overview.offers()
        return _json({"time": format_time(time.time_ns()), "offers": offers, "other_answers": others})

    def _outcomes(self) -> Response:
        return _json({"time": format_time(time.time_ns()), **self._overview.outcomes()})

    def _page(self, *, refresh: bool) -> Response:
        if self.inspection is None:
            return Response(503, b"nothing is attached yet\n")
        offers, _ = self._overview.offers()
        html = page(
            self.inspection.snapshot,
            self._overview.outcomes(),
            offers,
            self._overview.findings(),
            healthy=self.inspection.healthy,
            refresh=refresh,
        )
        return Response(200, html.encode(), HTML, HEADERS)


def _lines_within(findings: list[Finding], size: int) -> tuple[list[str], int]:
    """Return findings as JSON, in as many bytes at most, and how many had no room; a follow-up before its answer.

    Each verdict, and each outcome that hurts, has its share, which its newest findings fill: those which an attacker
    makes displace no others.
    """
    share = size // max(len(set(map(word_of, findings))), 1)
    used: Counter[Verdict | Outcome] = Counter()
    lines: list[str] = []
    left_out = 0
    for finding in findings:
        some = [json_of(one.as_dict()) for one in reversed(finding.with_follow_up())]
        used[word_of(finding)] += sum(len(line) + len(",\n") for line in some)
        if used[word_of(finding)] <= share:
            lines += some
        else:
            left_out += len(some)
    return lines, left_out


def _json(value: object) -> Response:
    return Response(200, json.dumps(value, indent=2).encode() + b"\n", JSON, _NOT_STORED)


def _refuse() -> Response:
    return Response(403, b"findings are served on the UNIX socket only (serve_findings = false)\n")
