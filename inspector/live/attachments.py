"""The interfaces of an inspection, by the names which the operator gave them, and what is attached there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from inspector.live.attach import Attachment


@dataclass(frozen=True, slots=True)
class InterfaceState:
    """How one interface stands: `name` is the operator's, `index` that of the interface which has it, or had it last.

    `since_ns` (nanoseconds since 1970) is when it came to be so; `explanation` says how the program is attached, or
    why it is not.
    """

    name: str
    index: int
    netns: str | None
    attachment: Attachment | None
    since_ns: int
    explanation: str
    reattachments: int = 0
