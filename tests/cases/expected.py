"""What the inspector should say of each case: findings by kind, verdict, outcome, target and cause, and their words."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from inspector.consequence import Cause, FindingKind, Outcome, Target
from inspector.model import Verdict

ANSWER, DELIVERY, FOLLOW_UP, CONNECTION = FindingKind


class Expected(NamedTuple):
    """A finding that a case must have `times` times, or at least once; None and () leave a part open.

    `cause` is compared where `kind` is not `answer`, too: a missing one must be missing. `words` are fragments of the
    reason, the remedy or the evidence.
    """

    kind: FindingKind
    verdict: Verdict | None = None
    outcome: Outcome | None = None
    target: Target | None = None
    cause: Cause | None = None
    words: tuple[str, ...] = ()
    times: int | None = None

    def fits(self, finding: dict[str, Any]) -> bool:
        """Return whether a finding's JSON form is this one."""
        for key in ("kind", "verdict", "outcome", "target", "cause"):
            value = getattr(self, key)
            if value is not None and finding.get(key) != value:
                return False
        text = "; ".join((finding["why"], finding.get("remedy", ""), *finding.get("evidence_seen", ())))
        return all(word in text for word in self.words)


def reached(times: int | None = None, target: Target = Target.ASKED) -> Expected:
    """Return that follow-ups got through."""
    return Expected(FOLLOW_UP, outcome=Outcome.REACHED, target=target, times=times)


def answered(verdict: Verdict, cause: Cause | None = None, *words: str, times: int | None = None) -> Expected:
    """Return a finding of an answer."""
    return Expected(ANSWER, verdict, cause=cause, words=words, times=times)


def failed(outcome: Outcome, target: Target, cause: Cause, *words: str, times: int | None = None) -> Expected:
    """Return that follow-ups did not get through."""
    return Expected(FOLLOW_UP, None, outcome, target, cause, words, times)


def lost(cause: Cause, *words: str, verdict: Verdict | None = None, times: int | None = None) -> Expected:
    """Return that an answer did not arrive."""
    return Expected(DELIVERY, verdict, Outcome.UNDELIVERED, None, cause, words, times)


def broken(cause: Cause, *words: str, times: int | None = None) -> Expected:
    """Return that a question stayed without answer, which the decoder tells of."""
    return Expected(ANSWER, Verdict.UNANSWERED, Outcome.BROKEN, None, cause, words, times)


def no_connection(outcome: Outcome | None, cause: Cause, *words: str, times: int | None = None) -> Expected:
    """Return a finding of a connection to port 135: not open, or open in vain."""
    return Expected(CONNECTION, Verdict.UNANSWERED, outcome, None, cause, words, times)


def left_open(*words: str, times: int | None = None) -> Expected:
    """Return that a question waits at the end of the capture."""
    return Expected(CONNECTION, Verdict.OPEN, None, None, Cause.CAPTURE_ENDS, words, times)


def one_way(*words: str) -> Expected:
    """Return the finding of a server of which one direction was seen: no outcome, and not the verdict on a mute one."""
    return Expected(CONNECTION, Verdict.ONE_WAY, None, None, Cause.ONE_WAY_VIEW, words, 1)


