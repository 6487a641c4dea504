"""`python -m tests.vm [KERNEL ...]`: boot each kernel of the list, run the tests inside, say how it went."""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from tests.vm import machine, packages, results
from tests.vm.machine import BUILD, ROOT, Machine

LIST: Final = Path(__file__).with_name("kernels.toml")
# Compiled code is for a processor; an emulated one is another. This is what both are.
_COMPILED_FOR: Final = {
    "NUMBA_CPU_NAME": "generic",
    "NUMBA_CPU_FEATURES": "",
    "CACHE_DIRECTORY": str(BUILD / "vm-cache"),
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


async def test(kernel: packages.Kernel, made: Machine, listed: dict[str, Any], tests: list[str]) -> results.Outcome:
    """Boot one kernel and run the tests inside; return the outcome."""
    folder, report = BUILD / f"vm-{kernel.series}", report_of(kernel.series)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    report.unlink(missing_ok=True)
    seconds = listed["machine"]
    command = [sys.executable, "-m", "tests.vm.guest", kernel.release, str(report)]
    command += [*tests, f"--timeout={seconds['test_seconds']}", "--durations=40", "-v"]
    environment = {
        "PATH": machine.PATH,
        # Nothing may be skipped for want of something.
        "CI": "true",
        "PYTHONDONTWRITEBYTECODE": "1",
        **_COMPILED_FOR,
    }
    begun = time.monotonic()
    note(kernel.series, f"{kernel.package} boots {'with KVM' if made.kvm else 'emulated'}; {folder.relative_to(ROOT)}")
    script = machine.write_script(folder, command, environment)
    in_time = await machine.run(kernel, made, script, seconds["run_seconds"])
    console = (folder / machine.CONSOLE).read_text(encoding="utf-8", errors="replace")
    outcome = results.conclude(kernel.series, kernel.release, console, report, in_time=in_time)
    for name, why in outcome.failures.items():
        note(kernel.series, f"FAILED {name}: {why}")
    counted = f"{outcome.passed} passed, {len(outcome.failures)} failed in {time.monotonic() - begun:.0f} s"
    note(kernel.series, f"{counted}; {report.relative_to(ROOT)}")
    return outcome


async def test_all(kernels: list[packages.Kernel], listed: dict[str, Any], tests: list[str]) -> list[results.Outcome]:
    """Test every kernel, as many at once as there are processors for; return their outcomes."""
    task = asyncio.current_task()
    assert task is not None
    # As Ctrl-C does: the machines end with this.
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    given = listed["machine"]
    made = Machine(given["cpus"], given["memory"])
    if await machine.has_kvm(kernels[0], BUILD / "vm-kvm", made, given["boot_seconds"]):
        made = replace(made, kvm=True)
    # Compiled code is made here, and only read in the machines.
    await asyncio.to_thread(
        subprocess.run, [sys.executable, "-m", "inspector.prepare"], env=os.environ | _COMPILED_FOR, check=True
    )
    at_once = asyncio.Semaphore(max(1, (os.cpu_count() or 1) // made.cpus))

    async def test_in_turn(kernel: packages.Kernel) -> results.Outcome:
        async with at_once:
            return await test(kernel, made, listed, tests)

    return await asyncio.gather(*map(test_in_turn, kernels))


def main(arguments: list[str] | None = None) -> int:
    """Return 0 where everything passed on every kernel."""
    listed = tomllib.loads(LIST.read_text(encoding="utf-8"))
    known = {entry["series"]: entry for entry in listed["kernels"]}
    parser = argparse.ArgumentParser(prog="python -m tests.vm", description=__doc__)
    parser.add_argument("kernels", nargs="*", metavar="KERNEL", help=f"of these: {', '.join(known)}; default: all")
    parser.add_argument(
        "--tests", nargs="+", default=listed["tests"]["run"], help="files or tests; default: the list's"
    )
    chosen = parser.parse_args(arguments)
    unknown = [series for series in chosen.kernels if series not in known]
    if unknown:
        parser.error(f"not in {LIST.relative_to(ROOT)}: {', '.join(unknown)}")
    kernels, failed = fetch_all([known[series] for series in chosen.kernels or known])
    outcomes = asyncio.run(test_all(kernels, listed, chosen.tests)) if kernels else []
    failed += sum(len(outcome.failures) for outcome in outcomes)
    print(f"kernels: {sum(outcome.passed for outcome in outcomes)} passed, {failed} failed", flush=True)
    return int(failed > 0)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (KeyboardInterrupt, asyncio.CancelledError):
        sys.exit("interrupted")
