"""Evidence of a running inspection: a file is written once more with what followed, within bounds."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from inspector.capture.pcap import read_packets
from inspector.config import Config
from inspector.consequence import Consequence, FindingKind, Outcome
from inspector.decode.batch import FindingBatch, singly
from inspector.evidence import followed
from inspector.evidence.followed import FOLLOWED_NS, SETTLE_NS
from inspector.evidence.recorder import MOST_RECORDS, Evidence
from inspector.pipeline import Pipeline
from inspector.record import Attribute, pack_record
from inspector.wire.followups import IcmpError, pack_error
from tests.build.blocks import block_of
from tests.build.connection import Wire, raw_address
from tests.unit.test_evidence import MANY, call, config

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from inspector.model import Finding, Segment

PORT = 49152
SECOND = 1_000_000_000


class Running:
    """An inspection with evidence, whose time is that of its packets."""

    def __init__(self, folder: Path, settings: Config) -> None:
        self.folder = folder
        self.evidence = Evidence(folder, settings, {1: "eth0"})
        self._pipeline = Pipeline(settings.policy(), lambda _: "eth0", settings.decoder_limits())

    def take(self, *segments: Segment) -> list[Finding]:
        """Take packets; return the findings, by name of their files."""
        block = block_of([pack_record(one) for one in segments])
        self.evidence.keep(block)
        found = list(singly(self.evidence.name(self._pipeline.feed([block]))))
        self.evidence.refresh(segments[-1].time_ns)
        return found

    def tell(self, finding: Finding, outcome: Outcome, time_ns: int) -> None:
        """Report the outcome of a finding."""
        told = replace(
            finding, kind=FindingKind.FOLLOW_UP, time_ns=time_ns, consequence=Consequence(outcome), client_port=PORT
        )
        self.evidence.note(FindingBatch.of([told]))

    def packets(self, finding: Finding) -> int:
        """Return how many packets a finding's file has, once all are written."""
        assert finding.evidence is not None
        return len(list(read_packets(self.folder / finding.evidence)))


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    """Return an inspection that may write many files."""
    started = Running(tmp_path / "evidence", config(Config(), **MANY))
    yield started
    started.evidence.close()


def syns(start_ns: int, count: int = 2, *, port: int = PORT, client: str = "10.1.1.1") -> list[Segment]:
    """Return SYNs to an endpoint, a second apart."""
    [syn, *_] = Wire(client, client_port=50000, server_port=port, start_ns=start_ns).open().segments
    syn = syn._replace(attributes=syn.attributes | Attribute.ENDPOINT)
    return [syn._replace(time_ns=start_ns + number * SECOND) for number in range(count)]


def icmp(about: Segment) -> Segment:
    """Return the record of an ICMP error about a packet."""
    payload = pack_error(IcmpError(raw_address("10.1.1.254"), 3, 13, 0))
    attributes = about.attributes | Attribute.ICMP
    return about._replace(
        time_ns=about.time_ns + 1000, payload=payload, payload_length=len(payload), tcp_flags=0, attributes=attributes
    )


def test_the_follow_up_is_added_when_the_outcome_is_known(running: Running) -> None:
    """SYNs and the ICMP error of this client, to that port, after the answer: nothing else."""
    wire = call(offered="10.11.2.7")
    answer = wire.segments[-1]
    early = syns(answer.time_ns - SECOND // 2, 1)
    [finding] = running.take(*early, *wire.segments)
    mine = syns(answer.time_ns + 1000)
    others = [*syns(answer.time_ns + 2000, port=PORT + 1), *syns(answer.time_ns + 3000, client="10.1.1.2")]
    assert running.take(*mine, *others, icmp(mine[1])) == []
    running.tell(finding, Outcome.UNREACHABLE, mine[1].time_ns)
    running.take(*syns(mine[1].time_ns + SETTLE_NS + SECOND, 1, client="10.1.1.3"))
    running.evidence.close()
    assert running.packets(finding) == len(wire.segments) + len(mine) + 1
    assert running.evidence.counts().written == 1


def test_without_an_outcome_the_time_ends(running: Running) -> None:
    """Then it has what came until then."""
    wire = call(offered="10.11.2.7")
    [finding] = running.take(*wire.segments)
    end_ns = finding.time_ns + FOLLOWED_NS
    running.take(*syns(end_ns - 2 * SECOND, 2))
    running.take(*syns(end_ns + SECOND, 1, client="10.1.1.3"))
    running.take(*syns(end_ns + 2 * SECOND, 1))
    running.evidence.close()
    assert running.packets(finding) == len(wire.segments) + 2


def test_a_file_is_bounded(running: Running) -> None:
    """A client that tries again and again fills no disk."""
    wire = call(offered="10.11.2.7")
    [finding] = running.take(*wire.segments)
    many = [syns(finding.time_ns + 10_000 + number, 1)[0] for number in range(2 * MOST_RECORDS)]
    running.take(*many)
    running.evidence.close()
    assert running.packets(finding) == MOST_RECORDS


def test_conversations_that_are_followed_are_bounded(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest is written with what is there."""
    monkeypatch.setattr(followed, "MOST_FOLLOWED", 1)
    first, second = call(client_port=1000), call(client_port=2000, start_ns=call().time_ns + SECOND)
    [finding] = running.take(*first.segments)
    running.take(*syns(finding.time_ns + 1000))
    [other] = running.take(*second.segments)
    late = syns(other.time_ns + 1000)
    running.take(*late)
    running.evidence.close()
    assert running.packets(finding) == len(first.segments) + 2
    assert running.packets(other) == len(second.segments) + 2


def test_without_follow_ups_a_file_ends_with_the_answer(tmp_path: Path) -> None:
    """As it is written at once."""
    settings = config(Config(), **MANY).model_copy(update={"follow_up": False})
    running = Running(tmp_path / "evidence", settings)
    wire = call(offered="10.11.2.7")
    [finding] = running.take(*wire.segments)
    running.take(*syns(finding.time_ns + 1000))
    running.evidence.close()
    assert running.packets(finding) == len(wire.segments)
