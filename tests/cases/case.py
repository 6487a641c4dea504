"""What a case is: a scene that a function builds, at one point of capture or at a gateway's two."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tests.cases.network import Network

Builder = Callable[[Network], None]


@dataclass(frozen=True, slots=True)
class Case:
    """`number` is how tests refer to it; `config` the configuration it is read with, `names` its files.

    Of a gateway `side` is the one port that was captured, 0 towards the clients; None for both. A `variant` is another
    case of the same kind, as a report could have it. Frames have these VLAN `tags`, and `copies` says that each is
    captured twice.
    """

    number: str
    build: Builder
    config: str
    snap_length: int | None
    gateway: bool
    side: int | None
    variant: bool
    tags: bytes
    copies: bool

    @property
    def names(self) -> tuple[str, ...]:
        """The names of its captures."""
        names = ("clients.pcapng", "servers.pcapng") if self.gateway else (f"{self.number}.pcapng",)
        return names if self.side is None else (names[self.side],)

    def captures(self) -> list[bytes]:
        """Return the capture files, that of the clients' side first."""
        network = Network(gateway=self.gateway)
        self.build(network)
        for scene in network.scenes:
            scene.tags = self.tags
            scene.copy_frames(apart_ns=30_000 if self.copies else 0)
        captures = [scene.capture(self.snap_length) for scene in network.scenes]
        return captures if self.side is None else [captures[self.side]]


CASES: dict[str, Case] = {}


def case(
    number: str,
    *,
    config: str = "",
    snap_length: int | None = None,
    gateway: bool = False,
    side: int | None = None,
    variant: bool = False,
    tags: bytes = b"",
    copies: bool = False,
) -> Callable[[Builder], Builder]:
    """Register a builder under a number."""

    def register(build: Builder) -> Builder:
        if number in CASES:
            raise ValueError(f"two cases have the number {number}")
        CASES[number] = Case(number, build, config, snap_length, gateway, side, variant, tags, copies)
        return build

    return register
