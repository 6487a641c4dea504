"""The running command among names that are no text, on a read-only system, without output; words of the kernel."""

from __future__ import annotations

import fcntl
import os
import shutil
import socket
import struct
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from pyroute2 import IPRoute

from inspector.live.process.namespaces import inside
from tests.build import pdu
from tests.build.epm import SAMR, map_request, map_response, tcp_tower
from tests.kernel.command import attach
from tests.kernel.process import inspecting
from tests.kernel.running import PATIENCE_SECONDS, ROOT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.kernel.conftest import Cable

pytestmark = [pytest.mark.kernel]

RAW = b"e\xff\x1b\xe2\x80\xae"
SHOWN = "e\\xff\\x1b\\u202e"
_SIOCSIFNAME = 0x8923


def rename(cable: Cable, raw: bytes) -> None:
    """Give the near interface a name of any bytes."""
    with inside(cable.here), IPRoute() as rtnetlink:
        index = rtnetlink.link_lookup(ifname=cable.near)[0]
        rtnetlink.link("set", index=index, state="down")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as channel:
            fcntl.ioctl(channel, _SIOCSIFNAME, struct.pack("16s16s", cable.near.encode(), raw))
        rtnetlink.link("set", index=index, state="up")


def command(
    cable: Cable, *arguments: str, root: Path = ROOT, prefix: Sequence[str] = ()
) -> subprocess.CompletedProcess[str]:
    """Run the command in the near namespace, from the sources in a folder."""
    with inside(cable.here), IPRoute() as rtnetlink:
        rtnetlink.link("set", index=rtnetlink.link_lookup(ifname="lo")[0], state="up")
        done = subprocess.run(
            [*prefix, sys.executable, "-m", "inspector", *arguments],
            cwd=root,
            env={**os.environ, "PYTHONPATH": str(root)},
            capture_output=True,
            timeout=PATIENCE_SECONDS,
            check=False,
        )
    return subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())


def test_check_takes_a_name_that_is_no_text(cable: Cable) -> None:
    """As bytes, and as it is shown; and other interfaces beside such a one."""
    rename(cable, RAW)
    for name in (os.fsdecode(RAW), SHOWN, "lo"):
        done = command(cable, "check", name, "--mode", "generic")
        assert (done.returncode, done.stderr) == (0, ""), done
        assert all(line.isprintable() for line in done.stdout.splitlines())
    done = command(cable, "check", os.fsdecode(b"e\xfe"))
    assert done.returncode == 1
    assert "no network interface is named 'e\\udcfe'" in done.stdout


def test_attach_takes_a_name_that_is_no_text(cable: Cable, tmp_path: Path) -> None:
    """Attached, inspected, named in messages, metrics, state, page and capture, followed when it goes down."""
    rename(cable, RAW)
    capture = tmp_path / "w.pcapng"
    options = ("--netns", cable.here, "--mode", "generic", "--write", str(capture))
    with attach(tmp_path, [os.fsdecode(RAW)], *options) as running:
        assert running.lines[0].startswith(f"attached {SHOWN}: ")
        tower = tcp_tower(SAMR, 49152, "10.11.2.7")
        cable.converse(pdu.bind() + pdu.request(map_request(tower), call_id=2),
                       pdu.bind_ack() + pdu.response(map_response([tower]), call_id=2))  # fmt: skip
        running.wait_for(lambda: len(running.findings) == 1)
        assert running.findings[0]["source"] == SHOWN
        assert running.metric("program_attached", interface=SHOWN) == 1
        assert running.status()["interfaces"][0]["name"] == SHOWN
        assert f">{SHOWN}@" in running.get("/")
        with inside(cable.here), IPRoute() as rtnetlink:
            rtnetlink.link("set", index=socket.if_nametoindex(os.fsdecode(RAW)), state="down")
        running.wait_for(lambda: f"{SHOWN}: interface down" in running.lines)
        assert running.stop() == 0
        assert all(line.isprintable() for line in running.lines)
    assert SHOWN.encode() in capture.read_bytes()


