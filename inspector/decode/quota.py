"""How much of the traffic may be handed to the scalar decoder: by each client, and by all together.

A record costs the scalar decoder a hundred times what it costs the engine. Without a bound, a client that sends only
what the engine does not read would make all others wait. Each bound is a rate and a burst, in the time of the records:
the generic cell rate algorithm of ITU-T I.371. The burst is one second's for a client, and a tenth's for all,
which takes the scalar decoder 50 ms: so long the rings hold what comes meanwhile.

Answers whose content is not known have quotas of their own, one for contents which are met for the first time, one for
those which come again. Honest contents come again, and forged ones that come once take nothing from them.

Clients share as many buckets as there are, by a secret hash; those of one IPv6 /64 are one client, since its owner has
all of its addresses.
"""

from __future__ import annotations

import os
from array import array
from typing import TYPE_CHECKING, Final

from inspector.decode import layout
from inspector.protocols import IPV4_MAPPED

if TYPE_CHECKING:
    from inspector.decode.engine import Engine

RATE: Final = 10_000
"""Records a second of all clients: they take the scalar decoder less than half of one processor."""

RATE_OF_CLIENT: Final = 2_000
"""Records a second of one client."""

# A new template costs some hundred microseconds: no more than one in so many records is made.
_RECORDS_FOR_ONE: Final = 16
_MOST_CREDIT: Final = 4096

# An answer costs the scalar decoder as much as so many records; a client may take half of all.
_ANSWER: Final = 4

_BUCKETS: Final = 16_384
_SECOND: Final = layout.SECOND


class Credit:
    """What records bring, and templates cost."""

    def __init__(self) -> None:
        self._left = _MOST_CREDIT
        self._credited_at = 0

    def take(self, records: int) -> bool:
        """Take one from the credit which the records up to this number have brought; False if there is none."""
        earned = (records - self._credited_at) // _RECORDS_FOR_ONE
        self._credited_at += earned * _RECORDS_FOR_ONE
        left = min(self._left + earned, _MOST_CREDIT)
        self._left = max(left - 1, 0)
        return left > 0


class Quota:
    """Buckets of all clients together (the last) and of each one: the time at which they are empty again."""

    def __init__(self, rate: int = RATE, rate_of_client: int = RATE_OF_CLIENT, burst_ns: int = layout.BURST) -> None:
        self._rate = rate
        self._burst_ns = burst_ns
        self._cost = _SECOND // rate
        self._cost_of_client = _SECOND // rate_of_client
        self._empty_at = array("q", bytes(8 * (_BUCKETS + 1)))
        self._secret = os.urandom(16)

    def of_answers(self) -> Quota:
        """Return a quota for answers instead of records; the burst is longer, since all servers are new at first."""
        rate = max(self._rate // _ANSWER, 2)
        return Quota(rate, rate // 2, layout.BURST_OF_ANSWERS)

    @property
    def refused_until(self) -> int:
        """The time up to which no record is taken, whoever's it is."""
        return self._empty_at[_BUCKETS] - self._burst_ns

    def take_noted(self, engine: Engine, kind: int, slot: int, client: bytes, time_ns: int) -> bool:
        """Take one, or let the engine know until when there is none, of anybody and of an entry's client."""
        if self.take(client, time_ns):
            engine.refuse(kind, 0, self._empty_at[_BUCKETS] - self._burst_ns, 0)
            return True
        engine.refuse(kind, slot, self.refused_until, self._empty_at[self._bucket(client)] - _SECOND)
        return False

    def _bucket(self, client: bytes) -> int:
        network = client if client.startswith(IPV4_MAPPED) else client[:8]
        return hash(self._secret + network) % _BUCKETS

    def take(self, client: bytes, time_ns: int) -> bool:
        """Take one record of a client from its quota and from that of all; False where either is used up."""
        bucket = self._bucket(client)
        of_client, of_all = self._empty_at[bucket], self._empty_at[_BUCKETS]
        if _is_full(of_client, time_ns, _SECOND) or _is_full(of_all, time_ns, self._burst_ns):
            return False
        self._empty_at[bucket] = _later(of_client, time_ns, _SECOND) + self._cost_of_client
        self._empty_at[_BUCKETS] = _later(of_all, time_ns, self._burst_ns) + self._cost
        return True


def _is_full(empty_at: int, time_ns: int, burst_ns: int) -> bool:
    # No bucket is fuller than its burst: a clock that was set back shows so, and the bucket begins again.
    return time_ns + burst_ns < empty_at <= time_ns + 2 * burst_ns


def _later(empty_at: int, time_ns: int, burst_ns: int) -> int:
    return empty_at if time_ns < empty_at <= time_ns + burst_ns else time_ns
