"""One virtual machine: virtme-ng boots a kernel on this machine's own files, which it can read and not change."""

from __future__ import annotations

import asyncio
import os
import shlex
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.vm.packages import Kernel

ROOT: Final = Path(__file__).resolve().parents[2]
BUILD: Final = ROOT / "build"
SCRIPT: Final = "run.sh"
CONSOLE: Final = "console.log"
OUTPUT: Final = "output.txt"
# What timeout(1) returns then.
_TIMED_OUT: Final = 124
# The programs of this environment are found outside and inside.
PATH: Final = f"{Path(sys.executable).parent}:{os.environ['PATH']}"


@dataclass(frozen=True, slots=True)
class Machine:
    """How a machine is made: number of processors, memory as qemu writes it, whether the processor runs it (KVM)."""

    cpus: int
    memory: str
    kvm: bool = False


def command_line(kernel: Kernel, machine: Machine, script: Path) -> list[str]:
    """Return the command that boots a kernel, runs a shell script inside as root, and ends."""
    return [
        "vng",
        "--run",
        str(kernel.image),
        "--name",
        f"epm-{kernel.series}",
        # Without it nothing of the kernel's messages is seen; they are what is left of a machine that crashes.
        "--verbose",
        *([] if machine.kvm else ["--disable-kvm"]),
        "--disable-microvm",
        "--force-9p",
        "--user",
        "root",
        "--cpus",
        str(machine.cpus),
        "--memory",
        machine.memory,
        # The one folder that can be written to. Never the root: the machine tidies up its /tmp when it starts.
        f"--rwdir={BUILD}",
        "--append",
        # All of the kernel's messages, and all that tests say among them; what is no longer sound ends the machine.
        "ignore_loglevel printk.devkmsg=on oops=panic",
        "--exec",
        f"sh {shlex.quote(str(script))}",
    ]


def write_script(folder: Path, command: Sequence[str], environment: dict[str, str]) -> Path:
    """Write what the machine runs: it inherits no environment, and its arguments have room for little."""
    settings = [f"export {name}={shlex.quote(value)}" for name, value in environment.items()]
    lines = [
        f"cd {shlex.quote(str(ROOT))}",
        *settings,
        f"exec {shlex.join(command)} >{shlex.quote(str(folder / OUTPUT))} 2>&1",
    ]
    script = folder / SCRIPT
    script.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return script


async def watch(longest: list[float]) -> None:
    """Keep in `longest` how long this machine itself stood still at a time, at most, in seconds; without end."""
    while True:
        begun = time.monotonic()
        await asyncio.sleep(1)
        longest[0] = max(longest[0], time.monotonic() - begun - 1)


async def run(kernel: Kernel, machine: Machine, script: Path, seconds: int) -> bool:
    """Boot, run the script, wait for the end; return whether it came in time. The console is kept beside the script."""
    # Ends the emulator with whatever was started around it, also when this process is gone by then.
    limited = ["timeout", "--kill-after=5", str(seconds), *command_line(kernel, machine, script)]
    with (script.parent / CONSOLE).open("wb") as console:
        process = await asyncio.create_subprocess_exec(
            *limited,
            cwd=ROOT,
            env=os.environ | {"PATH": PATH},
            stdin=subprocess.DEVNULL,
            stdout=console,
            stderr=subprocess.STDOUT,
        )
        try:
            return await process.wait() != _TIMED_OUT
        finally:
            if process.returncode is None:
                process.terminate()
                await process.wait()


async def has_kvm(kernel: Kernel, folder: Path, machine: Machine, seconds: int) -> bool:
    """Say whether the processor can run the machine: found out by booting, as a device file alone promises nothing."""
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return False
    folder.mkdir(parents=True, exist_ok=True)
    script = write_script(folder, ["uname", "-r"], {})
    said = folder / OUTPUT
    said.unlink(missing_ok=True)
    in_time = await run(kernel, Machine(machine.cpus, machine.memory, kvm=True), script, seconds)
    return in_time and said.exists() and said.read_text(encoding="utf-8").strip() == kernel.release
