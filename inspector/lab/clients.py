"""Real clients that ask the endpoint mapper where interfaces live; run inside the client's namespace.

    python -m inspector.lab.clients --server 10.11.2.2 [--rounds N] [--interval SECONDS]
                                    [--settings SMB.CONF [--lookup]]

Each question is a connection of its own. For each, one JSON object goes to standard output:
`client`, `question`, `uuid`, `status` (0, or the mapper's status code), `answer` (a string binding, or the
client's own words). With `--settings` Samba's rpcclient asks too, after every round of impacket's;
`--lookup` makes it page through all endpoints as well, some forty answers.
"""

from __future__ import annotations

import argparse
import itertools
import json
import logging
import subprocess
import time
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from inspector import bounds, log
from inspector.errors import LaboratoryError
from inspector.lab.processes import find_program
from inspector.protocols import EPM_PORT

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

_LOG: Final = logging.getLogger(__name__)

NOT_REGISTERED: Final = 0x16C9A0D6  # C706 appendix E, EPT_S_NOT_REGISTERED


class Question(NamedTuple):
    """An interface to ask for, and whether the laboratory's server has registered it."""

    name: str
    uuid: str
    version: str
    registered: bool


# Registered and unregistered ones take turns, so that a short run sees both.
QUESTIONS: Final = (
    Question("SAMR", "12345778-1234-abcd-ef00-0123456789ac", "1.0", registered=True),
    Question("MAPI", "a4f1db00-ca47-1067-b31f-00dd010662da", "0.81", registered=False),
    Question("LSARPC", "12345778-1234-abcd-ef00-0123456789ab", "0.0", registered=True),
    Question("NETLOGON", "12345678-1234-abcd-ef00-01234567cffb", "1.0", registered=False),
)

# A map request for SAMR and then a connection to where it lives; a map request for LSARPC over named
# pipes, which is answered by two towers without an address.
MAP_COMMANDS: Final = (
    ("ncacn_ip_tcp:{server}", "enumdomains"),
    (f"ncacn_ip_tcp:{{server}}[{EPM_PORT}]", "epmmap"),
)
# One connection, one ept_lookup for each endpoint: towers of every kind that Samba knows.
LOOKUP_COMMANDS: Final = ((f"ncacn_ip_tcp:{{server}}[{EPM_PORT}]", "epmlookup"),)


def ask_with_impacket(server: str, question: Question) -> dict[str, Any]:
    """Ask for one interface by ept_map over TCP; return what the module's docstring lists.

    As a conforming client does, impacket answers with the address it asked, not with the one in the tower.
    Raises LaboratoryError when impacket is missing or gives up, OSError when the server cannot be reached.
    """
    try:
        from impacket.dcerpc.v5 import epm, transport
        from impacket.dcerpc.v5.rpcrt import DCERPCException
        from impacket.uuid import uuidtup_to_bin
    except ImportError as error:
        raise LaboratoryError("impacket is missing: pip install 'epm-inspector[lab]'") from error
    interface = uuidtup_to_bin((question.uuid, question.version))
    connection = transport.DCERPCTransportFactory(f"ncacn_ip_tcp:{server}[{EPM_PORT}]").get_dce_rpc()
    connection.connect()
    try:
        answer = str(epm.hept_map(server, interface, protocol="ncacn_ip_tcp", dce=connection))
        status = 0
    except DCERPCException as error:
        if error.get_error_code() is None:
            raise LaboratoryError(f"impacket asking for {question.name}: {error}") from error
        answer, status = str(error).strip(), error.get_error_code()
    finally:
        connection.disconnect()
    return {
        "client": "impacket",
        "question": question.name,
        "uuid": question.uuid,
        "status": status,
        "answer": answer,
    }


def ask_with_rpcclient(server: str, settings: Path | str, binding: str, command: str) -> dict[str, Any]:
    """Run one command of Samba's rpcclient as an anonymous user; return what the module's docstring lists.

    Raises LaboratoryError when rpcclient is missing or says that it could not do it.
    """
    program = find_program("rpcclient", "smbclient")
    arguments = [program, f"--configfile={settings}", "--user=%", binding.format(server=server), "--command", command]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=60, check=False)  # noqa: S603 - fixed program
    if done.returncode != 0:
        raise LaboratoryError(f"rpcclient {command}: {(done.stderr or done.stdout).strip()}")
    return {"client": "rpcclient", "question": command, "uuid": None, "status": 0, "answer": done.stdout.strip()}


def answers(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Yield each answer, with the pause asked for after each question; `options` are those of the command line."""
    commands = MAP_COMMANDS + (LOOKUP_COMMANDS if options.lookup else ())
    for _ in itertools.count() if options.rounds is None else range(options.rounds):
        for question in QUESTIONS:
            yield ask_with_impacket(options.server, question)
            time.sleep(options.interval)
        for binding, command in commands if options.settings else ():
            yield ask_with_rpcclient(options.server, options.settings, binding, command)
            time.sleep(options.interval)


def main(arguments: Sequence[str] | None = None) -> int:
    """Ask as the command line says; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m inspector.lab.clients", description="Ask an endpoint mapper.")
    parser.add_argument("--server", required=True, help="address to ask")
    parser.add_argument(
        "--rounds", type=bounds.ROUNDS.argument(int), help="how often to ask everything (default: for ever)"
    )
    parser.add_argument(
        "--interval", type=bounds.DEMO_SECONDS.argument(float), default=0.0, help="seconds between two questions"
    )
    parser.add_argument("--settings", help="smb.conf for rpcclient (without it, only impacket asks)")
    parser.add_argument("--lookup", action="store_true", help="let rpcclient page through all endpoints, too")
    options = parser.parse_args(arguments)
    try:
        for answer in answers(options):
            print(json.dumps(answer), flush=True)
    except (LaboratoryError, OSError) as error:
        log.set_up()
        _LOG.error("clients: %s", error)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
