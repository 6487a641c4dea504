"""Somebody else on the hook, in every way a program can get there: left alone, named, and taken off as was said."""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest
from pyroute2 import IPRoute

from inspector.errors import AttachError, HookTakenError
from inspector.live.attach import preflight
from inspector.live.attach.holders import find_tc_holders, find_xdp_holders
from inspector.live.attach.links import Link
from inspector.live.bpf import syscalls
from inspector.live.process.namespaces import inside
from tests.conftest import require_tools
from tests.kernel import frames
from tests.kernel.conftest import Cable, constant_program
from tests.kernel.kinds import ip, laid, run
from tests.kernel.live import HAS_TCX, XDP_PASS, attached, collect

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.kernel]

FLAGS: Final = {"native": syscalls.LinkFlag.XDP_NATIVE, "generic": syscalls.LinkFlag.XDP_GENERIC}
EITHER = pytest.mark.parametrize("held", FLAGS)
XDP_DROP: Final = 1
# Attaches, says so, and waits to be ended.
OWNER: Final = """
import sys
from inspector.live.bpf import syscalls
from inspector.live.attach.links import Link
from inspector.live.process.namespaces import inside
from tests.kernel.conftest import constant_program
netns, index, hook, flags = sys.argv[1], *map(int, sys.argv[2:])
kind = syscalls.ProgramType.XDP if hook == syscalls.AttachType.XDP else syscalls.ProgramType.SCHED_CLS
program = constant_program(kind, 2, "someones")
with inside(netns):
    link = Link.create(program, index, syscalls.AttachType(hook), syscalls.LinkFlag(flags))
print(syscalls.program_info(program).id, flush=True)
sys.stdin.read()
"""


