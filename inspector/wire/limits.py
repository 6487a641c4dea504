"""Named limits of everything that grows with traffic; reaching one is an anomaly, never a failure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of the decoder's state; totals over all connections unless the name says otherwise."""

    connections: int = 262_144
    buffered_bytes: int = 64 * 1024 * 1024
    stream_bytes: int = 1024 * 1024
    stream_segments: int = 1024
    stub_bytes: int = 1024 * 1024
    request_stub_bytes: int = 8 * 1024
    calls_per_connection: int = 128
    contexts_per_connection: int = 64
    datagram_calls: int = 65_536
    idle_ns: int = 300 * 1_000_000_000
    gap_ns: int = 2 * 1_000_000_000
    unanswered_ns: int = 10 * 1_000_000_000
