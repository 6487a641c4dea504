"""What stands for the compiler gives the program that the compiler gave."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, NoReturn

import pytest

from inspector.live.bpf import loader, syscalls
from tests.kernel import frames
from tests.kernel.harness import Harness, expected, without_time
from tests.vm.bytecode import Compiler, relocate

if TYPE_CHECKING:
    from pathlib import Path


def instruction(code: int, source: int, value: int) -> bytes:
    """Return one instruction."""
    return struct.pack("=BBhi", code, source << 4 | 1, 0, value)


def test_only_maps_are_replaced() -> None:
    """Numbers that are no map's descriptor stay, whatever they are."""
    others = [instruction(0x18, 0, 7), instruction(0, 0, 7), instruction(0xB7, 1, 7), instruction(0x18, 1, 8)]
    changed = relocate(b"".join([*others, instruction(0x18, 1, 7), instruction(0, 0, 0)]), {7: 99, 8: 8})
    assert changed == b"".join([*others, instruction(0x18, 1, 99), instruction(0, 0, 0)])


def must_not_compile() -> NoReturn:
    """Stand for a compiler that is not to be asked."""
    pytest.fail("it was compiled already")


@pytest.mark.kernel
@pytest.mark.usefixtures("bpf")
def test_kept_program_is_the_compiled_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same instructions by the kernel's own hash, with maps of their own; other options are compiled."""
    with Harness() as compiled:
        tags = {name: syscalls.program_info(fd).tag for name, fd in compiled.program.programs.items()}
    real = loader.import_bcc
    for import_bcc in (real, must_not_compile):
        monkeypatch.setattr(loader, "import_bcc", Compiler(import_bcc, tmp_path).module)
        with Harness() as kept, Harness() as another:
            assert {name: syscalls.program_info(fd).tag for name, fd in kept.program.programs.items()} == tags
            outcome = kept.run(loader.XDP_PROGRAM, frames.FRAMES["response"])
            assert [without_time(record) for record in outcome.records] == expected(frames.FRAMES["response"])[0]
            assert not any(another.totals().values())
    assert len(list(tmp_path.iterdir())) == 1
    monkeypatch.setattr(loader, "import_bcc", Compiler(real, tmp_path).module)
    with Harness(tunnels=True):
        assert len(list(tmp_path.iterdir())) == 2
