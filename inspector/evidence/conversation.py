"""The capture file of one conversation, for people and for `epm-inspector read`.

The records are read anew, one by one, until the finding comes out: there the file ends, until it is known what
followed. So it is known that reading it gives this finding, and the outcomes. Where it does not the file says so.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Final

from inspector import __version__
from inspector.capture.recording import redaction_comment
from inspector.capture.redaction import redact
from inspector.capture.writer import CaptureWriter
from inspector.evidence.rereading import end_of, gives
from inspector.model import format_time
from inspector.protocols import ACK, SYN
from inspector.record import Attribute, pack_record, record_time, unpack_record

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from inspector.config import Config
    from inspector.evidence.followed import Case
    from inspector.model import Finding, Segment


_REBUILT: Final = (
    "Each frame is rebuilt from the record of a packet: time, addresses, ports, TCP sequence numbers, flags "
    "and payload are those of the wire; Ethernet addresses, IP and TCP options, windows and checksums are not. Packets "
    "without payload, SYN, FIN or RST are not recorded; of a connection to an endpoint only SYN, FIN, RST, what opens "
    "or refuses an association, and ICMP errors."
)


def capture_of(case: Case, config: Config, interface_names: Mapping[int, str]) -> bytes:
    """Return a capture file of the conversation that led to a finding, with comments which say so.

    The records of a case are those of its connection, oldest first, up to its answer at least, and those of what
    followed. The values of authentication verifiers are blanked before all else, so what is read anew is what is
    written.
    """
    finding, records = case.finding, case.all_records() if case.is_followed else case.records
    notes: Sequence[str | None] = [None] * len(records)
    if not config.keep_credentials:
        records, notes = _without_credentials(records)
    first, kept, same = _choose(case, records, config)
    segments = [unpack_record(record) for record in kept]
    answers = [number for number, segment in enumerate(segments) if _is_answer(segment, finding)]
    names = {one.interface_index: _interface_name(one.interface_index, interface_names) for one in segments}
    outcomes = gives(kept, finding, case.outcomes, config)
    comment = f"{_comment(case, segments, same=same, outcomes=outcomes)}\n{redaction_comment(config)}"
    file = io.BytesIO()
    with CaptureWriter(file, names, comment) as writer:
        for number, (record, note) in enumerate(zip(kept, notes[first:], strict=False)):
            is_last = bool(answers) and number == answers[-1]
            verdict = f"{finding.verdict}: {finding.why}" if is_last else None
            writer.write(record, "\n".join(filter(None, (verdict, note))))
    return file.getvalue()


def _choose(case: Case, records: Sequence[bytes], config: Config) -> tuple[int, Sequence[bytes], bool]:
    """Return which records are written, the first one's number before them, and whether they give the finding.

    They end with what completes it, unless it is known what followed.
    """
    finding = case.finding
    begun = _begin(records, finding)
    end = end_of(begun, finding, config)
    if end is None and len(begun) < len(records):
        begun, end = records, end_of(records, finding, config)
    first = len(records) - len(begun)
    if case.is_followed:
        return first, begun, end is not None
    if end is None:
        return first, [one for one in begun if record_time(one) <= finding.time_ns], False
    return first, begun[:end], True


def _without_credentials(records: Sequence[bytes]) -> tuple[list[bytes], list[str | None]]:
    """Return the records with the values of verifiers blanked, and what is to be said of each."""
    redacted = redact([unpack_record(record) for record in records])
    return [pack_record(one.segment) for one in redacted], [one.note for one in redacted]


def _begin(records: Sequence[bytes], finding: Finding) -> Sequence[bytes]:
    """Return the records from the connection's SYN on, if it is among them: before it came another connection."""
    segments = [unpack_record(record) for record in records]
    opening = [
        number
        for number, one in enumerate(segments)
        if one.time_ns <= finding.time_ns and not one.from_server and one.tcp_flags & (SYN | ACK) == SYN
    ]
    if not opening:
        return records
    # It may have been sent more than once.
    again = [number for number in opening if segments[number].sequence == segments[opening[-1]].sequence]
    return records[again[0] :]


def _is_answer(segment: Segment, finding: Finding) -> bool:
    return segment.from_server and segment.time_ns == finding.time_ns


def _interface_name(index: int, names: Mapping[int, str]) -> str:
    return names.get(index, f"interface {index}")


def _comment(case: Case, segments: Sequence[Segment], *, same: bool, outcomes: bool) -> str:
    """Return what a file says of itself: whether reading it gives the same finding, and the same outcomes."""
    finding = case.finding
    first = segments[0] if segments else None
    answered = format_time(finding.time_ns)
    followed = ", and what followed" if case.is_followed else ""
    lines = [
        f"epm-inspector {__version__}: a conversation seen on {finding.source}, until {answered}{followed}",
        f"{finding.verdict}: {finding.why}",
        f"client {finding.client} port {finding.client_port}, asked {finding.asked_raw} port {finding.server_port}",
        *(f"{one.outcome}: {one.why}" for one in case.outcomes),
        _REBUILT,
    ]
    if first is not None and not first.attributes & Attribute.UDP and not first.tcp_flags & SYN:
        lines.append("The connection's start is not here: it was not seen, or is older than the packets that are held.")
    options = " --tunnels" if any(one.tunnel is not None for one in segments) else ""
    if same:
        lines.append(
            f"`epm-inspector read{options}`, with the same configuration, gives this finding, after earlier ones of "
            "the same connection."
        )
    else:
        lines.append("Reading this file gives another finding: not all packets which led to this one are here.")
    if not outcomes:
        lines.append("Reading this file gives another outcome: not all that led to this one is here.")
    if case.one_of > 1:
        lines.append(f"Packets came so fast that of {case.one_of} connections one was kept.")
    return "\n".join(lines)
