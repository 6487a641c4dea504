"""Hostile frames through the kernel program: some thousands here, a million with `make fuzz-kernel`."""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from inspector.live.bpf import loader
from tests.kernel import fuzz
from tests.kernel.conftest import scattered_header
from tests.kernel.fuzz import PLAIN, TUNNELS, Difference, Fuzzer, chunk
from tests.kernel.harness import expected, without_time
from tests.kernel.hostile_frames import SHORTEST, FrameMaker
from tests.kernel.live import EVERY_HOOK, attached, collect, conserved

if TYPE_CHECKING:
    from inspector.model import Mode
    from tests.kernel.conftest import Cable

pytestmark = [pytest.mark.kernel, pytest.mark.usefixtures("bpf")]

SEED = 1
FRAMES = 20_000
# How much of a packet in pieces the program asks for on tc, for its headers.
PULLED = 256
# Behind a frame's own bytes, so that the packet is longer than a page and need not be in one piece.
PADDING = bytes(4200)
# A changed program, and by what its defect is noticed.
DEFECTS = {
    "tc ends the chain": ("epm_inspector.c", "return EPM_TC_NEXT;", "return 0;", "returned 0"),
    "changes packets": (
        "epm_inspector.c",
        "epm_inspect(&context);\n\treturn XDP_PASS;",
        (
            "epm_inspect(&context);\n\tif (context.data + 6 <= context.data_end)\n"
            "\t\t((volatile __u8 *)context.data)[5] ^= 1;\n\treturn XDP_PASS;"
        ),
        "packet was changed",
    ),
    "drops": (
        "epm_inspector.c",
        "epm_inspect(&context);\n\treturn XDP_PASS;",
        "epm_inspect(&context);\n\treturn XDP_DROP;",
        "returned 1",
    ),
    "one extension header too few": (
        "epm_parse.h",
        "#define EPM_EXTENSION_HEADERS 8",
        "#define EPM_EXTENSION_HEADERS 7",
        "counted",
    ),
    "reserved bits taken for an offset": (
        "epm_formats.h",
        "#define EPM_IPV6_OFFSET 0xfff8",
        "#define EPM_IPV6_OFFSET 0xfffa",
        "counted",
    ),
    "another field in the record": (
        "epm_fill.h",
        "record->acknowledgment = span->acknowledgment;",
        "record->acknowledgment = span->sequence;",
        "another record from byte 44",
    ),
}


def test_hostile_frames() -> None:
    """Each goes on unchanged through XDP and tc, and is read as in Python, with tunnels and without."""
    with Fuzzer([PLAIN, TUNNELS]) as fuzzer:
        figures = fuzzer.fuzz(chunk(SEED, 0, FRAMES))
    assert figures.frames == FRAMES
    # On tc the test call refuses some.
    assert figures.runs > 3.8 * FRAMES
    assert figures.records > FRAMES
    assert len(figures.outcomes) == 7


def test_hostile_frames_into_the_ring_of_other_machines() -> None:
    """The same where the compact ring is a BPF ring buffer."""
    with Fuzzer([{**TUNNELS, "lanes": False}]) as fuzzer:
        assert fuzzer.fuzz(chunk(SEED, 1, FRAMES // 4)).records > FRAMES // 8


def test_frames_depend_on_the_seed_alone() -> None:
    """What was found can be had again; another chunk is others."""
    frames = list(chunk(SEED, 3, 1000))
    assert frames == list(chunk(SEED, 3, 1000))
    assert not set(frames) & set(chunk(SEED, 4, 1000)) - {frame for frame in frames if len(frame) < 40}
    assert min(map(len, frames)) >= SHORTEST


@pytest.mark.parametrize("defect", DEFECTS)
def test_defects_are_found(defect: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program with a defect planted in it does not get through."""
    name, right, wrong, noticed = DEFECTS[defect]
    sources = tmp_path / "bpf"
    shutil.copytree(loader.source_folder(), sources)
    text = (sources / name).read_text(encoding="ascii")
    assert text.count(right) == 1
    (sources / name).write_text(text.replace(right, wrong), encoding="ascii")
    monkeypatch.setattr(loader, "source_folder", lambda: sources)
    with Fuzzer([PLAIN]) as fuzzer, pytest.raises(Difference, match=noticed):
        fuzzer.fuzz(chunk(SEED, 0, FRAMES))


def test_command(monkeypatch: pytest.MonkeyPatch) -> None:
    """The seed is said before, and figures after; what is found is said with how to have it again."""
    command = [sys.executable, "-m", "tests.kernel.fuzz", "--frames", "300", "--seed", "7", "--jobs", "1"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2])
    assert done.stdout.startswith("seed 7\n300 frames, ")
    monkeypatch.setattr(fuzz, "GOES_ON", dict.fromkeys(fuzz.GOES_ON, 99))
    monkeypatch.setattr(fuzz, "CHUNK", 100)
    reports = fuzz.run(300, 7, jobs=1)
    assert isinstance(reports, list)
    assert "returned" in reports[0]
    assert "--seed 7 --chunk 0" in reports[0]


def is_for_tc(frame: bytes) -> bool:
    """Say whether tc sees a frame: the kernel drops those earlier which end with their VLAN tag."""
    return frame[12:14] not in (b"\x81\x00", b"\x88\xa8") or len(frame) >= 20


@EVERY_HOOK
@pytest.mark.usefixtures("root")
def test_on_the_wire(cable: Cable, mode: Mode, tcx: bool) -> None:
    """The same on a cable, where tags are taken off and packets lie in several pieces."""
    cable.set_mtu(9000)
    index, maker, choose = cable.device().index, FrameMaker("wire"), random.Random(SEED)  # noqa: S311 - as the maker's
    frames = [frame for frame in (maker.make() for _ in range(1500)) if len(frame) < 4000 and is_for_tc(frame)]
    with attached(cable, mode, tcx=tcx) as session, cable.raw_socket() as raw:
        for at in range(0, len(frames), 50):
            wanted: list[bytes] = []
            for frame in frames[at : at + 50]:
                scattered = SHORTEST < len(frame) <= PULLED and choose.random() < 0.4
                sent = frame + PADDING if scattered else frame
                raw.send(scattered_header(choose.randrange(SHORTEST, len(frame)) if scattered else 0) + sent)
                wanted += expected(sent, index)[0]
            found = collect(session, len(wanted))
            # A ring's padding follows the record.
            assert [without_time(one)[: len(other)] for one, other in zip(found, wanted, strict=True)] == wanted
        conserved(session)
