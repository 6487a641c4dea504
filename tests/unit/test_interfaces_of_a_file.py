"""One capture of several interfaces, as `attach --write` makes it: they are compared as files are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from inspector.capture.writer import CaptureWriter
from inspector.config import Config
from inspector.consequence import Cause, FindingKind, Outcome
from inspector.decode.batch import singly
from inspector.reading.filereader import FileReader
from inspector.reading.sighting import survey_files
from inspector.record import pack_record
from inspector.wire.frame import read_frame
from tests.cases import gateways  # noqa: F401  # registers its cases
from tests.cases.case import CASES
from tests.cases.network import Network

if TYPE_CHECKING:
    from pathlib import Path

    from inspector.model import Finding, Segment

NAMES = {1: "clients0", 2: "servers0"}


def segments(network: Network) -> list[Segment]:
    """Return the packets of port 135 that both interfaces see."""
    found = []
    for index, scene in zip(NAMES, network.scenes, strict=True):
        for frame in scene.frames:
            one = read_frame(
                frame.data,
                link_type=1,
                time_ns=frame.time_ns,
                interface_index=index,
                ports={135},
                wire_length=frame.wire_length,
            )
            found += [one] if isinstance(one, tuple) else []
    return sorted(found, key=lambda one: one.time_ns)


def read(path: Path, number: str, interfaces: int = 2) -> list[Finding]:
    """Return the findings of a case's packets in one file, seen on so many interfaces."""
    network = Network(gateway=True)
    CASES[number].build(network)
    with CaptureWriter(path, NAMES) as writer:
        for one in segments(network):
            writer.write(pack_record(one._replace(interface_index=min(one.interface_index, interfaces))))
    config = Config()
    reader = FileReader(path, config, ties=survey_files([path], config).ties)
    return [one for told in singly(reader.findings(print)) for one in told.with_follow_up()]


@pytest.mark.parametrize("number", ["07a-strict-silent", "08a-original"])
def test_an_answer_that_did_not_leave(tmp_path: Path, number: str) -> None:
    """It was dropped between the interfaces, and each question is told once."""
    found = read(tmp_path / "a.pcapng", number)
    answers, lost = ([one for one in found if one.kind is kind] for kind in (FindingKind.ANSWER, FindingKind.DELIVERY))
    assert len(answers) == len(lost) == 2
    for one in lost:
        assert one.consequence is not None
        assert (one.outcome, one.consequence.cause) == (Outcome.UNDELIVERED, Cause.STRICT_RPC_FILTER)
        assert "it was dropped" in one.why
    assert {one.source for one in found} == {str(tmp_path / "a.pcapng")}


def test_a_healthy_gateway(tmp_path: Path) -> None:
    """Copies of packets are no conversations of their own."""
    found = read(tmp_path / "a.pcapng", "01-healthy")
    assert len(found) == len({one.client_port for one in found}) > 0
    assert not any(one.outcome for one in found)
