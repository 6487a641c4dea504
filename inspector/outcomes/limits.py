"""Bounds of what is kept for outcomes, and times; reaching a bound lets the oldest go and is counted."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class OutcomeLimits:
    """`follow_up_ns` is how long after an answer a connection counts as its follow-up.

    An answer waits up to `hold_ns` for its outcome: Windows tries
    a refused port three times within 1.03 s. `per_answer` and `per_client` bound the endpoints that one answer
    or one client may add; `one_way` is how many connections make a view in one direction only. `grace_ns` is how long
    a refusal waits for another attempt, `settle_ns` how long the decoder waits for what contradicts an end. After
    `retry_ns` another SYN would have come (RFC 6298 has 1 s and 3 s); a SYN without answer for `quiet_ns` at the end of
    the input is one without an answer. `silence_ns` is how long a question may wait.
    """

    connections: int = 16_384
    strangers: int = 2_048
    answers: int = 8_192
    held: int = 4_096
    held_mappings: int = 65_536
    clients: int = 8_192
    per_client: int = 64
    per_answer: int = 8
    servers: int = 1_024
    one_way: int = 8
    follow_up_ns: int = 30_000_000_000
    hold_ns: int = 1_100_000_000
    grace_ns: int = 1_500_000_000
    settle_ns: int = 3_000_000_000
    quiet_ns: int = 3_000_000_000
    retry_ns: int = 4_000_000_000
    silence_ns: int = 10_000_000_000
