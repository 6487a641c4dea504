"""`attach --write` as a process: started again, killed, on a disk that is full; and what it keeps of who asked."""

from __future__ import annotations

import signal
from random import Random
from typing import TYPE_CHECKING

import pytest

from inspector.capture.frames import build_frame
from tests.build import ntlm, pdu
from tests.build.connection import Wire
from tests.build.disk import small_disk
from tests.kernel.command import attach
from tests.kernel.test_upkeep import ask, said
from tests.unit.test_evidence import reread

if TYPE_CHECKING:
    from pathlib import Path

    from tests.kernel.conftest import Cable

pytestmark = [pytest.mark.kernel]


def ports(path: Path) -> list[int]:
    """Return the clients' ports of the findings of a file."""
    return [finding.client_port for finding in reread(path)]


def test_started_again_and_killed(cable: Cable, tmp_path: Path) -> None:
    """What was kept stays; only owner and group may read it; what is kept after a signal or a kill is whole."""
    path = tmp_path / "written.pcapng"
    options = ["--netns", cable.here, "--mode", "generic", "--write", str(path)]
    for port, number in ((5000, signal.SIGTERM), (5001, signal.SIGKILL), (5002, signal.SIGTERM)):
        with attach(tmp_path, [cable.near], *options) as running:
            ask(cable, port)
            running.wait_for(lambda path=path, port=port: port in ports(path))
            running.stop(number)
    assert ports(path) == [5000, 5001, 5002]
    assert path.stat().st_mode & 0o777 == 0o640


def test_a_full_disk(cable: Cable, tmp_path: Path) -> None:
    """The inspection goes on, says so once, counts, and keeps again what comes when there is room."""
    with small_disk(tmp_path / "disk", 4096) as disk:
        path = disk.path / "written.pcapng"
        options = ["--netns", cable.here, "--mode", "generic", "--write", str(path)]
        with attach(tmp_path, [cable.near], *options) as running:
            disk.fill()
            for start in range(5000, 6200, 40):
                ask(cable, *range(start, start + 40))
            running.wait_for(lambda: (tmp_path / "findings").read_bytes().count(b"\n") == 1200)
            running.wait_for(lambda: said(running, "written.pcapng cannot be written: No space left on device"))
            running.wait_for(lambda: running.metric("findings_lost_total", sink="capture", reason="failed") > 0)
            assert sum("written.pcapng cannot be written" in line for line in running.lines) == 1
            disk.make_room()
            ask(cable, 7000)
            running.wait_for(lambda: said(running, "written.pcapng can be written again"))
            assert running.stop() == 0
        # What was held is there, and whole, behind it what came last.
        assert ports(path)[-1] == 7000


@pytest.mark.parametrize("option", [[], ["--keep-credentials"]])
def test_credentials(cable: Cable, tmp_path: Path, option: list[str]) -> None:
    """A token of a client is in the file if it was asked for, and not otherwise."""
    token = ntlm.authenticate(Random(1))  # noqa: S311 - no real secret
    path, folder = tmp_path / "written.pcapng", tmp_path / "evidence"
    options = ["--netns", cable.here, "--mode", "generic", "--write", str(path), "--evidence", str(folder), *option]
    wire = Wire(client_port=4000).open().client(pdu.bind(auth=(ntlm.INTEGRITY, token)))
    with attach(tmp_path, [cable.near], *options) as running:
        cable.send_frame(*(build_frame(segment) for segment in wire.segments))
        ask(cable, 5000)
        running.wait_for(lambda: ports(path) == [5000] and len(list(folder.iterdir())) == 1)
        running.stop()
    assert (token in path.read_bytes()) == bool(option)
