"""`python -m tests.golden.laboratory`: record the laboratory traces anew, with their baselines.

Real programs speak through the laboratory gateway, so the bytes differ from run to run (times, ports,
handles): this is run by hand, as root, where Samba, nftables, tayga and tcpdump are installed. All TCP
that crosses the port is kept, the connections to what was mapped included.
"""

from __future__ import annotations

import contextlib
import struct
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from inspector.errors import LaboratoryError
from inspector.lab import nat64, topology
from inspector.lab.gateway import Laboratory
from tests.golden.layers import Frame, pcapng_of
from tests.golden.store import CAPTURE, CONFIG, GOLDEN, LABORATORY, baseline_of
from tests.golden.trace import ETHERNET
from tests.lab.scenario import ask, recorded

LARGEST = 100_000
# The last packets are on their way when the clients have ended.
_SETTLE_SECONDS = 0.5
_MICROSECONDS_MAGIC = 0xA1B2C3D4


class Recording(NamedTuple):
    """One trace: the port of the gateway on which it is recorded, and the configuration it is read with."""

    name: str
    port: str
    config: str = ""


class Run(NamedTuple):
    """One round of questions, and what is recorded of it."""

    server: str
    options: tuple[str, ...]
    recordings: tuple[Recording, ...]


RUNS = (
    Run(topology.VIRTUAL_ADDRESS, ("--lookup",), (Recording("dnat", topology.CLIENT_PORT),)),
    Run(
        nat64.VIRTUAL_ADDRESS,
        (),
        (
            Recording("nat64-outer", topology.CLIENT_PORT, f'nat64_prefixes = ["{nat64.PREFIX}"]\n'),
            Recording("nat64-inner", topology.SERVER_PORT),
        ),
    ),
)


def frames_of(capture: bytes) -> Iterator[Frame]:
    """Yield the frames of what tcpdump wrote: classic, little-endian, Ethernet, in microseconds."""
    magic, link_type = struct.unpack_from("<I16xI", capture)
    if (magic, link_type) != (_MICROSECONDS_MAGIC, ETHERNET):
        raise LaboratoryError(f"tcpdump wrote a capture of another kind: magic {magic:#x}, link type {link_type}")
    position = 24
    while position < len(capture):
        seconds, microseconds, captured, length = struct.unpack_from("<IIII", capture, position)
        position += 16
        yield Frame(seconds * 10**9 + microseconds * 1000, capture[position : position + captured], length)
        position += captured


def record(laboratory: Laboratory, run: Run, folder: Path) -> dict[str, bytes]:
    """Let the clients ask one round; return the files of its traces by name within traces/."""
    wires = {recording: folder / recording.name for recording in run.recordings}
    with contextlib.ExitStack() as stack:
        for recording, wire in wires.items():
            stack.enter_context(recorded(laboratory, recording.port, wire, "tcp"))
        ask(laboratory, *run.options, server=run.server)
        time.sleep(_SETTLE_SECONDS)
    files = {}
    for recording, wire in wires.items():
        name = f"{LABORATORY}-{recording.name}"
        files[name + CAPTURE] = b"".join(pcapng_of(frames_of(wire.read_bytes()), ETHERNET))
        if recording.config:
            files[name + CONFIG] = recording.config.encode()
    return files


def write(files: dict[str, bytes], golden: Path = GOLDEN) -> None:
    """Write traces and what the inspector says of them; say which, and how large."""
    for name, content in files.items():
        if len(content) > LARGEST:
            raise LaboratoryError(f"{name} has {len(content)} bytes, too many for a repository")
        (golden / "traces" / name).write_bytes(content)
        print(f"recorded traces/{name}, {len(content)} bytes")
    for name in (name.removesuffix(CAPTURE) for name in files if name.endswith(CAPTURE)):
        for file, text in baseline_of(name, golden).items():
            (golden / "baselines" / file).write_text(text)
            print(f"wrote baselines/{file}, {text.count(chr(10))} lines")


def main() -> int:
    """Record everything; return the exit status."""
    try:
        with Laboratory(nat64=True) as laboratory, tempfile.TemporaryDirectory() as folder:
            for run in RUNS:
                write(record(laboratory, run, Path(folder)))
    except LaboratoryError as error:
        print(f"laboratory: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
