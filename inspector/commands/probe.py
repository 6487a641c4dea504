"""`epm-inspector probe`: asks an endpoint mapper itself, instead of waiting for a client that does."""

from __future__ import annotations

import struct
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from inspector.commands import read
from inspector.config import Config
from inspector.consequence import HARMFUL
from inspector.errors import OutputError, RunningError
from inspector.model import Verdict
from inspector.reading.filereader import ReadArguments

_FAILING: Final = HARMFUL | {Verdict.NOT_REGISTERED, Verdict.REJECTED, Verdict.FAULT, Verdict.UNANSWERED}


@dataclass(frozen=True, slots=True)
class ProbeArguments:
    """What the command line of `probe` says."""

    host: str
    services: Sequence[str]
    port: int
    timeout: float
    write: Path | None
    json: bool
    config: Config


def run(arguments: ProbeArguments) -> int:
    """Ask, connect, bind, and read what was said as if it had been captured; return 3 where a client would be hurt."""
    from inspector.probing.ask import DEFAULT_SERVICES, Probe, service_of

    try:
        services = [service_of(text) for text in arguments.services or DEFAULT_SERVICES]
    except ValueError as error:
        raise RunningError(
            f"{', '.join(arguments.services)}: no name of a service that is known, and no UUID: {error}"
        ) from None
    # What was not named need not be there.
    failing = frozenset(_FAILING if arguments.services else _FAILING - {Verdict.NOT_REGISTERED})
    probe = Probe(arguments.host, arguments.port, arguments.timeout)
    probe.run(services)
    with tempfile.TemporaryDirectory(prefix="epm-inspector-") as folder:
        path = arguments.write or Path(folder) / f"probe-{arguments.port}.pcap"
        _write(path, probe.recording.frames())
        config = arguments.config.model_copy(update={"ports": (arguments.port,), "follow_up": True, "tunnels": False})
        return read.run(ReadArguments(files=(path,), config=config, json=arguments.json, fail_on=failing))


def _write(path: Path, frames: Sequence[tuple[int, bytes]]) -> None:
    """Write a capture (pcap, with nanoseconds)."""
    content = struct.pack("<IHHiIII", 0xA1B23C4D, 2, 4, 0, 0, 1 << 18, 1)
    for time_ns, frame in frames:
        seconds, rest = divmod(time_ns, 1_000_000_000)
        content += struct.pack("<IIII", seconds, rest, len(frame), len(frame)) + frame
    try:
        path.write_bytes(content)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written: {error.strerror or error}") from None
