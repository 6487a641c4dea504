"""Where authentication verifiers are in what clients and servers send, so that their values can be blanked.

A verifier ends a PDU: padding, a trailer of 8 bytes, and `auth_length` bytes of auth_value, which hold the tokens of
NTLM, Kerberos and the like, or the signature of a stub (C706 section 13.2.6, MS-RPCE section 2.2.2.11). Headers tell
where it is. So the position of each header must be known; where it is not, neither is what the bytes are.

Positions are TCP sequence numbers, unwrapped: they only grow.
"""

from __future__ import annotations

from typing import Final, NamedTuple
from uuid import UUID

from inspector.wire import datagrams
from inspector.wire.pdu import HEADER_SIZE, HTTP_GREETING, frag_length_of
from inspector.wire.stream import SEQUENCE_MODULUS

TRAILER_SIZE: Final = 8

CONVERSATION_MANAGER: Final = UUID("333a2276-0000-0000-0d00-00809c000000")
"""Interface by which ends of the connectionless protocol call back; its stubs hold the tokens (C706 appendix P)."""

_HALF: Final = SEQUENCE_MODULUS // 2
# Of each chain so many PDUs at least are remembered, for retransmissions.
_PDUS: Final = 32
_CHAINS: Final = 8
# Bytes before a header that are waited for: more than a window is not on its way.
_NEAR: Final = 1 << 20
# Of a connectionless PDU's verifier the protection level and the key's number stay (C706 section 13.3.1).
_LEVEL_SIZE: Final = 2


class Part(NamedTuple):
    """Bytes from `start` up to `end`."""

    start: int
    end: int


class _PduPlace(NamedTuple):
    """A PDU from `start` up to `end`, by its header; what is from `blank` on is not to be kept."""

    start: int
    blank: int
    end: int
    header: bytes


def _place_of(header: bytes, start: int) -> _PduPlace | None:
    """Return the place of a PDU by the 16 bytes of its header; None if no PDU can start like that."""
    length = frag_length_of(header)
    if length is None:
        return None
    auth_length = int.from_bytes(header[10:12], "little" if header[4] & 0x10 else "big")
    if auth_length and auth_length + TRAILER_SIZE + HEADER_SIZE > length:
        # No such verifier can be: nothing is known of the body.
        auth_length = length - HEADER_SIZE
    return _PduPlace(start, start + length - auth_length, start + length, header)


