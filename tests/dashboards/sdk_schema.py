"""Grafana's development kit as a schema: its classes say which keys there are, and of which types."""

from __future__ import annotations

import enum
import json
import types
import typing
from collections.abc import Iterator
from typing import Any

from grafana_foundation_sdk.cog import plugins
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.runtime import UnknownDataquery
from grafana_foundation_sdk.models.dashboard import Dashboard

plugins.register_default_plugins()

# Optional in Grafana's own schema, where it moves links and annotations into a menu; the kit always adds it.
_ADDED = {"placement"}


def faults_of_dashboard(dashboard: dict[str, Any]) -> list[str]:
    """Return what in a dashboard's JSON is not as the development kit declares it."""
    return list(_faults_of_json(dashboard, Dashboard, "dashboard"))


def _faults_of_json(value: dict[str, Any], hint: Any, where: str) -> Iterator[str]:
    try:
        read = hint.from_json(value)
    except (TypeError, KeyError, AttributeError, ValueError) as error:
        yield f"{where}: cannot be read: {error}"
        return
    yield from _faults_of_object(read, where)
    # What is not declared is not kept, and what must be there is added.
    yield from _differences(value, json.loads(json.dumps(read, cls=JSONEncoder)), where)


def _faults_of_object(value: object, where: str) -> Iterator[str]:
    if isinstance(value, UnknownDataquery):
        yield f"{where}: a query of an unknown kind"
        return
    for name, hint in typing.get_type_hints(type(value)).items():
        yield from _faults(getattr(value, name, None), hint, f"{where}.{name}")


def _faults(value: object, hint: Any, where: str) -> Iterator[str]:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        tried = [list(_faults(value, option, where)) for option in arguments]
        if all(tried):
            # Of the alternatives, the one that went deepest is what was meant.
            yield from max(tried, key=lambda found: len(found[0].partition(":")[0]))
    elif origin is typing.Literal:
        if value not in arguments:
            yield f"{where}: {value!r} is none of {arguments}"
    elif origin is list:
        yield from _faults_of_list(value, arguments[0], where)
    elif origin is dict:
        if not isinstance(value, dict):
            yield f"{where}: {value!r} is no object"
        else:
            for key, item in value.items():
                yield from _faults(item, arguments[1], f"{where}.{key}")
    elif hint in (Any, object):
        if hasattr(value, "to_json"):
            yield from _faults_of_object(value, where)
    else:
        yield from _faults_of_class(value, hint, where)


def _faults_of_list(value: object, hint: Any, where: str) -> Iterator[str]:
    if not isinstance(value, list):
        yield f"{where}: {value!r} is no list"
        return
    for index, item in enumerate(value):
        yield from _faults(item, hint, f"{where}[{index}]")


def _faults_of_class(value: object, hint: type, where: str) -> Iterator[str]:
    if issubclass(hint, enum.Enum):
        if value not in list(hint) and value not in [member.value for member in hint]:
            yield f"{where}: {value!r} is none of {[member.value for member in hint]}"
    elif hint is float:
        if isinstance(value, bool) or not isinstance(value, int | float):
            yield f"{where}: {value!r} is no number"
    elif hint is int and isinstance(value, bool):
        yield f"{where}: {value!r} is no number"
    elif isinstance(value, dict) and hasattr(hint, "from_json"):
        # The kit reads links and transformations of panels as they are.
        yield from _faults_of_json(value, hint, where)
    elif not isinstance(value, hint):
        yield f"{where}: {value!r} is no {hint.__name__}"
    elif hasattr(value, "to_json"):
        yield from _faults_of_object(value, where)


def _differences(ours: Any, theirs: Any, where: str) -> Iterator[str]:
    """Yield where two JSON values differ."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        yield from (f"{where}.{key}: not declared" for key in ours.keys() - theirs.keys())
        yield from (f"{where}.{key}: missing" for key in theirs.keys() - ours.keys() - _ADDED)
        for key in ours.keys() & theirs.keys():
            yield from _differences(ours[key], theirs[key], f"{where}.{key}")
    elif isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        for index, (one, other) in enumerate(zip(ours, theirs, strict=True)):
            yield from _differences(one, other, f"{where}[{index}]")
    elif ours != theirs:
        yield f"{where}: {ours!r} is read as {theirs!r}"
