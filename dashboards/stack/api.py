"""Asking the servers' interfaces for JSON."""

from __future__ import annotations

import http.client
import json
from typing import Any
from urllib.parse import urlencode

from inspector.errors import LaboratoryError

_PATIENCE_SECONDS = 10.0


def is_ready(address: str, path: str) -> bool:
    """Return whether a server at `address` (host:port) answers that path with status 200."""
    try:
        return _get(address, path)[0] == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False


def ask(address: str, path: str, **parameters: str) -> Any:
    """Return the JSON which a server answers; raises LaboratoryError when it does not, or in its own words refuses."""
    try:
        status, body = _get(address, f"{path}?{urlencode(parameters)}" if parameters else path)
    except (OSError, http.client.HTTPException) as error:
        raise LaboratoryError(f"http://{address}{path} is not answered any more: {error}") from error
    if status != http.HTTPStatus.OK:
        raise LaboratoryError(f"http://{address}{path}: status {status}: {body.decode(errors='replace').strip()}")
    return json.loads(body)


def query(prometheus: str, expression: str) -> list[dict[str, Any]]:
    """Return what an expression is worth now: `metric` (labels) and `value` (time, text) of each series."""
    answer = ask(prometheus, "/api/v1/query", query=expression)["data"]
    if answer["resultType"] == "scalar":
        return [{"metric": {}, "value": answer["result"]}]
    result: list[dict[str, Any]] = answer["result"]
    return result


def _get(address: str, path: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(address, timeout=_PATIENCE_SECONDS)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()