class Chain:
    """PDUs that follow each other, from a place where one begins; `frontier` is where the next one does.

    Of the next one's header `_held` has the first bytes. A `broken` chain leads to bytes which are no header, which
    came up to `seen`; or another chain goes on in the same way, and `seen` is None.
    """

    __slots__ = ("_held", "_known", "broken", "frontier", "seen", "start")

    def __init__(self, start: int, held: bytes = b"") -> None:
        self.start = self.frontier = start
        self.seen: int | None = start
        self.broken = False
        self._held = bytearray(held)
        self._known: list[_PduPlace] = []

    def unwrap(self, sequence: int) -> int:
        """Return the position that a sequence number has beside this chain."""
        return self.frontier + (sequence - self.frontier + _HALF) % SEQUENCE_MODULUS - _HALF

    @property
    def end(self) -> int:
        """Up to where it is known what the bytes are."""
        return self.frontier if self.broken else self.frontier + len(self._held)

    def has(self, place: _PduPlace | None, start: int) -> bool:
        """Whether a PDU with the same header is known at a position."""
        return place is not None and any(one.start == start and one.header == place.header for one in self._known)

    def knows(self, position: int) -> bool:
        """Whether it is known what the byte at a position is."""
        return self.start <= position < self.end

    def leads_to(self, start: int) -> bool:
        """Whether the next PDU begins at a position, and nothing of it was seen."""
        return self.frontier == start and not self._held and not self.broken

    def says_less_than(self, other: Chain) -> bool:
        """Whether another knows all that this one, which was just begun, knows of its first header."""
        header = self._known[0].header if self._known else bytes(self._held)
        start = other.unwrap(self.start)
        if start == other.frontier and not other.broken:
            return other._held.startswith(header)
        return any(one.start == start and one.header.startswith(header) for one in other._known)

    def stop(self) -> None:
        """Remember what is known, and do not go on."""
        self.broken = True
        self.seen = None
        self._held.clear()

    def goes_on_like(self, other: Chain) -> bool:
        """Whether both go on in the same way."""
        return (self.frontier, self._held) == (other.frontier, other._held) and not (self.broken or other.broken)

    def forks(self, start: int, data: bytes) -> list[Chain]:
        """Return chains for headers that contradict bytes at a position; either may be the true one."""
        headers = [(place.start, place.header) for place in self._known] + [(self.frontier, bytes(self._held))]
        found = []
        for position, header in headers:
            at, end = max(start, position), min(start + len(data), position + len(header))
            if at < end and header[at - position : end - position] != data[at - start : end - start]:
                found.append(Chain(position, header[: at - position]))
        return found

    def follow(self, sequence: int, data: bytes) -> list[Part] | None:
        """Go on with a segment that is just the next PDU: return what of it is to be blanked; None for all others.

        No position of it was seen before, so it cannot contradict anything.
        """
        start = self.unwrap(sequence)
        place = _place_of(data[:HEADER_SIZE], start) if self.leads_to(start) and len(data) >= HEADER_SIZE else None
        if place is None or place.end != start + len(data):
            return None
        self._known.append(place)
        self.frontier = place.end
        self._trim()
        return [Part(place.blank - start, len(data))] if place.blank < place.end else []

    def _trim(self) -> None:
        if len(self._known) > 2 * _PDUS:
            del self._known[:-_PDUS]
            self.start = self._known[0].start

    def take(self, start: int, data: bytes) -> tuple[Part, list[Part]]:
        """Go on with bytes at a position; return which of them are known, and which of those are to be blanked.

        Both are positions. It may be called again with the same bytes.
        """
        end = start + len(data)
        while not self.broken and start <= self.end < end:
            self._read_on(data[self.end - start :])
        if self.broken and self.seen is not None and start <= max(self.seen, self.frontier):
            self.seen = max(self.seen, end)
        known = Part(max(start, self.start), min(end, self.end))
        blank = [
            Part(max(start, place.blank), min(end, place.end))
            for place in self._known
            if place.blank < end and place.end > start and place.blank < place.end
        ]
        self._trim()
        return known, blank

    def _read_on(self, data: bytes) -> None:
        """Take the next bytes of a header, and note its PDU once it is whole."""
        self._held += data[: HEADER_SIZE - len(self._held)]
        if self._held.startswith(HTTP_GREETING):
            self.frontier += len(HTTP_GREETING)
            del self._held[: len(HTTP_GREETING)]
        if not _may_begin(self._held):
            self.broken = True
        elif len(self._held) == HEADER_SIZE:
            place = _place_of(bytes(self._held), self.frontier)
            if place is None:
                self.broken = True
            else:
                self._known.append(place)
                self.frontier = place.end
                self._held.clear()


def _may_begin(start: bytes | bytearray) -> bool:
    """Whether a header, or the greeting of a server of ncacn_http, may begin so."""
    return HTTP_GREETING.startswith(start) or (start[0] == 5 and start[1:2] in (b"", b"\0", b"\1"))


