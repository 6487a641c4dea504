"""The clients of the scenarios: one of our own (visitor.py), which can misbehave, and Samba's."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Final

from inspector.errors import LaboratoryError
from inspector.lab import processes
from inspector.lab.scenarios import servers
from inspector.lab.scenarios.services import BOUND

if TYPE_CHECKING:
    from collections.abc import Callable

    from inspector.lab.gateway import Laboratory

_SLOW_SECONDS: Final = 2.0


def visiting(server: str, *options: str) -> Callable[[Laboratory], None]:
    """Return how a client asks a server, with these options of the visitor."""

    def visit(laboratory: Laboratory) -> None:
        laboratory.run("client", _command(server, *options))

    return visit


def ask_rpcclient(laboratory: Laboratory, server: str) -> None:
    """Let the visitor ask, and Samba's rpcclient, which goes on to the endpoint and calls it."""
    visiting(server)(laboratory)
    program = processes.find_program("rpcclient", "smbclient")
    settings = f"--configfile={laboratory.client_settings}"
    laboratory.run("client", [program, settings, "--user=%", f"ncacn_ip_tcp:{server}", "--command", "enumdomains"])


def ask_then_list(laboratory: Laboratory, server: str) -> None:
    """Ask once, which is a small answer, and then for a list of all endpoints, which is a large one."""
    visiting(server, "--rounds", "1")(laboratory)
    visiting(server, "--rounds", "1", "--listing")(laboratory)


def ask_slowly(laboratory: Laboratory, server: str) -> None:
    """Stop the server between the bind and the question, and let it go on after a while."""
    command = _command(server, "--rounds", "1", "--pause", "--timeout", "10")
    client = laboratory.start("client", command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    with client:
        if client.stdout is None or client.stdout.readline().strip() != BOUND:
            raise LaboratoryError("the client was not bound")
        servers.hold_mapper(laboratory)
        release = threading.Timer(_SLOW_SECONDS, servers.release_mapper, (laboratory,))
        release.start()
        client.communicate("\n")
        release.join()


def port_of(laboratory: Laboratory, server: str, service: str) -> int:
    """Return at which port a server has a service, asked from the balancer, where no inspector sees it."""
    command = _command(server, "--service", service, "--go", "nowhere", "--rounds", "1")
    return int(json.loads(laboratory.run("balancer", command))["port"])


def _command(server: str, *options: str) -> list[str]:
    return [sys.executable, "-m", "inspector.lab.scenarios.visitor", "--server", server, *options]
