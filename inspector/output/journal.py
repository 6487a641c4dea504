"""Findings to the system's journal, by its native protocol (systemd.io/JOURNAL_NATIVE_PROTOCOL).

An entry is one datagram of fields: `NAME=value` and a line end or, where the value has line ends itself, the name, a
line end, the length in 64 bits, little-endian, the value and a line end. One that is too long for a datagram goes
into sealed memory whose descriptor is sent instead. Sending never waits: what the journal cannot take is counted.
"""

from __future__ import annotations

import array
import contextlib
import errno
import fcntl
import os
import socket
import time
from typing import TYPE_CHECKING, Final

from inspector.consequence import HARMFUL, FindingKind
from inspector.escape import harmless
from inspector.losses import Trouble, reason_of
from inspector.model import NOTEWORTHY, Finding, Verdict, format_time
from inspector.output.jsonform import lines_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator

    from inspector.decode.batch import FindingBatch

SOCKET: Final = "/run/systemd/journal/socket"

MESSAGE_ID: Final = "2aaee1defb8c4ffd825aeabae67856a6"
"""What all these entries have in common; `journalctl MESSAGE_ID=...` finds them."""

# The journal's own limit, by default, is 10,000 entries of a service in 30 seconds.
PER_SECOND: Final = 300

# As syslog has them (RFC 5424 section 6.2.1).
_ERROR, _WARNING, _NOTICE, _INFORMATIONAL = 3, 4, 5, 6
_PRIORITIES: Final = {
    Verdict.MATCH: _INFORMATIONAL,
    Verdict.UNSPECIFIED: _INFORMATIONAL,
    Verdict.NO_ADDRESS: _INFORMATIONAL,
    Verdict.POOLED: _INFORMATIONAL,
    Verdict.OTHER_FAMILY: _INFORMATIONAL,
    Verdict.OPEN: _INFORMATIONAL,
    Verdict.SEALED: _INFORMATIONAL,
    Verdict.NOT_REGISTERED: _NOTICE,
    Verdict.ONE_WAY: _NOTICE,
}
# Servers behind one answer which get a field each.
_MOST_OFFERED: Final = 16
_TOO_LONG: Final = frozenset({errno.EMSGSIZE, errno.ENOBUFS})
_SEALS: Final = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE


class Journal:
    """Sends findings of some verdicts, and all of clients that are hurt.

    `failed` counts what could not be sent, `left_out` what was above the rate.
    """

    def __init__(
        self,
        warn: Callable[[str], None],
        *,
        verdicts: Collection[Verdict] = NOTEWORTHY,
        path: str = SOCKET,
        per_second: int = PER_SECOND,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.failed = self.left_out = 0
        self._verdicts = frozenset(verdicts)
        self._path = path
        self._per_second = per_second
        self._clock = clock
        self._second = 0
        self._sent = 0
        self._trouble = Trouble(f"the journal ({path})", warn)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)

    def show(self, batch: FindingBatch) -> bool:
        """Send as many findings as there is room for in this second; always True: the journal may come back."""
        rows = batch.rows_where(self._wants)
        sent = rows[: self._room()].tolist() if len(rows) else []
        for row in sent:
            for finding in batch[row : row + 1].findings():
                self._send(finding)
        self.left_out += len(rows) - len(sent)
        return True

    def reopen(self) -> None:
        """There is nothing to open: each entry is sent to the socket of that name."""

    def close(self) -> None:
        """Close our end."""
        self._socket.close()

    def _wants(self, finding: Finding) -> bool:
        if finding.harm is not None:
            return True
        # A follow-up that got through has the verdict of its answer, which was sent.
        return finding.kind is not FindingKind.FOLLOW_UP and finding.verdict in self._verdicts

    def _room(self) -> int:
        """Return how many more entries may be sent in this second."""
        second = int(self._clock())
        if second != self._second:
            self._second, self._sent = second, 0
        return self._per_second - self._sent

    def _send(self, finding: Finding) -> None:
        self._sent += 1
        entry = encode(fields_of(finding))
        try:
            try:
                self._socket.sendto(entry, socket.MSG_NOSIGNAL, self._path)
            except OSError as error:
                if error.errno not in _TOO_LONG:
                    raise
                self._send_in_memory(entry)
        except OSError as error:
            self.failed += 1
            self._trouble.failed(reason_of(error))
        else:
            self._trouble.succeeded()

    def _send_in_memory(self, entry: bytes) -> None:
        descriptor = os.memfd_create("epm-inspector", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        with contextlib.closing(os.fdopen(descriptor, "wb", buffering=0)) as memory:
            written = memoryview(entry)
            while written:
                written = written[memory.write(written) :]
            # The journal takes it only if nobody can change it any more.
            fcntl.fcntl(memory, fcntl.F_ADD_SEALS, _SEALS)
            rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [descriptor]))
            self._socket.sendmsg([], [rights], socket.MSG_NOSIGNAL, self._path)


def fields_of(finding: Finding) -> Iterator[tuple[str, str]]:
    """Yield the fields of a finding's entry; EPM_OFFERED once for each address, EPM_FINDING for each part."""
    service = _service(finding)
    # What hurt the client is said before what the answer looks like.
    about = next((one for one in finding.with_follow_up() if one.outcome in HARMFUL), finding)
    word = finding.harm or finding.verdict
    yield "MESSAGE", harmless(f"{word}: client {finding.client}, service {service or '-'}: {about.why}")
    yield "PRIORITY", str(_ERROR if finding.harm is not None else _PRIORITIES.get(finding.verdict, _WARNING))
    yield "SYSLOG_IDENTIFIER", "epm-inspector"
    yield "MESSAGE_ID", MESSAGE_ID
    yield "EPM_TIME", format_time(finding.time_ns)
    yield "EPM_VERDICT", str(finding.verdict)
    yield "EPM_KIND", str(about.kind)
    yield "EPM_SOURCE", finding.source
    yield "EPM_CLIENT", str(finding.client)
    yield "EPM_CLIENT_PORT", str(finding.client_port)
    yield "EPM_VIP", str(finding.asked)
    yield "EPM_SERVER_PORT", str(finding.server_port)
    yield from (("EPM_OFFERED", address) for address in _offered(finding))
    optional = {
        "EPM_OPERATION": finding.operation,
        "EPM_SERVICE": service,
        "EPM_STATUS": finding.status,
        "EPM_EVIDENCE": finding.evidence,
        "EPM_OUTCOME": about.outcome,
        "EPM_CAUSE": about.consequence.cause if about.consequence is not None else None,
    }
    yield from ((name, str(value)) for name, value in optional.items() if value is not None)
    yield from (("EPM_FINDING", line) for line in lines_of(finding))


def _service(finding: Finding) -> str | None:
    """Return name or UUID of the interface which a finding is about."""
    interface = finding.requested or next((mapping.interface for mapping in finding.mappings), None)
    return None if interface is None else interface.name or str(interface.uuid)


def _offered(finding: Finding) -> list[str]:
    addresses = dict.fromkeys(str(mapping.address) for mapping in finding.mappings if mapping.address is not None)
    return list(addresses)[:_MOST_OFFERED]


def encode(fields: Iterable[tuple[str, str]]) -> bytes:
    """Return an entry's fields as the journal reads them."""
    entry = bytearray()
    for name, value in fields:
        data = value.encode("utf-8", "backslashreplace")
        if b"\n" in data:
            entry += name.encode() + b"\n" + len(data).to_bytes(8, "little") + data + b"\n"
        else:
            entry += name.encode() + b"=" + data + b"\n"
    return bytes(entry)
