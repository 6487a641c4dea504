"""What the inspector should say of healthy networks that look unusual."""

from __future__ import annotations

from typing import Final

from inspector.consequence import Cause
from inspector.model import Verdict
from tests.cases.expected import Expected, answered, no_connection, reached

_PREFIX: Final = 'nat64_prefixes = ["2002:a14:168:8001::/96"]'

EXPECTED_OF_HEALTHY: Final[dict[str, tuple[Expected, ...]]] = {
    "healthy-twice": (answered(Verdict.MATCH, times=1), reached(1)),
    "healthy-lossy-capture": (answered(Verdict.MATCH, times=1), reached(1)),
    "healthy-idle": (),
    "healthy-other-family": (answered(Verdict.MATCH, times=1), reached(1)),
    "healthy-other-interface": (answered(Verdict.MATCH, times=1), reached(1)),
    "healthy-health-checks": (),
    "healthy-scan": (no_connection(None, Cause.UNKNOWN, "10.20.9.1 tried ", "a scanner", times=1),),
    "healthy-scan-of-open-ports": (),
    "healthy-scan-of-high-ports": (reached(1),),
    "healthy-syn-again": (answered(Verdict.MATCH, times=1), reached(1)),
    "healthy-answer-again": (answered(Verdict.MATCH, times=1), reached(1)),
    "healthy-keep-alives": (answered(Verdict.MATCH, times=1), reached(1)),
    "healthy-long-call": (reached(1),),
    "healthy-half-closed": (answered(Verdict.MATCH, times=1), reached(1)),
    "healthy-sealed": (answered(Verdict.SEALED, times=1), reached(1)),
    "healthy-one-way-follow-up": (answered(Verdict.MATCH, times=1),),
    "healthy-ends-early": (answered(Verdict.MATCH, times=2),),
    "healthy-begins-late": (answered(Verdict.MATCH, times=1),),
    "healthy-listing": (answered(Verdict.MATCH, times=5),),
    "healthy-activation": (),
    "healthy-multihomed": (answered(Verdict.MISMATCH, Cause.MULTIHOMED_SERVER), reached(1)),
    "healthy-farm": (answered(Verdict.POOLED, Cause.LOAD_BALANCER, times=6), reached(6)),
    "healthy-nat64": (
        answered(Verdict.MISMATCH, Cause.NAT64_PREFIX_UNDECLARED, _PREFIX, "10.30.4.10 is offered", times=1),
        answered(Verdict.MISMATCH, Cause.NAT64_PREFIX_UNDECLARED, _PREFIX, "10.30.4.11 is offered", times=1),
        reached(2),
    ),
    "healthy-port-again": (answered(Verdict.MATCH, times=4), reached(4)),
    "healthy-both-towers": (answered(Verdict.MATCH, times=1), reached(2)),
    "healthy-source-translated": (answered(Verdict.MATCH, times=8), reached(8)),
    "healthy-two-vips": (answered(Verdict.MISMATCH, times=2), reached(2)),
    "healthy-leaves-at-once": (answered(Verdict.MATCH, times=3), reached(3)),
    "healthy-monitoring": (answered(Verdict.UNANSWERED, times=2),),
    "healthy-fast-open": (answered(Verdict.MATCH, times=1), reached(1)),
    "healthy-many-services": (answered(Verdict.MATCH, times=20), reached(20)),
    "healthy-other-protocol": (answered(Verdict.MATCH, times=2),),
    "healthy-restarts": (answered(Verdict.MATCH, times=1), reached(1)),
    "healthy-slow-start": (answered(Verdict.MATCH, times=1), reached(1)),
    "healthy-security": (answered(Verdict.MATCH, times=1), reached(1)),
    "healthy-crossed": (answered(Verdict.MATCH, times=2), reached(2)),
    "healthy-both-sides-of-a-router": (answered(Verdict.MATCH, times=2), reached(1)),
    "healthy-out-of-order": (answered(Verdict.MATCH, times=1), reached(1)),
    "healthy-offloaded": (answered(Verdict.MATCH),),
    "healthy-one-way-of-some": (answered(Verdict.MATCH, times=7), reached(6)),
}
