"""The command line of `probe`."""

from __future__ import annotations

import argparse
from typing import Any

from inspector import argumenttypes as types
from inspector import bounds
from inspector.config import Config, load_config
from inspector.protocols import EPM_PORT


def add_probe(commands: argparse._SubParsersAction[Any]) -> None:
    """Add the command."""
    parser = commands.add_parser("probe", help="ask an endpoint mapper, and connect to where it leads, as a client")
    parser.add_argument("host", metavar="HOST", help="name or address; it is asked, and what it offers is connected to")
    parser.add_argument(
        "services",
        nargs="*",
        metavar="SERVICE",
        help="names or UUIDs, with or without a version (MAPI/0.81; default: those of a domain controller, and MAPI)",
    )
    parser.add_argument("--port", type=bounds.PORT.argument(int), default=EPM_PORT, metavar="N", help="(default 135)")
    parser.add_argument(
        "--timeout",
        type=bounds.PROBE_SECONDS.argument(float),
        default=10.0,
        metavar="SECONDS",
        help="for each connection and each answer (default 10)",
    )
    parser.add_argument("--write", type=types.path, metavar="FILE", help="also keep what was said, as pcap")
    parser.add_argument("--json", action="store_true", help="one finding per line on standard output, and nothing else")
    types.add_config_option(parser)
    parser.set_defaults(run=_probe, fail=parser.error)


def _probe(arguments: argparse.Namespace) -> int:
    from inspector.commands import probe

    config = load_config(arguments.config) if arguments.config else Config()
    return probe.run(
        probe.ProbeArguments(
            host=arguments.host,
            services=arguments.services,
            port=arguments.port,
            timeout=arguments.timeout,
            write=arguments.write,
            json=arguments.json,
            config=config,
        )
    )
