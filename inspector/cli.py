"""The command line: parsing, and errors in one line."""

from __future__ import annotations

import argparse
import contextlib
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Final, NoReturn, get_args

from inspector import __version__, bounds, log, probeoptions
from inspector import argumenttypes as types
from inspector.config import DEFAULT_LISTEN, Config, load_config
from inspector.consequence import Outcome
from inspector.errors import InspectorError, OutputError
from inspector.escape import harmless
from inspector.model import Mode
from inspector.resources import require_descriptors
from inspector.stdio import finish_output, open_standard_streams

_LOG: Final = logging.getLogger(__name__)

_JSON_HELP: Final = "print findings as JSON, one per line, and nothing else on standard output"


class _Parser(argparse.ArgumentParser):
    """A parser whose messages may quote anything."""

    def error(self, message: str) -> NoReturn:
        super().error(harmless(message))


def _add_attach(commands: argparse._SubParsersAction[_Parser]) -> None:
    parser = commands.add_parser("attach", help="inspect network interfaces until Ctrl-C or SIGTERM")
    parser.add_argument(
        "interfaces",
        nargs="*",
        metavar="IFACE",
        help="interface to inspect; name both ports of a gateway (default: 'interfaces' in the configuration)",
    )
    parser.add_argument(
        "--listen",
        type=types.listen,
        metavar="ADDR:PORT",
        help=f"address of the metrics server (default {DEFAULT_LISTEN})",
    )
    parser.add_argument(
        "--write", type=types.path, metavar="FILE", help="append the inspected packets to FILE, as pcapng"
    )
    parser.add_argument(
        "--write-max-bytes",
        type=bounds.WRITE_BYTES.argument(int),
        metavar="N",
        help="size at which FILE is rotated to FILE.1 (default 64 MiB)",
    )
    parser.add_argument(
        "--write-files",
        type=bounds.WRITE_FILES.argument(int),
        metavar="N",
        help="number of files to keep: FILE, FILE.1 ... (default 8)",
    )
    _add_runtime_option(parser, "directory for the UNIX socket (default: /run/epm-inspector)")
    parser.add_argument("--output", type=types.path, metavar="FILE", help="append findings to FILE, as JSON lines")
    types.add_switch(parser, "--journal", "send findings to the system's journal")
    _add_evidence_option(parser)
    types.add_switch(parser, "--drop-all", "drop CAP_NET_ADMIN as well after attaching")
    parser.add_argument(
        "--user",
        metavar="NAME",
        help="account to change to after attaching, if started by root (default: epm-inspector, else nobody)",
    )
    _add_kernel_options(parser)
    _add_tunnels_option(parser)
    types.add_switch(
        parser,
        "--follow-up",
        "report whether answers arrived, and whether clients reached the endpoints (default: on)",
    )
    types.add_config_option(parser)
    types.add_switch(parser, "--json", _JSON_HELP)
    parser.set_defaults(run=_attach, fail=parser.error)


def _add_read(commands: argparse._SubParsersAction[_Parser]) -> None:
    parser = commands.add_parser("read", help="inspect capture files; needs neither root nor bcc")
    parser.add_argument(
        "files",
        nargs="+",
        type=types.path,
        metavar="FILE",
        help="pcap, pcapng, Windows event trace, or what Wireshark's editcap reads; also compressed, an archive, "
        "a folder, a pattern; - is standard input",
    )
    parser.add_argument(
        "--fail-on",
        type=types.verdicts,
        default=frozenset(),
        metavar="VERDICT[,VERDICT]",
        help="exit with status 3 if one of these verdicts or outcomes was found; with status 4 if none was found "
        "in a capture that keeps only the beginning of each packet",
    )
    types.add_switch(
        parser, "--follow-up", "report whether answers arrived, and whether clients reached the endpoints (default: on)"
    )
    types.add_switch(
        parser,
        "--follow-on",
        "read all files as one that was divided, in the order of their first packets (default: rings, by their names)",
    )
    types.add_selection(parser)
    parser.add_argument("--summary", action="store_true", help="print totals only (with --json: one object)")
    parser.add_argument(
        "--report",
        type=types.path,
        metavar="FILE",
        help="also write a page (HTML) to attach to a ticket; implies --follow-up",
    )
    parser.add_argument(
        "--jobs",
        type=bounds.JOBS.argument(int),
        metavar="N",
        help="files to read at the same time (default: one per core for large files, else 1)",
    )
    _add_evidence_option(parser)
    _add_tunnels_option(parser, ", ERSPAN, VXLAN-GPE, GTP-U, L2TP and TZSP (default)")
    types.add_config_option(parser)
    parser.add_argument("--json", action="store_true", help=_JSON_HELP)
    parser.set_defaults(run=_read, fail=parser.error)


