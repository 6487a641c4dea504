"""What values of the command line's options are, and switches."""

from __future__ import annotations

import argparse
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path

from inspector.config import check_path, split_listen
from inspector.consequence import Outcome
from inspector.model import Verdict


def listen(text: str) -> str:
    """Return an address with a port."""
    try:
        split_listen(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return text


def verdicts(text: str) -> frozenset[Verdict | Outcome]:
    """Return verdicts and outcomes of a list with commas."""
    known: dict[str, Verdict | Outcome] = {str(word): word for word in (*Verdict, *Outcome)}
    try:
        return frozenset(known[name.strip()] for name in text.split(","))
    except KeyError as error:
        raise argparse.ArgumentTypeError(
            f"{error} is no verdict or outcome; verdicts: {', '.join(Verdict)}; outcomes: {', '.join(Outcome)}"
        ) from None


def networks(text: str) -> tuple[IPv4Network | IPv6Network, ...]:
    """Return addresses and networks of a list with commas."""
    try:
        return tuple(ip_network(one.strip(), strict=False) for one in text.split(","))
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def path(text: str) -> Path:
    """Return a path; an empty one would be the current folder."""
    try:
        path = check_path(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    if path is None:
        raise argparse.ArgumentTypeError("the path is empty")
    return Path(text)


def services(text: str) -> frozenset[str]:
    """Return names of a list with commas, in small letters."""
    return frozenset(one.strip().lower() for one in text.split(",") if one.strip())


def add_switch(parser: argparse.ArgumentParser, name: str, text: str) -> None:
    """Add an option and its opposite; None where neither is given: the configuration decides."""
    parser.add_argument(name, action=argparse.BooleanOptionalAction, default=None, help=text)


def add_selection(parser: argparse.ArgumentParser) -> None:
    """Add the options which say which findings are shown."""
    chosen = parser.add_argument_group("which findings", "default: all; the summary counts those which are shown")
    chosen.add_argument(
        "--verdict", type=verdicts, default=frozenset(), metavar="VERDICT[,...]", help="verdicts, and outcomes"
    )
    for name in ("client", "vip"):
        chosen.add_argument(f"--{name}", type=networks, default=(), metavar="ADDR[,...]", help="addresses, or networks")
    chosen.add_argument(
        "--service",
        type=services,
        default=frozenset(),
        metavar="NAME[,...]",
        help="names of interfaces, UUIDs, or their first eight digits",
    )


def add_config_option(parser: argparse.ArgumentParser) -> None:
    """Add the option which names the configuration."""
    parser.add_argument(
        "--config",
        type=path,
        metavar="FILE",
        help="TOML file: VIPs and pools, NAT64 prefixes, ports, limits, defaults of options",
    )
