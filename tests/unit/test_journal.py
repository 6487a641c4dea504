"""Findings to the journal: what arrives at a real datagram socket, and what becomes of what cannot be sent."""

from __future__ import annotations

import array
import fcntl
import json
import os
import socket
import struct
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from inspector.decode.batch import FindingBatch
from inspector.model import NOTEWORTHY, Verdict
from inspector.output.journal import MESSAGE_ID, Journal, encode, fields_of
from inspector.output.jsonform import LINE_BYTES
from tests.build.blocks import batch_of
from tests.build.findings import joined
from tests.unit.test_console import FINDING
from tests.unit.test_evidence import inspect, storm
from tests.unit.test_follow_up_output import LATER, REACHED

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LARGE = replace(FINDING, mappings=FINDING.mappings * 3000)


def parse(entry: bytes) -> dict[str, list[str]]:
    """Return an entry's fields: the journal's side of the protocol, written anew."""
    fields: dict[str, list[str]] = {}
    while entry:
        head, _, entry = entry.partition(b"\n")
        name, equals, value = head.partition(b"=")
        if not equals:
            (length,) = struct.unpack_from("<Q", entry)
            value, end, entry = entry[8 : 8 + length], entry[8 + length : 9 + length], entry[9 + length :]
            assert end == b"\n"
        assert name.replace(b"_", b"").isalnum()
        assert name.isupper()
        assert not name.startswith(b"_")
        fields.setdefault(name.decode(), []).append(value.decode())
    return fields


