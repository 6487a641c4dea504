"""Suspects only, attached: the running inspection says the same as with all records."""

from __future__ import annotations

import threading
import time
from ipaddress import IPv4Address, IPv4Network
from types import SimpleNamespace
from typing import cast

import pytest
from prometheus_client import CollectorRegistry

from inspector.commands.attach import AttachArguments, Inspection, Sinks, run
from inspector.commands.delivery import Delivery
from inspector.commands.signals import Signals
from inspector.commands.snapshot import Beginning
from inspector.config import Config, VirtualAddress
from inspector.errors import ConfigError
from inspector.live.session import open_session
from inspector.record import Counter
from inspector.sinks.metrics import Metrics
from inspector.sinks.overview import Overview
from tests.kernel.both_modes import POOLED, VIP, answer, ask, frame_of, opened
from tests.kernel.conftest import Cable

CONFIG = Config(vip=[VirtualAddress(address=[IPv4Address(VIP)], pool=[IPv4Network("10.11.3.0/24")])])


def arguments(interfaces: list[str], config: Config) -> AttachArguments:
    """Return what the command line would say."""
    return AttachArguments(
        interfaces, config, "auto", None, json=False, listen="127.0.0.1:0", write=None, load=lambda: config
    )


def inspected(cable: Cable, silent_ns: int) -> tuple[dict[str, float], dict[Counter, int]]:
    """Run an inspection while conversations pass; return responses and mismatches, and the kernel's counters."""
    wire = opened()
    for call_id, address in enumerate((VIP, POOLED, "10.11.2.7", VIP, "0.0.0.0", VIP), 2):  # noqa: S104 - offered
        ask(wire, call_id)
        answer(wire, call_id, address)
    waiting = opened(client_port=40001)
    ask(waiting, 2)
    answer(waiting, 2)
    ask(waiting, 3)
    metrics = Metrics(CollectorRegistry(), vips=CONFIG.vip_labels())
    with (
        open_session([cable.near], netns=cable.here, silent_ns=silent_ns, pools=CONFIG.policy().pools) as session,
        Delivery(json=False, config=CONFIG, warn=print) as output,
    ):
        signals = SimpleNamespace(ending=False, take_reload=lambda: False)
        inspection = Inspection(
            session,
            arguments([cable.near], CONFIG),
            Sinks(metrics, Overview(), output, None, None),
            Beginning(0, ""),
            cast("Signals", signals),
        )

        def traffic() -> None:
            for segment in wire.client_fin().server_fin().segments + waiting.segments:
                cable.send_frame(frame_of(segment))
            time.sleep(3.5)
            signals.ending = True
            session.wake()

        sender = threading.Thread(target=traffic)
        sender.start()
        inspection.run()
        sender.join()
        assert session.held() == 0
        counters = session.counters()[cable.near]
        assert session.consumed == counters[Counter.SUBMITTED]
    samples = {}
    for line in metrics.render().decode().splitlines():
        name, _, value = line.rpartition(" ")
        if name.startswith(("epm_inspector_responses", "epm_inspector_mismatches", "epm_inspector_anomalies")):
            samples[name] = float(value)
    return samples, counters


def test_both_modes_attached(cable: Cable) -> None:
    """Four pairs and another never become records; a request without an answer does, after a moment."""
    every, counters = inspected(cable, 0)
    assert counters[Counter.MATCHED] == counters[Counter.SUBMITTED] == 25
    suspects, counters = inspected(cable, CONFIG.decoder_limits().idle_ns)
    assert suspects == every
    assert suspects[f'epm_inspector_responses_total{{interface="{cable.near}",verdict="match"}}'] == 4
    assert counters[Counter.COUNTED] == 12
    assert counters[Counter.MATCHED] == counters[Counter.SUBMITTED] + 12 == 25


def test_not_with_tunnels() -> None:
    """Both options together are refused in one line, before anything is attached."""
    config = Config(tunnels=True, suspects_only=True)
    with pytest.raises(ConfigError, match="tunnels and suspects_only do not go together"):
        run(arguments(["lo"], config))
