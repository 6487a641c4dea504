"""Parts of scenarios that need no laboratory: the strict filter, and the comparison with what is expected."""

from __future__ import annotations

import struct
from ipaddress import IPv4Address

import pytest

from inspector.consequence import Cause, Outcome, Target
from inspector.lab.scenarios.expected import answered, complaints, failed, reached
from inspector.lab.scenarios.filter import ACTIONS, StrictFilter, offered_address
from inspector.lab.scenarios.packets import PSH, Segment, packet_of, read_segment
from inspector.model import Verdict
from inspector.protocols import ACK, FIN, RST, SYN
from tests.build import epm, pdu

CLIENT, VIP, DIP = (IPv4Address(text) for text in ("10.1.1.1", "10.11.2.2", "10.11.2.7"))
CLIENT_PORT = 40_000


def answer_of(address: IPv4Address) -> bytes:
    """Return a map response whose tower names an address."""
    return pdu.response(epm.map_response([epm.tcp_tower(epm.MAPI, 41_376, str(address))]), call_id=2)


def from_server(payload: bytes = b"", flags: int = ACK | PSH, sequence: int = 5000) -> Segment:
    """Return a segment of the endpoint mapper at the virtual address."""
    return Segment(VIP, 135, CLIENT, CLIENT_PORT, sequence, 1000, flags, payload)


def from_client(flags: int, sequence: int = 1000) -> Segment:
    """Return a segment of the client without data."""
    return Segment(CLIENT, CLIENT_PORT, VIP, 135, sequence, 5000, flags)


def decided(strict: StrictFilter, segment: Segment) -> list[Segment]:
    """Return the segments that a filter lets go on in place of one."""
    found = [read_segment(packet) for packet in strict.decide(packet_of(segment))]
    assert None not in found
    return [one for one in found if one is not None]


def sums_of(packet: bytes) -> tuple[int, int]:
    """Return the sums over IP header, and pseudo header with TCP: 0xFFFF each where the checksums are right."""
    length = len(packet) - 20
    pseudo = packet[12:20] + struct.pack("!HH", 6, length)
    return total(packet[:20]), total(pseudo + packet[20:])


def total(data: bytes) -> int:
    """Return the one's complement sum of 16-bit words."""
    words = struct.unpack(f"!{(len(data) + 1) // 2}H", data + bytes(len(data) % 2))
    return int(sum(words) - 1) % 0xFFFF + 1


def test_the_filter_reads_the_address_of_an_answer() -> None:
    """The first address is taken from map responses only."""
    assert offered_address(answer_of(DIP)) == DIP
    assert offered_address(b"") is None
    assert offered_address(b"HTTP/1.1 200 OK\r\n\r\n") is None
    assert offered_address(pdu.bind_ack()) is None
    assert offered_address(answer_of(DIP)[:-20]) is None


@pytest.mark.parametrize("action", ACTIONS)
def test_an_answer_with_the_asked_address_goes_on(action: str) -> None:
    """No action touches what names the address that it comes from, nor packets without an answer."""
    strict = StrictFilter(action)
    for segment in (
        from_client(SYN),
        from_server(flags=SYN | ACK),
        from_server(answer_of(VIP)),
        from_client(FIN | ACK),
    ):
        packet = packet_of(segment)
        assert list(strict.decide(packet)) == [packet]
    assert list(strict.decide(b"\x60" + bytes(60))) == [b"\x60" + bytes(60)]


def test_silent_drops_each_copy() -> None:
    """The answer is dropped whenever it is sent, and the connection stays."""
    strict = StrictFilter("silent")
    assert decided(strict, from_server(answer_of(DIP))) == decided(strict, from_server(answer_of(DIP))) == []
    (passed,) = decided(strict, from_client(FIN | ACK))
    assert passed.flags == FIN | ACK


@pytest.mark.parametrize(
    ("action", "flags", "length"), [("fin", FIN | ACK, 0), ("rst", RST | ACK, 0), ("bind_nak", FIN | ACK | PSH, 24)]
)
def test_a_connection_is_ended_in_the_answers_place(action: str, flags: int, length: int) -> None:
    """The client gets the end where the answer would be, the server a reset that it accepts; then nothing passes."""
    strict = StrictFilter(action)
    answer = from_server(answer_of(DIP))
    to_client, to_server = decided(strict, answer)
    assert (to_client.source, to_client.sequence, to_client.flags) == (VIP, 5000, flags)
    assert len(to_client.payload) == length
    assert (to_server.source, to_server.sequence, to_server.flags) == (CLIENT, 1000, RST)
    assert decided(strict, answer) == decided(strict, from_client(ACK)) == []
    (acknowledged,) = decided(strict, from_client(FIN | ACK))
    assert (acknowledged.destination, acknowledged.acknowledgment, acknowledged.flags) == (CLIENT, 1001, ACK)
    (again,) = decided(strict, from_client(SYN))
    assert again.flags == SYN


