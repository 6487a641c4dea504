"""The laboratory: builds the gateway and everything around it, and removes it again whatever happens.

Tests and the demonstration share it. Needs root, Samba (4.16 or newer) and nftables; tayga for the client over NAT64.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import time
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self

from pyroute2.netlink.exceptions import NetlinkError

from inspector.errors import LaboratoryError
from inspector.lab import leftovers, nat64, processes, topology
from inspector.lab.mapper import BIND, find_mapper, mapper_command, write_settings
from inspector.live.process.namespaces import inside
from inspector.protocols import EPM_PORT

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path
    from types import TracebackType

_PATIENCE_SECONDS: Final = 60.0
_QUIET_SECONDS: Final = 0.05
_ANSWER_SECONDS: Final = 5.0


class Laboratory:
    """A context manager: inside it the gateway exists and the endpoint mapper answers at the virtual address.

    With `nat64` the gateway translates, too: the client also reaches it at `inspector.lab.nat64.VIRTUAL_ADDRESS`.
    `names` gives the network namespace of each host of `topology.HOSTS`; `folder` is a temporary
    folder which goes with the laboratory; `client_settings` is a smb.conf for Samba's clients; `mapper` is the
    server's endpoint mapper.
    Use it from one thread: the programs inside end when the thread that started them ends.
    """

    def __init__(self, *, nat64: bool = False) -> None:
        self.nat64 = nat64
        self.names = leftovers.namespace_names(os.getpid())
        self.folder: Path
        self.client_settings: Path
        self.mapper: subprocess.Popen[str]
        self._cleanup = contextlib.ExitStack()
        self._started: list[subprocess.Popen[str]] = []

    def __enter__(self) -> Self:
        """Build everything; raises LaboratoryError in one line when that is not possible here."""
        _check_requirements(translating=self.nat64)
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
        with _network_errors_in_words():
            topology.build(self.names)
        rules = self.folder / "balancer.nft"
        rules.write_text(topology.TRANSLATION)
        self.run("balancer", [processes.find_program("nft", "nftables"), "--file", str(rules)])
        self.client_settings = write_settings(self.folder / "client", topology.CLIENT_ADDRESS)
        self.mapper = self.start_mapper("server", topology.SERVER_ADDRESS, reached_at=topology.VIRTUAL_ADDRESS)
        if self.nat64:
            self._add_translator()

    def _add_translator(self) -> None:
        settings = nat64.write_settings(self.folder / "translator")
        self.run("gateway", nat64.device_command(settings))
        with _network_errors_in_words():
            nat64.configure(self.names)
        translator = self._start_service("gateway", "tayga's NAT64", nat64.translator_command(settings))
        self._wait_until_reached(nat64.VIRTUAL_ADDRESS, translator)

    def start_mapper(self, host: str, address: str, reached_at: str | None = None) -> subprocess.Popen[str]:
        """Run Samba's endpoint mapper on a host at that address; return when the client reaches it (at `reached_at`).

        Raises LaboratoryError when it does not answer.
        """
        settings = write_settings(self.folder / host, address)
        service = self._start_service(host, "Samba's endpoint mapper", mapper_command(settings))
        self._wait_until_reached(reached_at or address, service)
        return service.process

    def serve(self, host: str, what: str, command: Sequence[str], address: str = topology.VIRTUAL_ADDRESS) -> None:
        """Run a server on a host; return when the client reaches port 135 of `address`. `what` is its name in errors.

        Raises LaboratoryError when nothing answers.
        """
        self._wait_until_reached(address, self._start_service(host, what, command))

    def _start_service(self, host: str, what: str, command: Sequence[str]) -> _Service:
        log = self.folder / f"{host}-{command[0].rpartition('/')[2]}.log"
        with log.open("w") as output:
            process = self.start(host, command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT)
        return _Service(what, process, log)

    def _wait_until_reached(self, address: str, service: _Service) -> None:
        """Return once the client's bind at that address is answered: the whole path works, and Samba's services run."""
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while service.process.poll() is None and time.monotonic() < deadline:
            with contextlib.suppress(OSError), inside(self.names["client"]), _connected(address) as connection:
                connection.sendall(BIND)
                if connection.recv(1):
                    return
            time.sleep(_QUIET_SECONDS)
        how = "does not answer" if service.process.poll() is None else "ended by itself"
        raise LaboratoryError(f"{service.what} {how}: {_last_line(service.log.read_text(errors='replace'))}")


class _Service(NamedTuple):
    """A program that serves for as long as the laboratory lives."""

    what: str
    process: subprocess.Popen[str]
    log: Path


def _connected(address: str) -> socket.socket:
    return socket.create_connection((address, EPM_PORT), timeout=_ANSWER_SECONDS)


@contextlib.contextmanager
def _network_errors_in_words() -> Iterator[None]:
    try:
        yield
    except (OSError, NetlinkError) as error:
        raise LaboratoryError(f"network namespaces cannot be set up here: {error}") from error


def _check_requirements(*, translating: bool) -> None:
    if os.geteuid() != 0:
        raise LaboratoryError("building the laboratory needs root, for network namespaces: run it with sudo")
    find_mapper()
    processes.find_program("nft", "nftables")
    if translating:
        nat64.check_requirements()


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "it said nothing"