def _add_check(commands: argparse._SubParsersAction[_Parser]) -> None:
    parser = commands.add_parser("check", help="check an interface: report obstacles, then attach, test and detach")
    parser.add_argument("interface", metavar="IFACE")
    _add_kernel_options(parser)
    _add_tunnels_option(parser)
    parser.set_defaults(run=_check)


def _add_status(commands: argparse._SubParsersAction[_Parser]) -> None:
    parser = commands.add_parser(
        "status", help="list the inspectors running on this machine; exit status 3 if there is none"
    )
    parser.add_argument("--json", action="store_true", help="print the whole status of each, as a JSON array")
    _add_runtime_option(parser, "directory of their sockets (default: /run/epm-inspector)")
    parser.set_defaults(run=_status)


def _add_top(commands: argparse._SubParsersAction[_Parser]) -> None:
    parser = commands.add_parser("top", help="show a running inspector in full screen")
    parser.add_argument("--url", metavar="URL", help="inspector on another machine: URL of its metrics server")
    _add_runtime_option(parser, "directory of their sockets (default: /run/epm-inspector)")
    parser.set_defaults(run=_top)


def _add_demo(commands: argparse._SubParsersAction[_Parser]) -> None:
    parser = commands.add_parser("demo", help="build the laboratory gateway and show the original case")
    parser.add_argument(
        "--seconds", type=bounds.DEMO_SECONDS.argument(float), help="stop after SECONDS (default: at Ctrl-C)"
    )
    parser.add_argument(
        "--listen",
        type=types.listen,
        metavar="ADDR:PORT",
        help=f"address of the metrics server (default {DEFAULT_LISTEN})",
    )
    parser.add_argument("--scenario", metavar="NAME", help="play this scenario (an unknown name lists all)")
    parser.add_argument("--captures", type=types.path, metavar="DIR", help="keep the scenario's captures in DIR")
    parser.set_defaults(run=_demo)


def _add_kernel_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--mode",
        choices=get_args(Mode),
        help="how to attach (default auto: native XDP, else generic XDP; tc on a veth)",
    )
    parser.add_argument("--netns", metavar="NAME", help="network namespace of the interfaces")


def _add_runtime_option(parser: argparse.ArgumentParser, text: str) -> None:
    parser.add_argument("--runtime-directory", type=types.path, metavar="DIR", help=text)


def _add_tunnels_option(parser: argparse.ArgumentParser, more: str = "") -> None:
    types.add_switch(parser, "--tunnels", f"decode packets in IP-in-IP, GRE, VXLAN, Geneve and Teredo tunnels{more}")


def _add_evidence_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--evidence",
        type=types.path,
        metavar="DIR",
        help="write the packets of mismatching conversations to DIR, as pcapng",
    )
    types.add_switch(
        parser,
        "--keep-credentials",
        "keep authentication tokens (NTLM, Kerberos) in written files; passwords can be guessed from them",
    )


def _load(arguments: argparse.Namespace) -> Config:
    config = load_config(arguments.config) if arguments.config else Config()
    said = {key: getattr(arguments, key) for key in ("tunnels", "keep_credentials")}
    _LOG.debug("configuration: %s", config)
    return _with(config, said)


def _with(config: Config, said: Mapping[str, object]) -> Config:
    """Return a configuration with the values that the command line gives: those which are not None."""
    return config.model_copy(update={key: value for key, value in said.items() if value is not None})


def _load_attach(arguments: argparse.Namespace) -> Config:
    """Return the configuration with what the command line says instead, each time it is read."""
    config = _load(arguments)
    said: dict[str, object] = {
        "interfaces": arguments.interfaces or None,
        "mode": arguments.mode,
        "drop_all": arguments.drop_all,
        "findings_json": arguments.json,
        "write": arguments.write,
        "listen": arguments.listen,
        "runtime_directory": arguments.runtime_directory,
        "user": arguments.user,
        "findings_file": arguments.output,
        "findings_journal": arguments.journal,
        "write_max_bytes": arguments.write_max_bytes,
        "write_files": arguments.write_files,
        "follow_up": arguments.follow_up,
    }
    if arguments.evidence is not None:
        said["evidence"] = config.evidence.model_copy(update={"directory": arguments.evidence})
    if arguments.netns is not None:
        config = config.model_copy(update={"netns": arguments.netns or None})
    return _with(config, said)


