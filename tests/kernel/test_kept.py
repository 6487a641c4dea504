"""What `attach` keeps of conversations and follow-ups: `read` says of it what `attach` has said."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.build import pdu
from tests.build.account import let_in
from tests.build.epm import NDR20, SAMR
from tests.kernel.process import inspecting
from tests.kernel.running import ROOT
from tests.kernel.test_following import ENDPOINT, ask, connect, filtered, outcomes

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tests.kernel.conftest import Cable
    from tests.kernel.process import Inspector

pytestmark = [pytest.mark.kernel, pytest.mark.usefixtures("bpf", "root")]

REFUSED, REJECTED, DROPPED, DENIED = range(ENDPOINT + 1, ENDPOINT + 5)
RULES = f"tcp dport {REJECTED} reject with icmp type admin-prohibited; tcp dport {DROPPED} drop;"
WANTED = {
    ("follow_up", "reached"),
    ("follow_up", "refused"),
    ("follow_up", "unreachable"),
    ("follow_up", "timed_out"),
    ("follow_up", "denied"),
}


def read(capture: Path) -> list[dict[str, Any]]:
    """Return the findings which `read` prints of a file."""
    command = [sys.executable, "-m", "inspector", "read", "--json", str(capture)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def said(findings: Sequence[dict[str, Any]]) -> list[tuple[str, ...]]:
    """Return what is said of each connection, in an order that does not depend on when it was said."""
    keys = ("kind", "client", "client_port", "server_port", "verdict", "outcome", "target", "cause")
    return sorted(tuple(str(one.get(key)) for key in keys) for one in findings)


def play(cable: Cable, offered: str | None = None) -> None:
    """Let clients ask, and go to endpoints that accept, refuse, reject by ICMP, drop, and deny the bind by a fault."""
    with filtered(cable.there, f"chain input {{ type filter hook input priority 0; {RULES} }}"):
        for port, answer in ((ENDPOINT, pdu.bind_ack()), (DENIED, pdu.bind_nak())):
            ask(cable, port=port, offered=offered)
            cable.converse(pdu.bind([(0, SAMR, (NDR20,))]), answer, port=port)
        for port, seconds in ((REFUSED, 5.0), (REJECTED, 1.0), (DROPPED, 4.0)):
            ask(cable, port=port, offered=offered)
            connect(cable, cable.far_address, port, seconds)


def finished(inspector: Inspector) -> list[dict[str, Any]]:
    """Return the findings once all follow-ups have an outcome, and the inspector has ended."""
    inspector.wait_for(lambda: set(outcomes(inspector)) >= WANTED, 30)
    time.sleep(1.5)
    assert inspector.stop() == 0
    return inspector.findings


def test_what_was_written_says_the_same(cable: Cable, tmp_path: Path) -> None:
    """ICMP errors are in the capture, too: outcomes and causes are those which were said live."""
    written = tmp_path / "written.pcapng"
    with inspecting(cable, tmp_path, "--mode", "tc", "--write", str(written)) as inspector:
        inspector.wait_until_attached()
        play(cable)
        findings = finished(inspector)
    assert said(read(written)) == said(findings)


def test_evidence_holds_the_follow_up(cable: Cable, tmp_path: Path) -> None:
    """The file of each mismatch gives its outcome, cause and ICMP errors, though others came between."""
    let_in(tmp_path)
    folder, settings = tmp_path / "evidence", tmp_path / "config.toml"
    settings.write_text("[evidence]\nper_client_minute = 10\n")
    options = ("--mode", "tc", "--evidence", str(folder), "--config", str(settings))
    with inspecting(cable, tmp_path, *options) as inspector:
        inspector.wait_until_attached()
        play(cable, offered="10.9.0.77")
        findings = finished(inspector)
    answers = [one for one in findings if one["kind"] == "answer"]
    assert [one["verdict"] for one in answers] == ["mismatch"] * 5
    for answer in answers:
        of_it = [one for one in findings if one.get("evidence") == answer["evidence"]]
        assert len(of_it) == 2
        assert said(read(folder / answer["evidence"])) == said(of_it)
