"""Sums by asked address and service, and the page that has them."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace
from html.parser import HTMLParser
from ipaddress import IPv4Address, ip_address
from pathlib import Path

import numpy as np
import pytest

from inspector import cli
from inspector.consequence import Consequence, FindingKind, Outcome
from inspector.model import Finding, Verdict
from inspector.output.console import Tally
from inspector.output.report import report
from inspector.output.sums import Sums
from tests.bench.conversations import write_capture
from tests.build.blocks import batch_of
from tests.unit.test_console import FINDING, OFFERED, UNANSWERED

HOSTILE = "<script>alert(1)</script>\x1b[1m"


def sums_of(*findings: Finding) -> Sums:
    """Return the sums of findings."""
    sums = Sums()
    assert len(list(sums.take([batch_of(*findings)]))) == 1
    return sums


def hurt(client: str = "10.1.1.9", outcome: Outcome = Outcome.REFUSED) -> Finding:
    """Return a follow-up which was refused."""
    return replace(
        FINDING,
        kind=FindingKind.FOLLOW_UP,
        client=ip_address(client),
        consequence=Consequence(outcome=outcome),
        frame=7,
    )


def test_by_address_and_service() -> None:
    """Answers, outcomes, what was offered, who was hurt, how long it took."""
    other = replace(OFFERED, address=IPv4Address("10.11.2.8"), port=41377)
    answered = replace(FINDING, mappings=(OFFERED, other), latency_ns=2_000_000)
    sums = sums_of(answered, answered, UNANSWERED, hurt(), hurt(outcome=Outcome.REACHED))
    [one] = sums.services()
    assert (one["asked"], one["service"]) == ("10.11.2.2", "MAPI 0.81")
    assert one["answers"] == {"mismatch": 2, "unanswered": 1}
    assert one["outcomes"] == {"refused": 1, "reached": 1}
    assert one["servers"] == {"10.11.2.7": 2, "10.11.2.8": 2}
    assert one["ports"] == [41376, 41377]
    assert one["clients_hurt"] == ["10.1.1.1", "10.1.1.9"]
    assert one["latency_ms"]["max"] == 2
    assert 1.8 <= one["latency_ms"]["p50"] <= 2
    assert sums.ports_to_open() == [
        {
            "to": "10.11.2.2",
            "ports": [
                {"port": 135, "services": ["endpoint mapper"]},
                {"port": 41376, "services": ["MAPI 0.81"]},
                {"port": 41377, "services": ["MAPI 0.81"]},
            ],
        }
    ]
    assert [(one.client, one.word, one.frame) for one in sums.examples] == [
        ("10.1.1.1", "unanswered", None),
        ("10.1.1.9", "refused", 7),
    ]


def test_quantiles() -> None:
    """Right within a tenth, over six decimal powers."""
    values = np.logspace(4, 10, 5000).astype(int).tolist()
    sums = sums_of(*(replace(FINDING, latency_ns=value) for value in values))
    found = sums.services()[0]["latency_ms"]
    for name, share in (("p50", 0.5), ("p90", 0.9), ("p99", 0.99)):
        assert found[name] == pytest.approx(values[int(share * len(values)) - 1] / 1e6, rel=0.1)


def test_sums_of_several_files_add_up() -> None:
    """Also those that come from another process."""
    first, second = (
        sums_of(FINDING, hurt()),
        sums_of(replace(FINDING, time_ns=FINDING.time_ns + 10**15), hurt("10.9.9.9")),
    )
    first.add(pickle.loads(pickle.dumps(second)))  # noqa: S301 - made here
    [one] = first.services()
    assert one["answers"] == {"mismatch": 2}
    assert one["clients_hurt"] == ["10.1.1.9", "10.9.9.9"]
    assert sum(first.times.values()) == 4


def test_memory_is_bounded() -> None:
    """Whatever is forged: services, servers, ports, clients and times have bounds, and what is beyond is counted."""
    sums = Sums()
    for number in range(3000):
        mapping = replace(OFFERED, address=IPv4Address(number), port=number)
        forged = replace(
            UNANSWERED, time_ns=number * 10**12, client=IPv4Address(number), mappings=(mapping,), asked=IPv4Address(1)
        )
        sums.add_finding(forged)
        sums.add_finding(replace(forged, asked=IPv4Address(number)))
    assert len(sums.rows) == 1000
    row = sums.rows["0.0.0.1", "MAPI 0.81"]
    assert {len(row.servers), len(row.ports), len(row.hurt)} == {256}
    assert row.left_out
    assert sums.left_out
    assert len(sums.examples) == 200
    assert len(sums.times) <= 1200


@pytest.mark.parametrize("jobs", ["1", "2"])
@pytest.mark.parametrize("follow_up", ["--follow-up", "--no-follow-up"])
def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str], jobs: str, follow_up: str) -> None:
    """The same sums from compiled and from other code, of one and of several processes; as text and as JSON."""
    path = tmp_path / "a.pcapng"
    write_capture(path, 5)
    assert cli.main(["read", "--summary", "--json", follow_up, "--jobs", jobs, str(path), str(path)]) == 0
    [one] = json.loads(capsys.readouterr().out)["services"]
    assert one["answers"] == {"mismatch": 10}
    assert len(one["ports"]) == 1
    assert cli.main(["read", "--summary", follow_up, "--jobs", jobs, str(path), str(path)]) == 0
    output = capsys.readouterr().out
    assert f"{one['asked']} {one['service']}: answers mismatch 10" in output
    assert f"to {one['asked']}: 135 endpoint mapper; {one['ports'][0]} {one['service']}" in output


class Checker(HTMLParser):
    """Notes elements that are open, and all that were."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Open an element; nothing may be loaded from anywhere, or run."""
        self.seen.append(tag)
        assert not any(name.startswith("on") or name in ("src", "href") for name, _ in attrs)
        if tag not in ("meta", "col"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Open and close one."""
        self.handle_starttag(tag, attrs)
        self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        """Close the one that is open."""
        assert self.open.pop() == tag


def test_the_page_is_whole_and_harmless() -> None:
    """Names come from the network: they are text. Two pictures, tables, no scripts."""
    bad = replace(hurt(), source=HOSTILE, why=HOSTILE, requested=replace(FINDING.requested, name=HOSTILE))  # type: ignore[type-var]  # it is not None
    tally = Tally(verdicts={Verdict.MISMATCH: 1}, anomalies={"stream_gap": 2}, unread_files=1)
    page = report(sums_of(FINDING, bad, bad), tally, [HOSTILE], [HOSTILE])
    checker = Checker()
    checker.feed(page)
    assert checker.open == []
    assert "script" not in checker.seen
    assert "\x1b" not in page
    assert checker.seen.count("svg") == 2
    assert "1 client was hurt" in page
    assert "frames 7, 7" in page
    assert "1 files could not be read" in page


def test_a_page_of_nothing() -> None:
    """Says so."""
    page = report(Sums(), Tally(), [], [])
    assert "No client was seen to be hurt" in page
    assert "nothing: all was read" in page


def test_the_command_writes_the_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Follow-ups are looked for; a file that cannot be written is one line."""
    path = tmp_path / "a.pcapng"
    write_capture(path, 5)
    assert cli.main(["read", "--report", str(tmp_path / "r.html"), str(path)]) == 0
    page = (tmp_path / "r.html").read_text()
    assert "a.pcapng" in page
    assert "5 answers were judged" in page
    capsys.readouterr()
    assert cli.main(["read", "--report", str(tmp_path / "none" / "r.html"), str(path)]) == 1
    assert capsys.readouterr().err.endswith("r.html: cannot be written: No such file or directory\n")