@contextlib.contextmanager
def owned(cable: Cable, hook: syscalls.AttachType, flags: syscalls.LinkFlag) -> Iterator[tuple[int, int]]:
    """Let another process hold a hook of the near interface by a link; yield its id and the program's."""
    arguments = [cable.here, str(cable.device().index), str(int(hook)), str(int(flags))]
    with subprocess.Popen(
        [sys.executable, "-c", OWNER, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        yield process.pid, int(process.stdout.readline())
        process.communicate()


def refusal(cable: Cable) -> str:
    """Return how attaching is refused, after checking that `check` says the same and that nothing was changed."""
    before = cable.programs()
    with pytest.raises(HookTakenError) as error:
        attached(cable, "native")
    text = str(error.value)
    assert "\n" not in text
    assert "--mode tc" in text
    [check] = [c for c in preflight.run_checks(cable.near, "native", cable.here) if c.level == "fail"]
    assert check.name == "hook"
    holder = text.partition("the XDP hook is taken by ")[2].partition("; it was left in place")[0]
    assert holder in check.text
    assert cable.programs() == before
    return text


def works_again(cable: Cable) -> None:
    """Attach, now that the hook is free."""
    with attached(cable, "native") as session:
        cable.send_frame(frames.FRAMES["response"])
        assert len(collect(session, 1)) == 1


@EITHER
def test_a_link_of_a_process(cable: Cable, held: str) -> None:
    """The process which holds a link is named, and its program goes with it."""
    with owned(cable, syscalls.AttachType.XDP, FLAGS[held]) as (process_id, program_id):
        text = refusal(cable)
        comm = Path(f"/proc/{process_id}/comm").read_text(encoding="utf-8").strip()
        assert re.search(
            rf"taken by program someones \(id {program_id}, tag [0-9a-f]{{16}}\) in {held} mode, "
            rf"attached by link \d+ of {comm} \(process {process_id}\);",
            text,
        )
        assert "it goes with its process" in text
    works_again(cable)


@EITHER
def test_a_pinned_link(cable: Cable, held: str, tmp_path: Path) -> None:
    """A link which no process holds is given by its id, which is what detaches it."""
    foreign = constant_program(syscalls.ProgramType.XDP, XDP_PASS, "someones")
    run("mount", "-t", "bpf", "bpf", str(tmp_path))
    try:
        with inside(cable.here):
            fd = syscalls.link_create(foreign, cable.device().index, syscalls.AttachType.XDP, FLAGS[held])
        path = ctypes.create_string_buffer(str(tmp_path / "link").encode())
        attributes = (ctypes.c_uint64 * 2)(ctypes.addressof(path), fd)
        # BPF_OBJ_PIN
        assert ctypes.CDLL(None).syscall(syscalls._SYSCALL_NUMBERS[os.uname().machine], 6, attributes, 16) == 0
        link_id = re.search(r"link_id:\s+(\d+)", Path(f"/proc/self/fdinfo/{fd}").read_text(encoding="ascii"))
        os.close(fd)
        assert link_id is not None
        text = refusal(cable)
        assert f"attached by link {link_id[1]}, which is pinned or of a process unseen from here" in text
        assert f"'bpftool link detach id {link_id[1]}'" in text
        (tmp_path / "link").unlink()
        works_again(cable)
    finally:
        os.close(foreign)
        run("umount", str(tmp_path))


@EITHER
def test_netlink(cable: Cable, held: str) -> None:
    """A program that was attached by netlink belongs to no process; the command which is named takes it off."""
    foreign = constant_program(syscalls.ProgramType.XDP, XDP_PASS, "someones")
    with inside(cable.here), IPRoute() as rtnetlink:
        flags = {"native": 1 << 2, "generic": 1 << 1}[held]
        attributes = {"attrs": [("IFLA_XDP_FD", foreign), ("IFLA_XDP_FLAGS", flags)]}
        rtnetlink.link("set", index=cable.device().index, xdp=attributes)
    os.close(foreign)
    text = refusal(cable)
    assert re.search(rf"program someones \(id \d+, tag \w+\) in {held} mode, attached by netlink;", text)
    command = re.search(r"'(ip link set dev near \w+ off)' detaches it", text)
    assert command is not None
    ip(cable.here, command[1].removeprefix("ip "))
    works_again(cable)


@EITHER
def test_the_dispatcher_of_libxdp(cable: Cable, held: str, tmp_path: Path) -> None:
    """What xdp-loader has put there is named; where the kernel allows a dispatcher, with the programs within it.

    Some kernels refuse to load what the dispatcher is made of; libxdp then attaches the one program itself.
    """
    require_tools(["xdp-loader"])
    objects = Path("/usr/lib", sysconfig.get_config_var("MULTIARCH"), "bpf")
    run("mount", "-t", "bpf", "bpf", str(tmp_path))
    loader = ["ip", "netns", "exec", cable.here, "env", f"LIBXDP_BPFFS={tmp_path}", "xdp-loader"]
    mode = {"native": "native", "generic": "skb"}[held]
    try:
        run(*loader, "load", "-m", mode, cable.near, str(objects / "xdpfilt_alw_all.o"))
        text = refusal(cable)
        [program_id] = cable.programs()
        if syscalls.program_info_by_id(program_id).name == "xdp_dispatcher":
            run(*loader, "load", "-m", mode, cable.near, str(objects / "xdpfilt_dny_all.o"))
            text = refusal(cable)
            assert re.search(
                rf"program xdp_dispatcher \(id \d+, tag \w+\) in {held} mode, the dispatcher of libxdp, which runs "
                r"program xdpfilt_\w{3}_all \(id \d+, tag \w+\), program xdpfilt_\w{3}_all \(id \d+, tag \w+\);",
                text,
            )
            assert "'xdp-loader unload near --all'" in text
        else:
            assert re.search(rf"program xdpfilt_alw_all \(id {program_id}, tag \w+\) in {held} mode, attached by", text)
        run(*loader, "unload", cable.near, "--all")
        works_again(cable)
    finally:
        run("umount", str(tmp_path))


def test_an_interface_above(cable: Cable) -> None:
    """The kernel allows no XDP below an interface which has some: that one is named, with its program."""
    foreign = constant_program(syscalls.ProgramType.XDP, XDP_PASS, "someones")
    try:
        with laid(cable, "bridge port") as port, inside(port.here), IPRoute() as rtnetlink:
            index = rtnetlink.link_lookup(ifname="layer")[0]
            link = Link.create(foreign, index, syscalls.AttachType.XDP, syscalls.LinkFlag.XDP_GENERIC)
            with pytest.raises(HookTakenError) as error:
                attached(port, "native")
            assert "near: the upper interface layer carries program someones (id " in str(error.value)
            [check] = [c for c in preflight.run_checks("near", "native", port.here) if c.level == "fail"]
            assert check.text.startswith("XDP on the upper interface layer: program someones")
            with attached(port, "tc"):
                pass
            link.close()
            works_again(port)
    finally:
        os.close(foreign)


def test_without_the_right_to_ask(cable: Cable) -> None:
    """Without CAP_SYS_ADMIN the kernel does not name programs: the id is said, and what to do."""
    require_tools(["setpriv"])
    ip(cable.here, "link set lo up")
    with owned(cable, syscalls.AttachType.XDP, syscalls.LinkFlag.XDP_GENERIC) as (_, program_id):
        command = ["setpriv", "--bounding-set=-sys_admin", "--inh-caps=-sys_admin", sys.executable, "-m", "inspector"]
        done = subprocess.run(
            [
                "ip",
                "netns",
                "exec",
                cable.here,
                *command,
                "attach",
                cable.near,
                "--mode",
                "native",
                "--listen",
                "127.0.0.1:0",
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode != 0
        assert f"near: the XDP hook is taken by program id {program_id} in generic mode" in done.stderr
        assert "'ip link set dev near xdpgeneric off'" in done.stderr
        assert cable.programs() == [program_id]


def test_another_inspector(cable: Cable) -> None:
    """A second inspector on the hook names the first."""
    with attached(cable, "generic") as session:
        [attachment] = session.attachments
        text = refusal(cable)
        assert f"program epm_xdp (id {attachment.program_id}, tag {attachment.program_tag}) in generic mode" in text
        assert f"(process {os.getpid()})" in text


def test_tc_is_beside_an_xdp_program(cable: Cable) -> None:
    """Mode tc runs behind an XDP program and sees what that lets pass: nothing, if it drops everything."""
    for verdict, arrives in ((XDP_PASS, 1), (XDP_DROP, 0)):
        foreign = constant_program(syscalls.ProgramType.XDP, verdict, "someones")
        with inside(cable.here):
            link = Link.create(foreign, cable.device().index, syscalls.AttachType.XDP, syscalls.LinkFlag.XDP_GENERIC)
        os.close(foreign)
        with attached(cable, "tc") as session:
            checks = [c for c in preflight.run_checks(cable.near, "tc", cable.here) if c.name == "hook"]
            assert "XDP: program someones" in checks[0].text
            assert "tc sees the packets" in checks[0].text
            assert {check.level for check in checks} == {"ok"}
            cable.send_frame(frames.FRAMES["response"])
            assert len(collect(session, 1, timeout_s=1)) == arrives
        link.close()


def test_holders_of_tc_are_named(cable: Cable) -> None:
    """What is on the tc hooks already is shown: links with their process, filters with their priority."""
    with contextlib.ExitStack() as stack:
        owner = owned(cable, syscalls.AttachType.TCX_INGRESS, syscalls.LinkFlag.NONE)
        if HAS_TCX:
            process_id, program_id = stack.enter_context(owner)
        run("tc", "-n", cable.here, "qdisc", "add", "dev", cable.near, "clsact")
        run(*f"tc -n {cable.here} filter add dev {cable.near} egress prio 9 u32 match u32 0 0 flowid 1:1".split())
        session = stack.enter_context(attached(cable, "tc", tcx=False))
        with inside(cable.here):
            found = [holder.text for holder in find_tc_holders(cable.device())]
            assert find_xdp_holders(cable.device()) == []
        assert "filter of kind u32, priority 9, on egress" in found
        assert len([text for text in found if text.startswith("filter epm-inspector:")]) == 2
        if HAS_TCX:
            assert re.fullmatch(
                rf"program someones \(id {program_id}, tag \w+\) on tcx ingress, "
                rf"attached by link \d+ of \S+ \(process {process_id}\)",
                found[0],
            )
        checks = [c.text for c in preflight.run_checks(cable.near, "tc", cable.here) if c.name == "hook"]
        assert [f"tc: {text}; it keeps working" for text in found] == checks[1:]
        session.close()


def test_a_qdisc_of_ingress(cable: Cable) -> None:
    """The older qdisc in clsact's place would take filters of egress for its own: links go there, filters do not."""
    run("tc", "-n", cable.here, "qdisc", "add", "dev", cable.near, "ingress")
    with pytest.raises(AttachError, match="near: an 'ingress' qdisc blocks clsact") as error:
        attached(cable, "tc", tcx=False)
    assert "\n" not in str(error.value)
    assert run("tc", "-n", cable.here, "filter", "show", "dev", cable.near, "ingress") == ""
    [check] = [c for c in preflight.run_checks(cable.near, "tc", cable.here) if "qdisc" in c.text]
    if HAS_TCX:
        assert check.level == "warn"
        with attached(cable, "tc") as session:
            for outwards in (False, True):
                cable.send_frame(frames.FRAMES["response"], outwards=outwards)
            assert len(collect(session, 2)) == 2
    else:
        assert check.level == "fail"
