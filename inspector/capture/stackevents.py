"""What Windows' TCP says of connections: events of Microsoft-Windows-TCPIP, from a trace or from a listing of it.

Fields are those of the provider's manifest (Windows 7 to 11); a listing, which `netsh trace convert`, `pktmon etl2txt`
and Network Monitor print, has the manifest's messages. Only what tells how a connection went is read.
"""

from __future__ import annotations

import enum
import re
import struct
import uuid
from datetime import UTC, datetime
from ipaddress import IPv6Address, ip_address
from typing import TYPE_CHECKING, Final, NamedTuple

from inspector.consequence import Endpoint

if TYPE_CHECKING:
    from inspector.capture.eventtrace import Event
    from inspector.model import IPAddress

TCPIP: Final = uuid.UUID("2f07e2ee-15db-40f1-90ef-9d7ba282188a").bytes_le

LONGEST_LINE: Final = 1 << 14

_INET: Final = 2
_INET6: Final = 23


class StackKind(enum.StrEnum):
    """What became of a connection; of bytes, how many: posted or sent, received or delivered, or both in all."""

    REQUESTED = "requested"
    CONNECTED = "connected"
    AGAIN = "again"
    FAILED = "failed"
    TIMED_OUT = "timed out"
    REFUSED = "refused"
    POSTED = "posted"
    SENT = "sent"
    RECEIVED = "received"
    DELIVERED = "delivered"
    SENT_IN_ALL = "sent in all"
    RECEIVED_IN_ALL = "received in all"
    CLOSED = "closed"
    ABORTED = "aborted"
    ENDED = "ended"
    RESET = "reset"
    LOST = "lost"


class StackEvent(NamedTuple):
    """An event of the connection with a control block (TCB) of that address; `value` is bytes, or a status."""

    time_ns: int
    block: int
    kind: StackKind
    value: int = 0
    local: Endpoint | None = None
    remote: Endpoint | None = None


# Events with the control block, addresses, state and count; and those with addresses, status and control block.
_BLOCK_FIRST: Final = {
    1002: StackKind.REQUESTED,
    1183: StackKind.REFUSED,
    1184: StackKind.RESET,
    1186: StackKind.AGAIN,
}
_BLOCK_LAST: Final = {
    **dict.fromkeys((1018, 1019, 1020, 1021, 1029, 1030, 1034, 1035, 1049, 1050), StackKind.FAILED),
    **dict.fromkeys((1046, 1047, 1048, 1200), StackKind.LOST),
    1033: StackKind.CONNECTED,
    1038: StackKind.CLOSED,
    1039: StackKind.ABORTED,
    1044: StackKind.CLOSED,
    1045: StackKind.TIMED_OUT,
}
# Events with a number of 32 bits, so many bytes behind the control block.
_NUMBERS: Final = {
    1073: (StackKind.SENT, 12),
    1074: (StackKind.RECEIVED, 0),
    1153: (StackKind.SENT, 12),
    1332: (StackKind.SENT, 8),
    1333: (StackKind.SENT, 8),
}
_POSTED: Final = 1159
_DELIVERED: Final = 1157
_DELIVERED_END: Final = 1176
_SUMMARY: Final = 1352

_ADDRESSES: Final = r"\(local=(?P<local>\S+?)\s+remote=(?P<remote>\S+?)[ )]"
_STARTS: Final = re.compile(rf"TCP: (?:Tcb|[Cc]onnection) (?P<block>(?:0x)?[0-9A-Fa-f]+)[:,]?\s+(?:{_ADDRESSES})?")
_TEXTS: Final = (
    (re.compile(r"requested to connect"), StackKind.REQUESTED),
    (re.compile(r"connect completed"), StackKind.CONNECTED),
    (re.compile(r"retransmitting connect attempt"), StackKind.AGAIN),
    (re.compile(r"connect failed: received RST"), StackKind.REFUSED),
    (re.compile(r"connect failed: connect-request timeout"), StackKind.TIMED_OUT),
    (re.compile(r"connect attempt failed with status = (?P<value>\S+)"), StackKind.FAILED),
    (re.compile(r"connect failed: .*?(?:status = (?P<value>\S+)|$)"), StackKind.FAILED),
    (re.compile(r"send \S* ?posted (?P<value>\d+) bytes"), StackKind.POSTED),
    (re.compile(r"Sent data with number of bytes = (?P<value>\d+)"), StackKind.SENT),
    (re.compile(r"Received data with number of bytes = (?P<value>\d+)"), StackKind.RECEIVED),
    (re.compile(r"delivery \S+ indicated \d+ bytes accepted (?P<value>\d+) bytes"), StackKind.DELIVERED),
    (re.compile(r"close issued|shutdown initiated"), StackKind.CLOSED),
    (re.compile(r"abort issued"), StackKind.ABORTED),
    (re.compile(r"delivering FIN"), StackKind.ENDED),
    (re.compile(r"connection terminated: received RST"), StackKind.RESET),
    (re.compile(r"terminating: (?:retransmission|keep-alive|disconnect|Zero window)"), StackKind.LOST),
)
_DATED: Final = re.compile(
    r"(?:(?P<year>\d{4})[-/](?P<month>\d\d)[-/](?P<day>\d\d)|(?P<us_month>\d\d)/(?P<us_day>\d\d)/(?P<us_year>\d{4}))"
    r"[-T ](?P<time>\d\d:\d\d:\d\d)(?P<fraction>\.\d{1,9})?"
)
_OF_DAY: Final = re.compile(
    r"(?<![\d:.])(?P<hour>\d{1,2}):(?P<rest>\d\d:\d\d)(?P<fraction>\.\d{1,9})?(?: (?P<half>[AP]M))?"
)
_LISTED: Final = re.compile(
    r"\[[0-9A-Fa-f]+\][0-9A-Fa-f]+\.[0-9A-Fa-f]+::|TCP: (?:Tcb|[Cc]onnection) (?:0x)?[0-9A-Fa-f]"
)
_COLUMNS: Final = re.compile(r"^\W*Frame Number\s+Time ", re.MULTILINE)


