"""Rows of causes: the endpoint mapper's own port, questions without an answer, and what the capture cannot show."""

# ruff: noqa: D401  # a row's docstring says when it holds: it describes a state, not a deed
from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from inspector.consequence import Cause, FindingKind, Outcome
from inspector.judge.diagnosis import (
    UNAVAILABLE,
    Diagnosis,
    Row,
    icmp_words,
    is_of_filter,
    is_too_big,
    seconds,
    sender_of,
    syns_sent,
    times,
)
from inspector.judge.evidence import Evidence, Question, Reset
from inspector.model import Verdict

# Interfaces of DCOM activation (MS-DCOM 1.9), by their names in findings.
_DCOM: Final = frozenset({"ISystemActivator", "IRemoteSCMActivator", "IActivation", "IOXIDResolver", "IObjectExporter"})
_NAKS_OF_FILTERS: Final = frozenset({0, 3, 4})
"""Reasons of a bind_nak which no server has for a client that it accepts: none, address unknown, protocol version."""
_LISTING: Final = "ept_lookup"
_CHECKSUM: Final = "invalid checksum"
_CHECK_MEMBERS: Final = (
    "check the members and health checks of the load balancer or proxy that accepts for it, and the service "
    f"RpcEptMapper on the server; {UNAVAILABLE}"
)

LARGE_SEGMENT: Final = 1000
"""Bytes of payload from which a lost segment hints at the path MTU: tunnels leave 1200 and more."""
MTU_REMEDY: Final = (
    "check the path MTU between server and this point (ping with the don't-fragment bit, sizes 1400 to 1472): allow "
    "ICMP 'fragmentation needed', clamp the MSS at the tunnel, or lower the server's MTU"
)


def _message(evidence: Evidence, question: Question) -> str:
    """Return the name of the message that got no answer."""
    name = evidence.operation or "request"
    if question.interface and name == "bind":
        name += f" of {question.interface}"
    return f"{name} with {question.contexts} contexts" if question.contexts > 1 else name


def _sent(evidence: Evidence, question: Question) -> str:
    span = f" in {seconds(question.span_ns)}" if question.sent > 1 else ""
    return f"{evidence.client} sent its {_message(evidence, question)} {times(question.sent)}{span}"


def snap_length(evidence: Evidence) -> Diagnosis | None:
    """Packets were cut by the capture, and an answer could not be read for it."""
    limit = evidence.capture
    if limit.snap_length is None or not limit.unread:
        return None
    seen = f"{limit.unread} answer{'s' if limit.unread > 1 else ''} could not be read: packets are cut"
    return Diagnosis(
        Cause.SNAP_LENGTH,
        "capture again with whole packets (tcpdump -s 0)",
        (f"the capture keeps {limit.snap_length} bytes of each packet", seen),
    )


def one_way_view(evidence: Evidence) -> Diagnosis | None:
    """Only one end of the connections was seen here."""
    count = evidence.capture.one_way
    if not count:
        return None
    seen, missing = ("client", "answers") if evidence.capture.one_way_from_client else ("server", "requests")
    connections = f"{count} connections of {evidence.asked} were"
    if count == 1:
        connections = f"1 connection of {evidence.asked} was"
    remedy = (
        f"capture on the interface that carries the {missing} too (direct server return, asymmetric routing, a mirror "
        f"port of one direction); delivery and outcome cannot be known here"
    )
    if evidence.capture.live:
        remedy = (
            f"attach to the interface where the {missing} arrive too (attach eth0 eth1), or use --mode tc: XDP sees "
            f"what arrives at an interface, not what leaves it; with direct server return or asymmetric routing the "
            f"{missing} pass elsewhere, and delivery and outcome cannot be known here"
        )
    return Diagnosis(
        Cause.ONE_WAY_VIEW,
        remedy,
        (f"{connections} seen from the {seen} alone: {missing} take another way",),
    )


def capture_ends(evidence: Evidence) -> Diagnosis | None:
    """The file ended before the answer could be called missing."""
    question, waited_ns = evidence.question, evidence.capture.ended_after_ns
    if question is None or waited_ns is None:
        return None
    state = {True: "acknowledged", False: "not acknowledged", None: "acknowledgment not seen"}[question.acknowledged]
    return Diagnosis(
        Cause.CAPTURE_ENDS,
        "capture for longer: at least 30 s after the client's question",
        (
            f"{_message(evidence, question)}: not answered when the capture ended {seconds(waited_ns)} later",
            f"sent {times(question.sent)}, {state}",
        ),
    )


