"""From facts to an outcome, and to the words for it: pure functions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from inspector.consequence import FindingKind, Outcome, Target
from inspector.judge.diagnosis import icmp_words, is_too_big, seconds, sender_of, times
from inspector.wire.status import fault_status_text

if TYPE_CHECKING:
    from inspector.judge.evidence import Attempt, Delivery, Evidence, Question, Reset

_UNKNOWN_INTERFACE: Final = frozenset({0x1C010003, 0x6B5})
_DENIED: Final = frozenset({5, 0x721, 0x1C00001D, 0x6BB, 0x1C010014})
_SLOW_NS: Final = 500_000_000
_PROMPT_NS: Final = 1_000_000_000


def attempt_outcome(
    attempt: Attempt, question: Question | None, *, unknown_interface: bool = False, accepted: bool = False
) -> Outcome | None:
    """Return what became of a connection; None where nothing can be said yet.

    `question` is what waits for an answer, long enough to be called silence; `unknown_interface` says that the bind
    was rejected since the server does not know the abstract syntax; `accepted` that bind or call was answered.
    """
    if not attempt.answered:
        return _without_answer(attempt)
    if attempt.rejection is not None:
        return Outcome.WRONG_SERVER if unknown_interface else Outcome.DENIED
    if attempt.fault in _UNKNOWN_INTERFACE:
        return Outcome.WRONG_SERVER
    if attempt.fault in _DENIED:
        return Outcome.DENIED
    if question is not None:
        return Outcome.BROKEN
    reset = attempt.reset
    if reset is not None and reset.from_server and not accepted and (attempt.bind_contexts or _is_prompt(reset)):
        return Outcome.BROKEN
    return Outcome.REACHED


def _is_prompt(reset: Reset) -> bool:
    """Return whether a reset cut off a connection that had just been opened, and does not end one that was idle."""
    return reset.by_device or (reset.after_ns is not None and reset.after_ns < _PROMPT_NS)


def _without_answer(attempt: Attempt) -> Outcome | None:
    if attempt.reset is not None and attempt.reset.from_server:
        return Outcome.REFUSED
    if attempt.icmp is not None and not is_too_big(attempt.icmp):
        return Outcome.UNREACHABLE
    return Outcome.TIMED_OUT if attempt.syns else None


def delivery_outcome(delivery: Delivery, *, ended: bool, waited_ns: int) -> Outcome | None:
    """Return `undelivered` for an answer that was lost, None for one of which nothing is known.

    An answer that is sent again and again, or outlives its connection for a second, was lost. A client that goes at
    once may have lost interest.
    """
    if delivery.acknowledged:
        return None
    if delivery.sent > 2 or delivery.client_hole:
        return Outcome.UNDELIVERED
    by_device = delivery.reset is not None and delivery.reset.by_device and not delivery.reset.from_server
    if by_device or (ended and delivery.acknowledged_part):
        return Outcome.UNDELIVERED
    return Outcome.UNDELIVERED if ended and (delivery.sent > 1 or waited_ns >= 1_000_000_000) else None


def explain_outcome(evidence: Evidence) -> str:
    """Return what happened, in one sentence with numbers."""
    if evidence.kind is FindingKind.CONNECTION:
        return _explain_mapper(evidence)
    if evidence.outcome is Outcome.UNDELIVERED and evidence.delivery is not None:
        return _explain_delivery(evidence, evidence.delivery)
    if evidence.attempt is not None:
        return f"{evidence.client} {_connected(evidence, evidence.attempt)}{_result(evidence, evidence.attempt)}"
    if evidence.question is not None:
        return _explain_question(evidence, evidence.question)
    if evidence.call_rejected:
        return f"a bind_nak of {evidence.call_rejected} bytes answers the request"
    return ""


def _connected(evidence: Evidence, attempt: Attempt) -> str:
    if evidence.target is Target.ASKED or attempt.address == evidence.asked:
        return f"connected to {attempt} as it was told"
    if evidence.target is Target.OFFERED:
        return f"asked {evidence.asked} and went to the tower's address {attempt} (it does not conform)"
    return f"asked {evidence.asked} and connected to {attempt}, another address of it"


def _result(evidence: Evidence, attempt: Attempt) -> str:
    outcome, service = evidence.outcome, evidence.service or "the interface"
    if outcome is Outcome.REACHED:
        return f", which accepted {service}" if attempt.bind_contexts else ", which accepted the connection"
    if outcome is Outcome.REFUSED and attempt.reset is not None:
        return f" and was refused {times(attempt.reset.count)}: {sender_of(attempt.reset, str(attempt.address))}"
    if outcome is Outcome.TIMED_OUT:
        helper = ""
        if evidence.fragments > 1:
            helper = (
                f"; the answer of the endpoint mapper came in {evidence.fragments} RPC fragments: a session helper "
                f"that does not join them (FortiOS) opens no pinhole"
            )
        return f": {_syns(attempt)}, no answer{helper}"
    if outcome is Outcome.UNREACHABLE and attempt.icmp is not None:
        return f": {_syns(attempt)}, {icmp_words(attempt.icmp)}"
    if outcome in (Outcome.WRONG_SERVER, Outcome.DENIED):
        fault = fault_status_text(attempt.fault) if attempt.fault is not None else "no reason given"
        return f", which rejects {service}: {attempt.rejection or fault}"
    question, reset = evidence.question, attempt.reset
    by_client = reset is not None and not reset.from_server
    if question is not None and question.hole:
        return ", and a part of its answer is missing, which the client does not have either"
    if outcome is Outcome.UNDELIVERED:
        return f", which accepts, and its SYN-ACK, sent {times(attempt.syn_acks)}, is never acknowledged"
    if question is not None and (reset is None or by_client):
        ended = f", then {evidence.client} ended the connection" if question.client_ended else ""
        return f", and its {_name_of(evidence, question)} was {_silence(question)}{ended}"
    if reset is not None:
        return f", and the connection was reset: {sender_of(reset, str(attempt.address))}"
    return ", and the connection ended before an answer"


def _syns(attempt: Attempt) -> str:
    span = f" in {seconds(attempt.span_ns)}" if attempt.syns > 1 else ""
    return f"{attempt.syns} SYN{'s' if attempt.syns != 1 else ''}{span}"


def _silence(question: Question, *, listing: bool = False) -> str:
    span = f" in {seconds(question.span_ns)}" if question.sent > 1 else ""
    state = {True: "acknowledged, ", False: "not even acknowledged, ", None: ""}[question.acknowledged]
    if listing and question.acknowledged and not question.server_ended:
        return (
            f"sent {times(question.sent)}{span}, {state}and 0 bytes of the answer came in {seconds(question.waited_ns)}"
        )
    if question.server_ended:
        return f"sent {times(question.sent)}{span}, {state}and the server closed the connection without an answer"
    return f"sent {times(question.sent)}{span}, {state}not answered in {seconds(question.waited_ns)}"


def _name_of(evidence: Evidence, question: Question) -> str:
    """Return what the client asked at an endpoint: a bind, or a call after it."""
    if question.message == "request":
        return "call"
    return f"{question.message} of {evidence.service or question.interface or 'the interface'}"


def _explain_question(evidence: Evidence, question: Question) -> str:
    name = evidence.operation or "call"
    if question.interface and name in ("bind", "alter_context"):
        name += f" of {question.interface}"
    words = f"the {name} was {_silence(question, listing=name == 'ept_lookup')}"
    if question.missing:
        words += f"; the server has sent {question.missing} bytes that did not come here, by its later sequence numbers"
    if question.hole:
        words = "a part of the answer is missing, and the client does not have it either"
    if question.begun:
        words = f"the answer began ({question.begun} bytes), and the rest did not come in {seconds(question.waited_ns)}"
    if question.reset is not None:
        end = evidence.asked if question.reset.from_server else evidence.client
        words += f", then {sender_of(question.reset, str(end))}"
    elif question.server_ended:
        sent = f"the {name} was sent {times(question.sent)}"
        words = f"{sent}, and {evidence.asked} closed the connection without an answer"
    elif question.client_ended:
        words += f", then {evidence.client} ended the connection"
    return words


def _explain_delivery(evidence: Evidence, delivery: Delivery) -> str:
    side = evidence.other_side
    if side is not None and side.dropped:
        client = side.client or evidence.client
        after = f" {seconds(side.after_ns)} later" if side.after_ns is not None else ""
        instead = f"; {client} got a {side.replaced_by}{after} instead" if side.replaced_by else ""
        if side.here == side.there:
            return f"this answer did not go on to {client}: it was dropped here{instead}"
        return (
            f"this answer came in at {side.there} and did not leave at {side.here}: it was dropped in between{instead}"
        )
    span = f" in {seconds(delivery.span_ns)}" if delivery.sent > 1 else ""
    words = (
        f"this answer did not reach {evidence.client}: sent {times(delivery.sent)}{span} and never acknowledged "
        f"(largest segment {delivery.largest_segment} bytes)"
    )
    if delivery.reset is not None:
        who = evidence.asked if delivery.reset.from_server else evidence.client
        words += f", then reset by {who}"
    return words


def _explain_mapper(evidence: Evidence) -> str:
    attempt = evidence.attempt
    if evidence.outcome is None:
        return _explain_limits(evidence)
    if evidence.question is not None:
        return _explain_question(evidence, evidence.question)
    if attempt is None:
        return ""
    if evidence.outcome is Outcome.DENIED:
        of = f" of {evidence.service}" if evidence.service else ""
        return f"{attempt} rejects the bind{of}: {attempt.rejection}"
    if evidence.outcome is Outcome.REFUSED and attempt.reset is not None:
        return (
            f"{attempt} refuses connections: {_syns(attempt)}, {times(attempt.reset.count)} reset: "
            f"{sender_of(attempt.reset, str(attempt.address))}"
        )
    if evidence.outcome is Outcome.UNREACHABLE and attempt.icmp is not None:
        return f"{attempt} cannot be reached: {_syns(attempt)}, {icmp_words(attempt.icmp)}"
    if evidence.outcome is Outcome.TIMED_OUT:
        return f"{attempt} does not answer: {_syns(attempt)}"
    if evidence.outcome is Outcome.UNDELIVERED:
        often = f", sent {times(attempt.syn_acks)}," if attempt.syn_acks else ""
        return f"{attempt} accepts and {evidence.client} does not know: its SYN-ACK{often} is never acknowledged"
    if attempt.reset is not None:
        return (
            f"{attempt} accepted the connection and reset it at once: {sender_of(attempt.reset, str(attempt.address))}"
        )
    return f"{attempt} accepted the connection and closed it at once"


def _explain_limits(evidence: Evidence) -> str:
    """Return what the capture cannot show, or whose attempts are not told one by one."""
    limits = evidence.capture
    if evidence.scanned:
        return scan_words(evidence)
    if limits.one_way:
        seen, missing = ("client", "answers") if limits.one_way_from_client else ("server", "requests")
        count = f"{limits.one_way} connection{'s' if limits.one_way != 1 else ''}"
        verb = "were" if limits.one_way != 1 else "was"
        return (
            f"{count} of {evidence.asked} {verb} seen from the {seen} alone: {missing} take another way, and nothing "
            f"can be said of them here"
        )
    if limits.unread:
        return (
            f"the capture keeps {limits.snap_length} bytes of each packet: {limits.unread} answer"
            f"{'s' if limits.unread != 1 else ''} of {evidence.asked} could not be read"
        )
    waited_ns = limits.ended_after_ns or 0
    question = evidence.question
    sent = f", sent {times(question.sent)}" if question is not None else ""
    return f"{evidence.operation}: not answered when the capture ended {seconds(waited_ns)} later{sent}"


def scan_words(evidence: Evidence) -> str:
    """Return what a scanner did."""
    return (
        f"{evidence.client} tried {evidence.scanned} addresses at the endpoint mapper's port within a minute, one or "
        f"two SYNs each, and none accepts: a scanner, whose attempts are not listed one by one"
    )


def slow_words(latency_ns: int | None) -> str:
    """Return how long an answer took, where that is long."""
    return f" (answered after {seconds(latency_ns)})" if latency_ns is not None and latency_ns >= _SLOW_NS else ""
