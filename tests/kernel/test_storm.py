"""Forged traffic on a running inspector: what it takes up is bounded, what is lost is counted, honesty is found."""

from __future__ import annotations

import errno
import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from pyroute2 import IPRoute, NetlinkError

from inspector.live.process.namespaces import inside
from tests.kernel.process import Inspector, ask_and_answer, inspecting
from tests.kernel.running import ROOT
from tests.lab.scenario import wait_for
from tests.lab.storm import Storm

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.kernel.conftest import Cable

    Samples = dict[tuple[str, ...], float]

pytestmark = [pytest.mark.kernel, pytest.mark.usefixtures("bpf", "root")]

OFFERED = "10.11.2.7"
# Small, so that the table is full soon.
CONNECTIONS = 20_000
# Bytes: less than a connection or a finding of a frame would be.
KEPT_OF_A_FRAME = 100


@dataclass
class Usage:
    """What a process has taken up so far: seconds of processor, bytes of memory of its own, the most resident ever."""

    cpu_seconds: float
    memory: int
    most: int

    @classmethod
    def of(cls, process_id: int) -> Usage:
        """Read it from /proc (proc(5))."""
        fields = Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()
        ticks = int(fields[11]) + int(fields[12])
        lines = Path(f"/proc/{process_id}/status").read_text().splitlines()
        [memory], [most] = ([int(line.split()[1]) for line in lines if key in line] for key in ("RssAnon", "VmHWM"))
        return cls(ticks / os.sysconf("SC_CLK_TCK"), memory * 1024, most * 1024)


@dataclass
class Honest:
    """Clients and a server who mean well, beside the storm: the ports of conversations that came to their end."""

    ports: list[int] = field(default_factory=list)

    @contextmanager
    def talking(self, cable: Cable, pause_s: float) -> Iterator[None]:
        """Hold one conversation after the other while the block runs."""
        stopping = threading.Event()

        def work() -> None:
            while not stopping.is_set():
                # In a storm some do not get through.
                with suppress(OSError, AssertionError):
                    self.ports.append(ask_and_answer(cable, OFFERED))
                time.sleep(pause_s)

        worker = threading.Thread(target=work)
        worker.start()
        try:
            yield
        finally:
            stopping.set()
            worker.join()

    def found(self, inspector: Inspector, cable: Cable) -> int:
        """Return how many of them the inspector has found."""
        findings = [one for one in inspector.findings_of(cable.far_address) if one["kind"] == "answer"]
        assert {finding["verdict"] for finding in findings} <= {"mismatch"}
        return len(set(self.ports) & {finding["client_port"] for finding in findings})


@contextmanager
def storm(cable: Cable, seconds: float, *options: str) -> Iterator[dict[str, Any]]:
    """Let it rage from the far end while the block runs, which gets what was sent when it has ended."""
    sent: dict[str, Any] = {}
    command = [sys.executable, "-m", "tests.lab.storm", cable.there, cable.far, "--seconds", str(seconds), *options]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT, env=environment) as process:
        try:
            yield sent
            out, _ = process.communicate(timeout=seconds + 60)
            sent.update(json.loads(out))
        finally:
            process.kill()


def only_ours(cable: Cable) -> None:
    """Keep the kernel's own packets off the cable: then every packet on it is the storm's or the conversations'."""
    for namespace in (cable.here, cable.there):
        with inside(namespace):
            Path("/proc/sys/net/ipv6/conf/all/disable_ipv6").write_text("1")


def total(samples: Samples, name: str) -> int:
    """Return the sum of a metric over its labels."""
    return int(sum(value for key, value in samples.items() if key[0] == name))


def wait_until_read(inspector: Inspector) -> Samples:
    """Return the metrics once everything that was submitted has been read."""
    samples: Samples = {}

    def is_read() -> bool:
        samples.clear()
        samples.update(inspector.samples())
        before = total(samples, "packets_matched_total")
        time.sleep(1.2)
        samples.clear()
        samples.update(inspector.samples())
        return before == total(samples, "packets_matched_total") and total(samples, "ring_submitted_total") == total(
            samples, "records_consumed_total"
        )

    inspector.wait_for(is_read)
    return samples


def check_conservation(samples: Samples, sent: dict[str, Any], honest: int) -> None:
    """Compare what was sent with what was counted, packet by packet, and with what was read, record by record."""
    matched, lost = total(samples, "packets_matched_total"), total(samples, "ring_lost_total")
    assert matched == total(samples, "ring_submitted_total") + lost
    assert total(samples, "ring_submitted_total") == total(samples, "records_consumed_total")
    fragments, unreadable = (int(samples["anomalies_total", name]) for name in ("ip_fragment", "unreadable_frame"))
    kinds = sent["kinds"]
    assert (fragments, unreadable) == (kinds.get("fragment", 0), kinds.get("unreadable", 0))
    seen = total(samples, "packets_total") + fragments + unreadable
    # Of each honest conversation there are a few packets more, and TCP may repeat some of them.
    assert sent["frames"] <= seen <= sent["frames"] + 20 * honest + 50


