"""Connections to a TCP port, as fast as they can be opened: a program of its own, for tests of the metrics server."""

from __future__ import annotations

import contextlib
import select
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

_RESET_ON_CLOSE = struct.pack("ii", 1, 0)
_ROUND = 1000


@contextlib.contextmanager
def flood(port: int, *, sent: bytes = b"", processes: int = 2) -> Iterator[list[int]]:
    """Open, use and leave connections from 127.0.0.1 to 127.0.0.1; the list has their number once it is over."""
    counts: list[int] = []
    command = [sys.executable, str(Path(__file__)), str(port), sent.hex()]
    running = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) for _ in range(processes)]
    try:
        for one in running:
            assert one.stdout is not None
            assert one.stdout.readline() == b"begun\n"
        yield counts
    finally:
        counts += [int(one.communicate(timeout=30)[0]) for one in running]


def _work(port: int, sent: bytes) -> int:
    """Return how many connections were opened until standard input ended, or half a minute had passed."""
    count, end = 0, time.monotonic() + 30
    while count % _ROUND or (time.monotonic() < end and not select.select([sys.stdin], [], [], 0)[0]):
        client = socket.socket()
        client.setblocking(False)
        client.connect_ex(("127.0.0.1", port))
        if sent:
            with contextlib.suppress(OSError):
                client.send(sent)
        # No port stays in TIME-WAIT, and the server's end of the connection finds a client that has left.
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        client.close()
        count += 1
        if count == _ROUND:
            print("begun", flush=True)
    return count


if __name__ == "__main__":
    print(_work(int(sys.argv[1]), bytes.fromhex(sys.argv[2])))
