"""`python -m tests.oracle.dcom_captures DIRECTORY...`: answers of DCOM in captures, as tshark and the inspector read.

For each capture that has any: how many answers tshark dissects, and how many of these the inspector reads with equal
bindings. Then the server's address in the IP header is another, as behind a destination NAT: how many bindings name the
server, and how many of these are a mismatch now.
"""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

from inspector.capture.pcap import read_records
from inspector.config import Config
from inspector.decode.batch import singly
from inspector.errors import CaptureError
from inspector.judge.policy import Policy
from inspector.model import Finding, Segment, Verdict
from inspector.pipeline import Pipeline
from inspector.record import pack_record, unpack_record
from tests.build.blocks import findings_of_batch
from tests.build.connection import raw_address

SUFFIXES: Final = frozenset({".pcap", ".pcapng", ".cap"})
_FIELDS: Final = "tcp.dstport", "dcom.dualstringarray.tower_id", "dcom.dualstringarray.network_addr"
_VIP: Final = raw_address("198.51.100.1")
# As in `inspector.protocols.TCP_SEQUENCES`, and the others that tshark names.
_TOWERS: Final = {"ncacn_ip_tcp": 7, "ncadg_ip_udp": 8, "ncacn_np": 15, "ncacn_http": 31}


class Answer(NamedTuple):
    """An answer: the client's port, and the hosts of its bindings with their ports, each once."""

    client_port: int
    bindings: frozenset[str]


class Row(NamedTuple):
    """What is said of a capture: answers that tshark dissects and that are `found` equal; bindings after the rewriting.

    `naming` is how many bindings name the server, `mismatching` how many of these are a mismatch.
    """

    name: str
    answers: int
    found: int
    naming: int
    mismatching: int


def captures_in(directories: Iterable[Path]) -> Iterator[Path]:
    """Yield the capture files below directories, in the order of their names."""
    for directory in directories:
        yield from sorted(path for path in directory.rglob("*") if path.suffix in SUFFIXES)


def dissected(path: Path) -> Counter[Answer]:
    """Return the answers with bindings that tshark dissects on port 135."""
    command = ["tshark", "-n", "-r", str(path), "-d", "tcp.port==135,dcerpc"]
    command += ["-Y", "dcom.dualstringarray.network_addr && tcp.srcport==135"]
    command += ["-T", "fields", "-E", "aggregator=|", *(part for field in _FIELDS for part in ("-e", field))]
    # Of a capture that is cut short tshark shows what there is, and complains.
    output = subprocess.run(command, check=False, capture_output=True, text=True).stdout
    found: Counter[Answer] = Counter()
    for line in output.splitlines():
        port, towers, texts = line.split("\t")
        bindings = zip((int(tower, 0) for tower in towers.split("|")), texts.split("|"), strict=True)
        found[Answer(int(port), frozenset(f"{tower} {text}" for tower, text in bindings))] += 1
    return found


def findings_of(path: Path, *, rewritten: bool) -> list[Finding]:
    """Return the findings on answers of DCOM, with the server's address as it is or as another."""
    pipeline = Pipeline(Policy(), str, Config().decoder_limits(), engine=True)
    found: list[Finding] = []
    try:
        for record in read_records(path, ports=Config().ports, counters=Counter()):
            segment = unpack_record(record)
            found += findings_of_batch(pipeline, pack_record(_translated(segment) if rewritten else segment))
    except CaptureError as error:
        print(f"{path}: {error}", file=sys.stderr)
    found += singly(pipeline.flush())
    return [one for one in found if one.dcom is not None and one.mappings]


def _translated(segment: Segment) -> Segment:
    if segment.from_server:
        return segment._replace(source_address=_VIP)
    return segment._replace(destination_address=_VIP)


def answer_of(finding: Finding) -> Answer:
    """Return an answer as tshark shows it."""
    bindings = set()
    for mapping in finding.mappings:
        host = mapping.binding.host if mapping.binding is not None and mapping.address is None else mapping.address
        port = mapping.port if mapping.port is not None else mapping.endpoint
        text = f"{host}[{port}]" if port is not None else str(host)
        bindings.add(f"{_TOWERS.get(mapping.protocol, mapping.protocol)} {text}")
    return Answer(finding.client_port, frozenset(bindings))


def row_of(path: Path) -> Row:
    """Return what is said of a capture."""
    theirs = dissected(path)
    before, after = (findings_of(path, rewritten=rewritten) for rewritten in (False, True))
    ours = Counter(map(answer_of, before))
    naming = mismatching = 0
    for one, behind in zip(before, after, strict=True):
        for mapping, judged in zip(one.mappings, behind.mappings, strict=True):
            if mapping.address == one.server:
                naming += 1
                mismatching += judged.verdict is Verdict.MISMATCH
    return Row(path.name, theirs.total(), (theirs & ours).total(), naming, mismatching)


def rows_of(directories: Iterable[Path]) -> list[Row]:
    """Return the rows of all captures that have any answer of DCOM."""
    rows = [row_of(path) for path in captures_in(directories)]
    return [row for row in rows if row.answers or row.naming]


def main() -> int:
    """Print the table; return 1 where an answer is missing or a binding stays what it was."""
    rows = rows_of(map(Path, sys.argv[1:]))
    print(f"{'capture':48} {'tshark':>7} {'equal':>7} {'naming':>7} {'mismatch':>9}")
    for row in rows:
        print(f"{row.name:48} {row.answers:7} {row.found:7} {row.naming:7} {row.mismatching:9}")
    return int(any(row.found != row.answers or row.mismatching != row.naming for row in rows))


if __name__ == "__main__":
    sys.exit(main())