@contextmanager
def storm_ridden(cable: Cable, folder: Path, mode: str, *options: str) -> Iterator[Inspector]:
    """Run an inspector whose tables of the decoder are small, and forget soon."""
    only_ours(cable)
    config = folder / "config.toml"
    times = "idle_seconds = 3\nunanswered_seconds = 1\ngap_seconds = 0.5\n"
    config.write_text(f"[limits]\nconnections = {CONNECTIONS}\n{times}")
    with inspecting(cable, folder, "--mode", mode, "--config", str(config), *options) as inspector:
        inspector.wait_until_attached()
        yield inspector


def received(cable: Cable) -> int:
    """Return how many packets have come to the near end."""
    with inside(cable.here), IPRoute() as rtnetlink:
        [link] = rtnetlink.link("get", ifname=cable.near)
        return int(link.get("stats64")["rx_packets"])


def test_a_full_queue_holds_the_sender_up(cable: Cable) -> None:
    """A device that takes no more for a while ends no storm, and what was sent is what arrives."""
    only_ours(cable)
    forged = Storm(1, floods=True)
    before = received(cable)
    with inside(cable.there), IPRoute() as rtnetlink:
        [index] = rtnetlink.link_lookup(ifname=cable.far)
        # A queue of fewer packets than a round has, which lets a megabyte out in a second.
        try:
            rtnetlink.tc("add", "tbf", index, rate="8mbit", burst=4000, limit=4000)
        except NetlinkError as error:
            if error.code != errno.ENOENT:
                raise
            pytest.skip(f"this kernel has no token bucket filter: {error}")
    with inside(cable.there), socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as channel:
        channel.bind((cable.far, 0))
        forged.vary()
        forged.send(channel)
    wait_for(lambda: received(cable) - before >= len(forged), 10)
    # No more than that comes.
    time.sleep(0.2)
    assert received(cable) - before == len(forged)


@pytest.mark.parametrize("follow_up", [True, False])
def test_a_storm_that_can_be_read(
    cable: Cable, tmp_path: Path, capsys: pytest.CaptureFixture[str], *, follow_up: bool
) -> None:
    """Nothing is lost, everything forged is counted for what it is, every honest conversation is found; nothing stays.

    Nothing, once the tables are full: more storms of other values do not make the process grow. Those of what answers
    led to, which take a while to fill, have a bound of their own (tests/property/test_outcome_bounds.py).
    """
    honest = Honest()
    with storm_ridden(cable, tmp_path, "tc", "--follow-up" if follow_up else "--no-follow-up") as inspector:
        with storm(cable, 4, "--rate", "4000") as sent, honest.talking(cable, 0.02):
            time.sleep(4)
        samples = wait_until_read(inspector)
        check_conservation(samples, sent, len(honest.ports))
        assert total(samples, "ring_lost_total") == 0
        kinds = sent["kinds"]
        assert samples["anomalies_total", "stream_not_rpc"] == kinds["noise"]
        answers = kinds["response alone"] + kinds["datagrams"] // 2
        answers += (kinds["whole conversation"] + kinds["whole conversation, IPv6"]) // 8
        assert total(samples, "responses_total") >= answers + len(honest.ports)
        assert len(honest.ports) > 10
        inspector.wait_for(lambda: honest.found(inspector, cable) == len(honest.ports))
        growths = [growth_by_a_frame(inspector, cable, seed) for seed in range(2, 6)]
        with capsys.disabled():
            print(f"\nbytes by which a forged frame makes the process grow: {', '.join(map(str, growths))}")
        # What stays of a frame makes the process grow in each storm, what the allocator keeps in some of them.
        if not follow_up:
            assert min(growths) < KEPT_OF_A_FRAME
        assert Usage.of(inspector.process.pid).most < most_memory_of_the_unit()
        assert inspector.stop() == 0


def growth_by_a_frame(inspector: Inspector, cable: Cable, seed: int) -> int:
    """Return by how many bytes for each of its frames a storm of other values makes the process grow."""
    before = Usage.of(inspector.process.pid).memory
    with storm(cable, 4, "--rate", "4000", "--seed", str(seed)) as sent:
        time.sleep(4)
    wait_until_read(inspector)
    return int(Usage.of(inspector.process.pid).memory - before) // int(sent["frames"])


