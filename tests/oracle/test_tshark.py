"""tshark and the inspector read every golden trace, and must agree on every PDU, answer and question."""

from __future__ import annotations

import subprocess
from collections import Counter
from functools import cache

import pytest

from inspector.errors import Anomaly
from inspector.wire.exchange import Exchange, Outcome
from tests.conftest import require_tools
from tests.golden.store import CAPTURE, GOLDEN, config_of, trace_names
from tests.oracle import inspect, tshark
from tests.oracle.facts import Reading, ResultFact

ACCEPTANCE = 0
ASPECTS = ("pdus", "answers", "questions")
SYNTAX_NAMES = {"8a885d04-1ceb-11c9-9fe8-08002b104860": "ndr20", "71710533-beba-4937-8319-b5dbef9ccc36": "ndr64"}

_NO_BIND = "tshark reads no stub whose bind or request it has not seen; the inspector infers what it is"
_GAP = "tshark waits for lost bytes to the end, where the inspector gives them up after a time"
_FRAGMENTS = "tshark puts IP fragments together"
_GREETING = "tshark does not know the greeting before the first PDU"
_FLAGS = "tshark takes a request whose fragment flags are 0 for a fragment in between"
_TUNNEL = "tshark looks into tunnels unasked"
_FORGED = "tshark follows a forged SYN and reads nothing of the connection that goes on"
# What tshark (4.0) does differently, by trace and aspect. Everything else must be equal.
DIFFERENT = {
    ("calls-auth-malformed", "pdus"): "tshark reads past a verifier that is longer than its PDU",
    ("calls-auth-malformed", "answers"): "tshark reads past a verifier that is longer than its PDU",
    ("calls-fragment-order", "answers"): "tshark loses the towers of a response whose first fragment came twice",
    ("calls-pdu-malformed", "pdus"): "tshark finds no PDU behind bytes that are none",
    ("calls-pdu-malformed", "answers"): "tshark finds no PDU behind bytes that are none",
    ("calls-requests-with-flags-zero", "answers"): _FLAGS,
    ("calls-requests-with-flags-zero", "questions"): _FLAGS,
    ("calls-signed", "answers"): "tshark leaves the padding of all fragments but the last in the stub",
    ("datagrams-refused", "answers"): "tshark reads a stub that is encrypted",
    ("datagrams-repeated", "answers"): "tshark tells of an answer as often as it comes",
    ("frames-fragments-ipv4", "pdus"): _FRAGMENTS,
    ("frames-fragments-ipv4", "answers"): _FRAGMENTS,
    ("frames-fragments-ipv6", "pdus"): _FRAGMENTS,
    ("frames-fragments-ipv6", "answers"): _FRAGMENTS,
    ("http-greeting", "pdus"): _GREETING,
    ("http-greeting", "answers"): _GREETING,
    ("http-greeting-in-pieces", "pdus"): _GREETING,
    ("http-greeting-in-pieces", "answers"): _GREETING,
    ("mapper-lookup-from-the-middle", "answers"): _NO_BIND,
    ("mapper-lookup-from-the-middle", "questions"): _NO_BIND,
    ("mapper-lookup-ndr64", "answers"): "tshark reads the entries of a listing as NDR20 whatever was negotiated",
    ("mapper-stubs-malformed", "answers"): "tshark does not compare a tower's length with its conformance",
    ("mapper-towers-bounded", "answers"): "tshark lists every tower, and names whatever their length",
    ("mapper-towers-malformed", "answers"): "tshark gives up the whole answer at the first tower that is broken",
    ("streams-forged-answer-longer", "answers"): "tshark reads contradicting bytes of one place otherwise",
    ("streams-forged-between", "pdus"): _FORGED,
    ("streams-forged-between", "answers"): _FORGED,
    ("streams-forged-between", "questions"): _FORGED,
    ("streams-from-the-middle", "answers"): _NO_BIND,
    ("streams-from-the-middle", "questions"): _NO_BIND,
    ("streams-gap", "pdus"): _GAP,
    ("streams-gap", "answers"): _GAP,
    ("streams-gap-of-whole-pdus", "pdus"): _GAP,
    ("streams-gap-of-whole-pdus", "answers"): _GAP,
    ("streams-out-of-order", "answers"): "tshark takes packets as they come, and some requests come after their answer",
    ("streams-responses-only", "answers"): _NO_BIND,
    ("streams-taken-over", "pdus"): _FORGED,
    ("streams-taken-over", "answers"): _FORGED,
    ("streams-taken-over", "questions"): _FORGED,
    ("tunnels-not-looked-into", "pdus"): _TUNNEL,
    ("tunnels-not-looked-into", "answers"): _TUNNEL,
}
_AGAIN = "tshark 4.4 dissects a retransmitted segment again"
# What tshark 4.4 (Debian 13) does differently, and 4.0 does not.
DIFFERENT_SINCE_4_4 = {
    ("streams-retransmitted", "pdus"): _AGAIN,
    ("streams-retransmitted", "answers"): _AGAIN,
}


