"""What a golden trace is: a name, the function that makes its packets, and the configuration it is read with."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from inspector.model import Segment
from tests.golden.layers import Frame, frame_of, pcapng_of

ETHERNET = 1


@dataclass(frozen=True, slots=True)
class Trace:
    """A trace which a script makes. `config` is TOML, empty where the default configuration is meant."""

    name: str
    make: Callable[[], Iterable[Segment | Frame]]
    link_type: int
    config: str

    def content(self) -> bytes:
        """Return the capture file."""
        frames = (one if isinstance(one, Frame) else frame_of(one) for one in self.make())
        return b"".join(pcapng_of(frames, self.link_type))


TRACES: dict[str, Trace] = {}


def trace(*, config: str = "", link_type: int = ETHERNET) -> Callable[..., Callable[[], Iterable[Segment | Frame]]]:
    """Register a function as a trace, named after its module (the family) and itself."""

    def register(make: Callable[[], Iterable[Segment | Frame]]) -> Callable[[], Iterable[Segment | Frame]]:
        name = f"{make.__module__.rpartition('.')[2]}-{make.__name__}".replace("_", "-")
        if name in TRACES:
            raise ValueError(f"two traces are named {name}")
        TRACES[name] = Trace(name, make, link_type, config)
        return make

    return register
