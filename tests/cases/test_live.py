"""The cases as a running inspection sees them: as records of the kernel program, with time that goes on behind them."""

from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING

import pytest

from inspector.capture.pcap import read_packets
from inspector.config import Config
from inspector.consequence import HARMFUL
from inspector.errors import Anomaly
from tests.build.livefollowing import LiveInspection
from tests.cases.all import CASES, EXPECTED_OF_ALL
from tests.cases.case import Case

if TYPE_CHECKING:
    from pathlib import Path

ALONE = "an interface is compared with others, not with itself"
GOES_ON = "the inspection goes on, and what is silent until then is given up"
NOT_RECORDED = "neither calls to endpoints nor bare acknowledgments of servers are recorded"
TOO_FEW = "fewer connections than a view in one direction takes"
OTHERWISE = {
    **dict.fromkeys(("01", "01-undeclared"), ALONE),
    "06-nat64": "an address that only towers name is not looked for through a NAT64",
    "09": "bindings of DCOM answers are not decoded",
    "14c-very-slow": "a question is given up after 10 s, and its answer comes later",
    "18": "a bind is given up before the narrower one is answered",
    **dict.fromkeys(
        ("07a-clients", "19-behind-syn-proxy", "22", "22-bind-ack-of-kerberos", "29-endpoint-silent-later"),
        NOT_RECORDED,
    ),
    "half-open-endpoint": NOT_RECORDED,
    **dict.fromkeys(("29", "29-twice"), "a bind is given up before it is sent for the seventh time"),
    **dict.fromkeys(("32", "one-way-server"), TOO_FEW),
    "46": "the program keeps whole packets",
    **dict.fromkeys(("16b-listing", "47", "healthy-ends-early"), GOES_ON),
    "healthy-lossy-capture": "a capture loses packets unseen, records that get lost are counted",
}
"""Cases of which a running inspection says something else than a file does, with the reason."""
SILENT = frozenset(
    (
        "07a-clients",
        "14c-very-slow",
        "16b-listing",
        "22",
        "47",
        "healthy-lossy-capture",
    )
)
"""Of these, the ones whose question is given up while the inspection runs."""
UNDECIDED = frozenset(("healthy-one-way-follow-up",))
"""Cases of which one direction of a follow-up passes elsewhere: nothing is said of it, which is counted."""
ENDING = frozenset(("healthy-both-sides-of-a-router", "healthy-ends-early"))
"""Captures that end behind a SYN, which stays without answer while the inspection runs."""


def inspect(case: Case, folder: Path) -> LiveInspection:
    """Let the frames of a case pass, and a minute and a half after them."""
    live = LiveInspection(Config.model_validate(tomllib.loads(case.config)), len(case.names))
    packets = []
    for interface, (name, content) in enumerate(zip(case.names, case.captures(), strict=True), 1):
        (folder / name).write_bytes(content)
        packets += [(packet.time_ns, interface, bytes(packet.data)) for packet in read_packets(folder / name)]
    for time_ns, interface, data in sorted(packets, key=lambda packet: packet[0]):
        live.take(data, time_ns, interface)
    live.wait()
    live.close()
    return live


@pytest.mark.parametrize("number", sorted(set(CASES) - set(OTHERWISE)))
def test_a_case_is_told_while_it_happens(number: str, tmp_path: Path) -> None:
    """As the table wants it of a file; nothing is let go, and each record is counted."""
    live = inspect(CASES[number], tmp_path)
    findings = [finding.as_dict() for finding in live.findings]
    for expected in EXPECTED_OF_ALL[number]:
        if ".pcapng" in "".join(expected.words):
            # The words name the files.
            expected = expected._replace(words=())
        fitting = [finding for finding in findings if expected.fits(finding)]
        assert len(fitting) == expected.times if expected.times is not None else fitting, f"{expected}\n{findings}"
    undecided = {Anomaly.OUTCOME_UNDECIDED} if number in UNDECIDED else set()
    assert set(live.following.anomalies) == undecided
    assert live.pipeline.records == live.records


@pytest.mark.parametrize("number", sorted(CASES))
def test_nothing_else_is_called_harm_while_it_happens(number: str, tmp_path: Path) -> None:
    """No outcome that hurts a client but those of the table."""
    allowed = {expected.outcome for expected in EXPECTED_OF_ALL[number]}
    found = {
        finding.consequence.outcome
        for finding in inspect(CASES[number], tmp_path).findings
        if finding.consequence is not None and finding.consequence.outcome in HARMFUL
    }
    more = {"broken"} if number in SILENT else {"timed_out"} if number in ENDING else set()
    assert {str(one) for one in found - allowed} <= more
