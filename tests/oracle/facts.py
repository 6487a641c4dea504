"""What two decoders must agree on, as values that can be compared and sorted."""

from __future__ import annotations

from typing import NamedTuple
from uuid import UUID


class SyntaxFact(NamedTuple):
    """UUID and version of an interface or transfer syntax."""

    uuid: UUID
    major: int
    minor: int


class ResultFact(NamedTuple):
    """The answer to one proposed context."""

    result: int
    reason: int
    transfer: SyntaxFact


class PduFact(NamedTuple):
    """A PDU: its common header, and what its kind adds."""

    to_server: bool
    type: int
    flags: int
    little_endian: bool
    frag_length: int
    call_id: int
    body: tuple[object, ...]


class TowerFact(NamedTuple):
    """A tower: the bytes of each floor, and what they say; None where no floor says it."""

    floors: tuple[bytes, ...]
    interface: SyntaxFact | None
    transfer: SyntaxFact | None
    port: int | None
    address: str | None
    names: tuple[str, ...]
    annotation: str | None


class AnswerFact(NamedTuple):
    """A response of ept_map or ept_lookup; `towers` are those of distinct referents."""

    client_port: int
    call_id: int
    opnum: int
    status: int
    towers: tuple[TowerFact, ...]


class QuestionFact(NamedTuple):
    """The interface which an answered ept_map or ept_lookup named."""

    client_port: int
    call_id: int
    opnum: int
    interface: SyntaxFact | None


class Reading(NamedTuple):
    """Everything one decoder found in a capture, sorted."""

    pdus: list[PduFact]
    answers: list[AnswerFact]
    questions: list[QuestionFact]


def reading_of(pdus: list[PduFact], answers: list[AnswerFact], questions: list[QuestionFact]) -> Reading:
    """Return a reading whose order does not depend on when each decoder completed what."""
    return Reading(sorted(pdus, key=repr), sorted(answers, key=repr), sorted(questions, key=repr))
