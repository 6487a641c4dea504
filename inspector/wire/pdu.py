"""DCE/RPC connection-oriented PDUs: C706 chapter 12, MS-RPCE section 2.2.2.

`split_pdu` has three outcomes: a PDU, None for "need more", or a DecodeError.
The bodies are read by `inspector.wire.body` once a PDU is complete.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator
from typing import Final, NamedTuple

from inspector.errors import Anomaly, DecodeError

HEADER_SIZE: Final = 16
# A server of ncacn_http says this before its first PDU, as on port 593 (MS-RPCH section 2.1.1.1.2).
HTTP_GREETING: Final = b"ncacn_http/1.0"
_AUTH_TRAILER_SIZE: Final = 8


class PduType(enum.IntEnum):
    """Connection-oriented PDU types (C706 section 12.6.1; AUTH3 from MS-RPCE 2.2.2.1, RTS from MS-RPCH)."""

    REQUEST = 0
    RESPONSE = 2
    FAULT = 3
    BIND = 11
    BIND_ACK = 12
    BIND_NAK = 13
    ALTER_CONTEXT = 14
    ALTER_CONTEXT_RESPONSE = 15
    AUTH3 = 16
    SHUTDOWN = 17
    CANCEL = 18
    ORPHANED = 19
    RTS = 20


class PduFlag(enum.IntFlag):
    """Bits of pfc_flags (C706 section 12.6.3.1)."""

    FIRST_FRAGMENT = 0x01
    LAST_FRAGMENT = 0x02
    OBJECT_UUID = 0x80


class AuthLevel(enum.IntEnum):
    """Authentication levels that change how a stub is read (MS-RPCE section 2.2.1.1.8)."""

    INTEGRITY = 5
    PRIVACY = 6


class Pdu(NamedTuple):
    """One PDU: the common header's fields, and the body without authentication padding and verifier.

    `auth_level` and `auth_service` are those of the verifier, None where there is none.
    """

    type: PduType
    flags: int
    little_endian: bool
    call_id: int
    frag_length: int
    body: bytes
    auth_level: int | None
    auth_service: int | None = None

    @property
    def first(self) -> bool:
        """Whether this is the first fragment of its call."""
        return bool(self.flags & PduFlag.FIRST_FRAGMENT)

    @property
    def last(self) -> bool:
        """Whether this is the last fragment of its call."""
        return bool(self.flags & PduFlag.LAST_FRAGMENT)

    @property
    def sealed(self) -> bool:
        """Whether the stub is encrypted."""
        return self.auth_level == AuthLevel.PRIVACY


_TYPES: Final = {int(member): member for member in PduType}


def frag_length_of(data: bytes | bytearray | memoryview, position: int = 0) -> int | None:
    """Return the length of the PDU whose header starts at `position`, or None if no PDU can start like that.

    At least 16 bytes must be there. All header fields with few legal values are
    checked, since the same test finds the next PDU after bytes were lost.
    """
    integers = data[position + 4]
    if (
        data[position] != 5
        or data[position + 1] > 1
        or data[position + 2] not in _TYPES
        or integers & 0xEE
        or data[position + 5] > 3
    ):
        return None
    order = "little" if integers & 0x10 else "big"
    length = int.from_bytes(data[position + 8 : position + 10], order)  # type: ignore[arg-type]  # a literal of two values
    return length if length >= HEADER_SIZE else None


def split_pdu(data: bytes | bytearray, position: int = 0) -> Pdu | None:
    """Return the PDU at `position`, or None when more bytes are needed.

    Raises DecodeError (PDU_MALFORMED, AUTH_MALFORMED) when no PDU can start like this.
    """
    available = len(data) - position
    if available < HEADER_SIZE:
        return None
    length = frag_length_of(data, position)
    if length is None:
        raise DecodeError(Anomaly.PDU_MALFORMED, f"no PDU header in {bytes(data[position : position + 16]).hex()}")
    if available < length:
        return None
    return _read_complete(bytes(data[position : position + length]))


def _read_complete(data: bytes) -> Pdu:
    little_endian = bool(data[4] & 0x10)
    order = "little" if little_endian else "big"
    auth_length = int.from_bytes(data[10:12], order)  # type: ignore[arg-type]  # a literal of two values
    call_id = int.from_bytes(data[12:16], order)  # type: ignore[arg-type]  # a literal of two values
    body, auth_level, auth_service = data[HEADER_SIZE:], None, None
    if auth_length:
        body, auth_level, auth_service = _strip_auth(data, auth_length)
    return Pdu(_TYPES[data[2]], data[3], little_endian, call_id, len(data), body, auth_level, auth_service)


def _strip_auth(data: bytes, auth_length: int) -> tuple[bytes, int, int]:
    """Return the body without padding, trailer and token (MS-RPCE section 2.2.2.11), level and service."""
    trailer = len(data) - auth_length - _AUTH_TRAILER_SIZE
    if trailer < HEADER_SIZE:
        raise DecodeError(Anomaly.AUTH_MALFORMED, f"verifier of {auth_length} bytes in a PDU of {len(data)}")
    # AUTH3 carries nothing but a padding of four bytes of its own before the trailer.
    pad_length = data[trailer + 2]
    if data[2] != PduType.AUTH3 and trailer - pad_length < HEADER_SIZE:
        raise DecodeError(Anomaly.AUTH_MALFORMED, f"padding of {pad_length} bytes in a PDU of {len(data)}")
    return data[HEADER_SIZE : max(trailer - pad_length, HEADER_SIZE)], data[trailer + 1], data[trailer]


class PduReader:
    """Bytes of one direction in, PDUs and anomalies out; after lost bytes it finds the next PDU by itself.

    The position of the next PDU is known as long as nothing is lost, and often
    even then: the length of the PDU that was cut says where the next one starts.
    When it is not known, the next segment that starts like a PDU is taken for one.
    `continued` says that whole PDUs came before; `held` are bytes of one that is not complete, `astray`
    says that the position of the next one is not known.
    """

    __slots__ = ("_buffer", "_ever_synchronised", "_skip", "_synchronised")

    def __init__(self, *, continued: bool = False, held: bytes = b"", astray: bool = False) -> None:
        self._buffer = bytearray(held)
        self._skip = 0
        self._synchronised = not astray
        self._ever_synchronised = continued

    @property
    def buffered(self) -> int:
        """Bytes held back because their PDU is not complete."""
        return len(self._buffer)

    @property
    def continued(self) -> bool:
        """Whether whole PDUs came."""
        return self._ever_synchronised

    @property
    def held(self) -> bytes:
        """Those bytes, which are the last that were fed."""
        return bytes(self._buffer)

    def completes(self, data: bytes) -> bool:
        """Return whether bytes may end the PDU of which the first are held."""
        if len(self._buffer) < HEADER_SIZE:
            return bool(self._buffer)
        return len(self._buffer) + len(data) >= (frag_length_of(self._buffer) or 0)

    @property
    def is_lost(self) -> bool:
        """Whether it looks for the start of a PDU."""
        return not self._synchronised

    @property
    def between_pdus(self) -> bool:
        """Whether whole PDUs came, and the next byte is the first of one."""
        return self._ever_synchronised and self._synchronised and not self._buffer and not self._skip

    def feed(self, data: bytes) -> Iterator[Pdu | DecodeError]:
        """Take the next bytes of the stream; yield what is complete."""
        if not self._ever_synchronised:
            data = self._without_greeting(data)
        if self._skip:
            skipped = min(self._skip, len(data))
            self._skip -= skipped
            data = data[skipped:]
        if not self._synchronised:
            if len(data) < HEADER_SIZE or frag_length_of(data) is None:
                return
            self._synchronised = True
        if not self._buffer and data:
            # The common case, a whole PDU in one segment, needs no buffer.
            try:
                pdu = split_pdu(data)
            except DecodeError as error:
                yield self._lose(error)
                return
            if pdu is not None:
                self._ever_synchronised = True
                yield pdu
                data = data[pdu.frag_length :]
        self._buffer += data
        yield from self._split_buffer()

    def _without_greeting(self, data: bytes) -> bytes:
        """Return what follows the greeting, or all of it; the start of one waits in the buffer for its end."""
        held = len(self._buffer)
        start = bytes(self._buffer) + data[: len(HTTP_GREETING) - held]
        if not data or not HTTP_GREETING.startswith(start):
            return data
        self._buffer[:] = start if len(start) < len(HTTP_GREETING) else b""
        return data[len(start) - held :]

    def _split_buffer(self) -> Iterator[Pdu | DecodeError]:
        position = 0
        try:
            while position < len(self._buffer):
                pdu = split_pdu(self._buffer, position)
                if pdu is None:
                    break
                position += pdu.frag_length
                self._ever_synchronised = True
                yield pdu
        except DecodeError as error:
            position = len(self._buffer)
            yield self._lose(error)
        finally:
            del self._buffer[:position]

    def _lose(self, error: DecodeError) -> DecodeError:
        self._synchronised = False
        if error.anomaly is Anomaly.PDU_MALFORMED and not self._ever_synchronised:
            return DecodeError(Anomaly.STREAM_NOT_RPC, error.detail)
        return error

    def lost(self, count: int) -> None:
        """Say that the next `count` bytes of the stream are not to be had (None of them will be fed)."""
        if self._skip:
            self._synchronised = self._synchronised and count <= self._skip
            self._skip = max(self._skip - count, 0)
            return
        rest = 0
        if len(self._buffer) >= HEADER_SIZE:
            rest = (frag_length_of(self._buffer) or 0) - len(self._buffer) - count
        self._synchronised = (
            self._synchronised and bool(self._buffer) and rest >= 0 and len(self._buffer) >= HEADER_SIZE
        )
        self._skip = rest if self._synchronised else 0
        self._buffer.clear()
