"""What is missing on a machine is named in one line, with what to do about it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from inspector.errors import LiveError, PrivilegeError, ToolchainError
from inspector.live.attach import preflight
from inspector.live.bpf import loader
from inspector.live.bpf.counters import parse_cpu_list
from inspector.live.bpf.options import pack_options
from inspector.live.process.capabilities import missing_capabilities, require_capabilities
from inspector.live.session import open_session
from tests.conftest import NOBODY

if TYPE_CHECKING:
    from collections.abc import Callable

ALL = (1 << 41) - 1
BPF, NET_ADMIN, PERFMON, SYS_ADMIN = 1 << 39, 1 << 12, 1 << 38, 1 << 21


def one_line(error: Exception) -> str:
    """Return an error's text after checking that it is one line."""
    assert "\n" not in str(error)
    return str(error)


def test_another_projects_bcc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """PyPI's package of the name bcc is recognised, and the text says what to install."""
    package = tmp_path / "bcc"
    package.mkdir()
    (package / "__init__.py").write_text("class Lattice: pass\n", encoding="ascii")
    monkeypatch.syspath_prepend(tmp_path)
    for attempt in (loader.load, loader.bcc_version):
        with pytest.raises(ToolchainError) as error:
            attempt()
        text = one_line(error.value)
        assert "is not the BPF Compiler Collection" in text
        assert "python3-bpfcc" in text
        assert str(package) in text
    [check] = [c for c in preflight.run_checks("lo") if c.name == "toolchain"]
    assert check.level == "fail"


def test_no_bcc(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without bcc the text names the package and how a virtual environment comes to see it."""
    monkeypatch.setitem(__import__("sys").modules, "bcc", None)
    with pytest.raises(ToolchainError, match="python3-bpfcc") as error:
        loader.load()
    assert "--system-site-packages" in one_line(error.value)


def test_no_headers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the public kernel headers the text names their package."""
    monkeypatch.setattr(loader, "_PUBLIC_HEADERS", tmp_path)
    with pytest.raises(ToolchainError, match="linux-libc-dev") as error:
        loader.header_folders()
    assert "linux/bpf.h" in one_line(error.value)


def changed_sources(folder: Path, change: Callable[[str], str]) -> Path:
    """Copy the program's sources and change the program."""
    copy = folder / "bpf"
    shutil.copytree(loader.source_folder(), copy)
    program = copy / "epm_inspector.c"
    program.write_text(change(program.read_text(encoding="ascii")), encoding="ascii")
    return copy


def test_a_compiler_that_ends_the_process() -> None:
    """LLVM ends the process at an error that it takes for fatal: its words are quoted, and all of them are a note."""

    def work() -> dict[str, int]:
        os.write(2, b"a warning\nerror: epm_inspector.c:9: in function epm_xdp: the stack limit is exceeded\n")
        os._exit(70)

    with pytest.raises(ToolchainError, match=r"died \(70\): error: .* the stack limit is exceeded") as error:
        loader._in_child(work, 1)
    assert error.value.__notes__[0].startswith("a warning\n")


@pytest.mark.kernel
@pytest.mark.usefixtures("bpf")
def test_program_does_not_compile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A compiler's error is quoted, and its whole output is a note."""
    copy = changed_sources(tmp_path, lambda text: text.replace("return XDP_PASS;", "return XDP_PAST;"))
    monkeypatch.setattr(loader, "source_folder", lambda: copy)
    with pytest.raises(ToolchainError, match="cannot compile") as error:
        loader.load()
    assert "XDP_PAST" in one_line(error.value)
    assert "XDP_PAST" in error.value.__notes__[0]


@pytest.mark.kernel
@pytest.mark.usefixtures("bpf")
def test_verifier_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program which the verifier refuses is an error with the verifier's words as a note; no descriptor leaks."""
    copy = changed_sources(tmp_path, lambda text: text.replace("return XDP_PASS;", "return *context.data;"))
    monkeypatch.setattr(loader, "source_folder", lambda: copy)
    before = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises(LiveError, match="verifier refuses") as error:
        loader.load()
    assert "invalid access to packet" in error.value.__notes__[0]
    assert "\n" not in str(error.value)
    assert len(list(Path("/proc/self/fd").iterdir())) == before


@pytest.mark.parametrize("size", [0, 100, 4097, 3 << 12, -4096])
def test_impossible_ring(size: int) -> None:
    """A ring's size must be a power of two of at least a page."""
    with pytest.raises(LiveError, match="power of two"):
        loader.load(compact_ring_bytes=size)


@pytest.mark.parametrize(
    ("held", "namespace", "missing"),
    [
        (ALL, True, []),
        (BPF | NET_ADMIN | PERFMON, False, []),
        (BPF | NET_ADMIN | PERFMON, True, ["CAP_SYS_ADMIN"]),
        (SYS_ADMIN | NET_ADMIN, True, []),
        (SYS_ADMIN, False, ["CAP_NET_ADMIN"]),
        (BPF | NET_ADMIN, False, ["CAP_PERFMON"]),
        (0, False, ["CAP_BPF", "CAP_NET_ADMIN", "CAP_PERFMON"]),
    ],
)
def test_missing_capabilities(held: int, namespace: bool, missing: list[str]) -> None:
    """Exactly what is missing is named; CAP_SYS_ADMIN stands for CAP_BPF and CAP_PERFMON only."""
    assert missing_capabilities(namespace=namespace, effective=held) == missing


@pytest.mark.usefixtures("root")
def test_without_privileges() -> None:
    """A user without capabilities gets one line which names them, before anything is compiled."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setuid(NOBODY)
            open_session(["lo"])
        except PrivilegeError as error:
            os.write(writer, str(error).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as answer:
        assert answer.read() == "attaching needs CAP_BPF, CAP_NET_ADMIN, CAP_PERFMON: run as root, or grant them"
    os.waitpid(child, 0)
    require_capabilities()


@pytest.mark.parametrize(
    ("release", "level"),
    [
        ("6.18.44-fc", "ok"),
        ("6.1.0-18-amd64", "ok"),
        ("6.0.1", "warn"),
        ("5.18", "warn"),
        ("5.15.0-100-generic", "fail"),
    ],
)
def test_kernel_versions(release: str, level: str) -> None:
    """Kernels are judged by what the program needs and by what is tested."""
    assert preflight._check_kernel(release).level == level


@pytest.mark.parametrize("text", ["[none] integrity confidentiality\n", "none [integrity] confidentiality\n"])
def test_lockdown(tmp_path: Path, text: str) -> None:
    """The state in force is the one in brackets; no lockdown at all is fine as well."""
    path = tmp_path / "lockdown"
    assert preflight._check_lockdown(path).level == "ok"
    path.write_text(text, encoding="ascii")
    check = preflight._check_lockdown(path)
    assert check.text.startswith("off" if "[none]" in text else "integrity")


@pytest.mark.parametrize(("text", "count"), [("0\n", 1), ("0-3\n", 4), ("0-3,8,10-11\n", 7)])
def test_cpu_lists(text: str, count: int) -> None:
    """The kernel's lists of CPUs are ranges and single numbers."""
    assert parse_cpu_list(text) == count


@pytest.mark.parametrize("port", [0, -1, 65536])
def test_ports(port: int) -> None:
    """What is no port is refused."""
    with pytest.raises(LiveError, match="is no port"):
        pack_options([], [135, port])
