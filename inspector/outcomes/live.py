"""What a running inspection knows beside the packets that are recorded.

The kernel program records no bare acknowledgment, and of a follow-up only what opens, refuses or ends it. Its maps
forget what was not used for longest. So silence proves something only where the maps have not forgotten the connection.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from inspector.outcomes.connection import Flow


class Live(Protocol):
    """Names of interfaces, and what the kernel's maps say."""

    def name_of(self, interface: int) -> str:
        """Return the name of an interface."""

    @property
    def has_sides(self) -> bool:
        """Whether there are several interfaces: what one of them shows may be known a moment later."""

    def acknowledged(self, flow: Flow) -> int | None:
        """Return the highest acknowledgment that a client has sent without payload, None where none is kept."""

    @property
    def keeps_all(self) -> bool:
        """Whether no acknowledgment was forgotten lately: one that is not kept was not sent."""

    def has_recorded(self, address: bytes, port: int, since_ns: int) -> bool:
        """Return whether connections to an endpoint were recorded all the time since then."""