def mapper_refuses(evidence: Evidence) -> Diagnosis | None:
    """A SYN to the endpoint mapper's port was reset."""
    attempt = evidence.attempt
    if evidence.kind is not FindingKind.CONNECTION or attempt is None or attempt.answered or attempt.reset is None:
        return None
    return Diagnosis(
        Cause.MAPPER_REFUSES,
        f"check that the services RpcSs and RpcEptMapper run on the server and, at a load balancer, that the health "
        f"check finds a member; {UNAVAILABLE}",
        (
            f"{attempt} refuses connections: {syns_sent(attempt, evidence.client)}, {times(attempt.reset.count)} reset",
            sender_of(attempt.reset, str(attempt.address)),
        ),
    )


def mapper_denied(evidence: Evidence) -> Diagnosis | None:
    """A bind at the endpoint mapper's port is rejected for a checksum, which no bind has."""
    attempt = evidence.attempt
    if evidence.kind is not FindingKind.CONNECTION or attempt is None or attempt.rejection != _CHECKSUM:
        return None
    return Diagnosis(
        Cause.ACCESS_POLICY,
        "look at what guards RPC on the server or on the way, and read its log: endpoint protection, RPC filters "
        "(netsh rpc filter show filter); the endpoint mapper may answer all the same",
        (
            f"{attempt} rejects the bind of {evidence.service or 'an interface'}: {attempt.rejection}",
            "RPC over TCP has no checksum: the reason is none of an endpoint mapper",
        ),
    )


def scanner(evidence: Evidence) -> Diagnosis | None:
    """A client tries many addresses, and none of them answers."""
    if not evidence.scanned:
        return None
    return Diagnosis(
        Cause.UNKNOWN,
        f"nothing where {evidence.client} is a scanner (inventory, vulnerability scan); where it is not, look for who "
        f"scans this network, or what blocks TCP 135 for this client",
        (f"{evidence.client} tried {evidence.scanned} addresses within 60 s, and none accepts",),
    )


def mapper_rejected(evidence: Evidence) -> Diagnosis | None:
    """A SYN to the endpoint mapper's port was reset by another device than the server that answers else."""
    attempt = evidence.attempt
    if evidence.kind is not FindingKind.CONNECTION or attempt is None or attempt.answered or attempt.reset is None:
        return None
    # A load balancer resets itself where it has no member, with a TTL of its own.
    if not attempt.reset.by_device or any(one != evidence.asked for one in evidence.siblings.addresses):
        return None
    return Diagnosis(
        Cause.PORTS_FILTERED,
        f"allow TCP {attempt.port} from these clients: a device in front of {attempt.address} rejects it; "
        f"{UNAVAILABLE}",
        (
            f"{attempt} refuses connections: {syns_sent(attempt, evidence.client)}, {times(attempt.reset.count)} reset",
            sender_of(attempt.reset, str(attempt.address)),
        ),
    )


def mapper_prohibited(evidence: Evidence) -> Diagnosis | None:
    """A SYN to the endpoint mapper's port was answered by an ICMP error that a filter sends."""
    attempt = evidence.attempt
    if evidence.kind is not FindingKind.CONNECTION or attempt is None or attempt.answered or attempt.icmp is None:
        return None
    if not is_of_filter(attempt.icmp):
        return None
    return Diagnosis(
        Cause.PORTS_FILTERED,
        f"allow TCP {attempt.port} from these clients to {attempt.address} at {attempt.icmp.reporter}; {UNAVAILABLE}",
        (syns_sent(attempt, evidence.client), icmp_words(attempt.icmp)),
    )


def mapper_down(evidence: Evidence) -> Diagnosis | None:
    """SYNs to the endpoint mapper's port stayed without any answer."""
    attempt = evidence.attempt
    if evidence.kind is not FindingKind.CONNECTION or attempt is None or attempt.answered or not attempt.syns:
        return None
    lately = evidence.siblings.mapper_answered
    return Diagnosis(
        Cause.MAPPER_DOWN,
        f"check that the server is up, that a firewall lets TCP {attempt.port} through, and that the load balancer has "
        f"a member; {UNAVAILABLE}",
        (
            f"{attempt} does not answer: {syns_sent(attempt, evidence.client)}",
            *(
                ("other connections to it are answered: a server behind it is down, or packets are lost",)
                if lately
                else ()
            ),
            *((icmp_words(attempt.icmp),) if attempt.icmp is not None else ()),
        ),
    )


