"""What the demonstration shows: a mismatch raises an alert, a declared pool ends it."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from dashboards.generator.files import Settings, write
from dashboards.generator.pace import Pace
from dashboards.stack import servers
from dashboards.stack.api import ask
from dashboards.stack.servers import Addresses
from inspector.errors import LaboratoryError
from inspector.lab import demo, topology
from inspector.lab.gateway import Laboratory
from inspector.lab.processes import stop

ALERT: Final = "EpmInspectorMismatches"
PACE: Final = Pace(faster=20)
_PATIENCE_SECONDS: Final = 120.0
_POLL_SECONDS: Final = 0.5

NOTHING_DECLARED: Final = "follow_up = true\n"
POOL_DECLARED: Final = f"""\
follow_up = true

[[vip]]
name = "laboratory"
address = "{topology.VIRTUAL_ADDRESS}"
pool = ["{topology.SERVER_ADDRESS}"]
"""


def run(seconds: float | None, declare_after: float) -> int:
    """Show it; return 0 when the alert was raised and has ended.

    The pool is declared `declare_after` seconds after the alert; everything goes on for `seconds` after that (None:
    until Ctrl-C). Raises LaboratoryError when it cannot be shown here.
    """
    servers.find_prometheus()
    servers.find_alertmanager()
    addresses = Addresses(
        *(demo.free_address(f"127.0.0.1:{port}") for port in (10135, 9090, 9093, 3000)),
    )
    demo.say("Building the laboratory, and starting an inspector, Prometheus and Alertmanager ...")
    with demo.termination_as_interrupt(), contextlib.ExitStack() as stack:
        laboratory = stack.enter_context(Laboratory())
        scene = _set_up(stack, laboratory, addresses)
        try:
            scene.play(declare_after)
            _linger(scene, seconds)
        except KeyboardInterrupt:
            demo.say("\nInterrupted.")
        demo.say("Removing everything.")
    return 0 if scene.ended else 1


def _set_up(stack: contextlib.ExitStack, laboratory: Laboratory, addresses: Addresses) -> Scene:
    """Start everything; what was started is ended with the stack."""
    config = laboratory.folder / "inspector.toml"
    config.write_text(NOTHING_DECLARED)
    log = stack.enter_context((laboratory.folder / "inspector.log").open("w"))
    options = ["--config", str(config)]
    inspector = demo.start_inspector(
        laboratory, addresses.inspector, *options, stdin=subprocess.DEVNULL, stdout=log, stderr=log
    )
    stack.callback(stop, inspector)
    demo.wait_until_attached(inspector, addresses.inspector)
    generated = laboratory.folder / "dashboards"
    write(
        generated,
        Settings(
            prometheus_url=f"http://{addresses.prometheus}",
            scrape_interval="1s",
            dashboard_folder=str(generated / "grafana"),
            pace=PACE,
        ),
    )
    stack.enter_context(servers.alertmanager(laboratory.folder, addresses))
    stack.enter_context(servers.prometheus(laboratory.folder, addresses, generated))
    _start_grafana(stack, laboratory, addresses, generated)
    demo.say(f"Inspector     http://{addresses.inspector}/metrics, on the gateway's two ports")
    demo.say(f"Prometheus    http://{addresses.prometheus}/alerts")
    demo.say(f"Alertmanager  http://{addresses.alertmanager}")
    demo.say(f"Time in the rules runs {PACE.faster} times faster than in production: minutes are seconds here.\n")
    clients_log = stack.enter_context((laboratory.folder / "clients.log").open("w"))
    clients = demo.start_clients(laboratory, clients_log.fileno())
    return Scene(addresses, config, inspector, clients)


def _start_grafana(stack: contextlib.ExitStack, laboratory: Laboratory, addresses: Addresses, generated: Path) -> None:
    program = servers.find_grafana()
    if program is None:
        demo.say("Grafana       is not installed here (no grafana-server): dashboards/ has what it would show")
        return
    stack.enter_context(servers.grafana(program, laboratory.folder, addresses, generated))
    demo.say(f"Grafana       http://{addresses.grafana}/d/epm-inspector-overview")


@dataclass
class Scene:
    """Everything that runs, and what was said of it."""

    addresses: Addresses
    config: Path
    inspector: subprocess.Popen[str]
    clients: subprocess.Popen[str]
    ended: bool = False
    _states: dict[str, str] = field(default_factory=dict)

    def play(self, declare_after: float) -> None:
        """Wait for the alert, declare the pool, wait for its end."""
        demo.say(
            f"Clients ask {topology.VIRTUAL_ADDRESS}, and every answer names {topology.SERVER_ADDRESS}; nothing is"
            " declared. Waiting for the alert."
        )
        self._wait_until("raised", lambda: bool(self.raised()))
        for alert in self.raised():
            demo.say(f"\nAlertmanager has it: {alert['annotations']['summary']}.")
            demo.say(f"  {alert['annotations']['description']}\n")
        self.linger(declare_after)
        demo.say(f"Declaring {topology.SERVER_ADDRESS} as the pool of {topology.VIRTUAL_ADDRESS}, and sending SIGHUP.")
        self.config.write_text(POOL_DECLARED)
        self.inspector.send_signal(signal.SIGHUP)
        self._wait_until("ended", lambda: not self.raised())
        demo.say("Alertmanager has it no more: the answers are `pooled` now.")
        self.ended = True

    def raised(self) -> list[dict[str, Any]]:
        """Return the alerts about mismatches which Alertmanager has."""
        found: list[dict[str, Any]] = ask(self.addresses.alertmanager, "/api/v2/alerts", filter=f'alertname="{ALERT}"')
        return found

    def linger(self, seconds: float) -> None:
        """Let it run on for so long, and tell what alerts do."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self._look()
            time.sleep(_POLL_SECONDS)

    def _wait_until(self, what: str, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while not condition():
            self._look()
            if time.monotonic() > deadline:
                raise LaboratoryError(f"the alert was not {what} in {_PATIENCE_SECONDS:g} s")
            time.sleep(_POLL_SECONDS)
        self._look()

    def _look(self) -> None:
        """Tell which alerts have changed their state; raises LaboratoryError when something has ended by itself."""
        for name, process in (("inspector", self.inspector), ("clients", self.clients)):
            if process.poll() is not None:
                log = self.config.with_name(f"{name}.log").read_text(errors="replace").strip()
                raise LaboratoryError(f"the {name} ended with status {process.returncode}: {log[-500:]}")
        states = {
            _words(alert["labels"]): alert["state"]
            for alert in ask(self.addresses.prometheus, "/api/v1/alerts")["data"]["alerts"]
        }
        for words in sorted(states.keys() | self._states.keys()):
            state = states.get(words, "inactive")
            if state != self._states.get(words, "inactive"):
                demo.say(f"{datetime.now().astimezone():%H:%M:%S}  {state:<8}  {words}")
        self._states = states


def _linger(scene: Scene, seconds: float | None) -> None:
    if seconds is None:
        demo.say("Everything goes on until Ctrl-C.")
    scene.linger(float("inf") if seconds is None else seconds)


def _words(labels: dict[str, str]) -> str:
    left_out = {"alertname", "severity", "job", "instance"}
    return " ".join([labels["alertname"], *(f"{name}={labels[name]}" for name in sorted(labels.keys() - left_out))])
