"""What the inspector should say of the variants of `tests.cases.variants_more`."""

from __future__ import annotations

from typing import Final

from inspector.consequence import Cause, FindingKind, Outcome, Target
from inspector.model import Verdict
from tests.cases.expected import Expected, answered, broken, failed, lost, no_connection, reached

_ASKED: Final = Target.ASKED
_DIFFERS: Final = Cause.POOL_MEMBER_DIFFERS

EXPECTED_MORE: Final[dict[str, tuple[Expected, ...]]] = {
    "14-dead-member": (
        reached(4),
        failed(Outcome.TIMED_OUT, _ASKED, _DIFFERS, "3 SYNs in 9.0 s", "other connections", "out of the pool", times=2),
    ),
    "14-member-refuses": (
        reached(4),
        failed(Outcome.REFUSED, _ASKED, _DIFFERS, "refused 3 times", "unlike the others", times=2),
    ),
    "14-stopped": (
        answered(Verdict.MATCH, times=1),
        answered(Verdict.NOT_REGISTERED, Cause.SERVICE_NOT_REGISTERED, "no MAPI 0.81", times=1),
    ),
    "29-proxy-resets": (no_connection(Outcome.BROKEN, Cause.MAPPER_MUTE, "reset it at once", "proxy", times=3),),
    "29-proxy-closes": (no_connection(Outcome.BROKEN, Cause.MAPPER_MUTE, "closed it at once", "proxy", times=3),),
    "07c-clients-reset": (broken(Cause.RESET_BY_DEVICE, "TTL 64", "had 126", times=1),),
    "07b-clients-closed": (broken(Cause.RESET_BY_DEVICE, "end of the connection in the name of", "TTL 64", times=1),),
    "07b-servers-closed": (lost(Cause.STRICT_RPC_FILTER, "sent once and never acknowledged", times=1),),
    "18b-clients-name": (broken(Cause.RESET_BY_DEVICE, "in the name of 10.20.1.15 with TTL 64", times=1),),
    "22-rest-lost": (
        broken(Cause.PATH_MTU, "the answer began (1460 bytes), and the rest did not come in", times=1),
        no_connection(Outcome.TIMED_OUT, Cause.MAPPER_DOWN, times=1),
    ),
    "07-sealed": (
        answered(Verdict.SEALED, times=1),
        failed(Outcome.WRONG_SERVER, _ASKED, Cause.STALE_REGISTRATION, "rejects NETLOGON", "is presumed", times=1),
    ),
    "17-sealed": (
        answered(Verdict.SEALED, times=1),
        failed(Outcome.REFUSED, _ASKED, Cause.STALE_REGISTRATION, "refused 3 times", "is presumed", times=1),
    ),
    "24-sealed": (lost(Cause.UNKNOWN, "sent 6 times in 9.3 s", verdict=Verdict.SEALED, times=1),),
    "03-nat64": (
        answered(Verdict.MISMATCH, times=1),
        failed(Outcome.TIMED_OUT, _ASKED, Cause.PORTS_NOT_PUBLISHED, "10.30.2.2:59531", "3 SYNs in 9.0 s", times=1),
    ),
    "06-nat64": (
        failed(Outcome.TIMED_OUT, Target.OFFERED, Cause.LOAD_BALANCER, "10.30.2.7:59531", "does not conform", times=1),
    ),
    "05-port-unreachable": (
        failed(Outcome.UNREACHABLE, _ASKED, Cause.PORTS_FILTERED, "ICMP type 3 code 3: port unreachable", times=1),
        failed(Outcome.UNREACHABLE, _ASKED, Cause.PORTS_FILTERED, "ICMPv6 type 1 code 4: port unreachable", times=1),
    ),
    "44-big-endian": (
        answered(Verdict.MATCH, times=1),
        failed(Outcome.DENIED, _ASKED, Cause.ACCESS_POLICY, "authentication type not recognised", times=1),
    ),
    "43-endpoint-busy": (
        reached(1),
        Expected(
            FindingKind.FOLLOW_UP, None, Outcome.DENIED, _ASKED, Cause.UNKNOWN, ("too busy (1723)", "its load"), times=1
        ),
    ),
}