def _attach(arguments: argparse.Namespace) -> int:
    from inspector.commands import attach

    config = _load_attach(arguments)
    if not config.interfaces:
        arguments.fail("no interface is named: give IFACE, or set 'interfaces' in the file of --config")
    require_descriptors(len(config.interfaces))
    return attach.run(
        attach.AttachArguments(
            interfaces=config.interfaces,
            config=config,
            mode=config.mode,
            netns=config.netns,
            json=config.findings_json,
            listen=config.listen,
            write=config.write,
            load=lambda: _load_attach(arguments),
            config_file=arguments.config,
            runtime_directory=config.runtime_directory,
            drop_all=config.drop_all,
        )
    )


def _status(arguments: argparse.Namespace) -> int:
    from inspector.commands import status

    return status.run(arguments.runtime_directory, json_output=arguments.json)


def _read(arguments: argparse.Namespace) -> int:
    from inspector.commands import read
    from inspector.reading import filereader
    from inspector.reading.selection import Selection

    follow_up = True if arguments.report is not None and arguments.follow_up is None else arguments.follow_up
    config = _with(_load(arguments), {"follow_up": follow_up})
    if arguments.tunnels is None and "tunnels" not in config.model_fields_set:
        # A file takes the time that it takes.
        config = _with(config, {"tunnels": True})
    outcomes = sorted(word for word in arguments.fail_on if isinstance(word, Outcome))
    if outcomes and not config.follow_up:
        arguments.fail(
            f"--fail-on {','.join(outcomes)}: outcomes need follow-up; leave out --no-follow-up, or set follow_up"
        )
    return read.run(
        filereader.ReadArguments(
            files=arguments.files,
            config=config,
            json=arguments.json,
            fail_on=arguments.fail_on,
            summary=arguments.summary,
            jobs=arguments.jobs,
            evidence=arguments.evidence,
            chained=arguments.follow_on,
            report=arguments.report,
            selection=Selection(arguments.verdict, arguments.client, arguments.vip, arguments.service),
        )
    )


def _check(arguments: argparse.Namespace) -> int:
    from inspector.commands import check

    require_descriptors(1)
    return check.run(
        check.CheckArguments(
            arguments.interface, arguments.mode or "auto", arguments.netns or None, tunnels=bool(arguments.tunnels)
        )
    )


def _top(arguments: argparse.Namespace) -> int:
    from inspector.commands import top

    return top.run(arguments.runtime_directory, arguments.url)


def _demo(arguments: argparse.Namespace) -> int:
    from inspector.lab import demo

    require_descriptors(2)
    if arguments.scenario is not None:
        from inspector.lab.scenarios import show

        return show.run(arguments.scenario, arguments.captures)
    return demo.run(arguments.seconds, arguments.listen)


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line."""
    parser = _Parser(
        prog="epm-inspector",
        description="Find answers of DCE/RPC endpoint mappers that offer another server address than the client asked.",
    )
    parser.add_argument("--version", action="version", version=f"epm-inspector {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for add in (_add_attach, _add_read, probeoptions.add_probe, _add_check, _add_status, _add_top, _add_demo):
        add(commands)
    for command in commands.choices.values():
        command.add_argument(
            "--verbose",
            action="store_true",
            help="print the complete output of the compiler and of the kernel's verifier",
        )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; every expected error is one line on standard error and exit status 1."""
    open_standard_streams()
    log.set_up()
    try:
        return _run(argv)
    except InspectorError as error:
        log.report(_LOG, error)
        status = 1
    except BrokenPipeError:
        # Whoever read the output has seen enough.
        status = 0
    except OSError as error:
        # No descriptor left, a file system that is read-only, a limit: the system says what is missing.
        log.report(_LOG, _described(error))
        status = 1
    except KeyboardInterrupt:
        status = 130
    with contextlib.suppress(OutputError):
        finish_output()
    return status


def _run(argv: Sequence[str] | None) -> int:
    """Run a command, and write all of its output; returns its exit status."""
    try:
        arguments = make_parser().parse_args(argv)
    except SystemExit:
        finish_output()
        raise
    log.set_up(verbose=arguments.verbose)
    run: Callable[[argparse.Namespace], int] = arguments.run
    status = run(arguments)
    finish_output()
    return status


def _described(error: OSError) -> InspectorError:
    """Return an error of the system in words: what it says, and of which file."""
    where = f"{error.filename}: " if error.filename is not None else ""
    described = InspectorError(f"{where}{error.strerror or error}")
    described.__cause__ = error
    return described
