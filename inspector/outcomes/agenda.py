"""A bounded table of connections, and when each is to be looked at again."""

from __future__ import annotations

import heapq
from collections import OrderedDict
from typing import TYPE_CHECKING, Generic, TypeVar

from inspector.outcomes.connection import Connection

if TYPE_CHECKING:
    from collections.abc import Iterator

    from inspector.outcomes.connection import Flow

_Watched = TypeVar("_Watched", bound=Connection)


class Agenda(Generic[_Watched]):
    """Connections by flow, at most `most`: the one that was silent for longest is let go first.

    `due` yields connections whose moment has come. A moment is only ever moved on: a connection that is not ready by
    then is to be scheduled again.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._table: OrderedDict[Flow, _Watched] = OrderedDict()
        self._heap: list[tuple[int, int, _Watched]] = []
        self._serial = 0

    def __len__(self) -> int:
        return len(self._table)

    @property
    def size(self) -> int:
        """How many connections and moments are kept."""
        return len(self._table) + len(self._heap)

    @property
    def due_ns(self) -> int | None:
        """The time at which `due` has something to do next, or None."""
        while self._heap and self._heap[0][2].scheduled_ns != self._heap[0][0]:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def __iter__(self) -> Iterator[_Watched]:
        return iter(self._table.values())

    def get(self, flow: Flow) -> _Watched | None:
        """Return a connection of the table."""
        return self._table.get(flow)

    def touch(self, flow: Flow) -> None:
        """Note that a connection was not silent."""
        self._table.move_to_end(flow)

    def add(self, connection: _Watched) -> _Watched | None:
        """Add a connection, in place of any other of its flow; return the one that had to go for it."""
        self.remove(connection.flow)
        self._table[connection.flow] = connection
        self._table.move_to_end(connection.flow)
        if len(self._table) <= self._most:
            return None
        oldest = self._table.popitem(last=False)[1]
        oldest.scheduled_ns = None
        return oldest

    def remove(self, flow: Flow) -> None:
        """Let go of a connection."""
        connection = self._table.pop(flow, None)
        if connection is not None:
            connection.scheduled_ns = None

    def clear(self) -> None:
        """Let go of all connections."""
        self._table.clear()
        self._heap.clear()

    def schedule(self, connection: _Watched, due_ns: int | None) -> None:
        """Look at a connection at that time, or earlier where it is scheduled already."""
        if due_ns is None or (connection.scheduled_ns is not None and connection.scheduled_ns <= due_ns):
            return
        connection.scheduled_ns = due_ns
        self._serial += 1
        heapq.heappush(self._heap, (due_ns, self._serial, connection))
        # Entries of connections that have gone, or were moved to an earlier time.
        if len(self._heap) > 4 * self._most:
            self._heap = [entry for entry in self._heap if entry[2].scheduled_ns == entry[0]]
            heapq.heapify(self._heap)

    def is_due(self, now_ns: int) -> bool:
        """Return whether `due` may have something to do."""
        return bool(self._heap) and self._heap[0][0] <= now_ns

    def due(self, now_ns: int) -> Iterator[_Watched]:
        """Yield the connections whose time has come, each no longer scheduled."""
        while self._heap and self._heap[0][0] <= now_ns:
            due_ns, _, connection = heapq.heappop(self._heap)
            if connection.scheduled_ns == due_ns:
                connection.scheduled_ns = None
                yield connection
