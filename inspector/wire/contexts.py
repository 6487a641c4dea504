"""What an association holds: presentation contexts, proposals that wait for an answer, stubs in several fragments."""

from __future__ import annotations

from typing import Final, NamedTuple
from uuid import UUID

from inspector.wire import dcom
from inspector.wire.body import ContextElement, Syntax

EPM_UUID: Final = UUID("e1af8308-5d1f-11c9-91a4-08002b14a0fa")

# Bytes which a proposed context takes in memory, roughly; of 24 on the wire.
_ELEMENT_BYTES: Final = 256


class Context(NamedTuple):
    """An accepted presentation context; `abstract` is None where the bind was not seen.

    `level` and `service` are authentication level and service of a bind of DCOM, 0 for none.
    """

    abstract: Syntax | None
    transfer_syntax: str | None
    level: int = 0
    service: int = 0


Contexts = tuple[tuple[int, Context], ...]
"""Contexts by their numbers, in the order in which they came."""


class Proposal(NamedTuple):
    """A bind or alter_context that waits for its answer; of the elements, transfer syntaxes are not kept.

    `level` and `service` are those of its verifier, where it proposes an interface of DCOM; 0 for none.
    """

    time_ns: int
    elements: tuple[ContextElement, ...]
    level: int = 0
    service: int = 0

    @property
    def size(self) -> int:
        """Bytes which it takes in memory, roughly."""
        return len(self.elements) * _ELEMENT_BYTES

    @property
    def wants_epm(self) -> bool:
        """Whether any proposed context is the endpoint mapper's."""
        return any(element.abstract.uuid == EPM_UUID for element in self.elements)

    @property
    def dcom_interface(self) -> UUID | None:
        """The first interface of DCOM among the proposed contexts."""
        return next((one.abstract.uuid for one in self.elements if one.abstract.uuid in dcom.INTERFACES), None)


class Partial:
    """The stubs of a multi-fragment request or response, joined so far."""

    __slots__ = ("opnum", "pieces", "sealed", "size")

    def __init__(self, opnum: int, *, sealed: bool) -> None:
        self.opnum = opnum
        self.sealed = sealed
        self.pieces: list[bytes] = []
        self.size = 0