def is_listing(head: bytes) -> bool:
    """Return whether the first bytes of a file are those of a listing of events."""
    # UTF-16 has a zero beside each of these letters.
    text = head.replace(b"\0", b"").decode("latin-1")
    return _LISTED.search(text) is not None or _COLUMNS.search(text) is not None


def read_event(event: Event) -> list[StackEvent]:
    """Return what an event of a trace says; nothing where that is of no interest, or not all there."""
    try:
        return _read_event(event)
    except (struct.error, ValueError):
        return []


def read_line(line: str) -> StackEvent | None:
    """Return what a line of a listing says, None where that is of no interest."""
    start = _STARTS.search(line)
    if start is None:
        return None
    for pattern, kind in _TEXTS:
        found = pattern.search(line, start.start())
        if found is None:
            continue
        text = found.groupdict().get("value")
        try:
            value = _number(text)
            local, remote = (_endpoint(start[name]) if start[name] else None for name in ("local", "remote"))
            return StackEvent(_time_of(line[: start.start()]), int(start["block"], 16), kind, value, local, remote)
        except ValueError:
            return None
    return None


def _read_event(event: Event) -> list[StackEvent]:
    data, number, pointer = event.data, event.id, event.pointer

    def one(kind: StackKind, value: int = 0, *addresses: Endpoint) -> StackEvent:
        return StackEvent(event.time_ns, block, kind, value, *addresses)

    if number in _BLOCK_LAST:
        local, at = _socket_address(data, 0)
        remote, at = _socket_address(data, at)
        status = _read(data, at, 4)
        block = _read(data, at + 12, pointer)
        return [one(_BLOCK_LAST[number], status, local, remote)]
    block = _read(data, 0, pointer)
    if number in _BLOCK_FIRST:
        local, at = _socket_address(data, pointer)
        remote, _ = _socket_address(data, at)
        return [one(_BLOCK_FIRST[number], 0, local, remote)]
    if number in _NUMBERS:
        kind, offset = _NUMBERS[number]
        return [one(kind, _read(data, pointer + offset, 4))]
    if number == _POSTED:
        at = pointer
        while _read(data, at, 2):
            at += 2
        return [one(StackKind.POSTED, _read(data, at + 2, 4))]
    if number == _DELIVERED:
        return [one(StackKind.DELIVERED, _read(data, 4 * pointer + 4, pointer))]
    if number == _DELIVERED_END:
        return [one(StackKind.ENDED)]
    if number == _SUMMARY:
        sent, received = _read(data, pointer, 8), _read(data, pointer + 8, 8)
        return [one(StackKind.SENT_IN_ALL, sent), one(StackKind.RECEIVED_IN_ALL, received)]
    return []


def _read(data: bytes, at: int, size: int) -> int:
    if at + size > len(data):
        raise ValueError(at)
    return int.from_bytes(data[at : at + size], "little")


def _socket_address(data: bytes, at: int) -> tuple[Endpoint, int]:
    """Read a length and a SOCKADDR_IN or SOCKADDR_IN6, of which the port is in network order; return its end."""
    length = _read(data, at, 4)
    at += 4
    family, port = _read(data, at, 2), int.from_bytes(data[at + 2 : at + 4], "big")
    start, size = (at + 4, 4) if family == _INET else (at + 8, 16)
    if family not in (_INET, _INET6) or start + size > min(at + length, len(data)):
        raise ValueError(family)
    return Endpoint(_unmapped(ip_address(data[start : start + size])), port), at + length


def _endpoint(text: str) -> Endpoint:
    """Read an address and a port as messages have them: A.B.C.D:P, [A::B%S]:P. Raises ValueError."""
    address, _, port = text.rpartition(":")
    return Endpoint(_unmapped(ip_address(address.strip("[]").partition("%")[0])), int(port))


def _unmapped(address: IPAddress) -> IPAddress:
    return address.ipv4_mapped or address if isinstance(address, IPv6Address) else address


def _number(text: str | None) -> int:
    """Read a number, or a status, of which a name stands for 0."""
    text = (text or "").rstrip(".,)")
    try:
        return int(text, 0)
    except ValueError:
        return 0


def _time_of(text: str) -> int:
    """Return a time in nanoseconds since 1970, or of the day; 0 where there is none."""
    found = _DATED.search(text)
    if found is not None:
        date = "-".join(found[name] or found[f"us_{name}"] for name in ("year", "month", "day"))
        seconds = int(datetime.fromisoformat(f"{date}T{found['time']}").replace(tzinfo=UTC).timestamp())
    else:
        found = _OF_DAY.search(text)
        if found is None:
            return 0
        hour = int(found["hour"])
        if found["half"]:
            hour = hour % 12 + 12 * (found["half"] == "PM")
        minutes, rest = (int(part) for part in found["rest"].split(":"))
        seconds = hour * 3600 + minutes * 60 + rest
    return max(seconds, 0) * 1_000_000_000 + int((found["fraction"] or ".0")[1:].ljust(9, "0"))
