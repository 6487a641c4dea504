"""The account which an inspection of root's goes on as: what it may not do any more, and all that still works."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest
from pyroute2 import IPRoute

from inspector.errors import PrivilegeError
from inspector.inspection.runtime import find_running
from inspector.live.process import account as accounts
from inspector.live.process.account import Account, acting_as, change_to, find_account, find_default_account, why_not
from inspector.live.process.capabilities import (
    Capability,
    drop_capabilities,
    effective_capabilities,
    keep_parent_death_signal,
)
from inspector.live.process.namespaces import inside
from tests.build.account import let_in
from tests.build.certificates import issue, make_issuer
from tests.conftest import NOBODY, require_tools
from tests.kernel.conftest import lay
from tests.kernel.objects import force_detach, links_of
from tests.kernel.process import ask_and_answer, inspecting, mask
from tests.kernel.running import ROOT
from tests.unit.test_evidence import reread

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.kernel.conftest import Cable

pytestmark = [pytest.mark.kernel, pytest.mark.usefixtures("bpf", "root", "nobody")]

THE_ACCOUNT: Final = find_default_account() or Account("nobody", NOBODY, NOBODY)


def identities_of(process_id: int) -> list[tuple[set[int], set[int], set[int]]]:
    """Return the user ids (real, effective, saved, file system), group ids and further groups of each thread."""
    found = []
    for thread in Path(f"/proc/{process_id}/task").iterdir():
        fields = dict(line.split(":", 1) for line in (thread / "status").read_text().splitlines() if ":" in line)
        found.append(tuple(set(map(int, fields[name].split())) for name in ("Uid", "Gid", "Groups")))
    return found  # type: ignore[return-value]


def in_a_child(action: Callable[[], None]) -> None:
    """Run an action in a child of this process; fail with what it raised."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            action()
        except BaseException as error:  # noqa: BLE001 - the parent is told
            os.write(writing, repr(error).encode() or b"?")
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as said:
        assert said.read() == ""
    assert os.waitpid(child, 0)[1] == 0


def refused(action: Callable[[], object]) -> bool:
    """Return whether the kernel does not let an action happen."""
    try:
        action()
    except OSError as error:
        return error.errno in (errno.EACCES, errno.EPERM)
    return False


def test_what_it_may_not_do() -> None:
    """Neither can files of /etc be written, nor root's be read, nor can it go back; a capability is still there."""

    def check() -> None:
        change_to(THE_ACCOUNT)
        drop_capabilities([Capability.CAP_NET_ADMIN])
        assert os.getresuid() == (THE_ACCOUNT.uid,) * 3
        assert os.getresgid() == (THE_ACCOUNT.gid,) * 3
        assert 0 not in os.getgroups()
        assert effective_capabilities() == mask(Capability.CAP_NET_ADMIN)
        for path in ("/etc/passwd", "/etc/hostname", "/usr/bin/env"):
            assert refused(lambda path=path: os.close(os.open(path, os.O_WRONLY)))
        assert refused(lambda: Path("/etc/epm-test").touch())
        assert refused(lambda: Path("/etc/shadow").read_bytes())
        assert refused(lambda: os.setresuid(0, 0, 0))
        assert refused(lambda: os.setgroups([0]))

    in_a_child(check)


def test_without_the_change_it_may() -> None:
    """Capabilities alone do not protect the files of the user 0."""

    def check() -> None:
        drop_capabilities([])
        os.close(os.open("/etc/passwd", os.O_WRONLY))

    in_a_child(check)


def test_acting_as_it_is_undone() -> None:
    """Within the block files are the account's, after it everything is as before."""

    def check() -> None:
        before = (os.getresuid(), os.getresgid(), os.getgroups(), effective_capabilities())
        with acting_as(THE_ACCOUNT):
            assert refused(lambda: Path("/etc/shadow").read_bytes())
        assert (os.getresuid(), os.getresgid(), os.getgroups(), effective_capabilities()) == before

    in_a_child(check)


def test_it_still_ends_with_its_parent() -> None:
    """The kernel clears the signal of a parent's death when the user changes: it is set again."""
    middle = (
        "import os, time\n"
        "from inspector.lab.processes import *\n"
        "from inspector.live.process.account import *\n"
        "import ctypes, signal\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    ctypes.CDLL(None).prctl(1, signal.SIGKILL)\n"
        f"    change_to(Account({THE_ACCOUNT.name!r}, {THE_ACCOUNT.uid}, {THE_ACCOUNT.gid}))\n"
        "    print(os.getpid(), flush=True)\n"
        "    time.sleep(60)\n"
        "time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", middle], stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stdout is not None
        child = int(process.stdout.readline())
        process.kill()
        process.wait()
        deadline = time.monotonic() + 10
        while Path(f"/proc/{child}").exists() and "zombie" not in Path(f"/proc/{child}/status").read_text():
            assert time.monotonic() < deadline, "it outlives its parent"
            time.sleep(0.01)
    with keep_parent_death_signal():
        pass


