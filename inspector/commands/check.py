"""`epm-inspector check`: what would stand in the way of attaching, and the proof that it works."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from rich.console import Console
from rich.markup import escape

from inspector.errors import LiveError
from inspector.escape import harmless
from inspector.log import quoted_lines

if TYPE_CHECKING:
    from inspector.live.attach.preflight import Check
    from inspector.model import Mode

_MARKS: Final = {"ok": "[green]ok  [/]", "warn": "[yellow]warn[/]", "fail": "[red]FAIL[/]"}


@dataclass(frozen=True, slots=True)
class CheckArguments:
    """What the command line of `check` says."""

    interface: str
    mode: Mode
    netns: str | None
    tunnels: bool


def run(arguments: CheckArguments) -> int:
    """Run the command; returns 1 where anything stands in the way."""
    # bcc and netlink are needed by this command only, as by `attach`.
    from inspector.live.attach.preflight import Check, run_checks
    from inspector.live.proof import prove

    console = Console(file=sys.stdout, highlight=False, soft_wrap=True)
    failed = False

    def show(check: Check) -> None:
        nonlocal failed
        failed |= check.level == "fail"
        console.print(f"{_MARKS[check.level]} {check.name:<12} {escape(harmless(check.text))}")

    for check in run_checks(arguments.interface, arguments.mode, arguments.netns):
        show(check)
    if failed:
        console.print("not attached; resolve what FAIL names above")
        return 1
    try:
        for check in prove(arguments.interface, arguments.mode, arguments.netns, tunnels=arguments.tunnels):
            show(check)
    except LiveError as error:
        show(Check("attach", "fail", str(error)))
        for line in quoted_lines(error):
            console.print(f"       {escape(harmless(line))}")
    return int(failed)
