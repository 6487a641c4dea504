"""The capture file of one conversation, for people and for `epm-inspector read`.

The records are read anew, one by one, until the finding comes out: there the file ends, and so it is known that
reading it gives this finding. Where it does not come out the file says so.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Final

from inspector import __version__
from inspector.capture.recording import redaction_comment
from inspector.capture.redaction import redact
from inspector.capture.writer import CaptureWriter
from inspector.model import Finding, format_time
from inspector.pipeline import Pipeline
from inspector.protocols import ACK, SYN
from inspector.record import Attribute, pack_record, record_time, unpack_record

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from inspector.config import Config
    from inspector.decode.batch import FindingBatch
    from inspector.model import Segment


_REBUILT: Final = (
    "Each frame is built anew from what was recorded of a packet: time, addresses, ports, TCP sequence numbers, flags "
    "and payload are those of the wire; Ethernet addresses, IP and TCP options, hop limits, windows and checksums are "
    "not. Packets without payload, SYN, FIN or RST are not recorded."
)


def capture_of(
    finding: Finding, records: Sequence[bytes], one_of: int, config: Config, interface_names: Mapping[int, str]
) -> bytes:
    """Return a capture file of the conversation that led to a finding, with comments which say so.

    `records` are those of its connection, oldest first, up to its answer at least; `one_of` as in `RecentRecords`.
    The values of authentication verifiers are blanked before all else, so what is read anew is what is written.
    """
    notes: Sequence[str | None] = [None] * len(records)
    if not config.keep_credentials:
        records, notes = _without_credentials(records)
    begun = _begin(records, finding)
    end = _end(begun, finding, config)
    if end is None and len(begun) < len(records):
        begun, end = records, _end(records, finding, config)
    kept = [one for one in begun if record_time(one) <= finding.time_ns] if end is None else list(begun[:end])
    segments = [unpack_record(record) for record in kept]
    answers = [number for number, segment in enumerate(segments) if _is_answer(segment, finding)]
    names = {one.interface_index: _interface_name(one.interface_index, interface_names) for one in segments}
    comment = f"{_comment(finding, segments, one_of, same=end is not None)}\n{redaction_comment(config)}"
    file = io.BytesIO()
    with CaptureWriter(file, names, comment) as writer:
        for number, (record, note) in enumerate(zip(kept, notes[len(records) - len(begun) :], strict=False)):
            is_last = bool(answers) and number == answers[-1]
            verdict = f"{finding.verdict}: {finding.why}" if is_last else None
            writer.write(record, "\n".join(filter(None, (verdict, note))))
    return file.getvalue()


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


def _end(records: Sequence[bytes], finding: Finding, config: Config) -> int | None:
    """Return after how many of the records the same finding comes out of a decoder; None where it does not."""
    pipeline = Pipeline(config.policy(), lambda _: finding.source, config.decoder_limits())
    for number, record in enumerate(records):
        if _is_among(finding, pipeline.feed([record])):
            return number + 1
    return len(records) if _is_among(finding, pipeline.flush()) else None


def _is_among(finding: Finding, batches: Iterable[FindingBatch]) -> bool:
    return any(one == finding for batch in batches for one in batch.findings())


def _is_answer(segment: Segment, finding: Finding) -> bool:
    return segment.from_server and segment.time_ns == finding.time_ns


def _interface_name(index: int, names: Mapping[int, str]) -> str:
    return names.get(index, f"interface {index}")


def _comment(finding: Finding, segments: Sequence[Segment], one_of: int, *, same: bool) -> str:
    """Return what a file says of itself."""
    first = segments[0] if segments else None
    lines = [
        f"epm-inspector {__version__}: a conversation seen on {finding.source}, until {format_time(finding.time_ns)}",
        f"{finding.verdict}: {finding.why}",
        f"client {finding.client} port {finding.client_port}, asked {finding.asked_raw} port {finding.server_port}",
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
    if one_of > 1:
        lines.append(f"Packets came so fast that of {one_of} connections one was kept.")
    return "\n".join(lines)
