"""`epm-inspector demo --scenario NAME`: one scenario, from what is built to what was found."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from inspector.errors import LaboratoryError
from inspector.lab.demo import say, termination_as_interrupt
from inspector.lab.scenarios.expected import complaints
from inspector.lab.scenarios.play import findings_of, play, read
from inspector.lab.scenarios.table import SCENARIOS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from inspector.lab.scenarios.expected import Expected
    from inspector.lab.scenarios.table import Scenario


def run(name: str, folder: Path | None = None) -> int:
    """Show a scenario; its captures stay in `folder`, or are removed afterwards.

    Returns 0 where all that was expected came, and nothing else, else 1. Raises LaboratoryError for an unknown name,
    after all names are shown, and where the scenario cannot be built here.
    """
    scenario = SCENARIOS.get(name)
    if scenario is None:
        width = max(map(len, SCENARIOS))
        for known, one in SCENARIOS.items():
            say(f"{known:<{width}}  {one.story}")
        raise LaboratoryError(f"no scenario is called {name!r}: take one of the names above")
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        return _show(name, scenario, folder)
    with tempfile.TemporaryDirectory(prefix="epm-scenario-") as temporary:
        return _show(name, scenario, Path(temporary))


def _show(name: str, scenario: Scenario, folder: Path) -> int:
    say(f"{name}: {scenario.story}")
    say(f"Building it; recording and inspecting {' and '.join(scenario.ports)} of the gateway while clients ask ...")
    with termination_as_interrupt():
        played = play(scenario, folder)
        say(f"\nread says of the recordings:\n\n{read(scenario, played.captures)}")
        findings = findings_of(scenario, played.captures)
    say("attach said while it happened:\n")
    for finding in played.live:
        say(f"  {finding['source']:<8}  {finding.get('outcome') or finding['verdict']}: {finding['why']}")
    say("")
    lines = _compare("read", scenario.expected, findings)
    lines += _compare("attach", scenario.expected_live, played.live)
    if scenario.live_differs:
        say(f"attach and read differ. {scenario.live_differs}")
    say("All of it came, and nothing else." if not lines else "Something else came than what was expected.")
    return 1 if lines else 0


def _compare(command: str, expected: Sequence[Expected], findings: Sequence[dict[str, Any]]) -> list[str]:
    """Show what was expected of a command, and what of it did not come, or came beside it; return the latter."""
    for one in expected:
        say(f"Expected of {command}: {one}")
    lines = complaints(expected, findings)
    for line in lines:
        say(f"{command}: {line}")
    return lines
