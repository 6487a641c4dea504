"""A running inspection without a kernel: the Python twin of the program makes the records, and keeps its maps."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from inspector.config import Config
from inspector.inspection.following import Following
from inspector.pipeline import Pipeline
from inspector.record import KernelCounter, pack_record
from inspector.wire.followups import FollowUps
from inspector.wire.frame import read_frame

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import numpy.typing as npt

    from inspector.model import Finding, Segment
    from inspector.outcomes.limits import OutcomeLimits

_QUIET_NS = 1_000_000_000
_END_NS = 90_000_000_000


class Maps:
    """As `FollowUpMaps`; entries are in `twin`. `forgotten` is what a crowded map would have let go."""

    def __init__(self) -> None:
        self.twin = FollowUps()
        self.times: dict[tuple[bytes, int], int] = {}
        self.now_ns = 0

    def add_endpoints(self, endpoints: Iterable[tuple[bytes, int]], time_ns: int) -> int:  # noqa: ARG002 - as the original
        """Note endpoints, at the time of the packets."""
        new = [one for one in endpoints if one not in self.twin._endpoints]
        for address, port in new:
            self.twin.add(address, port)
        self.stamp()
        return len(new)

    def add_servers(self, addresses: Iterable[bytes], time_ns: int) -> None:  # noqa: ARG002 - as the original
        """Note servers."""
        for address in addresses:
            self.twin.add_server(address)

    def stamp(self) -> None:
        """Give endpoints which the program has noted their time."""
        for endpoint in self.twin._endpoints:
            self.times.setdefault(endpoint, self.now_ns)

    def noted_at(self, address: bytes, port: int) -> int | None:
        """Return when an endpoint was noted."""
        return self.times[address, port] if (address, port) in self.twin._endpoints else None

    def acknowledged(self, client: tuple[bytes, int], server: tuple[bytes, int]) -> tuple[int, int] | None:
        """Return the highest acknowledgment."""
        number = self.twin.acknowledged((client[0], server[0], client[1], server[1]))
        return None if number is None else (number, 0)

    def used(self) -> tuple[int, int, int]:
        """Return how many entries there are."""
        return len(self.twin._servers), len(self.twin._endpoints), len(self.twin._acknowledged)

    def refresh_ports(self) -> None:
        """Do nothing: the twin forgets no port."""


class Session:
    """As `Session`: interface names, rings that are never full, and the twin's counters."""

    def __init__(self, maps: Maps, interfaces: int = 1) -> None:
        self.interface_names: Mapping[int, str] = {number + 1: f"eth{number + 1}" for number in range(interfaces)}
        self.losing = False
        self.ring = (0, 1)
        self._maps = maps

    def ring_usage(self) -> tuple[int, int]:
        """Return used and all bytes."""
        return self.ring

    def counters(self) -> dict[str, dict[KernelCounter, int]]:
        """Return the twin's counters."""
        return {"eth1": {counter: self._maps.twin.counted[counter] for counter in KernelCounter}}


class LiveInspection:
    """Takes frames in the order of time; `findings` are those which were given out."""

    def __init__(self, config: Config | None = None, interfaces: int = 1, limits: OutcomeLimits | None = None) -> None:
        self.config = config or Config()
        self.maps = Maps()
        self.session = Session(self.maps, interfaces)
        names = self.session.interface_names
        self.pipeline = Pipeline(
            self.config.policy(), lambda index: names[index], self.config.decoder_limits(), engine=True
        )
        self.following = Following(self.session, self.maps, self.config, limits)  # type: ignore[arg-type]  # stand-ins
        self.findings: list[Finding] = []
        self.records = 0
        self._last_ns = 0

    def take(self, frame: bytes, time_ns: int, interface: int = 1) -> None:
        """Take a frame, after time has moved on where none came for long."""
        while self._last_ns and time_ns - self._last_ns > 2 * _QUIET_NS:
            self.advance(self._last_ns + _QUIET_NS)
        self.maps.now_ns = time_ns
        found = read_frame(
            frame,
            link_type=1,
            time_ns=time_ns,
            interface_index=interface,
            ports=self.config.ports,
            tunnels=self.config.tunnels,
            follow_ups=self.maps.twin,
        )
        self.maps.stamp()
        if found is not None and not isinstance(found, KernelCounter):
            self.take_records([found])

    def take_records(self, segments: list[Segment]) -> None:
        """Take records, as one block."""
        block = block_of(segments)
        self.records += len(segments)
        time_ns = segments[-1].time_ns
        self._put(self.following.select([block]))
        self._put(self.following.take(self.pipeline.feed([block]), time_ns))
        self._last_ns = max(self._last_ns, time_ns)

    def advance(self, now_ns: int) -> None:
        """Move time on."""
        self._put(self.following.advance(self.pipeline.advance(now_ns), now_ns))
        self._last_ns = max(self._last_ns, now_ns)

    def wait(self, span_ns: int = _END_NS) -> None:
        """Let time pass."""
        end_ns = self._last_ns + span_ns
        while self._last_ns < end_ns:
            self.advance(self._last_ns + _QUIET_NS // 2)

    def close(self) -> None:
        """End the inspection."""
        self._put(self.following.close(self.pipeline.flush()))

    def outcomes(self) -> list[tuple[str, str | None]]:
        """Return kind and outcome of each finding."""
        return [
            (str(one.kind), str(one.consequence.outcome) if one.consequence and one.consequence.outcome else None)
            for one in self.findings
        ]

    def _put(self, batches: Iterable[object]) -> None:
        for batch in batches:
            for finding in batch.findings():  # type: ignore[attr-defined]
                self.findings += [finding, *filter(None, [finding.follow_up])]


def block_of(segments: list[Segment]) -> npt.NDArray[np.uint64]:
    """Return records as a block: rows of one width, with a word of the ring's own before each."""
    records = [pack_record(segment) for segment in segments]
    width = 8 * -(-max(len(record) for record in records) // 8) + 8
    rows = np.zeros((len(records), width), np.uint8)
    for row, record in zip(rows, records, strict=True):
        row[8 : 8 + len(record)] = np.frombuffer(record, np.uint8)
    return rows.view(np.uint64)
