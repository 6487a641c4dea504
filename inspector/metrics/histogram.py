"""A histogram which takes many observations at once; the library's own takes them one by one."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import numpy as np
from prometheus_client.core import HistogramMetricFamily
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import numpy.typing as npt
    from prometheus_client import CollectorRegistry


class BulkHistogram(Collector):
    """Counts of observations up to each of `buckets` (upper bounds, ascending) and above, with their sum."""

    def __init__(self, name: str, documentation: str, *, buckets: Sequence[float], registry: CollectorRegistry) -> None:
        self._name = name
        self._documentation = documentation
        self._bounds = np.array(buckets)
        self._counts = np.zeros(len(buckets) + 1, np.int64)
        self._sum = 0.0
        # Scrapes come from another thread.
        self._lock = threading.Lock()
        registry.register(self)

    def observe(self, value: float) -> None:
        """Take one observation."""
        self.observe_many(np.array([value]))

    def observe_many(self, values: npt.NDArray[np.float64]) -> None:
        """Take observations, float64[n]."""
        if not len(values):
            return
        # A bucket holds what is at most its bound.
        counts = np.bincount(np.searchsorted(self._bounds, values, side="left"), minlength=len(self._counts))
        total = float(values.sum())
        with self._lock:
            self._counts += counts
            self._sum += total

    def describe(self) -> Iterable[HistogramMetricFamily]:
        """Return the family without samples: the registry asks for names."""
        return [HistogramMetricFamily(self._name, self._documentation)]

    def collect(self) -> Iterator[HistogramMetricFamily]:
        """Yield the family with its present samples."""
        with self._lock:
            cumulative, total = np.cumsum(self._counts).tolist(), self._sum
        bounds = [*map(floatToGoString, self._bounds.tolist()), "+Inf"]
        buckets = list(zip(bounds, cumulative, strict=True))
        yield HistogramMetricFamily(self._name, self._documentation, buckets=buckets, sum_value=total)