@pytest.fixture(autouse=True, scope="module")
def _tshark() -> None:
    """Ask for tshark."""
    require_tools(["tshark"])


@cache
def ours(name: str) -> tuple[Reading, list[Exchange]]:
    """Return the inspector's reading of a trace."""
    return inspect.read_capture(GOLDEN / "traces" / (name + CAPTURE), config_of(name))


@cache
def theirs(name: str) -> Reading:
    """Return tshark's reading of a trace: one process, shared by the tests."""
    return tshark.read_capture(GOLDEN / "traces" / (name + CAPTURE))


@cache
def tshark_version() -> tuple[int, int]:
    """Return major and minor version of the tshark that is here."""
    version = subprocess.run(["tshark", "--version"], check=True, capture_output=True, text=True).stdout
    major, minor, *_ = version.partition("\n")[0].removeprefix("TShark (Wireshark) ").split(".")
    return int(major), int(minor)


def difference(name: str, aspect: str) -> str | None:
    """Return why the tshark that is here differs about a trace, or None where it must agree."""
    later = DIFFERENT_SINCE_4_4 if tshark_version() >= (4, 4) else {}
    return DIFFERENT.get((name, aspect)) or later.get((name, aspect))


def is_known_version() -> bool:
    """Return whether the differences were written down for the tshark that is here."""
    return tshark_version() == (4, 0)


@pytest.mark.parametrize("aspect", ASPECTS)
@pytest.mark.parametrize("name", trace_names())
def test_tshark_agrees(name: str, aspect: str) -> None:
    """PDUs with contexts, results, reasons and statuses; answers with every floor; the interfaces asked for."""
    mine: list[object] = getattr(ours(name)[0], aspect)
    other: list[object] = getattr(theirs(name), aspect)
    if aspect == "questions":
        # The inspector tells of a question with its answer; tshark also shows those without.
        other = sorted((Counter(other) & Counter(mine)).elements(), key=repr)
    reason = difference(name, aspect)
    if reason is None:
        assert mine == other
    elif mine == other:
        assert not is_known_version(), f"no difference any more: {reason}"
    else:
        pytest.xfail(reason)


NEGOTIATED = [name for name in trace_names() if "datagrams" not in name and DIFFERENT.get((name, "pdus")) != _GREETING]


@pytest.mark.parametrize("name", NEGOTIATED)
def test_the_transfer_syntax_was_negotiated(name: str) -> None:
    """The syntax in which an answer was read is one that a bind_ack, as tshark reads it, accepted (datagrams: none)."""
    accepted = {
        SYNTAX_NAMES.get(str(one.transfer.uuid))
        for pdu in theirs(name).pdus
        for one in pdu.body
        if isinstance(one, ResultFact) and one.result == ACCEPTANCE
    }
    read_in = {
        exchange.transfer_syntax
        for exchange in ours(name)[1]
        if exchange.outcome is Outcome.ANSWERED and Anomaly.BIND_NOT_SEEN not in exchange.anomalies
    }
    assert read_in <= accepted


def test_differences_are_about_traces_that_exist() -> None:
    """A trace that went takes its differences along."""
    assert {name for name, _ in DIFFERENT} <= set(trace_names())


def test_tshark_finds_something() -> None:
    """The comparison is of something: hundreds of PDUs and answers, and every tower's address among them."""
    readings = [theirs(name) for name in trace_names()]
    assert sum(len(reading.pdus) for reading in readings) > 500
    answers = [answer for reading in readings for answer in reading.answers]
    addresses = {tower.address for answer in answers for tower in answer.towers}
    assert len(answers) > 100
    assert {"10.11.2.2", "10.11.2.7", "0.0.0.0", None} <= addresses  # noqa: S104  # an address that towers say
