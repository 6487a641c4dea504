# cython: boundscheck=False, wraparound=False, initializedcheck=False
"""Quotas in compiled code: each is a rate and a burst, in the time of the records (ITU-T I.371, as in `quota`)."""

from __future__ import annotations

import numpy as np

from inspector.decode import layout


class Buckets:
    """`buckets` has the time at which each is empty again; `time` is that of the record at hand."""

    def __init__(self, count: int) -> None:
        self.buckets = np.zeros(count, np.int64).data
        self.time = 0

    def has_room(self, bucket: int, burst: int) -> bool:
        """Return whether a quota is not used up; one that a clock has left behind begins again."""
        ahead = self.buckets[bucket] - self.time
        return ahead < burst or ahead > 2 * layout.SECOND

    def take(self, bucket: int, cost: int, burst: int) -> bool:
        """Take one from a quota; False where it is used up."""
        if not self.has_room(bucket, burst):
            return False
        ahead = self.buckets[bucket] - self.time
        start = self.buckets[bucket] if 0 < ahead <= 2 * layout.SECOND else self.time
        self.buckets[bucket] = start + cost
        return True
