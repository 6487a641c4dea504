"""Shared fixtures: what the machine must have for a test, and what happens where it has not."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from functools import cache
from typing import TYPE_CHECKING, Final

import pytest

from tests.choice import (  # noqa: F401 - hooks of pytest
    pytest_addoption,
    pytest_collection_modifyitems,
    pytest_configure,
    pytest_terminal_summary,
    pytest_testnodedown,
    pytest_xdist_make_scheduler,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

NOBODY: Final = 65534


def unavailable(reason: str) -> None:
    """Skip the test and say why; on CI, where everything must be there, fail it."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"CI must be able to run this: {reason}")
    pytest.skip(reason)


def require_tools(names: Sequence[str]) -> None:
    """Skip (on CI: fail) unless all these programs can be found."""
    missing = [name for name in names if shutil.which(name) is None]
    if missing:
        unavailable(f"not installed: {', '.join(missing)}")


@cache
def why_no_bpf() -> str | None:
    """Return why BPF cannot be used here, or None: found out by making a map, not by looking at versions."""
    try:
        from inspector.errors import ToolchainError
        from inspector.live.bpf import loader, syscalls
    except ImportError as error:
        return f"the kernel path cannot be imported: {error}"
    try:
        os.close(syscalls.map_create_array(8))
    except OSError as error:
        return f"BPF maps cannot be made here: {error}"
    try:
        loader.bcc_version()
    except ToolchainError as error:
        return str(error)
    return None


@pytest.fixture(scope="session", autouse=True)
def signals() -> None:
    """Let what tests start have the signals of a shell's foreground, also under `nohup` or behind `&`.

    A program inherits signals that are ignored. One that is handled is not inherited: this process goes on ignoring it.
    """
    for number in (signal.SIGINT, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, lambda *_: None)


@pytest.fixture(scope="session")
def bpf() -> None:
    """Ask for the right to load programs, and for bcc."""
    reason = why_no_bpf()
    if reason is not None:
        unavailable(reason)


@pytest.fixture(scope="session")
def root() -> None:
    """Ask for root: network namespaces are made and entered."""
    if os.geteuid() != 0:
        unavailable("root is needed to make network namespaces")


@pytest.fixture(scope="session")
def nobody(root: None) -> None:  # noqa: ARG001 - asks for it before another user is tried
    """Ask for a project which another user may run: one in the home of root is closed to all others."""
    command = [sys.executable, "-c", "import inspector"]
    try:
        done = subprocess.run(command, user=NOBODY, group=NOBODY, capture_output=True, text=True, check=False)
        reason = done.stderr.strip().rpartition("\n")[2] if done.returncode else None
    except PermissionError as error:
        reason = str(error)
    if reason is not None:
        unavailable(f"another user cannot run the project where it lies: {reason}")