def test_the_bind_nak_is_that_of_the_original_case() -> None:
    """24 bytes, which the decoder reads as a bind_nak."""
    to_client, _ = decided(StrictFilter("bind_nak"), from_server(answer_of(DIP)))
    assert to_client.payload[2] == pdu.BIND_NAK
    assert to_client.payload[8] == len(to_client.payload) == 24


def test_rewrite_replaces_the_address() -> None:
    """The tower names the asked address afterwards; nothing else differs, and the checksum fits."""
    packet = packet_of(from_server(answer_of(DIP)))
    (altered,) = StrictFilter("rewrite").decide(packet)
    segment = read_segment(altered)
    assert segment is not None
    assert offered_address(segment.payload) == VIP
    assert segment.payload == answer_of(VIP)
    assert sums_of(altered) == (0xFFFF, 0xFFFF)


@pytest.mark.parametrize("payload", [b"", b"odd", b"even"])
def test_packets_have_right_checksums(payload: bytes) -> None:
    """Both checksums are right, and what was written is read."""
    packet = packet_of(from_server(payload))
    assert sums_of(packet) == (0xFFFF, 0xFFFF)
    segment = read_segment(packet)
    assert segment is not None
    assert (segment.source, segment.destination_port, segment.payload) == (VIP, CLIENT_PORT, payload)


def test_what_is_no_segment_is_not_read() -> None:
    """Fragments, other protocols, IPv6 and packets that are cut."""
    packet = packet_of(from_server(b"data"))
    assert read_segment(b"") is None
    assert read_segment(packet[:30]) is None
    assert read_segment(packet[:6] + b"\x20\x00" + packet[8:]) is None
    assert read_segment(packet[:9] + b"\x11" + packet[10:]) is None


REACHED = {"kind": "follow_up", "verdict": "match", "outcome": "reached", "target": "asked", "why": "got through"}
MISMATCH = {"kind": "answer", "verdict": "mismatch", "why": "10.11.2.2 was asked, the tower says 10.11.2.7"}
REFUSED = {
    "kind": "follow_up", "verdict": "mismatch", "outcome": "refused", "target": "asked", "why": "refused",
    "cause": "ports_not_published", "remedy": "publish them", "evidence_seen": ["once"],
}  # fmt: skip


def test_what_is_expected_and_nothing_else_is_no_complaint() -> None:
    """Each line came, and each finding is one of the lines; an optional one may be missing."""
    expected = (
        answered(Verdict.MISMATCH),
        failed(Outcome.REFUSED, Cause.PORTS_NOT_PUBLISHED, "publish", "once"),
        answered(Verdict.NO_ADDRESS, optional=True),
    )
    assert complaints(expected, [MISMATCH, REFUSED, MISMATCH]) == []


@pytest.mark.parametrize(
    ("findings", "words"),
    [
        ([], ["missing: follow_up: refused asked ports_not_published"]),
        ([REFUSED, REACHED], ["unexpected: follow_up match reached asked got through"]),
        (
            [REFUSED | {"cause": "ports_filtered"}],
            ["missing", "unexpected: follow_up mismatch refused"],
        ),
        ([{key: value for key, value in REFUSED.items() if key != "cause"}], ["missing", "unexpected"]),
        ([REFUSED | {"target": "offered"}], ["missing", "unexpected"]),
    ],
)
def test_what_is_missing_or_unexpected_is_a_complaint(findings: list[dict[str, str]], words: list[str]) -> None:
    """A finding with another cause, or without one, is not the expected one."""
    found = complaints((failed(Outcome.REFUSED, Cause.PORTS_NOT_PUBLISHED),), findings)
    assert [line.startswith(word) for line, word in zip(found, words, strict=True)] == [True] * len(words)


def test_words_must_be_there() -> None:
    """Words of a line are looked for in reason, remedy and evidence; a cause that nobody expects is another finding."""
    assert complaints((reached(Target.ASKED),), [REACHED]) == []
    assert complaints((answered(Verdict.MISMATCH, None, "10.11.2.8"),), [MISMATCH]) != []
    assert complaints((answered(Verdict.MISMATCH),), [MISMATCH | {"cause": "load_balancer"}]) != []