class Direction:
    """What is known of one direction of a connection: chains of PDUs.

    There is more than one where bytes were not seen, and where somebody sends what contradicts the rest: what any
    chain says is to be blanked is blanked.
    """

    __slots__ = ("_chains", "_contradicted", "_crowded")

    def __init__(self) -> None:
        self._chains: list[Chain] = []
        self._contradicted = False
        # Of chains which contradict each other one had to go: only what begins with a header itself can be told now.
        self._crowded = False

    def begin(self, sequence: int) -> None:
        """Note that the first PDU begins at a sequence number: a SYN says so."""
        # It may have been sent more than once.
        if all(chain.unwrap(sequence) != chain.start for chain in self._chains):
            self._add(Chain(sequence + SEQUENCE_MODULUS))

    def take(self, sequence: int, data: bytes) -> tuple[list[Part], list[Part], bool]:
        """Return which bytes of a segment are to be blanked, which are not known, and whether to wait for others.

        Bytes are counted from the segment's start. What waits is to be taken again when others came.
        """
        if len(self._chains) == 1 and not self._crowded:
            followed = self._chains[0].follow(sequence, data)
            if followed is not None:
                return followed, [], False
        self._branch(sequence, data)
        known: list[Part] = []
        blank: list[Part] = []
        for chain in self._chains:
            start = chain.unwrap(sequence)
            part, parts = chain.take(start, data)
            if part.start < part.end:
                known.append(Part(part.start - start, part.end - start))
                blank += [Part(one.start - start, one.end - start) for one in parts]
        if len(self._chains) > 1:
            self._merge()
        if self._crowded and data and _plain_place(data) is None:
            return blank, [Part(0, len(data))], False
        unknown = _gaps(known, len(data))
        return blank, unknown, bool(unknown) and self._awaits(sequence + unknown[0].start)

    def _branch(self, sequence: int, data: bytes) -> None:
        """Begin chains where a segment begins like a PDU that no chain leads to, and where it contradicts one."""
        found = [fork for chain in self._chains for fork in chain.forks(chain.unwrap(sequence), data)]
        self._contradicted = self._contradicted or bool(found)
        for chain in found:
            self._join(chain, sequence, data)
        # After these: a chain which had this place may have gone for one of them.
        place = _plain_place(data)
        places = [(chain, chain.unwrap(sequence)) for chain in self._chains]
        is_known = any(chain.knows(start) for chain, start in places)
        if place is None and (is_known or not data.startswith(HTTP_GREETING)):
            return
        if not any(chain.leads_to(start) or chain.has(place, start) for chain, start in places):
            self._contradicted = self._contradicted or is_known
            self._join(Chain(sequence + SEQUENCE_MODULUS), sequence, data)

    def _join(self, chain: Chain, sequence: int, data: bytes) -> None:
        """Add a new chain, unless an equal one exists."""
        chain.take(chain.unwrap(sequence), data)
        if not any(chain.says_less_than(other) for other in self._chains):
            self._add(chain)

    def _add(self, chain: Chain) -> None:
        if len(self._chains) == _CHAINS:
            broken = [number for number, one in enumerate(self._chains) if one.broken]
            del self._chains[broken[0] if broken else 0]
            self._crowded = self._contradicted
        self._chains.append(chain)

    def _merge(self) -> None:
        """Follow one of the chains which go on in the same way: the others are there for retransmissions only."""
        for number, chain in enumerate(self._chains):
            if any(chain.goes_on_like(other) for other in self._chains[number + 1 :]):
                chain.stop()

    def reached(self) -> list[tuple[int, int]]:
        """Return where it is known what bytes are, and the next one after these: sequence numbers, and how many."""
        return [(chain.start % SEQUENCE_MODULUS, chain.end - chain.start) for chain in self._chains]

    def _awaits(self, sequence: int) -> bool:
        """Whether bytes just before these may still come, and tell what these are."""
        return any(
            chain.seen is not None and 0 < chain.unwrap(sequence) - max(chain.seen, chain.end) < _NEAR
            for chain in self._chains
        )


def _plain_place(data: bytes) -> _PduPlace | None:
    """Return the place of the PDU that bytes from nowhere begin with: more than elsewhere must be right of its header.

    A verifier's trailer with level 5 and no padding, and the token behind it, have passed for one.
    """
    if len(data) < HEADER_SIZE or any(data[5:8]):
        return None
    place = _place_of(data[:HEADER_SIZE], 0)
    # Without the trailer there is no room for a value.
    return None if place is not None and place.blank == HEADER_SIZE < place.end else place


def _gaps(known: list[Part], length: int) -> list[Part]:
    """Return what of `length` bytes is in none of the parts."""
    if any(part.start == 0 and part.end == length for part in known):
        return []
    gaps, position = [], 0
    for start, end in sorted(known):
        if start > position:
            gaps.append(Part(position, start))
        position = max(position, end)
    if position < length:
        gaps.append(Part(position, length))
    return gaps


def of_datagram(data: bytes) -> tuple[list[Part], list[Part]]:
    """Return which bytes of a connectionless PDU are to be blanked, and which are not known: all, if it is none."""
    if len(data) < datagrams.HEADER_SIZE or data[0] != 4 or data[4] & 0xEE:
        return [], [Part(0, len(data))] if data else []
    little_endian = bool(data[4] & 0x10)
    raw = data[24:40]
    interface = UUID(bytes_le=raw) if little_endian else UUID(bytes=raw)
    if interface == CONVERSATION_MANAGER:
        return [Part(datagrams.HEADER_SIZE, len(data))], []
    verifier = datagrams.HEADER_SIZE + int.from_bytes(data[74:76], "little" if little_endian else "big")
    # Without an authentication protocol nothing belongs behind the body.
    verifier += _LEVEL_SIZE if data[78] else 0
    return [Part(verifier, len(data))] if verifier < len(data) else [], []