class Daemon:
    """The journal's socket. It holds as many entries as the kernel lets it: eleven, unless the system asks for more."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(self.path)
        self.socket.setblocking(False)
        self.sealed = 0

    def entry(self) -> dict[str, list[str]]:
        """Return the next entry, out of a datagram or out of the memory that came with it."""
        data, ancillary, _, _ = self.socket.recvmsg(1 << 20, socket.CMSG_SPACE(4))
        if not ancillary:
            return parse(data)
        ((level, kind, content),) = ancillary
        assert (level, kind, data) == (socket.SOL_SOCKET, socket.SCM_RIGHTS, b"")
        (descriptor,) = array.array("i", content)
        seals = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
        assert fcntl.fcntl(descriptor, fcntl.F_GET_SEALS) == seals
        self.sealed += 1
        length = os.fstat(descriptor).st_size
        content = os.pread(descriptor, length, 0)
        os.close(descriptor)
        return parse(content)

    def entries(self) -> list[dict[str, list[str]]]:
        """Return all entries that are there."""
        found = []
        while True:
            try:
                found.append(self.entry())
            except BlockingIOError:
                return found


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    """Return a socket to send to."""
    one = Daemon(tmp_path / "socket")
    yield one
    one.socket.close()


def journal(daemon: Daemon, said: list[str] | None = None, **options: object) -> Journal:
    """Return what sends there."""
    return Journal((said if said is not None else []).append, path=daemon.path, **options)  # type: ignore[arg-type]


def test_the_fields_of_an_entry(daemon: Daemon) -> None:
    """One message for people, what to search by in fields of its own, and the whole finding."""
    sink = journal(daemon)
    assert sink.show(batch_of(replace(FINDING, evidence="a.pcapng")))
    sink.close()
    (entry,) = daemon.entries()
    finding = json.loads(entry["EPM_FINDING"][0])
    assert finding == replace(FINDING, evidence="a.pcapng").as_dict()
    assert {name: values for name, values in entry.items() if name not in ("EPM_FINDING", "MESSAGE")} == {
        "PRIORITY": ["4"],
        "SYSLOG_IDENTIFIER": ["epm-inspector"],
        "MESSAGE_ID": [MESSAGE_ID],
        "EPM_TIME": [finding["time"]],
        "EPM_VERDICT": ["mismatch"],
        "EPM_KIND": ["answer"],
        "EPM_SOURCE": [finding["source"]],
        "EPM_CLIENT": [finding["client"]],
        "EPM_CLIENT_PORT": [str(finding["client_port"])],
        "EPM_VIP": [finding["asked"]],
        "EPM_SERVER_PORT": ["135"],
        "EPM_OFFERED": ["10.11.2.7"],
        "EPM_OPERATION": ["ept_map"],
        "EPM_SERVICE": ["MAPI"],
        "EPM_STATUS": ["0"],
        "EPM_EVIDENCE": ["a.pcapng"],
    }
    assert entry["MESSAGE"] == [f"mismatch: client 10.1.1.1, service MAPI: {FINDING.why}"]


def test_who_is_hurt_is_in_the_journal(daemon: Daemon) -> None:
    """Whatever the verdict, as an error, with outcome and cause; a follow-up that got through is not."""
    match = replace(FINDING, verdict=Verdict.MATCH)
    sink = journal(daemon)
    later = replace(LATER, verdict=Verdict.MATCH)
    sink.show(batch_of(match, replace(match, follow_up=later), later, REACHED, replace(FINDING, follow_up=REACHED)))
    together, alone, well = daemon.entries()
    for entry in (together, alone):
        assert entry["MESSAGE"] == ["refused: client 10.1.1.1, service MAPI: it was refused"]
        assert entry["PRIORITY"] == ["3"]
        assert (entry["EPM_KIND"], entry["EPM_OUTCOME"]) == (["follow_up"], ["refused"])
        assert (entry["EPM_VERDICT"], entry["EPM_CAUSE"]) == (["match"], ["ports_not_published"])
    assert [json.loads(line)["kind"] for line in together["EPM_FINDING"]] == ["answer", "follow_up"]
    assert (well["PRIORITY"], well["EPM_VERDICT"], "EPM_OUTCOME" in well) == (["4"], ["mismatch"], False)


def test_line_ends_and_control_characters(daemon: Daemon) -> None:
    """A value with line ends is sent with its length; nothing from the wire forges a field or moves a cursor."""
    hostile = "x\nPRIORITY=0\n\x1b[2J"
    sink = journal(daemon)
    sink.show(batch_of(replace(FINDING, why=hostile, source=hostile)))
    (entry,) = daemon.entries()
    assert entry["PRIORITY"] == ["4"]
    assert entry["EPM_SOURCE"] == [hostile]
    assert entry["MESSAGE"][0].isprintable()
    assert parse(encode([("A", "1"), ("B", "\n"), ("A", "ü=\udc80"), ("C", "")])) == {
        "A": ["1", "ü=\\udc80"],
        "B": ["\n"],
        "C": [""],
    }


def test_what_is_too_long_for_a_datagram(daemon: Daemon) -> None:
    """It goes through sealed memory, and is whole; no descriptor stays open."""
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - of this process
    sink = journal(daemon)
    for finding in (LARGE, FINDING, LARGE):
        sink.show(batch_of(finding))
    entries = daemon.entries()
    assert daemon.sealed == 2
    assert [joined(map(json.loads, entry["EPM_FINDING"])) for entry in entries] == [
        one.as_dict() for one in (LARGE, FINDING, LARGE)
    ]
    assert all(len(part) < LINE_BYTES for entry in entries for part in entry["EPM_FINDING"])
    sink.close()
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208
    assert sink.failed == 0


def test_priorities_and_verdicts(daemon: Daemon) -> None:
    """What should not come at all goes there unless more is asked for; the worse, the higher."""
    sink, all_of_them = journal(daemon), journal(daemon, verdicts=list(Verdict))
    for verdict in Verdict:
        sink.show(batch_of(replace(FINDING, verdict=verdict)))
    assert {entry["EPM_VERDICT"][0] for entry in daemon.entries()} == NOTEWORTHY
    priorities: dict[str, str] = {}
    for verdict in Verdict:
        all_of_them.show(batch_of(replace(FINDING, verdict=verdict)))
        (entry,) = daemon.entries()
        priorities[entry["EPM_VERDICT"][0]] = entry["PRIORITY"][0]
    assert set(priorities) == set(Verdict)
    assert (priorities["mismatch"], priorities["not_registered"], priorities["match"]) == ("4", "5", "6")


def test_no_journal_is_counted_and_said_once(tmp_path: Path) -> None:
    """Without the socket, with a full one, and when it is there again: nothing waits, nothing ends."""
    said: list[str] = []
    sink = Journal(said.append, path=str(tmp_path / "socket"))
    for finding in (FINDING, LARGE, FINDING):
        assert sink.show(batch_of(finding))
    assert sink.failed == 3
    daemon = Daemon(tmp_path / "socket")
    sink.show(batch_of(FINDING))
    assert len(daemon.entries()) == 1
    for _ in range(290):
        sink.show(batch_of(FINDING))
    assert sink.failed > 3, "nobody reads, and the queue of the socket is full"
    assert sink.failed + len(daemon.entries()) + 1 == 3 + 291
    assert [line.partition(" written")[2] for line in said] == [
        ": No such file or directory; inspection continues, losses are counted in the metrics",
        " again",
        ": Resource temporarily unavailable; inspection continues, losses are counted in the metrics",
    ]
    daemon.socket.close()


class Clock:
    """A clock which stands."""

    now = 100.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


class Batches:
    """Takes what a pipeline finds to a journal, in batches."""

    def __init__(self, sink: Journal) -> None:
        self.sink = sink

    def keep(self, _block: object) -> None:
        """There is nothing to keep."""

    def name(self, found: Iterator[FindingBatch]) -> Iterator[FindingBatch]:
        """Show what is found on its way."""
        for batch in found:
            self.sink.show(batch)
            yield batch


def test_a_storm_is_cut_down_to_the_rate(daemon: Daemon) -> None:
    """So many a second, the first of them, whether they come in batches or alone; the others are counted."""
    clock = Clock()
    sink = journal(daemon, per_second=5, clock=clock)
    findings = inspect(Batches(sink), [storm(1000)])  # type: ignore[arg-type]
    assert len(findings) == 1000
    entries = daemon.entries()
    assert [json.loads(entry["EPM_FINDING"][0]) for entry in entries] == [one.as_dict() for one in findings[:5]]
    assert sink.left_out == 995
    for _ in range(7):
        sink.show(batch_of(FINDING))
    assert sink.left_out == 995 + 7
    clock.now += 1
    inspect(Batches(sink), [storm(3)])  # type: ignore[arg-type]
    for _ in range(3):
        sink.show(batch_of(FINDING))
    assert len(daemon.entries()) == 5
    assert sink.left_out == 995 + 7 + 1
    others = journal(daemon, verdicts=[Verdict.REJECTED], per_second=5)
    inspect(Batches(others), [storm(100)])  # type: ignore[arg-type]
    assert (daemon.entries(), others.left_out) == ([], 0)


def test_names_of_fields() -> None:
    """At most 64 characters, as the journal wants them."""
    assert all(len(name) <= 64 for name, _ in fields_of(FINDING))
