"""Servers of the scenarios: a second one, one that is slow, mute or gone, a proxy, and the strict filter's process."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Final

from inspector.lab import nat64, processes, topology
from inspector.lab.scenarios import network
from inspector.protocols import EPM_PORT

if TYPE_CHECKING:
    from inspector.lab.gateway import Laboratory

_PROXIED_PORTS: Final = "49152-49160"


def add_server(laboratory: Laboratory) -> None:
    """Start a second endpoint mapper, with its services, on the spare server."""
    laboratory.start_mapper("spare", topology.SPARE_ADDRESS)


def end_mapper(laboratory: Laboratory) -> None:
    """End the server's endpoint mapper and its services: the server's kernel refuses connections."""
    _signal(laboratory, signal.SIGKILL)
    laboratory.mapper.wait()


def hold_mapper(laboratory: Laboratory) -> None:
    """Stop the server's processes: its kernel accepts connections, nothing answers on them."""
    _signal(laboratory, signal.SIGSTOP)


def release_mapper(laboratory: Laboratory) -> None:
    """Let the server's processes go on."""
    _signal(laboratory, signal.SIGCONT)


def _signal(laboratory: Laboratory, number: int) -> None:
    # The services are children of the mapper, in its process group.
    with contextlib.suppress(ProcessLookupError):
        os.killpg(laboratory.mapper.pid, number)


def start_filter(laboratory: Laboratory, action: str) -> None:
    """Run the strict filter in the gateway; with a NAT64 it is on the servers' side of that."""
    module = "inspector.lab.scenarios.filter"
    command = [sys.executable, "-m", module, "--device", network.FILTER_DEVICE, "--action", action]
    log = (laboratory.folder / "filter.log").open("w")
    with log:
        laboratory.start("gateway", command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    outside = nat64.DEVICE if laboratory.nat64 else topology.CLIENT_PORT
    network.divert(laboratory, outside, topology.SERVER_PORT)


def start_proxy(laboratory: Laboratory) -> None:
    """Run haproxy in the gateway: it accepts for the virtual address, and connects to the same port of the server."""
    settings = laboratory.folder / "haproxy.cfg"
    settings.write_text(
        "defaults\n"
        "    mode tcp\n"
        "    timeout connect 2s\n    timeout client 30s\n    timeout server 30s\n"
        "listen mapper\n"
        f"    bind {topology.VIRTUAL_ADDRESS}:{EPM_PORT},{topology.VIRTUAL_ADDRESS}:{_PROXIED_PORTS}\n"
        f"    server first {topology.SERVER_ADDRESS} check port {EPM_PORT} inter 250ms fall 1\n"
    )
    network.own_virtual_address(laboratory)
    program = processes.find_program("haproxy", "haproxy")
    laboratory.serve("gateway", "haproxy", [program, "-db", "-f", str(settings)])
