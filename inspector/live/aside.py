"""What the kernel program sets aside where only suspects are wanted (bpf/epm_aside.h): held requests, counted pairs."""

from __future__ import annotations

import enum
from ipaddress import IPv4Address
from typing import TYPE_CHECKING, Final

import numpy as np

from inspector.live import kernel
from inspector.live.loader import COLLECT_PROGRAM
from inspector.model import CountedPairs
from inspector.record import COMPACT_DTYPE, COMPACT_PAYLOAD

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from ipaddress import IPv4Network

    import numpy.typing as npt

    from inspector.live.loader import Program
    from inspector.model import IPAddress

    Entries = npt.NDArray[np.void]
    Pools = Mapping[IPAddress, Sequence[IPv4Network]]

FLOWS: Final = 65536
ANSWERS: Final = 1024
POOLS: Final = 1024
_LATENCIES: Final = 16
_WORDS: Final = COMPACT_PAYLOAD // 8

FLOW_KEY_DTYPE: Final = np.dtype([("client", "u4"), ("server", "u4"), ("client_port", "u2"), ("server_port", "u2")])
FLOW_DTYPE: Final = np.dtype(
    [
        ("word", "u8"),
        ("submitted_ns", "u8"),
        ("next", "u4", (2,)),
        ("initial", "u4"),
        ("call_id", "u4"),
        ("context", "u2"),
        ("wide", "u1"),
        ("contexts", "u1"),
        ("padding", "u4"),
        ("held", COMPACT_DTYPE),
    ]
)
ANSWER_DTYPE: Final = np.dtype(
    [
        ("count", "u8"),
        ("latency_ns", "u8"),
        ("latencies", "u8", (_LATENCIES,)),
        ("request", "u8", (_WORDS,)),
        ("response", "u8", (_WORDS,)),
        ("server", "u1", (4,)),
        ("interface_index", "u4"),
        ("server_port", "u1", (2,)),
        ("context", "u2"),
        ("wide", "u4"),
    ]
)
# A test run takes no packet shorter than an Ethernet header.
_SHORTEST_PACKET: Final = 64
_MAPPED: Final = bytes(10) + b"\xff\xff"


class State(enum.IntEnum):
    """enum epm_state."""

    BOUND = 0
    CALM = 1
    HELD = 2
    ASKED = 3
    CLIENT_DONE = 4
    SERVER_DONE = 5
    LEFT_ALONE = 6


class Aside:
    """The maps of a program which records suspects only; `pools` are its VIPs' declared servers.

    Pools of more than 1,024 networks are only partly known to the program, which records the answers of the rest.
    """

    def __init__(self, program: Program, cpus: int, silent_ns: int, pools: Pools) -> None:
        self._program = program
        self._silent_ns = silent_ns
        self._flow_keys = np.zeros(FLOWS, FLOW_KEY_DTYPE)
        self._flows = np.zeros(FLOWS, FLOW_DTYPE)
        self._hashes = np.zeros(ANSWERS, np.uint64)
        self._answers = np.zeros((ANSWERS, cpus), ANSWER_DTYPE)
        self._read: dict[tuple[int, int], CountedPairs] = {}
        networks = [(vip, network) for vip, pool in pools.items() if isinstance(vip, IPv4Address) for network in pool]
        for vip, network in networks[:POOLS]:
            length = np.uint32(32 + network.prefixlen).tobytes()
            key = length + vip.packed + network.network_address.packed
            kernel.map_update(program.maps["epm_pools"], key, bytes(4))

    def collect(self, asked_until_ns: int, now_ns: int) -> None:
        """Have requests of up to that time submitted which are still held, and forget connections silent for long."""
        keys, flows = self._read_flows()
        held = flows["word"] & 0xFF == State.HELD
        due = held & (flows["held"]["header"]["time_ns"] <= asked_until_ns)
        for key in keys[due]:
            packet = key.tobytes().ljust(_SHORTEST_PACKET, b"\0")
            kernel.run_program(self._program.programs[COLLECT_PROGRAM], packet)
        # The decoder has forgotten them for as long again.
        silent = ~held & (flows["submitted_ns"] + 2 * self._silent_ns < now_ns)
        for key in keys[silent]:
            kernel.map_delete(self._program.maps["epm_flows"], key.tobytes())

    def held(self) -> int:
        """Return how many requests are held."""
        _, flows = self._read_flows()
        return int(np.count_nonzero(flows["word"] & 0xFF == State.HELD))

    def pairs(self) -> list[CountedPairs]:
        """Return what was counted since this was asked last."""
        count = kernel.map_read(self._program.maps["epm_answers"], self._hashes, self._answers, ANSWERS)
        hashes, answers = self._hashes[:count].tolist(), self._answers[:count]
        found = []
        for row, cpu in np.argwhere(answers["count"]).tolist():
            known = self._read.get((hashes[row], cpu))
            now = _pairs_of(answers[row, cpu]) if known is None else _counted(known, answers[row, cpu])
            self._read[hashes[row], cpu] = now
            if known is None:
                found.append(now)
            elif now.total > known.total:
                found.append(_difference(now, known))
        return found

    def _read_flows(self) -> tuple[Entries, Entries]:
        count = kernel.map_read(self._program.maps["epm_flows"], self._flow_keys, self._flows, FLOWS)
        return self._flow_keys[:count], self._flows[:count]


def _counted(pairs: CountedPairs, answer: np.void) -> CountedPairs:
    """Return pairs with the figures of an answer."""
    return pairs._replace(
        total=int(answer["count"]),
        latency_ns=int(answer["latency_ns"]),
        latencies=tuple(answer["latencies"].tolist()),
    )


def _difference(now: CountedPairs, known: CountedPairs) -> CountedPairs:
    return now._replace(
        total=now.total - known.total,
        latency_ns=now.latency_ns - known.latency_ns,
        latencies=tuple(new - old for new, old in zip(now.latencies, known.latencies, strict=True)),
    )


def _pairs_of(answer: np.void) -> CountedPairs:
    """Return an answer as the kernel program counted it so far."""
    request, response = answer["request"].tobytes(), answer["response"].tobytes()
    pairs = CountedPairs(
        server_address=_MAPPED + answer["server"].tobytes(),
        server_port=int.from_bytes(answer["server_port"].tobytes(), "big"),
        interface_index=int(answer["interface_index"]),
        context_id=int(answer["context"]),
        transfer_syntax="ndr64" if answer["wide"] else "ndr20",
        # The fragment's length, of 16 bits.
        request=request[: int.from_bytes(request[8:10], "little")],
        response=response[: int.from_bytes(response[8:10], "little")],
    )
    return _counted(pairs, answer)