@pytest.mark.parametrize("options", [["--mode", "generic"], ["--mode", "tc"], ["--mode", "generic", "--drop-all"]])
def test_every_thread_is_the_accounts(cable: Cable, tmp_path: Path, options: list[str]) -> None:
    """User, group and further groups of each thread, file system access included; findings come as before."""
    with inspecting(cable, tmp_path, *options) as inspector:
        inspector.wait_until_attached()
        identities = identities_of(inspector.process.pid)
        assert len(identities) > 1
        assert all((uids, gids) == ({THE_ACCOUNT.uid}, {THE_ACCOUNT.gid}) for uids, gids, _ in identities)
        assert all(0 not in groups for _, _, groups in identities)
        ask_and_answer(cable, "10.11.2.7")
        inspector.wait_for(lambda: bool(inspector.findings))
        assert inspector.stop() == 0
    assert cable.programs() == []


@pytest.mark.parametrize("way", ["option", "key"])
def test_root_stays_root_if_that_is_asked_for(cable: Cable, tmp_path: Path, way: str) -> None:
    """By the option or the key."""
    (tmp_path / "c.toml").write_text('user = "root"\n')
    options = ["--user", "root"] if way == "option" else ["--config", str(tmp_path / "c.toml")]
    with inspecting(cable, tmp_path, "--mode", "generic", *options) as inspector:
        inspector.wait_until_attached()
        assert all(uids == {0} for uids, _, _ in identities_of(inspector.process.pid))
        assert len(inspector.lines) == 3


def test_an_account_which_there_is_not(cable: Cable, tmp_path: Path) -> None:
    """One line, and nothing is attached; no other account is taken instead."""
    with inspecting(cable, tmp_path, "--mode", "generic", "--user", "no-such-account") as inspector:
        assert inspector.process.wait(60) == 1
        [line] = inspector.lines
    assert "user 'no-such-account': no such account" in line
    assert cable.programs() == []


def test_the_program_is_closed_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Where the account may not read the program's files root stays, and says why; if it was asked for, it ends."""
    from inspector.inspection import privileges

    assert why_not(THE_ACCOUNT) == ""
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    module = type(sys)("closed")
    module.__file__ = str(closed / "module.py")
    monkeypatch.setitem(sys.modules, "closed", module)
    assert str(closed) in why_not(THE_ACCOUNT)
    assert privileges.choose_account(None) is None
    [line] = caplog.messages
    assert "still running as root" in line
    assert str(closed) in line
    with pytest.raises(PrivilegeError, match="cannot read the program's folder"):
        privileges.choose_account(THE_ACCOUNT.name)


def test_only_root_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another user gets a line; its own account is no change, and neither is having said nothing."""
    from inspector.inspection import privileges

    monkeypatch.setattr(os, "geteuid", lambda: NOBODY)
    assert privileges.choose_account(None) is None
    assert privileges.choose_account(find_account("nobody").name) is None
    with pytest.raises(PrivilegeError, match="only root can change"):
        privileges.choose_account("root")


def test_no_account_is_there(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """Root stays, and says so."""
    from inspector.inspection import privileges

    monkeypatch.setattr(accounts, "DEFAULT_NAMES", ("no-such-account",))
    assert privileges.choose_account(None) is None
    assert "none of the accounts no-such-account exists" in caplog.messages[0]


@pytest.mark.parametrize("mode", ["native", "generic", "tc"])
def test_it_attaches_again(cable: Cable, tmp_path: Path, mode: str) -> None:
    """After somebody detached it, and after the interface went and came: the account keeps the right to."""
    with inspecting(cable, tmp_path, "--mode", mode) as inspector:
        inspector.wait_until_attached()
        assert {THE_ACCOUNT.uid} == identities_of(inspector.process.pid)[0][0]
        with inside(cable.here), IPRoute() as rtnetlink:
            rtnetlink.link("del", index=cable.device().index)
        inspector.wait_for(lambda: any("interface deleted" in line for line in inspector.lines))
        lay(cable)
        inspector.wait_for(lambda: any("attached again" in line for line in inspector.lines))
        ask_and_answer(cable, "10.11.2.7")
        inspector.wait_for(lambda: bool(inspector.findings))
        if mode != "tc":
            [program_id] = cable.programs()
            for link in links_of(program_id):
                force_detach(link)
            inspector.wait_for(lambda: sum("attached again" in line for line in inspector.lines) == 2)
        assert inspector.stop() == 0
    assert cable.programs() == []


def test_another_namespace(cable: Cable, tmp_path: Path) -> None:
    """With --netns the account enters the interfaces' namespace again."""
    from tests.kernel.command import attach

    with attach(tmp_path, [cable.near], "--netns", cable.here, "--mode", "generic") as command:
        assert {THE_ACCOUNT.uid} == identities_of(command.process.pid)[0][0]
        with inside(cable.here), IPRoute() as rtnetlink:
            rtnetlink.link("del", index=cable.device().index)
        command.wait_for(lambda: any("interface deleted" in line for line in command.lines))
        lay(cable)
        command.wait_for(lambda: any("attached again" in line for line in command.lines))


