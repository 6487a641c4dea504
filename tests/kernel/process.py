"""`epm-inspector attach` as a process of its own on the cable's near interface, with such privileges as it is given."""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pyroute2 import IPRoute

from inspector.lab.scrape import scrape
from inspector.live.process.namespaces import inside
from tests.build import pdu
from tests.build.epm import SAMR, map_request, map_response, tcp_tower
from tests.conftest import NOBODY
from tests.kernel.running import Running, begin

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from tests.kernel.conftest import Cable

_SETS: Final = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs")


def unprivileged(*capabilities: str) -> list[str]:
    """Return the beginning of a command which runs it as nobody with exactly these capabilities (setpriv(1))."""
    sets = ",".join(["-all", *(f"+{name.removeprefix('CAP_').lower()}" for name in capabilities)])
    user = [f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
    return ["setpriv", *user, f"--inh-caps={sets}", f"--ambient-caps={sets}", f"--bounding-set={sets}"]


def privileges_of(process_id: int) -> list[dict[str, int]]:
    """Return the capability sets and no_new_privs of each thread of a process, as /proc says (proc(5))."""
    threads = []
    for thread in Path(f"/proc/{process_id}/task").iterdir():
        pairs = (line.split(":\t") for line in (thread / "status").read_text().splitlines() if ":\t" in line)
        threads.append({name: int(value, 16) for name, value in pairs if name in _SETS})
    return threads


def mask(*numbers: int) -> int:
    """Return the set of these capabilities."""
    return sum(1 << number for number in numbers)


@dataclass
class Inspector(Running):
    """The running command, in the near namespace."""

    cable: Cable

    def findings_of(self, asked: str) -> list[dict[str, Any]]:
        """Return those of one asked address, without reading what the others say."""
        mark = f'"asked":"{asked}"'
        return [json.loads(line) for line in (self.folder / "findings").open() if mark in line and line.endswith("\n")]

    @property
    def address(self) -> str:
        """Where it says that its metrics are."""
        [line] = [line for line in self.lines if line.startswith("metrics ")]
        return line.split("//")[1].removesuffix("/metrics")

    def samples(self) -> dict[tuple[str, ...], float]:
        """Return all samples of the metrics, by name (without the prefix) and label values."""
        with inside(self.cable.here):
            families = scrape(self.address).values()
        return {
            (sample.name.removeprefix("epm_inspector_"), *sample.labels.values()): sample.value
            for family in families
            for sample in family.samples
        }


@contextlib.contextmanager
def inspecting(
    cable: Cable,
    folder: Path,
    *options: str,
    prefix: Sequence[str] = (),
    variables: Mapping[str, str] | None = None,
    output: int | None = None,
) -> Iterator[Inspector]:
    """Run the command, begun by `prefix`, in the near namespace until the block ends; its files are in `folder`.

    `output` is a descriptor for its findings, instead of a file.
    """
    with inside(cable.here), IPRoute() as rtnetlink:
        rtnetlink.link("set", index=rtnetlink.link_lookup(ifname="lo")[0], state="up")
        process = begin(folder, [*options, cable.near], prefix=prefix, variables=variables, output=output)
    with process:
        try:
            yield Inspector(process, folder, cable)
        finally:
            process.kill()


def ask_and_answer(cable: Cable, offered: str) -> int:
    """Let a client here ask a server there, which offers that address; return the client's port."""
    tower = tcp_tower(SAMR, 49152, offered)
    request = pdu.bind() + pdu.request(map_request(tower), call_id=2)
    answer = pdu.bind_ack() + pdu.response(map_response([tower]), call_id=2)
    return cable.converse(request, answer)