def test_honest_conversations_are_found_in_a_storm(
    cable: Cable, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """At 20,000 forged packets a second 95% of them are found, and what is not is named: in records that were lost."""
    honest = Honest()
    with storm_ridden(cable, tmp_path, "native") as inspector:
        with storm(cable, 8, "--rate", "20000") as sent, honest.talking(cable, 0.02):
            time.sleep(8)
        samples, memory = wait_until_read(inspector), Usage.of(inspector.process.pid).most
        # An answer waits for a second for what it leads to.
        assert inspector.stop() == 0
        found = honest.found(inspector, cable)
    lost, matched = total(samples, "ring_lost_total"), total(samples, "packets_matched_total")
    with capsys.disabled():
        print(
            f"\n{sent['frames'] / sent['seconds']:,.0f} frames/s, {lost:,} of {matched:,} records lost, "
            f"{memory >> 20} MiB at most, honest conversations: {found} of {len(honest.ports)} found"
        )
    check_conservation(samples, sent, len(honest.ports))
    assert len(honest.ports) > 20
    assert memory < most_memory_of_the_unit()
    # A conversation has nine records: where some were lost, so many of all are not found.
    assert found >= 0.95 * len(honest.ports) * (1 - lost / matched) ** 9


def most_memory_of_the_unit() -> int:
    """Return MemoryMax of the packaged unit, in bytes."""
    [line] = re.findall(r"^MemoryMax=(\d+)G$", (ROOT / "packaging/epm-inspector.service").read_text(), re.MULTILINE)
    return int(line) << 30


def test_floods_are_ridden_out(cable: Cable, tmp_path: Path) -> None:
    """SYN, FIN and RST as fast as they can be sent: the table is full and goes round, and honesty is found in it."""
    honest = Honest()
    with storm_ridden(cable, tmp_path, "native") as inspector:
        with storm(cable, 4, "--floods") as sent, honest.talking(cable, 0.02):
            time.sleep(4)
        samples = wait_until_read(inspector)
        check_conservation(samples, sent, len(honest.ports))
        assert samples["anomalies_total", "connection_evicted"] > CONNECTIONS
        assert total(samples, "tracked_connections") <= CONNECTIONS
        assert inspector.stop() == 0
        found = honest.found(inspector, cable)
        assert found > len(honest.ports) / 2
        if total(samples, "ring_lost_total") == 0:
            assert found == len(honest.ports) > 0


def test_a_storm_beyond_measure(cable: Cable, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Series, memory and processor stay bounded, loss is exact, the service answers; afterwards all is as before."""
    honest, after = Honest(), Honest()
    with storm_ridden(cable, tmp_path, "native") as inspector:
        # The compiled path is loaded, the table full, all labels learned that ever will be.
        with storm(cable, 2):
            time.sleep(2)
        wait_until_read(inspector)
        ask_and_answer(cable, OFFERED)
        inspector.wait_for(lambda: bool(inspector.findings_of(cable.far_address)))
        middle, at_middle = wait_until_read(inspector), Usage.of(inspector.process.pid)
        began = time.monotonic()
        with storm(cable, 4) as sent, honest.talking(cable, 0.02):
            # Each is answered within the client's time (tests/kernel/process.py).
            for _ in range(8):
                inspector.samples()
                time.sleep(0.5)
            at_end, spent = Usage.of(inspector.process.pid), time.monotonic() - began
        end = wait_until_read(inspector)
        found = honest.found(inspector, cable)
        with after.talking(cable, 0.01):
            inspector.wait_for(lambda: len(after.ports) >= 20)
        inspector.wait_for(lambda: after.found(inspector, cable) == len(after.ports))
        calm = Usage.of(inspector.process.pid)
        time.sleep(2)
        calm_seconds = Usage.of(inspector.process.pid).cpu_seconds - calm.cpu_seconds
        assert inspector.stop() == 0
    processors = (at_end.cpu_seconds - at_middle.cpu_seconds) / spent
    with capsys.disabled():
        print(
            f"\n{sent['frames'] / sent['seconds']:,.0f} frames/s, {total(end, 'ring_lost_total'):,} lost, {len(end)} "
            f"series, {calm.memory >> 20} MiB, {processors:.2f} processors, "
            f"honest conversations: {found} of {len(honest.ports)} found, then all {len(after.ports)}"
        )
    assert set(end) == set(middle)
    assert calm.memory < 300 << 20
    # Calls over UDP have a table of their own.
    assert total(end, "tracked_connections") <= CONNECTIONS + 65_536
    # The processor's time, and not the clock's: a busy machine makes both smaller, not larger.
    assert processors < 1.3
    assert calm_seconds < 0.5
    assert found > 0
    matched, lost = (total(end, name) for name in ("packets_matched_total", "ring_lost_total"))
    assert matched == total(end, "ring_submitted_total") + lost
