"""The kernel program as a function: a packet in; the packet, records and counters out."""

from __future__ import annotations

from collections import Counter as Totals
from typing import TYPE_CHECKING, Final, NamedTuple, Self

from inspector.live.bpf import loader, syscalls
from inspector.live.bpf.counters import possible_cpus, read_counters
from inspector.live.bpf.options import pack_options
from inspector.live.rings.readers import open_bulk, open_compact, take
from inspector.model import Segment
from inspector.record import HEADER_SIZE, TUNNEL_SIZE, Attribute, KernelCounter, pack_record, unpack_record
from inspector.wire.followups import FollowUps
from inspector.wire.frame import LinkType, read_frame

if TYPE_CHECKING:
    from collections.abc import Sequence

PORTS: Final = (135, 593, 65535)
FOLLOW_UP_COUNTERS: Final = frozenset(
    {
        KernelCounter.LOST_ICMP_BUDGET,
        KernelCounter.ENDPOINT_PACKETS,
        KernelCounter.ICMP_ERRORS,
        KernelCounter.SERVERS_NOTED,
        KernelCounter.ENDPOINTS_NOTED,
        KernelCounter.FLOWS_NOTED,
    }
)
"""What only a program with follow-ups counts."""
LOOPBACK: Final = 1
"""The device which a test run says the packet came from."""
GOES_ON: Final = {
    loader.XDP_PROGRAM: 2,
    loader.XDP_BARE_PROGRAM: 2,
    loader.TC_PROGRAM: 0xFFFFFFFF,
    loader.TC_BARE_PROGRAM: 0xFFFFFFFF,
}
"""What a program returns: XDP_PASS, and on tc -1, which leaves the decision to the next program."""


class Outcome(NamedTuple):
    """What one run did: records without their ring's padding, room taken in compact and bulk ring, counters."""

    retval: int
    packet: bytes
    records: list[bytes]
    ring_bytes: tuple[int, int]
    counted: dict[KernelCounter, int]


class Harness:
    """The loaded programs with their rings. `interfaces` are counted apart, from slot 1 on."""

    def __init__(
        self,
        *,
        compact_bytes: int = 1 << 20,
        bulk_bytes: int = 1 << 20,
        interfaces: Sequence[int] = (),
        tunnels: bool = False,
        follow_up: bool = False,
        lanes: bool | None = None,
        names: Sequence[str] = (loader.XDP_PROGRAM, loader.TC_PROGRAM),
    ) -> None:
        self.tunnels = tunnels
        self.follow_ups = FollowUps() if follow_up else None
        self.program = loader.load(
            names,
            compact_ring_bytes=compact_bytes,
            bulk_ring_bytes=bulk_bytes,
            tunnels=tunnels,
            follow_up=follow_up,
            lanes=lanes,
        )
        self.compact = open_compact(self.program)
        self.bulk = open_bulk(self.program)
        self._cpus = possible_cpus()
        self.set_interfaces(interfaces)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for ring in (*self.compact, self.bulk):
            ring.close()
        self.program.close()

    def set_interfaces(self, interfaces: Sequence[int]) -> None:
        """Say which interfaces are counted apart."""
        syscalls.map_update(self.program.maps["epm_options"], 0, pack_options(list(interfaces), PORTS))

    def slots(self) -> list[dict[KernelCounter, int]]:
        """Return all counters."""
        return read_counters(self.program.maps["epm_counters"], self._cpus)

    def totals(self) -> dict[KernelCounter, int]:
        """Return the counters summed over all slots."""
        slots = self.slots()
        return {counter: sum(slot[counter] for slot in slots) for counter in KernelCounter}

    def records(self) -> list[bytes]:
        """Take all records out of both rings."""
        return [trimmed(record) for ring in (*self.compact, self.bulk) for record in take(ring)[0]]

    def run(self, name: str, frame: bytes, *, repeat: int = 1, interface_index: int | None = None) -> Outcome:
        """Run one program on one frame."""
        before = self.totals()
        run = syscalls.run_program(self.program.programs[name], frame, repeat=repeat, interface_index=interface_index)
        after = self.totals()
        counted = {
            counter: after[counter] - before[counter] for counter in KernelCounter if after[counter] != before[counter]
        }
        ring_bytes = (sum(lane.used() for lane in self.compact), self.bulk.used())
        return Outcome(run.retval, run.data, self.records(), ring_bytes, counted)


def trimmed(record: bytes | memoryview) -> bytes:
    """Return a record without its ring's padding."""
    segment = unpack_record(record)
    headers = HEADER_SIZE if segment.tunnel is None else HEADER_SIZE + TUNNEL_SIZE
    return bytes(record[: headers + len(segment.payload)])


def expected(
    frame: bytes,
    interface_index: int = LOOPBACK,
    *,
    tunnels: bool = False,
    link_type: LinkType = LinkType.ETHERNET,
    follow_ups: FollowUps | None = None,
) -> tuple[list[bytes], dict[KernelCounter, int]]:
    """Return the records (their time 0) and counters which the Python frame reader says a frame must give.

    `follow_ups` changes with the frame as the program's maps do.
    """
    before = Totals() if follow_ups is None else follow_ups.counted.copy()
    found = read_frame(
        frame,
        link_type=link_type,
        time_ns=0,
        interface_index=interface_index,
        ports=PORTS,
        tunnels=tunnels,
        follow_ups=follow_ups,
    )
    noted = dict(follow_ups.counted - before) if follow_ups is not None else {}
    if found is None:
        return [], noted
    if not isinstance(found, Segment):
        return [], {found: 1} | noted
    if found.attributes & Attribute.ICMP:
        kind = KernelCounter.ICMP_ERRORS
    elif found.attributes & Attribute.ENDPOINT:
        kind = KernelCounter.ENDPOINT_PACKETS
    else:
        kind = KernelCounter.PACKETS_FROM_SERVER if found.attributes & 1 else KernelCounter.PACKETS_TO_SERVER
    return [pack_record(found)], noted | {kind: 1, KernelCounter.MATCHED: 1, KernelCounter.SUBMITTED: 1}


def without_time(record: bytes) -> bytes:
    """Return a record with its time set to 0."""
    return bytes(8) + record[8:]
