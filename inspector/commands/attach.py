"""`epm-inspector attach`: from the interface to findings and metrics, until a signal ends it."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from prometheus_client import CollectorRegistry

from inspector.capture.recording import Recording
from inspector.config import Config, split_listen
from inspector.decode import implementation, is_compiled
from inspector.errors import ListenError
from inspector.evidence.recorder import open_evidence
from inspector.http.overview import Overview
from inspector.http.routes import Routes
from inspector.http.server import MetricsServer
from inspector.http.tls import Certificates, TlsFiles
from inspector.inspection.delivery import Delivery, Sinks
from inspector.inspection.loop import Inspection
from inspector.inspection.privileges import Files, choose_account, give_up_privileges, hand_over, naming
from inspector.inspection.runtime import LocalSocket, open_local_socket
from inspector.inspection.signals import Signals
from inspector.inspection.snapshot import Beginning
from inspector.metrics.updates import Metrics
from inspector.output.standard import warn

if TYPE_CHECKING:
    from inspector.live.session import Session
    from inspector.model import Mode

_LOG: Final = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class AttachArguments:
    """What the command line of `attach` says; `load` reads the configuration again."""

    interfaces: Sequence[str]
    config: Config
    mode: Mode
    netns: str | None
    json: bool
    listen: str
    write: Path | None
    load: Callable[[], Config]
    config_file: Path | None = None
    runtime_directory: Path | None = None
    drop_all: bool = False


def run(arguments: AttachArguments) -> int:
    """Run the command; returns the exit status. Raises InspectorError before anything is attached, or undoes it."""
    # bcc and netlink are needed by this command only: reading a capture works without them.
    from inspector.live.session import open_session

    config, started_ns = arguments.config, time.time_ns()
    account = choose_account(config.user)
    metrics = Metrics(
        CollectorRegistry(),
        vips=config.vip_labels(),
        learned_vips=config.learned_vips,
        follow_up=config.follow_up,
    )
    host, port = split_listen(arguments.listen)
    with contextlib.ExitStack() as stack:
        signals = stack.enter_context(Signals())
        overview = Overview()
        routes = Routes(metrics, overview)
        server = MetricsServer(
            host,
            port,
            routes.table(with_findings=config.serve_findings),
            certificates=_certificates(config),
            hosts=config.hosts,
            scrapers=config.scrapers,
            report=lambda text: _LOG.warning("%s", text),
        )
        stack.callback(server.close)
        session = stack.enter_context(
            open_session(
                arguments.interfaces,
                mode=arguments.mode,
                ports=config.ports,
                netns=arguments.netns,
                tunnels=config.tunnels,
                follow_up=config.follow_up,
            )
        )
        files = Files.of(config, arguments.config_file, arguments.write)
        if account is not None:
            files.make(account)
        recording = None
        if arguments.write is not None:
            recording = stack.enter_context(Recording(arguments.write, config, session.interface_names, warn))
        output = stack.enter_context(Delivery(json=arguments.json, config=config, warn=warn))
        local = _serve_locally(server, routes, arguments.runtime_directory, stack)
        limits = hand_over(account, files, local) if account is not None else ""
        give_up_privileges(session, account, netns=arguments.netns is not None, everything=arguments.drop_all)
        with naming(account):
            evidence = open_evidence(config.evidence.directory, config, session.interface_names)
        if evidence is not None:
            stack.callback(evidence.close)
        beginning = Beginning(started_ns, server.url + "/metrics")
        sinks = Sinks(metrics, overview, output, recording, evidence)
        inspection = Inspection(
            session, config, sinks, beginning, signals, config_file=arguments.config_file, load=arguments.load
        )
        routes.inspection = inspection
        # Whoever reads that it is attached may end it at once, and expects a summary.
        signals.attend(session.wake)
        _announce(session, metrics, server, "metrics and findings" if config.serve_findings else "metrics")
        if limits:
            _LOG.warning("%s", limits)
        inspection.run()
        for attachment in session.attachments:
            metrics.detached(attachment.interface)
        if evidence is not None:
            _LOG.info("%s", evidence.summary())
        output.summary(inspection.tally())
    return 0


def _serve_locally(
    server: MetricsServer, routes: Routes, directory: Path | None, stack: contextlib.ExitStack
) -> LocalSocket | None:
    """Serve on a local socket too; where nobody chose its place, an inspector without one is still an inspector."""
    try:
        local = open_local_socket(directory)
    except ListenError as error:
        if directory is not None:
            raise
        _LOG.warning("no local socket, 'epm-inspector status' cannot find this inspector: %s", error)
        return None
    stack.callback(local.close)
    server.add(local.socket, routes.table())
    return local


def _certificates(config: Config) -> Certificates | None:
    """Return what TLS needs, if the configuration asks for it. Raises ListenError."""
    if config.tls_certificate is None or config.tls_key is None:
        return None
    files = TlsFiles(config.tls_certificate, config.tls_key, config.tls_client_ca)
    return Certificates(files, lambda text: _LOG.warning("%s", text))


def _announce(session: Session, metrics: Metrics, server: MetricsServer, served: str) -> None:
    server.start()
    for attachment in session.attachments:
        metrics.attached(attachment.interface, attachment.hook, attachment.mode)
        _LOG.info("attached %s: %s", attachment.interface, attachment.explanation)
    _LOG.info("metrics %s/metrics", server.url)
    if is_compiled():
        _LOG.info("decoder: %s", implementation())
    else:
        _LOG.warning(
            "decoder: %s (20 times slower); reinstall with a C compiler to get the compiled one", implementation()
        )
    if server.is_exposed:
        advice = "set tls_certificate, tls_key and tls_client_ca"
        if served != "metrics":
            advice += ", or serve_findings = false"
        _LOG.warning(
            "%s: %s are readable by other machines, and unencrypted on the network; %s",
            server.url,
            served,
            advice,
        )
