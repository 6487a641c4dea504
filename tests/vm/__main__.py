"""`python -m tests.vm [KERNEL ...]`: boot each kernel of the list, run the tests inside, say how it went."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import signal
import sys
import time
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from tests.vm import machine, packages, results
from tests.vm.machine import BUILD, ROOT, Machine

LIST: Final = Path(__file__).with_name("kernels.toml")
_ENVIRONMENT: Final = {
    "PATH": machine.PATH,
    # Nothing may be skipped for want of something.
    "CI": "true",
    "PYTHONDONTWRITEBYTECODE": "1",
}


def note(series: str, text: str) -> None:
    """Print a line about a kernel."""
    print(f"{series}: {text}", flush=True)


def fetch_all(listed: list[dict[str, str]]) -> tuple[list[packages.Kernel], int]:
    """Return the kernels that can be had, and how many of the list cannot; each of these has a report that says so."""
    packages.refresh()
    kernels, missing = [], 0
    for entry in listed:
        try:
            kernels.append(packages.fetch(entry["series"], entry["from"], BUILD / "kernels"))
        except packages.UnavailableError as error:
            note(entry["series"], f"FAILED: {error}")
            results.write_missing(entry["series"], str(error), report_of(entry["series"]))
            missing += 1
    return kernels, missing


def report_of(series: str) -> Path:
    """Return where a kernel's report (JUnit) goes."""
    return BUILD / f"vm-{series}.xml"


class Run:
    """One run of the tests on some kernels. `given` is the list's word on machines, `tests` what pytest is told."""

    def __init__(self, given: dict[str, Any], tests: list[str]) -> None:
        self._given = given
        self._tests = tests
        self._machine = Machine(given["cpus"], given["memory"])
        self._still_seconds = [0.0]

    async def test_all(self, kernels: list[packages.Kernel]) -> list[results.Outcome]:
        """Test every kernel, as many at once as there are processors for; return their outcomes."""
        task = asyncio.current_task()
        assert task is not None
        # As Ctrl-C does: the machines end with this.
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        if await machine.has_kvm(kernels[0], BUILD / "vm-kvm", self._machine, self._given["boot_seconds"]):
            self._machine = replace(self._machine, kvm=True)
        at_once = asyncio.Semaphore(max(1, (os.cpu_count() or 1) // self._machine.cpus))

        async def test_in_turn(kernel: packages.Kernel) -> results.Outcome:
            async with at_once:
                return await self._test(kernel)

        watching = asyncio.create_task(machine.watch(self._still_seconds))
        outcomes = await asyncio.gather(*map(test_in_turn, kernels))
        watching.cancel()
        return outcomes

    async def _test(self, kernel: packages.Kernel) -> results.Outcome:
        """Boot one kernel and run the tests inside; return the outcome."""
        folder, report = BUILD / f"vm-{kernel.series}", report_of(kernel.series)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        report.unlink(missing_ok=True)
        begun = time.monotonic()
        how = "with KVM" if self._machine.kvm else "emulated"
        note(kernel.series, f"{kernel.package} boots {how}; {folder.relative_to(ROOT)}")
        script = machine.write_script(folder, self._command(kernel, report), _ENVIRONMENT)
        in_time = await machine.run(kernel, self._machine, script, self._given["run_seconds"])
        console = (folder / machine.CONSOLE).read_text(encoding="utf-8", errors="replace")
        [still] = self._still_seconds
        outcome = results.conclude(kernel.series, kernel.release, console, report, in_time=in_time, still_seconds=still)
        if still >= results.STILL_SECONDS:
            note(kernel.series, f"this machine stood still for {still:.0f} s: stalls inside are not counted")
        for name, why in outcome.failures.items():
            note(kernel.series, f"FAILED {name}: {why}")
        counted = f"{outcome.passed} passed, {len(outcome.failures)} failed in {time.monotonic() - begun:.0f} s"
        note(kernel.series, f"{counted}; {report.relative_to(ROOT)}")
        return outcome

    def _command(self, kernel: packages.Kernel, report: Path) -> list[str]:
        guest = [sys.executable, "-m", "tests.vm.guest", kernel.release, str(report)]
        return [*guest, *self._tests, f"--timeout={self._given['test_seconds']}", "--durations=40", "-v"]


def left_out(listed: dict[str, Any]) -> list[str]:
    """Return the tests which the list leaves out."""
    return [name for entry in listed["tests"]["without"] for name in entry["names"]]


def main(arguments: list[str] | None = None) -> int:
    """Return 0 where everything passed on every kernel."""
    listed = tomllib.loads(LIST.read_text(encoding="utf-8"))
    known = {entry["series"]: entry for entry in listed["kernels"]}
    parser = argparse.ArgumentParser(prog="python -m tests.vm", description=__doc__)
    parser.add_argument("kernels", nargs="*", metavar="KERNEL", help=f"of these: {', '.join(known)}; default: all")
    parser.add_argument("--tests", nargs="+", help="files or tests, instead of the list's")
    parser.add_argument("--brief", action="store_true", help="the list's short choice of tests")
    parser.add_argument("--list", action="store_true", help="print the kernels of the list as JSON, and end")
    chosen = parser.parse_args(arguments)
    if chosen.list:
        print(json.dumps(list(known)))
        return 0
    unknown = [series for series in chosen.kernels if series not in known]
    if unknown:
        parser.error(f"not in {LIST.relative_to(ROOT)}: {', '.join(unknown)}")
    kernels, failed = fetch_all([known[series] for series in chosen.kernels or known])
    run = listed["tests"]["brief" if chosen.brief else "run"]
    tests = chosen.tests or [*run, *(f"--deselect={name}" for name in left_out(listed))]
    outcomes = asyncio.run(Run(listed["machine"], tests).test_all(kernels)) if kernels else []
    failed += sum(len(outcome.failures) for outcome in outcomes)
    print(f"kernels: {sum(outcome.passed for outcome in outcomes)} passed, {failed} failed", flush=True)
    return int(failed > 0)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (KeyboardInterrupt, asyncio.CancelledError):
        sys.exit("interrupted")
