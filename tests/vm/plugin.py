"""What pytest does differently inside a machine: it says among the kernel's messages which test runs."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Final

import pytest

from inspector.live.bpf import loader
from tests.vm.bytecode import Compiler
from tests.vm.results import MARK

# Tests of the compiler itself.
_NEED_THE_COMPILER: Final = frozenset({"test_toolchain.py"})


def say(text: str) -> None:
    """Write a line among the kernel's messages."""
    Path("/dev/kmsg").write_text(f"{text}\n", encoding="ascii", errors="replace")


class Guest:
    """Marks each test's messages, and spares most of them the compiler: see `tests.vm.bytecode`."""

    def __init__(self) -> None:
        self._real = loader.import_bcc
        self._stand_in = Compiler(self._real, Path(tempfile.mkdtemp())).module

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        """Before everything else of a test."""
        say(MARK + item.nodeid)
        stands_in = item.path.name not in _NEED_THE_COMPILER
        loader.import_bcc = self._stand_in if stands_in else self._real  # type: ignore[assignment]
