"""What a running inspection answers over HTTP: one method and one row of the table for each route.

The metrics' address and the local socket serve the same. Routes are called in the server's thread: they read what the
main loop has left for them and never touch session or pipeline.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final, Protocol

from inspector.sinks.metrics import CONTENT_TYPE
from inspector.sinks.server import Response

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from inspector.sinks.metrics import Metrics

JSON: Final = "application/json"


class Inspected(Protocol):
    """What routes may ask of a running inspection, from another thread."""

    @property
    def healthy(self) -> bool:
        """Whether the main loop has been round lately."""

    @property
    def snapshot(self) -> Mapping[str, Any]:
        """The state of about a second ago (`inspector.commands.snapshot`); never changed afterwards."""


class Routes:
    """The routes of one process. `inspection` is None until everything is attached."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self.inspection: Inspected | None = None

    def table(self) -> dict[str, Callable[[], Response]]:
        """Return the function of each path."""
        return {"/metrics": self._render_metrics, "/healthz": self._health, "/status": self._status}

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
        return Response(200, json.dumps(self.inspection.snapshot, indent=2).encode() + b"\n", JSON)
