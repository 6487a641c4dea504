"""`python -m tests.golden.laboratory`: record the laboratory traces anew, with their baselines.

Real programs speak through the laboratory gateway, so the bytes differ from run to run (times, ports,
handles): this is run by hand, as root, where Samba with its clients and tests (Debian: smbclient,
samba-testsuite), nftables, tayga and tcpdump are installed. All TCP that crosses the port is kept, the
connections to what was mapped included.
"""

from __future__ import annotations

import contextlib
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from inspector.errors import LaboratoryError
from inspector.lab import nat64, topology
from inspector.lab.gateway import Laboratory
from inspector.lab.processes import find_program
from inspector.protocols import EPM_PORT
from tests.golden.layers import Frame, pcapng_of
from tests.golden.store import CAPTURE, CONFIG, GOLDEN, LABORATORY, baseline_of
from tests.golden.trace import ETHERNET
from tests.lab.scenario import ask, recorded

LARGEST = 100_000
# Those of smbtorture's tests which need no right to insert entries.
TORTURES = ("Map_simple", "Lookup_simple", "Lookup_terminate_search")
# The last packets may be on their way when the clients have ended.
_SETTLE_SECONDS = 0.5
_MICROSECONDS_MAGIC = 0xA1B2C3D4


class Recording(NamedTuple):
    """One trace: the port of the gateway on which it is recorded, and the configuration it is read with."""

    name: str
    port: str
    config: str = ""


def ask_everything(laboratory: Laboratory) -> None:
    """Let both clients ask one round at the virtual address, the listing of all endpoints included."""
    ask(laboratory, "--lookup")


def ask_through_nat64(laboratory: Laboratory) -> None:
    """Let both clients ask one round at the virtual address behind the NAT64 prefix."""
    ask(laboratory, server=nat64.VIRTUAL_ADDRESS)


def ask_as_smbtorture(laboratory: Laboratory) -> None:
    """Run Samba's own test of an endpoint mapper, a hundred calls on one connection.

    It ends with a failure: Samba's endpoint mapper lets nobody insert entries over TCP.
    """
    options = [f"--configfile={laboratory.client_settings}", f"--basedir={laboratory.folder}", "--user=%"]
    command = [find_program("smbtorture", "samba-testsuite"), *options]
    command += [f"ncacn_ip_tcp:{topology.VIRTUAL_ADDRESS}[{EPM_PORT}]", "rpc.epmapper"]
    with laboratory.start(
        "client", command, cwd=laboratory.folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as torture:
        output, _ = torture.communicate(timeout=60)
    missing = {f"success: epmapper.{test}" for test in TORTURES} - set(output.splitlines())
    if missing:
        raise LaboratoryError(f"smbtorture did not say {missing}: {output[-500:]}")


class Run(NamedTuple):
    """A conversation, and what is recorded of it."""

    converse: Callable[[Laboratory], None]
    recordings: tuple[Recording, ...]


RUNS = (
    Run(ask_everything, (Recording("dnat", topology.CLIENT_PORT),)),
    Run(
        ask_through_nat64,
        (
            Recording("nat64-outer", topology.CLIENT_PORT, f'nat64_prefixes = ["{nat64.PREFIX}"]\n'),
            Recording("nat64-inner", topology.SERVER_PORT),
        ),
    ),
    Run(ask_as_smbtorture, (Recording("smbtorture", topology.CLIENT_PORT),)),
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
    """Let the conversation happen; return the files of its traces by name within traces/."""
    wires = {recording: folder / recording.name for recording in run.recordings}
    with contextlib.ExitStack() as stack:
        for recording, wire in wires.items():
            stack.enter_context(recorded(laboratory, recording.port, wire, "tcp"))
        run.converse(laboratory)
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
