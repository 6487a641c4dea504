"""The laboratory: builds the gateway and everything around it, and removes it again whatever happens.

Tests and the demonstration share it. Needs root, Samba (4.16 or newer) and nftables.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import time
from typing import TYPE_CHECKING, Any, Final, Self

from pyroute2.netlink.exceptions import NetlinkError

from inspector.errors import LaboratoryError
from inspector.lab import leftovers, processes, topology
from inspector.lab.mapper import find_mapper, mapper_command, write_settings
from inspector.live.namespaces import inside

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from types import TracebackType

MAPPER_PORT: Final = 135
_PATIENCE_SECONDS: Final = 30.0
_QUIET_SECONDS: Final = 0.05


class Laboratory:
    """A context manager: inside it the gateway exists and the endpoint mapper answers at the virtual address.

    `names` gives the network namespace of each host of `topology.HOSTS`; `folder` is a temporary
    folder which goes with the laboratory; `client_settings` is a smb.conf for Samba's clients.
    Use it from one thread: the programs inside end when the thread that started them ends.
    """

    def __init__(self) -> None:
        self.names = leftovers.namespace_names(os.getpid())
        self.folder: Path
        self.client_settings: Path
        self._cleanup = contextlib.ExitStack()
        self._started: list[subprocess.Popen[str]] = []

    def __enter__(self) -> Self:
        """Build everything; raises LaboratoryError in one line when that is not possible here."""
        _check_requirements()
        with contextlib.ExitStack() as undo:
            self.folder, lock = leftovers.claim()
            undo.callback(os.close, lock)
            undo.callback(self._reap)
            undo.callback(leftovers.remove, os.getpid())
            self._build()
            self._cleanup = undo.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._cleanup.close()

    def _reap(self) -> None:
        for process in self._started:
            process.wait()

    def start(self, host: str | None, arguments: Sequence[str], **options: Any) -> subprocess.Popen[str]:
        """Start a program on a host (None: outside, on the machine itself); it does not outlive the laboratory's owner.

        `options` are those of subprocess.Popen. What runs on a host is ended with the laboratory.
        """
        process = processes.start(self.names[host] if host else None, arguments, **options)
        if host is not None:
            self._started.append(process)
        return process

    def run(self, host: str, arguments: Sequence[str], seconds: float = 60.0) -> str:
        """Run a program on a host to its end and return its standard output.

        Raises LaboratoryError with its last words when it fails or takes longer than that many seconds.
        """
        process = self.start(host, arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        with process:
            try:
                output, complaint = process.communicate(timeout=seconds)
            except subprocess.TimeoutExpired as expired:
                raise LaboratoryError(f"{arguments[0]} took longer than {seconds:g} s") from expired
            finally:
                process.kill()
        if process.returncode != 0:
            raise LaboratoryError(f"{arguments[0]} ended with {process.returncode}: {_last_line(complaint)}")
        return output

    def _build(self) -> None:
        try:
            topology.build(self.names)
        except (OSError, NetlinkError) as error:
            raise LaboratoryError(f"network namespaces cannot be set up here: {error}") from error
        nft = processes.find_program("nft", "nftables")
        rules = self.folder / "balancer.nft"
        rules.write_text(topology.TRANSLATION)
        self.run("balancer", [nft, "--file", str(rules)])
        self.client_settings = write_settings(self.folder / "client", topology.CLIENT_ADDRESS)
        settings = write_settings(self.folder / "server", topology.SERVER_ADDRESS)
        log = self.folder / "mapper.log"
        with log.open("w") as output:
            mapper = self.start(
                "server",
                mapper_command(settings),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        self._wait_for_mapper(mapper, log)

    def _wait_for_mapper(self, mapper: subprocess.Popen[str], log: Path) -> None:
        """Return once the virtual address accepts a connection from the client: the whole path works then."""
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while mapper.poll() is None and time.monotonic() < deadline:
            with inside(self.names["client"]), contextlib.suppress(OSError):
                socket.create_connection((topology.VIRTUAL_ADDRESS, MAPPER_PORT), timeout=1).close()
                return
            time.sleep(_QUIET_SECONDS)
        what = "does not answer" if mapper.poll() is None else "ended by itself"
        raise LaboratoryError(f"Samba's endpoint mapper {what}: {_last_line(log.read_text(errors='replace'))}")


def _check_requirements() -> None:
    if os.geteuid() != 0:
        raise LaboratoryError("building the laboratory needs root, for network namespaces: run it with sudo")
    find_mapper()
    processes.find_program("nft", "nftables")


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "it said nothing"