EXPECTED: Final[dict[str, tuple[Expected, ...]]] = {
    "01": (
        answered(Verdict.MISMATCH, None, "10.30.2.7"),
        lost(Cause.STRICT_RPC_FILTER, "bind_nak of 24 bytes", "refused this answer", verdict=Verdict.MISMATCH),
    ),
    "03": (
        answered(Verdict.MISMATCH),
        failed(
            Outcome.REFUSED,
            Target.ASKED,
            Cause.PORTS_NOT_PUBLISHED,
            "192.168.1.20:49153",
            "refused 3 times",
            "publish the servers' dynamic ports",
        ),
    ),
    "04": (
        answered(Verdict.MATCH),
        failed(
            Outcome.TIMED_OUT,
            Target.ASKED,
            Cause.PORTS_FILTERED,
            "10.20.1.15 sent 3 SYNs to 10.30.4.10:49155 in 9.0 s, no answer",
            "49152-65535",
            "KB 224196",
            "1722",
        ),
    ),
    "06": (
        answered(Verdict.MISMATCH),
        failed(
            Outcome.TIMED_OUT,
            Target.OFFERED,
            Cause.LOAD_BALANCER,
            "10.30.2.7:59531",
            "3 SYNs in 9.0 s, no answer",
            "does not conform",
            "route or allow",
            "transparent",
        ),
    ),
    "07": (
        answered(Verdict.MISMATCH),
        failed(
            Outcome.WRONG_SERVER,
            Target.ASKED,
            Cause.NO_AFFINITY,
            "10.30.2.2:49210",
            "abstract syntax not supported",
            "affinity",
        ),
    ),
    "09": (
        Expected(ANSWER, Verdict.MISMATCH, words=("10.25.33.11",)),
        failed(Outcome.TIMED_OUT, Target.OFFERED, Cause.DESTINATION_NAT, "10.25.33.11:49155"),
    ),
    "12": (answered(Verdict.FAULT, Cause.ACCESS_POLICY, "RestrictRemoteClients", times=3),),
    "13": (answered(Verdict.NOT_REGISTERED, Cause.SERVICE_NOT_REGISTERED, "1753", "DNS and HOSTS"),),
    "14": (
        answered(Verdict.MATCH, times=3),
        answered(
            Verdict.NOT_REGISTERED,
            Cause.POOL_MEMBER_DIFFERS,
            "answers of 10.30.2.2 about MAPI 0.81 in the last minute",
            "unlike the others",
            "out of the pool",
            times=3,
        ),
    ),
    "15": (
        answered(Verdict.MATCH),
        answered(Verdict.NOT_REGISTERED, Cause.WRONG_VERSION, "MAPI 1.0", "version 0.81 (seen at 22:13:20)"),
    ),
    "17": (
        answered(Verdict.MATCH, times=2),
        failed(
            Outcome.REFUSED, Target.ASKED, Cause.STALE_REGISTRATION, "port 49671 for SPOOLSS", "RpcEptMapper", times=2
        ),
    ),
    "18": (
        broken(Cause.STRICT_RPC_FILTER, "3 contexts", "6 times", "Server2003NegotiateDisable"),
        answered(Verdict.MATCH),
    ),
    "19": (broken(Cause.RESET_BY_DEVICE, "TTL 254", "had 126"),),
    "21": (broken(Cause.MAPPER_MUTE, "no answer in 4.0 s", "RpcEptMapper"),),
    "22": (broken(Cause.PATH_MTU, "sent once, acknowledged, and 0 bytes of the answer came in", "path MTU"),),
    "24": (lost(Cause.PATH_MTU, "sent 6 times in 9", "1384 bytes", verdict=Verdict.MATCH),),
    "25": (answered(Verdict.MATCH, Cause.SLOW_SERVER, "after 8.0 s"),),
    "27": (no_connection(Outcome.TIMED_OUT, Cause.MAPPER_DOWN, "10.30.4.10:135 does not answer", times=3),),
    "28": (no_connection(Outcome.REFUSED, Cause.MAPPER_REFUSES, "10.30.2.2:135 refuses connections"),),
    "29": (broken(Cause.MAPPER_MUTE, "7 times", "not even acknowledged"),),
    "32": (one_way("seen from the client alone", "answers take another way"),),
    "33": (
        answered(Verdict.UNSPECIFIED),
        answered(
            Verdict.OTHER_FAMILY, Cause.OTHER_ADDRESS_FAMILY, '"2001:db8:30::10", "10.30.4.10"', "no tower can carry"
        ),
        reached(1),
    ),
    "35": (
        answered(Verdict.MISMATCH, Cause.MULTIHOMED_SERVER),
        failed(Outcome.TIMED_OUT, Target.OFFERED, Cause.MULTIHOMED_SERVER, "192.168.250.20", "selective binding"),
    ),
    "37": (
        answered(Verdict.MATCH),
        failed(
            Outcome.TIMED_OUT,
            Target.ASKED,
            Cause.PORTS_FILTERED,
            "no answer; the answer",
            "came in 2 RPC fragments",
            "FortiOS",
        ),
    ),
    "38": (
        lost(Cause.STRICT_RPC_FILTER, "sent 6 times", "10.30.2.7", "Stormshield", verdict=Verdict.MISMATCH),
    ),
    "39": (answered(Verdict.MISMATCH), reached(1)),
    "41": (
        Expected(
            CONNECTION,
            Verdict.REJECTED,
            Outcome.DENIED,
            None,
            Cause.ACCESS_POLICY,
            ("bind of MGMT: invalid checksum", "endpoint protection"),
        ),
    ),
    "43": (answered(Verdict.REJECTED, None, "limit"), answered(Verdict.FAULT, None, "too busy")),
    "46": (Expected(CONNECTION, cause=Cause.SNAP_LENGTH, words=("keeps 96 bytes", "-s 0")),),
    "47": (
        left_open("bind", "not answered when the capture ended 4.5 s later", "sent 5 times"),
    ),
    "49": (
        answered(Verdict.NOT_REGISTERED, Cause.SERVICE_NOT_REGISTERED, "1753", times=1),
        answered(Verdict.FAULT, None, "1752", times=2),
        answered(Verdict.FAULT, None, "1723", times=1),
    ),
    "50": (answered(Verdict.FAULT, None, "stub"),),
    "51": (
        answered(Verdict.MATCH, times=1),
        broken(Cause.MAPPER_MUTE, "ept_map", "flags are 0", "KB 291000", times=1),
    ),
    "55": (
        answered(Verdict.MATCH),
        no_connection(
            Outcome.BROKEN,
            Cause.STRICT_RPC_FILTER,
            "bind of IRemoteSCMActivator",
            "reset in the name of 10.30.4.10",
            "strict RPC compliance",
            times=2,
        ),
    ),
    "01-healthy": (answered(Verdict.MATCH), reached()),
    "02a-all-ports": (answered(Verdict.MISMATCH), reached()),
    "03a-135-only": (
        answered(Verdict.MISMATCH),
        failed(Outcome.REFUSED, Target.ASKED, Cause.PORTS_NOT_PUBLISHED, "1 hop nearer than the server"),
    ),
    "04a-to-the-dip": (answered(Verdict.MISMATCH), reached(target=Target.OFFERED)),
    "06b-no-affinity": (
        failed(Outcome.WRONG_SERVER, Target.ASKED, Cause.NO_AFFINITY, "affinity by the client's address"),
        reached(),
    ),
    "07a-strict-silent": (
        lost(
            Cause.STRICT_RPC_FILTER,
            "came in at servers.pcapng and did not reach 10.20.1.15 at clients.pcapng: dropped here",
            verdict=Verdict.MISMATCH,
            times=2,
        ),
    ),
    "08a-original": (
        lost(
            Cause.STRICT_RPC_FILTER,
            "did not reach 2001:0:a14:168:388e:fcb:4337:1876 at clients.pcapng: dropped here",
            "bind_nak of 24 bytes",
            verdict=Verdict.MISMATCH,
            times=2,
        ),
    ),
    "11c-icmp": (
        answered(Verdict.MATCH),
        failed(
            Outcome.UNREACHABLE, Target.ASKED, Cause.PORTS_FILTERED, "10.30.2.7 sent ICMP type 3 code 13", "prohibited"
        ),
    ),
    "14c-very-slow": (answered(Verdict.MISMATCH, Cause.SLOW_SERVER, "after 15.0 s"), reached()),
    "16b-mtu": (no_connection(Outcome.UNDELIVERED, Cause.PATH_MTU, "a later part of the answer came"),),
    "17a-down": (no_connection(Outcome.TIMED_OUT, Cause.MAPPER_DOWN, "10.30.2.2:135 does not answer", "4 SYNs"),),
    "18b-device": (
        broken(Cause.RESET_BY_DEVICE, "TTL 25", "1 hop nearer than the server"),
    ),
    "20a-balancer": (
        answered(Verdict.MISMATCH, Cause.LOAD_BALANCER, "10.30.2.7", "(learned)"),
        reached(),
    ),
}  # fmt: skip
"""What each case must have."""

NEVER: Final[dict[str, frozenset[Verdict]]] = {"20a-balancer": frozenset({Verdict.MATCH})}
"""Verdicts that no finding of a case may have."""