def test_the_verifiers_words(cable: Cable, tmp_path: Path) -> None:
    """Its last lines, which say why; all of them with --verbose. `check` shows them too."""
    sources = broken(tmp_path, "return *context.data;")
    for arguments in (("attach", cable.near), ("check", cable.near)):
        done = command(cable, *arguments, root=sources)
        assert done.returncode == 1
        said = done.stderr + done.stdout
        assert "the kernel's verifier refuses the program" in said
        assert "invalid access to packet" in said
        assert "earlier lines: use --verbose" in said
        assert "0: R1=ctx()" not in said
        assert "Traceback" not in said
        done = command(cable, *arguments, "--verbose", root=sources)
        said = done.stderr + done.stdout
        assert "earlier lines" not in said
        assert said.count("0: R1=ctx()") == said.count("invalid access to packet") == 1


def test_the_compilers_words(cable: Cable, tmp_path: Path) -> None:
    """The error and where it is."""
    # Another account may not read the copy.
    done = command(cable, "attach", cable.near, "--user", "root", root=broken(tmp_path, "return XDP_PAST;"))
    assert done.returncode == 1
    first, *others = done.stderr.splitlines()
    assert first.startswith("epm-inspector: bcc cannot compile the kernel program: ")
    assert any("XDP_PAST" in line for line in others)


def broken(folder: Path, statement: str) -> Path:
    """Return a copy of the sources whose kernel program ends with another statement."""
    for part in ("inspector", "bpf"):
        shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__", "_bpf"))
    program = folder / "bpf" / "epm_inspector.c"
    program.write_text(program.read_text(encoding="ascii").replace("return XDP_PASS;", statement), encoding="ascii")
    return folder


READ_ONLY = """
findmnt -rno TARGET | sort -r | while read -r place; do mount -o remount,bind,ro "$place" 2>/dev/null; done
touch /tmp/written /run/written 2>/dev/null && exit 99
exec "$@"
"""


def test_a_read_only_system(cable: Cable, tmp_path: Path) -> None:
    """It inspects; that no other command will find it is a warning. What cannot be written is an error in one line."""
    prefix = ["unshare", "--mount", "bash", "-c", READ_ONLY, "bash"]
    done = command(cable, "check", cable.near, "--mode", "generic", prefix=prefix)
    assert (done.returncode, done.stderr) == (0, "")
    with inspecting(cable, tmp_path, "--mode", "generic", "--listen", "127.0.0.1:0", prefix=prefix) as running:
        running.wait_until_attached()
        assert running.stop() == 0
    warnings = [line for line in running.lines if "warning" in line]
    assert [line.count("Read-only file system") for line in warnings] == [1]
    done = command(cable, "attach", cable.near, "--runtime-directory", "/run/none", prefix=prefix)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert done.stderr.startswith("epm-inspector: cannot listen on /run/none/")
    assert "Read-only file system" in done.stderr


def test_closed_standard_output(cable: Cable, tmp_path: Path) -> None:
    """Findings cannot be shown: one line, and the inspection goes on; no socket is taken for standard output."""
    prefix = ["bash", "-c", 'exec "$@" >&-', "bash"]
    with inspecting(cable, tmp_path, "--mode", "generic", "--listen", "127.0.0.1:0", prefix=prefix) as running:
        running.wait_until_attached()
        tower = tcp_tower(SAMR, 49152, "10.11.2.7")
        for _ in range(3):
            cable.converse(pdu.bind() + pdu.request(map_request(tower), call_id=2),
                           pdu.bind_ack() + pdu.response(map_response([tower]), call_id=2))  # fmt: skip
        running.wait_for(lambda: any("standard output cannot be written" in line for line in running.lines))
        assert running.stop() == 0
    assert sum("Bad file descriptor" in line for line in running.lines) == 1
