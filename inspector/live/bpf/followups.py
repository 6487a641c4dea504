"""The maps of follow-ups: endpoints that are given to the kernel program, and what clients have acknowledged.

`load(follow_up=True)` of the loader makes them; bpf/epm_follow.h says what is in them. All three forget what was not
used for longest.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import socket
from typing import TYPE_CHECKING, Final

import numpy as np

from inspector.live.bpf import syscalls, uapi
from inspector.live.bpf.options import ENDPOINT_PORTS
from inspector.record import (
    ACKNOWLEDGED_DTYPE,
    ENDPOINT_DTYPE,
    FLOW_DTYPE,
    NOTED_DTYPE,
    OPTIONS_DTYPE,
    PORT_ENDPOINT,
    PORT_WORDS,
    SERVER_DTYPE,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy.typing as npt

    from inspector.live.bpf.loader import Program

_BATCH: Final = 4096


class FollowUpMaps:
    """Endpoints, servers and acknowledgments of a loaded program; addresses are 16 bytes, as in records.

    The program itself makes ports endpoints, in the same words: so these are changed in place, not written whole.
    """

    def __init__(self, program: Program) -> None:
        # Copies, as the program's owner closes its own once it is attached.
        self._servers = os.dup(program.maps["epm_servers"])
        self._endpoints = os.dup(program.maps["epm_endpoints"])
        self._acknowledged = os.dup(program.maps["epm_acknowledged"])
        self._pages = mmap.mmap(
            program.maps["epm_options"], -(-OPTIONS_DTYPE.itemsize // mmap.PAGESIZE) * mmap.PAGESIZE
        )
        self._options = np.frombuffer(self._pages, OPTIONS_DTYPE, 1)

    def add_endpoints(self, endpoints: Iterable[tuple[bytes, int]], time_ns: int) -> int:
        """Have the connections to these addresses and ports recorded; return how many were not yet."""
        noted = np.array([(time_ns,)], NOTED_DTYPE).tobytes()
        added = 0
        for address, port in endpoints:
            # One that is there keeps its time: it was recorded all along.
            with contextlib.suppress(FileExistsError):
                syscalls.map_write(self._endpoints, _key_of(address, port), noted, uapi.BPF_NOEXIST)
                added += 1
            self._set_port(port)
        return added

    def noted_at(self, address: bytes, port: int) -> int | None:
        """Return since when connections to an endpoint have been recorded, None if they are not."""
        value = syscalls.map_read(self._endpoints, _key_of(address, port), NOTED_DTYPE.itemsize)
        return None if value is None else int(np.frombuffer(value, NOTED_DTYPE)[0]["time_ns"])

    def used(self) -> tuple[int, int, int]:
        """Return how many servers, endpoints and acknowledgments there are."""
        return len(self.servers()), len(self.endpoints()), len(self.all_acknowledged()[0])

    def add_servers(self, addresses: Iterable[bytes], time_ns: int) -> None:
        """Have connections to high ports of these addresses recorded."""
        noted = np.array([(time_ns,)], NOTED_DTYPE).tobytes()
        for address in addresses:
            syscalls.map_write(self._servers, address, noted)

    def refresh_ports(self) -> None:
        """Clear the bits of ports to which no endpoint is left, and set those of all that are left.

        Needed now and then, since endpoints are forgotten.
        """
        ports = self._options[0]["ports"]
        wanted = self._wanted_ports()
        ports[:] = ports & ~ENDPOINT_PORTS | wanted
        # The program may have noted one meanwhile, whose bit was cleared.
        ports[:] |= self._wanted_ports()

    def _wanted_ports(self) -> npt.NDArray[np.uint64]:
        keys, _ = syscalls.map_read_all(self._endpoints, ENDPOINT_DTYPE, NOTED_DTYPE, _BATCH)
        wanted = np.zeros(PORT_WORDS, np.uint64)
        for port in np.unique(keys["port"]).tolist():
            word, bit = _place(port)
            wanted[word] |= bit
        return wanted

    def servers(self) -> list[bytes]:
        """Return the addresses that answered as an endpoint mapper."""
        keys, _ = syscalls.map_read_all(self._servers, SERVER_DTYPE, NOTED_DTYPE, _BATCH)
        return [bytes(address) for address in keys["address"]]

    def endpoints(self) -> list[tuple[bytes, int]]:
        """Return all endpoints, also those which the program has noted."""
        keys, _ = syscalls.map_read_all(self._endpoints, ENDPOINT_DTYPE, NOTED_DTYPE, _BATCH)
        return [(bytes(key["address"]), int(key["port"])) for key in keys]

    def acknowledged(self, client: tuple[bytes, int], server: tuple[bytes, int]) -> tuple[int, int] | None:
        """Return the highest acknowledgment of a client without payload and its time, None if nothing is known."""
        key = np.zeros(1, FLOW_DTYPE)
        for side, (address, port) in (("client", client), ("server", server)):
            key[f"{side}_address"][0], key[f"{side}_port"] = np.frombuffer(address, np.uint8), port
        value = syscalls.map_read(self._acknowledged, key.tobytes(), ACKNOWLEDGED_DTYPE.itemsize)
        if value is None:
            return None
        found = np.frombuffer(value, ACKNOWLEDGED_DTYPE)[0]
        return int(found["acknowledgment"]), int(found["time_ns"])

    def all_acknowledged(self) -> tuple[npt.NDArray[np.void], npt.NDArray[np.void]]:
        """Return FLOW_DTYPE[n] and ACKNOWLEDGED_DTYPE[n]: all connections which the map has."""
        return syscalls.map_read_all(self._acknowledged, FLOW_DTYPE, ACKNOWLEDGED_DTYPE, _BATCH)

    def close(self) -> None:
        """Close the descriptors and unmap the options."""
        del self._options
        self._pages.close()
        for fd in (self._servers, self._endpoints, self._acknowledged):
            os.close(fd)

    def _set_port(self, port: int) -> None:
        word, bit = _place(port)
        self._options[0]["ports"][word] |= bit


def _key_of(address: bytes, port: int) -> bytes:
    key = np.zeros(1, ENDPOINT_DTYPE)
    key["address"][0], key["port"] = np.frombuffer(address, np.uint8), port
    return key.tobytes()


def _place(port: int) -> tuple[int, np.uint64]:
    """Return the word of a port in struct epm_options, and its bit there."""
    read = socket.htons(port)
    return read >> 5, np.uint64(PORT_ENDPOINT << (read & 31) * 2)