def filter_of_activation(evidence: Evidence) -> Diagnosis | None:
    """The bind of a DCOM interface is cut off at a server whose endpoint mapper answers."""
    question = evidence.question
    if question is None or question.interface not in _DCOM or not evidence.siblings.mapper_answered:
        return None
    if question.reset is not None and question.reset.from_server:
        seen = ("was answered by a reset", sender_of(question.reset, str(evidence.asked)))
    elif question.server_ended:
        seen = (f"was answered by the end of the connection, in the name of {evidence.asked}", "")
    elif question.acknowledged is False and question.sent > 2:
        seen = (f"was sent {times(question.sent)} and never acknowledged", "")
    else:
        return None
    return Diagnosis(
        Cause.STRICT_RPC_FILTER,
        "a filter lets the endpoint mapper pass and refuses DCOM: at ISA or TMG clear 'Enforce strict RPC compliance' "
        "for this rule (certificate enrollment, WMI and DPM agents need it)",
        (
            f"{_message(evidence, question)} {seen[0]}",
            *filter(None, seen[1:]),
            f"the endpoint mapper at {evidence.asked} answers other calls",
        ),
    )


def filter_of_contexts(evidence: Evidence) -> Diagnosis | None:
    """A bind with several contexts gets no answer, a reset or a bind_nak, where one with fewer was accepted."""
    question, answered = evidence.question, evidence.siblings.bind_answered_contexts
    if evidence.verdict is Verdict.REJECTED and evidence.status in _NAKS_OF_FILTERS:
        contexts = evidence.bind_contexts
        seen = f"a bind with {contexts} contexts was rejected by a bind_nak"
    elif question is not None and not question.acknowledged:
        if question.reset is not None and question.reset.by_device:
            return None
        contexts = question.contexts
        ended = ", then reset" if question.reset is not None and question.reset.from_server else ""
        seen = f"{_sent(evidence, question)}, never answered and never acknowledged{ended}"
    else:
        return None
    if not 0 < answered < contexts:
        return None
    return Diagnosis(
        Cause.STRICT_RPC_FILTER,
        "a device on the path rejects binds with several transfer syntaxes (NDR64, feature negotiation): update the "
        "firewall, or set Server2003NegotiateDisable=1 under HKLM\\SOFTWARE\\Policies\\Microsoft\\Windows NT\\RPC",
        (seen, f"a bind with {answered} context{'s' if answered > 1 else ''} to {evidence.asked} was answered"),
    )


def _resets(evidence: Evidence) -> Iterator[tuple[Reset, str]]:
    """Yield the resets of connections that were open, each with the name of its source."""
    for part in (evidence.question, evidence.delivery):
        if part is not None and part.reset is not None:
            yield part.reset, str(evidence.asked if part.reset.from_server else evidence.client)
    if evidence.question is not None and evidence.question.closed is not None:
        yield evidence.question.closed, str(evidence.attempt.address if evidence.attempt else evidence.asked)
    attempt = evidence.attempt
    if attempt is not None and attempt.answered and attempt.reset is not None:
        yield attempt.reset, str(attempt.address if attempt.reset.from_server else evidence.client)


def reset_by_device(evidence: Evidence) -> Diagnosis | None:
    """A connection that was open was reset by another device than its end."""
    found = next(((reset, name) for reset, name in _resets(evidence) if reset.by_device), None)
    if found is None:
        return None
    reset, name = found
    after = f"{seconds(reset.after_ns)} after the packet that it answers" if reset.after_ns is not None else ""
    return Diagnosis(
        Cause.RESET_BY_DEVICE,
        "look for a firewall or intrusion prevention system on the path that inspects RPC, and read its log for this "
        "connection; clients report error 1726 (0x6BE, the call failed) or 1722",
        tuple(filter(None, (sender_of(reset, name), after))),
    )