def test_its_files(cable: Cable, tmp_path: Path) -> None:
    """Evidence, findings after a rotation, what is written, a reload and the socket: all of it is the account's."""
    let_in(tmp_path)
    config, findings = tmp_path / "c.toml", tmp_path / "out" / "findings.jsonl"
    config.write_text(f'findings_file = "{findings}"\n')
    written = tmp_path / "written" / "kept.pcapng"
    written.parent.mkdir(mode=0o750)
    os.chown(written.parent, THE_ACCOUNT.uid, THE_ACCOUNT.gid)
    options = ["--config", str(config), "--evidence", str(tmp_path / "proof" / "here")]
    options += ["--write", str(written), "--runtime-directory", str(tmp_path / "run")]
    with inspecting(cable, tmp_path, "--mode", "generic", *options) as inspector:
        inspector.wait_until_attached()
        [running], _ = find_running(tmp_path / "run")
        assert json.loads(running.ask("/status"))
        ask_and_answer(cable, "10.11.2.7")
        inspector.wait_for(lambda: findings.exists() and bool(findings.read_text()))
        findings.rename(findings.with_suffix(".1"))
        config.write_text(config.read_text() + '[[vip]]\naddress = "10.9.0.2"\npool = ["10.11.2.7"]\n')
        inspector.process.send_signal(signal.SIGHUP)
        inspector.wait_for(lambda: any("reloaded; changed: vip" in line for line in inspector.lines))
        ask_and_answer(cable, "10.11.2.7")
        inspector.wait_for(lambda: findings.exists() and "pooled" in findings.read_text())
        inspector.wait_for(lambda: len(list((tmp_path / "proof" / "here").glob("*.pcapng"))) == 1)
        assert not any("may not" in line for line in inspector.lines)
        assert inspector.stop() == 0
    made = [findings, findings.parent, *(tmp_path / "proof" / "here").iterdir(), written]
    assert {path.stat().st_uid for path in made} == {THE_ACCOUNT.uid}
    assert {path.stat().st_mode & 0o007 for path in made} == {0}
    assert list((tmp_path / "run").iterdir()) == []


def test_what_will_not_work_is_said(cable: Cable, tmp_path: Path) -> None:
    """Files of root's which are to be opened again are named in one line; until then all goes on."""
    require_tools(["openssl"])
    certificate = issue(tmp_path, "server", make_issuer(tmp_path, "issuer"))
    certificate.key.chmod(0o600)
    closed, config = tmp_path / "closed", tmp_path / "c.toml"
    closed.mkdir(mode=0o700)
    findings = closed / "findings.jsonl"
    config.write_text(
        f'findings_file = "{findings}"\ntls_certificate = "{certificate.certificate}"\ntls_key = "{certificate.key}"\n'
    )
    config.chmod(0o600)
    written = closed / "kept.pcapng"
    options = ["--config", str(config), "--write", str(written)]
    with inspecting(cable, tmp_path, "--mode", "generic", *options) as inspector:
        inspector.wait_for(lambda: any(" may not: " in line for line in inspector.lines))
        [line] = [line for line in inspector.lines if " may not: " in line]
        for path in (certificate.key, config, findings, written):
            assert str(path) in line
        assert str(certificate.certificate) not in line
        assert "--user root" in line
        ask_and_answer(cable, "10.11.2.7")
        inspector.wait_for(lambda: bool(findings.read_text()) and bool(reread(written)))
        inspector.process.send_signal(signal.SIGHUP)
        inspector.wait_for(lambda: any("previous configuration kept" in line for line in inspector.lines))
        assert inspector.stop() == 0


def test_a_folder_of_evidence_that_is_closed_to_it(cable: Cable, tmp_path: Path) -> None:
    """One line which names the folder, the account and what to do; nothing stays attached."""
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    with inspecting(cable, tmp_path, "--mode", "generic", "--evidence", str(closed)) as inspector:
        assert inspector.process.wait(60) == 1
        line = inspector.lines[-1]
    assert all(part in line for part in (str(closed), f"as user {THE_ACCOUNT.name}", "--user root"))
    assert cable.programs() == []
