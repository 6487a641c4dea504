"""YAML as a person would write it: keys in the order given, long texts as blocks."""

from __future__ import annotations

from typing import Any

import yaml

_HEADER = "# Written by `make dashboards`: change the description in dashboards/generator, not this file.\n"


class _Dumper(yaml.SafeDumper):
    """Writes expressions of several lines as blocks, and lists indented."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:  # noqa: ARG002 - PyYAML indents no lists
        super().increase_indent(flow, indentless=False)


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    style = "|" if "\n" in value else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


_Dumper.add_representer(str, _text)


def to_yaml(value: dict[str, Any]) -> str:
    """Return a document, with a first line that says where it comes from."""
    return _HEADER + yaml.dump(value, Dumper=_Dumper, sort_keys=False, width=110, allow_unicode=True)
