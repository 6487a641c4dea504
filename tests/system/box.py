"""A small machine with a real systemd: namespaces of its own, and a root in memory over a folder (see box.sh)."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

from inspector.capture.writer import build_frame
from inspector.live.bpf import syscalls
from tests.build import pdu
from tests.build.connection import Wire
from tests.build.epm import SAMR, map_request, map_response, tcp_tower
from tests.conftest import require_tools, unavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

ROOT: Final = Path(__file__).parents[2]
SERVICE: Final = "epm-inspector"
INIT: Final = Path("/lib/systemd/systemd")

_SCRIPT: Final = Path(__file__).with_name("box.sh")
_LIBC: Final = ctypes.CDLL(None, use_errno=True)
_CLONE_NEWNET: Final = 0x40000000
_PATIENCE_S: Final = 60.0


def _control_groups() -> Path:
    """Return where control groups (version 2) are mounted."""
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, place, kind, *_ = line.split()
        if kind == "cgroup2":
            return Path(place)
    unavailable("control groups of version 2 are not mounted")
    raise AssertionError


class Box:
    """The running machine. Leaving the context ends everything in it, and nothing is left.

    Its root is over the folder `below`; there the command `fill` is run before it starts.
    """

    def __init__(self, folder: Path, below: Path = Path("/"), fill: Sequence[str] = ()) -> None:
        require_tools(["unshare", "nsenter", "systemctl"])
        if not INIT.exists():
            unavailable("systemd is not installed")
        self._group = _control_groups() / f"epm-test-{os.getpid()}"
        self._group.mkdir()
        # Of its own group before its namespaces are made: that becomes the root of what it sees.
        command = f'echo $$ > {self._group}/cgroup.procs; exec unshare "$@"'
        namespaces = ["--mount", "--pid", "--fork", "--uts", "--ipc", "--net", "--cgroup", "--kill-child"]
        inner = ["bash", str(_SCRIPT), str(folder), str(below), *fill]
        self._log = folder.with_suffix(".log")
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                ["bash", "-c", command, "box", *namespaces, *inner],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self.init = 0

    def __enter__(self) -> Self:
        try:
            self.wait_for(self._find_init)
            self.wait_for(lambda: self.run("systemctl", "is-active", "box.target", check=False) == "active")
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _find_init(self) -> bool:
        """Look for the process which is the machine's first: it has become systemd when its root is ready."""
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()
        if children and Path(f"/proc/{children[0]}/comm").read_text().strip() == "systemd":
            self.init = int(children[0])
        return bool(self.init)

    def close(self) -> None:
        """End it: with its first process go all others."""
        self._process.kill()
        self._process.wait()
        deadline = time.monotonic() + _PATIENCE_S
        while self._group.exists():
            with contextlib.suppress(OSError):
                for folder, _, _ in os.walk(self._group, topdown=False):
                    Path(folder).rmdir()
            assert time.monotonic() < deadline, f"processes are left in {self._group}"

    def run(self, *command: str, check: bool = True) -> str:
        """Run a command in the machine and return what it prints."""
        inside = ["nsenter", f"--target={self.init}", "--all", *command]
        done = subprocess.run(inside, capture_output=True, text=True, check=False, timeout=300)
        assert not check or done.returncode == 0, f"{command}: {done.stderr}\n{self.journal()}"
        return done.stdout.strip()

    def property(self, name: str) -> str:
        """Return a property of the service, as systemd has it."""
        return self.run("systemctl", "show", "--value", f"--property={name}", SERVICE)

    def set_times(self, **times: str) -> None:
        """Change the unit's times, by directive, so that a test need not wait for those which it ships with."""
        folder = f"/run/systemd/system/{SERVICE}.service.d"
        lines = "".join(f"{name}={value}\\n" for name, value in times.items())
        self.run("sh", "-c", f"mkdir -p {folder} && printf '[Service]\\n{lines}' > {folder}/{'-'.join(times)}.conf")
        self.run("systemctl", "daemon-reload")

    def journal(self, *options: str) -> str:
        """Return what the journal has of the service."""
        command = ("journalctl", "--no-pager", f"--unit={SERVICE}", *options)
        inside = ["nsenter", f"--target={self.init}", "--all", *command]
        return subprocess.run(inside, capture_output=True, text=True, check=False, timeout=60).stdout

    def messages(self) -> list[dict[str, Any]]:
        """Return the service's lines in the journal, with their fields."""
        return [json.loads(line) for line in self.journal("--output=json").splitlines()]

    def findings(self) -> list[dict[str, Any]]:
        """Return the findings in the journal."""
        return [json.loads(entry["MESSAGE"]) for entry in self.messages() if entry["MESSAGE"].startswith("{")]

    def connect(self) -> None:
        """Give the machine a cable, from `near`, which the service inspects, to `far`."""
        for command in ("set lo up", "add near type veth peer name far", "set near up", "set far up"):
            self.run("ip", "link", *command.split())

    def converse(self, client_port: int) -> None:
        """Put a conversation with a mismatch on the cable."""
        tower = tcp_tower(SAMR, 49152, "10.11.2.7")
        wire = Wire(client_port=client_port).open().client(pdu.bind()).server(pdu.bind_ack())
        wire.client(pdu.request(map_request(tower), call_id=2)).server(pdu.response(map_response([tower]), call_id=2))
        with self.network(), socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as raw:
            raw.bind(("far", 0))
            for segment in wire.segments:
                raw.send(build_frame(segment))

    def attached(self) -> list[int]:
        """Return the ids of the programs on the cable's near end: on XDP and on ingress of tcx."""
        [link] = json.loads(self.run("ip", "-json", "link", "show", "dev", "near"))
        with self.network():
            found = syscalls.query_programs(link["ifindex"], syscalls.AttachType.TCX_INGRESS)
        return [*([link["xdp"]["prog"]["id"]] if "xdp" in link else []), *found]

    def process(self) -> Path:
        """Return the folder of the service's main process in this machine's /proc."""
        inner = self.property("MainPID")
        for group in self._group.rglob(f"{SERVICE}.service/cgroup.procs"):
            for outer in group.read_text().split():
                status = Path(f"/proc/{outer}/status").read_text()
                if f"\nNSpid:\t{outer}\t{inner}\n" in status:
                    return Path(f"/proc/{outer}")
        raise AssertionError(f"process {inner} of the machine is not here")

    @contextlib.contextmanager
    def network(self) -> Iterator[None]:
        """Move the calling thread into the machine's network, for a block."""
        home, there = (os.open(path, os.O_RDONLY) for path in ("/proc/thread-self/ns/net", f"/proc/{self.init}/ns/net"))
        try:
            assert _LIBC.setns(there, _CLONE_NEWNET) == 0
            yield
        finally:
            assert _LIBC.setns(home, _CLONE_NEWNET) == 0
            os.close(home)
            os.close(there)

    def wait_for(self, condition: Callable[[], bool], seconds: float = _PATIENCE_S) -> None:
        """Return when the condition holds; fail when it does not come to hold in time."""
        deadline = time.monotonic() + seconds
        while not condition():
            assert self._process.poll() is None, self._log.read_text()
            assert time.monotonic() < deadline, self.journal() if self.init else self._log.read_text()
            time.sleep(0.05)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the service's main process."""
        os.kill(int(self.process().name), number)
