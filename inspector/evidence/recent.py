"""The records of the last seconds, kept until it is known whether they belong to a mismatch.

One circle of bytes, overwritten from its oldest end: a block of records is copied into it as it is, and beside it
goes a number for each record, made of both ends of its connection. Nothing is looked up until a connection is asked
for. Memory is what the caller says; where records come so fast that it would not last for a while, only a share of
all connections is kept, each of those whole.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import numpy as np

from inspector.record import HEADER_DTYPE, HEADER_SIZE, TUNNEL_SIZE, Attribute

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    import numpy.typing as npt

    Block = npt.NDArray[np.uint64]
    End = tuple[bytes, int]
    Wanted = Callable[[End, End], bool]

ENTRY: Final = 256
"""Bytes of a row of the compact ring, the shortest there is in blocks: memory is enough for so many of them."""

_WORD: Final = 8
# A row begins with a word of the ring's own.
_OFFSETS: Final = {name: 1 + HEADER_DTYPE.fields[name][1] // _WORD for name in HEADER_DTYPE.names or ()}  # type: ignore[index]
_TIME: Final = _OFFSETS["time_ns"]
_SOURCE_LOW: Final = _OFFSETS["source_address"] + 1
_DESTINATION_LOW: Final = _OFFSETS["destination_address"] + 1
# Source and destination port are the first two of four 16-bit numbers in their word.
_PORTS: Final = _OFFSETS["source_port"]

# Clients take their ports in a row, or every second one: their bits are mixed before some are looked at.
_MIXER: Final = np.uint16(40503)
_PORT_NUMBERS: Final = 1 << 16
_MOST_HALVINGS: Final = 12
_SECOND: Final = 1_000_000_000
_PART: Final = 4
_MOST_BETWEEN: Final = 16_384
"""Records between two addresses that are looked at: a client may have many other connections to a server."""


class RecentRecords:
    """The newest `size` bytes of records.

    With a `window_ns` the share of connections is halved as often as it takes for records to stay so long;
    without one all are kept.
    """

    def __init__(self, size: int, window_ns: int | None = None) -> None:
        self._size = size - size % _WORD
        self._window_ns = window_ns
        # All of it is taken now: bringing in a page costs more than what is copied to it.
        self._words = np.full(self._size // _WORD, 0, np.uint64)
        # Of each record: the number of its connection, and where it is, counted since the beginning.
        self._keys = np.zeros(max(self._size // ENTRY, 1), np.uint64)
        self._starts = np.zeros(len(self._keys), np.int64)
        self._halvings = 0
        self.forget()

    def forget(self) -> None:
        """Forget all records."""
        self._starts[:] = -1
        self._head = self._count = 0
        self._since_ns: int | None = None
        self._offered = self._kept = 0

    @property
    def one_of(self) -> int:
        """Of how many connections one is kept; 1: all are."""
        return 1 << self._halvings

    def keeps(self, ports: npt.NDArray[np.uint16], server_port: int) -> npt.NDArray[np.bool_]:
        """Return, for clients' ports, whether the connections to a server's port are among those which are kept."""
        return self._chosen(ports ^ np.uint16(server_port))

    def _chosen(self, ports: npt.NDArray[np.uint16]) -> npt.NDArray[np.bool_]:
        """Return which connections are kept, by both ports in one number."""
        # What is left of a product is cut to 16 bits; its upper bits depend on all bits of the port.
        return ports * _MIXER <= np.uint16((_PORT_NUMBERS >> self._halvings) - 1)

    def keep(self, batch: Block | bytes | memoryview) -> None:
        """Copy a block of records (uint64[n, words], the first word of each row the ring's own), or one record."""
        if isinstance(batch, bytes | memoryview):
            rows = np.zeros((1, 1 + -(-len(batch) // _WORD)), np.uint64)
            rows.view(np.uint8)[0, _WORD : _WORD + len(batch)] = np.frombuffer(batch, np.uint8)
        else:
            rows = batch
        if not len(rows):
            return
        self._adapt(int(rows[-1, _TIME]))
        self._offered += rows.nbytes
        ports = np.ascontiguousarray(rows[:, _PORTS]).view(np.uint16).reshape(-1, 4)
        both = ports[:, 0] ^ ports[:, 1]
        if self._halvings:
            chosen = np.flatnonzero(self._chosen(both))
            rows, both = rows[chosen], both[chosen]
        self._kept += rows.nbytes
        keys = rows[:, _SOURCE_LOW] ^ rows[:, _DESTINATION_LOW]
        keys ^= both
        self._append(rows, keys)

    def _append(self, rows: Block, keys: Block) -> None:
        words = rows.shape[1]
        width = words * _WORD
        if width > self._size:
            return
        while len(rows):
            room = self._size - self._head % self._size
            slot = self._count % len(self._keys)
            count = min(len(rows), room // width, len(self._keys) - slot)
            if not count:
                # A row is never in two pieces.
                self._head += room
                continue
            at = self._head % self._size // _WORD
            self._words[at : at + count * words].reshape(count, words)[...] = rows[:count]
            self._keys[slot : slot + count] = keys[:count]
            self._starts[slot : slot + count] = np.arange(self._head, self._head + count * width, width)
            self._head += count * width
            self._count += count
            rows, keys = rows[count:], keys[count:]

    def of(self, client: End, server: End, most_records: int, most_bytes: int) -> list[bytes]:
        """Return the newest records of a connection, up to these limits, in the order in which they were kept.

        Its ends are address (16 bytes, IPv4 as ::ffff:a.b.c.d) and port.
        """
        low, other = (int(np.frombuffer(end[0], np.uint64)[1]) for end in (client, server))
        key = np.uint64(low ^ other ^ client[1] ^ server[1])
        starts = self._starts[self._keys == key]
        starts = np.sort(starts[starts >= max(self._head - self._size, 0)])
        found: list[bytes] = []
        for start in reversed(starts.tolist()):
            record = self._record(start % self._size, lambda *ends: set(ends) == {client, server})
            if record is None:
                continue
            most_bytes -= len(record)
            if most_bytes < 0 or len(found) == most_records:
                break
            found.append(record)
        return found[::-1]

    @property
    def mark(self) -> int:
        """What `between` takes to yield only records that are kept from now on."""
        return self._count

    def between(self, client: bytes, server: bytes, mark: int, ports: Collection[int]) -> Iterator[bytes]:
        """Yield the newest records between two addresses that go to or come from these ports, oldest first."""
        low, other = (int(np.frombuffer(address, np.uint64)[1]) for address in (client, server))
        starts = np.concatenate([starts[keys < _PORT_NUMBERS] for keys, starts in self._since(mark, low ^ other)])
        starts = starts[starts >= max(self._head - self._size, 0)][-_MOST_BETWEEN:] % self._size
        found = self._words[starts // _WORD + _PORTS].view(np.uint16).reshape(-1, 4)[:, :2]
        starts = starts[np.isin(found, list(ports)).any(axis=1)]
        for start in starts.tolist():
            record = self._record(start, lambda *ends: {ends[0][0], ends[1][0]} == {client, server})
            if record is not None:
                yield record

    def _since(self, mark: int, addresses: int) -> Iterator[tuple[Block, npt.NDArray[np.int64]]]:
        """Yield numbers and places of the records since a mark; what `addresses` leave of a number is of its ports."""
        at, size = max(mark, self._count - len(self._keys)), len(self._keys)
        yield np.zeros(0, np.uint64), np.zeros(0, np.int64)
        while at < self._count:
            slot = at % size
            end = min(slot + self._count - at, size)
            yield self._keys[slot:end] ^ np.uint64(addresses), self._starts[slot:end]
            at += end - slot

    def _record(self, at: int, is_wanted: Wanted) -> bytes | None:
        """Return the record at a place if its source and destination are wanted: others may have its number."""
        data = self._words.view(np.uint8)
        at += _WORD
        header = data[at : at + HEADER_SIZE].view(HEADER_DTYPE)[0]
        source = header["source_address"].tobytes(), int(header["source_port"])
        destination = header["destination_address"].tobytes(), int(header["destination_port"])
        if not is_wanted(source, destination):
            return None
        length = HEADER_SIZE + int(header["captured_length"])
        if header["attributes"] & Attribute.TUNNELLED:
            length += TUNNEL_SIZE
        return data[at : at + length].tobytes()

    def _adapt(self, time_ns: int) -> None:
        """Choose the share of connections anew, each second or after a part of the memory was filled."""
        if self._window_ns is None:
            return
        if self._since_ns is None or time_ns < self._since_ns:
            self._since_ns, self._offered, self._kept = time_ns, 0, 0
            return
        elapsed = time_ns - self._since_ns
        if elapsed < _SECOND and self._kept < self._size // _PART:
            return
        # How many times the memory would be filled within the window.
        fillings = self._offered / max(elapsed, 1) * self._window_ns / self._size
        wanted = _halvings(fillings)
        if wanted > self._halvings:
            self._halvings = wanted
        elif _halvings(fillings * 2) < self._halvings:
            # Back one by one, and not at once: each change cuts some connections in two.
            self._halvings -= 1
        self._since_ns, self._offered, self._kept = time_ns, 0, 0


def _halvings(fillings: float) -> int:
    return min(max(math.ceil(math.log2(fillings)), 0), _MOST_HALVINGS) if fillings > 1 else 0