def path_mtu_of_question(evidence: Evidence) -> Diagnosis | None:
    """The request arrived, and the large answer (or the first part of it) did not."""
    question = evidence.question
    if question is None:
        return None
    if question.hole:
        seen = "a later part of the answer came, an earlier one did not, and the client does not acknowledge it"
    elif question.begun and question.largest_segment >= LARGE_SEGMENT:
        seen = f"a part of the answer came, in a segment of {question.begun} bytes, and the rest did not"
    elif question.acknowledged is False and question.sent > 2 and question.largest_segment >= LARGE_SEGMENT:
        seen = (
            f"a segment of {question.largest_segment} bytes of the {question.message} was sent {times(question.sent)} "
            f"and never acknowledged, while the connection was opened by small packets"
        )
    elif question.acknowledged and evidence.operation == _LISTING and evidence.siblings.small_answers:
        seen = (
            f"the server acknowledged the {_LISTING} request, 0 bytes of the answer came in "
            f"{seconds(question.waited_ns)}; answers of one small segment do come"
        )
    else:
        return None
    return Diagnosis(Cause.PATH_MTU, MTU_REMEDY, (seen,))


def path_mtu_reported(evidence: Evidence) -> Diagnosis | None:
    """A router said that a packet of the connection is too big."""
    attempt = evidence.attempt
    if attempt is None or attempt.icmp is None or not is_too_big(attempt.icmp):
        return None
    return Diagnosis(Cause.PATH_MTU, MTU_REMEDY, (icmp_words(attempt.icmp),))


def mapper_mute(evidence: Evidence) -> Diagnosis | None:
    """Port 135 accepts connections, and a bind or a request gets no answer."""
    question = evidence.question
    if question is None or evidence.verdict not in (None, Verdict.UNANSWERED):
        return None
    if question.reset is not None and question.reset.from_server:
        return None
    seen = [_sent(evidence, question)]
    if question.acknowledged is False and question.sent > 1:
        seen.append("not even acknowledged: what accepted the connection is not what should answer")
        remedy = "check the members and health checks of the load balancer, or the SYN proxy, that accepts for it"
    elif question.flags_zero:
        seen.append("its PDU flags are 0, as Windows NT 4.0 sends them; filters take such a PDU for a middle fragment")
        remedy = "update the filter on the path (ISA Server: KB 291000), or the client"
    else:
        state = "acknowledged" if question.acknowledged else "acknowledgment not seen"
        ended = ", then the client ended the connection" if question.client_ended else ""
        if question.server_ended:
            ended = f", then {evidence.asked} closed the connection, or a filter did so in its name"
        seen.append(f"{state}, no answer in {seconds(question.waited_ns)}{ended}")
        remedy = "look at the service RpcEptMapper on the server: it accepts connections and does not answer"
    return Diagnosis(Cause.MAPPER_MUTE, f"{remedy}; {UNAVAILABLE}", tuple(seen))


def mapper_resets(evidence: Evidence) -> Diagnosis | None:
    """What accepts connections at port 135 resets them at the bind, as a proxy without a server does."""
    question = evidence.question
    if question is None or evidence.operation != "bind" or evidence.kind is FindingKind.FOLLOW_UP:
        return None
    if question.reset is None or not question.reset.from_server or evidence.verdict not in (None, Verdict.UNANSWERED):
        return None
    return Diagnosis(
        Cause.MAPPER_MUTE,
        _CHECK_MEMBERS,
        (f"{_sent(evidence, question)}, answered by a reset", sender_of(question.reset, str(evidence.asked))),
    )


def mapper_closes(evidence: Evidence) -> Diagnosis | None:
    """What accepts connections at port 135 ends them before a word was said, as a proxy without a server does."""
    attempt = evidence.attempt
    if evidence.kind is not FindingKind.CONNECTION or evidence.outcome is not Outcome.BROKEN or attempt is None:
        return None
    if evidence.question is not None or not attempt.answered:
        return None
    how = sender_of(attempt.reset, str(attempt.address)) if attempt.reset is not None else "closed by the server"
    return Diagnosis(
        Cause.MAPPER_MUTE,
        _CHECK_MEMBERS,
        (f"{attempt} accepted the connection and ended it before the client had said anything", how),
    )


VIEW_ROWS: Final[tuple[Row, ...]] = (snap_length, one_way_view, capture_ends, scanner)
CONNECT_ROWS: Final[tuple[Row, ...]] = (
    path_mtu_reported,
    mapper_denied,
    mapper_rejected,
    mapper_refuses,
    mapper_prohibited,
    mapper_down,
)
FILTER_ROWS: Final[tuple[Row, ...]] = (filter_of_activation, filter_of_contexts, reset_by_device)
QUESTION_ROWS: Final[tuple[Row, ...]] = (path_mtu_of_question, mapper_mute, mapper_resets, mapper_closes)
