"""How a machine is started and ended: nothing of it stays, and it can write to one folder only."""

from __future__ import annotations

import asyncio
import os
import subprocess
import time
from pathlib import Path

import pytest

from tests.vm import machine
from tests.vm.machine import BUILD, CONSOLE, OUTPUT, Machine
from tests.vm.packages import Kernel

KERNEL = Kernel("6.1", "6.1.0-56-amd64", "linux-image-6.1.0-56-amd64 6.1.192-2", Path("/kernels/vmlinuz"))
MACHINE = Machine(1, "2G")


@pytest.fixture
def emulator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put a stand-in for virtme-ng on the path, which starts a child as it does; return where that says its number."""
    stand_in = tmp_path / "bin" / "vng"
    stand_in.parent.mkdir()
    stand_in.write_text(f"#!/bin/sh\necho a kernel speaks\nsleep 60 &\necho $! >{tmp_path}/child\nwait\n")
    stand_in.chmod(0o755)
    monkeypatch.setattr(machine, "PATH", f"{stand_in.parent}:{os.environ['PATH']}")
    return tmp_path / "child"


def is_gone(child: Path) -> bool:
    """Say whether the process has ended within a moment."""
    deadline = time.monotonic() + 5
    path = Path("/proc") / child.read_text().strip()
    while path.exists() and "Z" not in (path / "stat").read_text().split()[2]:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def test_files_cannot_be_changed() -> None:
    """The machine's root is this machine's, read-only, but for the folder of what is built."""
    words = machine.command_line(KERNEL, MACHINE, Path("/run.sh"))
    assert "--rw" not in words
    assert [word for word in words if word.startswith("--rwdir")] == [f"--rwdir={BUILD}"]
    assert "--disable-kvm" in words
    assert "--disable-kvm" not in machine.command_line(KERNEL, Machine(1, "2G", kvm=True), Path("/run.sh"))


def test_script_says_what_is_to_be_run(tmp_path: Path) -> None:
    """Words and settings arrive as they are, whatever is in them."""
    script = machine.write_script(tmp_path, ["sh", "-c", 'echo "$1 $IT"; pwd', "-", "a 'b"], {"IT": "c; $d"})
    subprocess.run(["sh", script], check=True, env={"PATH": os.environ["PATH"]})
    assert (tmp_path / OUTPUT).read_text().splitlines() == ["a 'b c; $d", str(machine.ROOT)]


def test_too_slow(tmp_path: Path, emulator: Path) -> None:
    """A machine that takes too long is ended with everything that belongs to it, and its console is kept."""
    assert asyncio.run(machine.run(KERNEL, MACHINE, tmp_path / "run.sh", 1)) is False
    assert is_gone(emulator)
    assert (tmp_path / CONSOLE).read_text() == "a kernel speaks\n"


def test_interrupted(tmp_path: Path, emulator: Path) -> None:
    """When this is interrupted, the machine ends."""

    async def interrupt() -> None:
        task = asyncio.create_task(machine.run(KERNEL, MACHINE, tmp_path / "run.sh", 60))
        while not emulator.exists() or not emulator.read_text():
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(interrupt())
    assert is_gone(emulator)


def test_broken_kvm(tmp_path: Path, emulator: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """KVM that starts nothing is none; so is a device that may not be used."""
    monkeypatch.setattr(os, "access", lambda *_: True)
    assert asyncio.run(machine.has_kvm(KERNEL, tmp_path / "kvm", MACHINE, 1)) is False
    assert emulator.exists()
    monkeypatch.setattr(os, "access", lambda *_: False)
    emulator.unlink()
    assert asyncio.run(machine.has_kvm(KERNEL, tmp_path / "kvm", MACHINE, 1)) is False
    assert not emulator.exists()
