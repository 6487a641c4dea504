"""docs/findings.md names exactly the keys there are, with their types; the examples beside it use no others."""

from __future__ import annotations

import json
import re
import subprocess
from dataclasses import fields, replace
from ipaddress import IPv4Address, ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from inspector.consequence import AnswerReference, Cause, Consequence, Endpoint, FindingKind, Outcome, Target
from inspector.errors import Anomaly
from inspector.http.overview import FINDINGS, MAPPINGS
from inspector.http.routes import ANSWER_BYTES
from inspector.model import Finding, FindingTunnel, Verdict
from inspector.output.journal import MESSAGE_ID, PER_SECOND, fields_of
from inspector.output.jsonform import LINE_BYTES, lines_of
from inspector.wire.epm import MAX_TOWERS
from inspector.wire.tower import NAME_CHARACTERS
from tests.conftest import require_tools
from tests.unit.test_console import FINDING

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
EXAMPLES = DOCS / "examples"
BASELINES = ROOT / "tests" / "golden" / "baselines"
PAGE = (DOCS / "findings.md").read_text()
TYPES: dict[str, Any] = {"string": str, "integer": int, "number": (int, float), "object": dict, "null": type(None)}


def table(first_heading: str) -> list[list[str]]:
    """Return the rows of the page's table with this first heading."""
    _, _, after = PAGE.partition(f"| {first_heading} |")
    lines = after.partition("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


ROWS = {row[0].strip("` |"): row for row in table("key | type")}


def flat(value: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every key of a finding with its value, those within others after their names."""
    for key, one in value.items():
        yield prefix + key, one
        if isinstance(one, dict):
            yield from flat(one, f"{prefix}{key}.")
        elif isinstance(one, list):
            for item in one:
                if isinstance(item, dict):
                    yield from flat(item, f"{prefix}{key}[].")


def whole() -> Finding:
    """Return a finding with everything that one can have."""
    mapping = replace(FINDING.mappings[0], annotation="note", references=2)
    address = ip_address("192.0.2.1")
    finding = replace(
        FINDING,
        asked_raw=ip_address("64:ff9b::a0b:202"),
        tunnel=FindingTunnel("gre", address, address),
        requested=mapping.interface,
        requested_address=IPv4Address("10.11.2.2"),
        latency_ns=1,
        mappings=(mapping,),
        evidence="a.pcapng",
        left_out=3,
        consequence=Consequence(
            Outcome.REFUSED,
            Target.ASKED,
            Endpoint(address, 41376),
            Cause.PORTS_NOT_PUBLISHED,
            "publish the port",
            ("a reset after 2.2 ms",),
            AnswerReference("2026-11-25T02:16:07.589458500Z", 33654, 2, 10),
            417_000,
        ),
        frame=16,
        follow_up=FINDING,
    )
    assert all(getattr(finding, field.name) is not None for field in fields(Finding))
    return finding


def part() -> Any:
    """Return the first line of the same with so many mappings that it is divided."""
    finding = whole()
    return json.loads(lines_of(replace(finding, mappings=finding.mappings * 500))[0])


def test_the_page_names_exactly_the_keys() -> None:
    """Every key in the order in which it is written, and no other."""
    assert list(dict.fromkeys(key for key, _ in flat(part()))) == list(ROWS)
    assert set(whole().as_dict()) == set(part()) - {"part", "parts"}


def test_the_page_explains_every_kind_and_outcome() -> None:
    """Each word of the closed sets has its row, and no other has one."""
    for heading, words in (("kind | what it is about", FindingKind), ("outcome | meaning", Outcome)):
        assert [row[0].strip("` ") for row in table(heading)] == list(map(str, words))


def test_limits_are_those_of_the_code() -> None:
    """Numbers and names which the page says of long answers."""
    for value in (f"more than {MAX_TOWERS} towers", f"at most {NAME_CHARACTERS} characters", f"{LINE_BYTES >> 10} KiB"):
        assert value in PAGE
    for anomaly in (Anomaly.TOWER_REPEATED, Anomaly.TOWERS_TOO_MANY, Anomaly.NAME_CUT):
        assert f"`{anomaly}`" in PAGE
    live_view = (DOCS / "live-view.md").read_text()
    for value in (f"up to {FINDINGS} of each", f"up to {MAPPINGS} mappings", f"up to {ANSWER_BYTES >> 20} MiB"):
        assert value in live_view


def conforms(value: Any, kind: str) -> bool:
    """Return whether a value is of the type that the page says."""
    if kind.startswith("array of "):
        item = kind.removeprefix("array of ").removesuffix("s")
        return isinstance(value, list) and all(conforms(one, item) for one in value)
    return any(isinstance(value, TYPES[one]) and not isinstance(value, bool) for one in kind.split(" or "))


def test_types_and_examples() -> None:
    """All findings of the golden traces have the keys that are always there, with values of the types that are said."""
    seen: set[str] = set()
    always = {key for key, row in ROWS.items() if row[2] == "yes"}
    lines = [line for path in sorted(BASELINES.glob("*.jsonl")) for line in path.read_text().splitlines()]
    for finding in (*map(json.loads, lines), part()):
        found = list(flat(finding))
        seen |= {key for key, _ in found}
        assert {key for key in always if "." not in key} <= set(finding)
        for key, value in found:
            assert conforms(value, ROWS[key][1]), (key, value)
        for holder in ("tunnel.", "endpoint.", "answer.", "requested.", "mappings[]."):
            within = [key for key, _ in found if key.startswith(holder)]
            assert all(
                within.count(key) == within.count(within[0]) for key in always if key.startswith(holder) and within
            )
    assert seen == set(ROWS)
    assert len(lines) > 100
    for key, row in ROWS.items():
        example = row[3].strip("`")
        if "..." not in example:
            assert conforms(json.loads(example), row[1]), key


def test_the_journal_s_fields() -> None:
    """The table of fields, message and rate are those of the sink."""
    named = re.findall(r"`([A-Z_]+)`", "".join(row[0] for row in table("field")))
    assert set(named) == {name for name, _ in fields_of(whole())}
    assert MESSAGE_ID in PAGE
    assert f"{PER_SECOND} entries a second" in PAGE
    assert all(f"`{verdict}`" in PAGE for verdict in (Verdict.MATCH, Verdict.POOLED))


def test_the_examples_use_keys_that_exist() -> None:
    """What they take out of a finding is in one; the template has a type for every key, and for no other."""
    plain = {key.replace("[]", "") for key in ROWS}
    alloy = (EXAMPLES / "alloy.alloy").read_text()
    expressions = alloy.partition("expressions = {")[2].partition("}")[0]
    assert set(re.findall(r'= "([a-z_.]+)"', expressions)) <= plain
    known = set(re.findall(r"(\w+) += ", expressions))
    for block in ("stage.labels", "stage.structured_metadata"):
        values = alloy.partition(block)[2].partition("values = {")[2].partition("}")[0]
        assert set(re.findall(r'= "([a-z_.]+)"', values)) <= known
    pipeline = (EXAMPLES / "elastic-pipeline.json").read_text()
    used = set(re.findall(r"epm\.([a-z_.]+)", pipeline)) - {"latency_ms"}
    assert used <= plain
    processors = json.loads(pipeline)["processors"]
    copied = {one["set"]["field"]: one["set"]["copy_from"] for one in processors if "copy_from" in one.get("set", {})}
    for key in ("client", "asked", "source", "verdict", "why", "evidence", "requested.name"):
        assert f"epm.{key}" in copied.values()
    for field in copied:
        assert field.split(".")[0] in PAGE
    template = json.loads((EXAMPLES / "elastic-template.json").read_text())
    properties = template["template"]["mappings"]["properties"]["epm"]["properties"]

    def leaves(level: dict[str, Any], prefix: str = "") -> Iterator[str]:
        for key, one in level.items():
            yield prefix + key
            yield from leaves(one.get("properties", {}), f"{prefix}{key}.")

    assert set(leaves(properties)) == plain
    assert "target: epm" in (EXAMPLES / "filebeat.yml").read_text()


def test_the_example_for_logrotate(tmp_path: Path) -> None:
    """The real program takes it, and renames and compresses as it says."""
    require_tools(["logrotate"])
    path, settings = tmp_path / "findings.jsonl", tmp_path / "rotate.conf"
    tmp_path.chmod(0o755)
    settings.write_text(
        (EXAMPLES / "logrotate.conf").read_text().replace("/var/log/epm-inspector/findings.jsonl", str(path))
    )
    settings.chmod(0o600)
    for content in ("1\n", "2\n"):
        path.write_text(content)
        command = ["logrotate", "--force", "--state", str(tmp_path / "state"), str(settings)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        assert "error" not in done.stderr
    assert (tmp_path / "findings.jsonl.1").read_text() == "2\n"
    assert (tmp_path / "findings.jsonl.2.gz").exists()


@pytest.mark.parametrize("link", re.findall(r"\]\(([^)]+)\)", PAGE))
def test_links_lead_somewhere(link: str) -> None:
    """Every file that the page names is there, and its heading, as GitHub makes anchors of headings."""
    name, _, anchor = link.partition("#")
    text = (DOCS / name).read_text(encoding="utf-8")
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    assert not anchor or anchor in {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
