"""What an attached program costs a bulk TCP connection through a veth, which is none of the endpoint mapper's."""

from __future__ import annotations

import json
import socket
import statistics
import threading
import time
from typing import TYPE_CHECKING, Final

from inspector.live.attach import attachment
from inspector.live.bpf import loader, syscalls
from inspector.live.bpf.options import pack_options
from inspector.live.process.namespaces import inside
from tests.kernel.conftest import laid_cable

if TYPE_CHECKING:
    from inspector.live.bpf.loader import Program
    from inspector.model import Mode
    from tests.kernel.conftest import Cable

TURNS: Final = 5
SECONDS: Final = 1.0
_WARM_UP: Final = 0.2
_PORT: Final = 9999
_BLOCK: Final = 1 << 18
MODES: Final[tuple[Mode, ...]] = ("auto", "tc", "generic", "native")


def rate(cable: Cable, seconds: float) -> float:
    """Return bytes per second of one TCP connection from the far end to the near one, where the program is."""
    with inside(cable.here):
        listener = socket.create_server((cable.near_address, _PORT))
    with inside(cable.there):
        sender = socket.create_connection((cable.near_address, _PORT), timeout=30)
    ends = threading.Event()

    def send() -> None:
        block = bytes(_BLOCK)
        with sender:
            while not ends.is_set():
                sender.sendall(block)

    thread = threading.Thread(target=send, daemon=True)
    with listener, listener.accept()[0] as receiver:
        thread.start()
        buffer = bytearray(_BLOCK)
        _receive(receiver, buffer, seconds * _WARM_UP)
        found = _receive(receiver, buffer, seconds)
        ends.set()
        while receiver.recv_into(buffer):
            pass
    thread.join(30)
    return found


def _receive(receiver: socket.socket, buffer: bytearray, seconds: float) -> float:
    """Read for so long; return bytes per second."""
    began, count = time.monotonic(), 0
    while (now := time.monotonic()) < began + seconds:
        count += receiver.recv_into(buffer)
    return count / (now - began)


def _rate_with(cable: Cable, program: Program, mode: Mode, seconds: float) -> float:
    with inside(cable.here):
        held = attachment.attach(cable.device(), program, mode, cable.here)
    try:
        return rate(cable, seconds)
    finally:
        held.close()


def measure(turns: int = TURNS, seconds: float = SECONDS) -> dict[str, float]:
    """Return Gbit/s without a program, and for each mode the part of the same turn's rate that is left (medians).

    Needs root and bcc.
    """
    plain: list[float] = []
    parts: dict[Mode, list[float]] = {mode: [] for mode in MODES}
    program = loader.load((loader.XDP_PROGRAM, loader.TC_PROGRAM), compact_ring_bytes=4096, bulk_ring_bytes=4096)
    syscalls.map_update(program.maps["epm_options"], 0, pack_options([], (135,)))
    try:
        with laid_cable() as cable:
            for _ in range(turns):
                plain.append(rate(cable, seconds))
                for mode in MODES:
                    parts[mode].append(_rate_with(cable, program, mode, seconds) / plain[-1])
    finally:
        program.close()
    figures = {"veth_bulk_gbit_per_s": round(statistics.median(plain) * 8 / 1e9, 1)}
    return figures | {f"veth_bulk_{mode}_ratio": round(statistics.median(of), 2) for mode, of in parts.items()}


if __name__ == "__main__":
    print(json.dumps(measure(), indent=2))
