"""Compile the kernel program with bcc and load it, in a child process that takes the compiler's memory with it.

The child imports bcc, compiles, loads, and hands the descriptors of programs and maps back over a socket pair;
what went wrong comes back as text. Programs are loaded by bpf(2) itself: bcc cannot ask for fragment support,
without which no native XDP attaches to a device of more than about 3,500 bytes MTU.
"""

from __future__ import annotations

import json
import logging
import os
import platform
import re
import signal
import socket
import sysconfig
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final, NamedTuple, NoReturn

from inspector.errors import LiveError, PrivilegeError, ToolchainError
from inspector.live.bpf import syscalls
from inspector.live.bpf.counters import possible_cpus
from inspector.record import COMPACT_ENTRY_DTYPE

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import ModuleType

_LOG: Final = logging.getLogger(__name__)

MAP_NAMES: Final = ("epm_options", "epm_clock", "epm_counters", "epm_compact", "epm_bulk")
LANES_MAP: Final = "epm_lanes"
FOLLOW_UP_MAPS: Final = ("epm_servers", "epm_endpoints", "epm_acknowledged")
XDP_PROGRAM: Final = "epm_xdp"
TC_PROGRAM: Final = "epm_tc"
XDP_BARE_PROGRAM: Final = "epm_xdp_bare"
"""Of devices whose packets begin with the IP header."""
TC_BARE_PROGRAM: Final = "epm_tc_bare"
PROGRAMS: Final = (XDP_PROGRAM, TC_PROGRAM, XDP_BARE_PROGRAM, TC_BARE_PROGRAM)

ORDERED_MACHINES: Final = frozenset({"x86_64", "AMD64"})
"""Processors which show each other their stores in the order in which they were made."""

_INCLUDE: Final = re.compile(r'#include "(.+)"')
_PUBLIC_HEADERS: Final = Path("/usr/include")
_COMPILE_TIMEOUT_S: Final = 120
_MESSAGE_BYTES: Final = 1 << 16
_TEXT_CHARACTERS: Final = 2000
# The verifier's log is as long as the kernel is given room for (kernel.program_load).
_DETAIL_BYTES: Final = 1 << 24
_ERRORS: Final = {error.__name__: error for error in (LiveError, PrivilegeError, ToolchainError)}
_INSTALL: Final = "install the distribution's package (Debian, Ubuntu: python3-bpfcc)"


class Wanted(NamedTuple):
    """How the programs are to be compiled; sizes in bytes."""

    compact_bytes: int
    bulk_bytes: int
    tunnels: bool
    follow_up: bool
    lanes: int


@dataclass(frozen=True, slots=True)
class Program:
    """Descriptors of the loaded programs and of their maps, by name, and what the rings were made with.

    The compact ring has `lanes` lanes of `compact_ring_bytes` each; with 0 it is a BPF ring buffer of that size.
    """

    programs: dict[str, int]
    maps: dict[str, int]
    compact_ring_bytes: int
    bulk_ring_bytes: int
    lanes: int
    follow_up: bool = False
    _closed: list[bool] = field(default_factory=list)

    def close(self) -> None:
        """Give the descriptors back; what is attached and what is mapped stays alive by itself."""
        if not self._closed:
            self._closed.append(True)
            for fd in (*self.programs.values(), *self.maps.values()):
                os.close(fd)


def source_folder() -> Path:
    """Return where epm_inspector.c lies: inside an installed package, else beside it in the source tree."""
    package = Path(__file__).resolve().parents[2]
    for folder in (package / "_bpf", package.parent / "bpf"):
        if (folder / "epm_inspector.c").is_file():
            return folder
    raise ToolchainError("the kernel program's sources (bpf/epm_inspector.c) are missing from this installation")


def import_bcc() -> ModuleType:
    """Import the BPF Compiler Collection; raise ToolchainError when it is missing or is another project's package."""
    try:
        import bcc
    except (ImportError, OSError) as error:
        raise ToolchainError(
            f"the BPF Compiler Collection's Python module cannot be imported ({error}): {_INSTALL}; "
            "a virtual environment sees it if made by /usr/bin/python3 -m venv --system-site-packages"
        ) from error
    if not hasattr(bcc, "BPF"):
        raise ToolchainError(
            f"the Python package 'bcc' in {Path(bcc.__file__ or '?').parent} is not the BPF Compiler Collection: "
            f"PyPI's package of that name is another project. Remove it (pip uninstall bcc) and {_INSTALL}"
        )
    return bcc  # type: ignore[no-any-return]


def header_folders() -> list[Path]:
    """Return the folders of the C library's kernel headers; raise ToolchainError when they are not installed."""
    public = _PUBLIC_HEADERS
    folders = [public]
    multiarch = sysconfig.get_config_var("MULTIARCH")
    if multiarch and (public / multiarch).is_dir():
        folders.append(public / multiarch)
    for header in ("linux/bpf.h", "linux/types.h", "asm/types.h"):
        if not any((folder / header).is_file() for folder in folders):
            raise ToolchainError(
                f"the header {header} is missing: install the C library's kernel headers "
                "(Debian, Ubuntu: linux-libc-dev; Fedora: kernel-headers)"
            )
    return folders


def load(
    names: Sequence[str] = (XDP_PROGRAM, TC_PROGRAM),
    *,
    compact_ring_bytes: int = 1 << 24,
    bulk_ring_bytes: int = 1 << 24,
    tunnels: bool = False,
    follow_up: bool = False,
    lanes: bool | None = None,
) -> Program:
    """Compile and load the named programs; sizes of the rings in bytes, powers of two, a page at least.

    `tunnels` makes programs which look into tunnels, `follow_up` programs which record what clients do with answers;
    without these they are no slower for being able to. `lanes` gives
    each processor a compact ring of its own, of the size said; not said, they have one if the machine allows it.

    Raises ToolchainError when bcc or headers are missing or the program does not compile, PrivilegeError when
    the kernel does not allow it, LiveError when the verifier refuses the program.
    """
    page = os.sysconf("SC_PAGE_SIZE")
    for size in (compact_ring_bytes, bulk_ring_bytes):
        if size < page or size & (size - 1):
            raise LiveError(f"invalid ring size {size}: it must be a power of two and at least {page} bytes")

    wanted = Wanted(compact_ring_bytes, bulk_ring_bytes, tunnels, follow_up, lane_count(lanes=lanes))
    map_names = [*MAP_NAMES, *([LANES_MAP] if wanted.lanes else []), *(FOLLOW_UP_MAPS if follow_up else ())]
    began = time.monotonic()
    descriptors = _in_child(lambda: _compile_and_load(names, map_names, wanted), len(names) + len(map_names))
    _LOG.debug("compiled and loaded %s in %.1f s", ", ".join(names), time.monotonic() - began)
    return Program(
        {name: descriptors[name] for name in names},
        {name: descriptors[name] for name in map_names},
        compact_ring_bytes,
        bulk_ring_bytes,
        wanted.lanes,
        follow_up,
    )


def lane_count(*, lanes: bool | None = None) -> int:
    """Return how many lanes the compact ring has: one for each possible processor, 0 where it has none."""
    return possible_cpus() if (platform.machine() in ORDERED_MACHINES if lanes is None else lanes) else 0


def is_preempt_rt(version: str) -> bool:
    """Say whether a kernel of this version (`uname -v`) is built with PREEMPT_RT."""
    return "PREEMPT_RT" in version.split()


def _in_child(work: Callable[[], dict[str, int]], most: int) -> dict[str, int]:
    """Run `work` in a child process; return what it returned, with this process's own numbers for its descriptors.

    `most` is how many descriptors there can be. An error of the child is raised here; the compiler's or
    verifier's own words are a note on it.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    # In memory: there may be no disk to write to. Made here, so that the words of a child that died are not lost.
    complaints = os.fdopen(os.memfd_create("complaints", os.MFD_CLOEXEC), "w+b")
    with ours, theirs, complaints:
        child = os.fork()
        if child == 0:
            _run_child(theirs, complaints, work)
        theirs.close()
        message, fds = _receive(ours, child, most)
        complaints.seek(0)
        detail = complaints.read(_DETAIL_BYTES).decode(errors="replace").strip()
    if isinstance(message, int):
        message = {"error": "ToolchainError", "text": f"the compiler process died ({message}){_first_error(detail)}"}
    if "error" in message:
        error = _ERRORS.get(message["error"], LiveError)(message["text"])
        if detail:
            error.add_note(detail)
        raise error
    return dict(zip(message["names"], fds, strict=True))


def _first_error(complaints: str) -> str:
    """Return the first line that says "error", which LLVM writes before it ends the process; empty without one."""
    found = next((line for line in complaints.splitlines() if "error:" in line.lower()), "")
    return f": {found.strip()[:_TEXT_CHARACTERS]}" if found else ""


def _receive(channel: socket.socket, child: int, most: int) -> tuple[dict[str, Any] | int, list[int]]:
    """Return the child's one message, or its exit status where it died without one, and its descriptors.

    The child is gone afterwards in every case.
    """
    channel.settimeout(_COMPILE_TIMEOUT_S)
    try:
        payload, fds, _, _ = socket.recv_fds(channel, _MESSAGE_BYTES, most)
    except TimeoutError as error:
        raise ToolchainError(f"compiling the kernel program took more than {_COMPILE_TIMEOUT_S} s") from error
    finally:
        # Harmless if it has ended: the child is not reaped yet, so the number is still its own.
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
    return json.loads(payload) if payload else os.waitstatus_to_exitcode(status), fds


def _run_child(channel: socket.socket, complaints: BinaryIO, work: Callable[[], dict[str, int]]) -> NoReturn:
    """Do the work and send the result; never return, never run the parent's clean-up.

    `complaints` receives what is written to standard error, or what the error that is sent has to say instead.
    """
    try:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.dup2(complaints.fileno(), 2)
        try:
            descriptors = work()
            message: dict[str, Any] = {"names": list(descriptors)}
        except Exception as error:  # noqa: BLE001 - whatever it is, the parent says it
            complaints.seek(0)
            message, detail = _explain(error, complaints.read(_DETAIL_BYTES).decode(errors="replace"))
            complaints.seek(0)
            complaints.truncate()
            complaints.write(detail.encode(errors="replace")[-_DETAIL_BYTES:])
            complaints.flush()
            descriptors = {}
        socket.send_fds(channel, [json.dumps(message).encode()], list(descriptors.values()))
        # The parent ends this process once it has what it wants: dismantling the compiler takes time.
        channel.recv(1)
    finally:
        os._exit(1)


def _explain(error: Exception, complaints: str) -> tuple[dict[str, Any], str]:
    """Return the message for an error (its class, one line), and all words of the compiler or the verifier."""
    if isinstance(error, LiveError):
        kind, text, detail = type(error).__name__, str(error), ""
    elif isinstance(error, syscalls.VerifierError):
        kind, text, detail = "LiveError", "the kernel's verifier refuses the program", error.log
    elif isinstance(error, PermissionError) or "Operation not permitted" in complaints:
        kind, detail = "PrivilegeError", complaints
        text = (
            "the kernel does not allow bpf(2) although the capabilities are held; check container and lockdown settings"
        )
    elif isinstance(error, OSError):
        kind, text, detail = "LiveError", f"the kernel refuses the program: {error.strerror or error}", complaints
    else:
        wrong = [line for line in complaints.splitlines() if "error:" in line]
        kind, detail = "ToolchainError", complaints
        text = f"bcc cannot compile the kernel program: {(wrong or [str(error)])[0].strip()}"
    return {"error": kind, "text": text[:_TEXT_CHARACTERS]}, detail


def _compile_and_load(names: Sequence[str], map_names: Sequence[str], wanted: Wanted) -> dict[str, int]:
    """Return the descriptors of programs and maps by name. Runs in the child."""
    bcc = import_bcc()
    module = _compile(bcc, names, wanted)
    maps = {name: int(bcc.libbcc.lib.bpf_table_fd(module.module, name.encode())) for name in map_names}
    programs = {name: _load_one(module.dump_func(name.encode()), name) for name in names}
    return programs | maps


def _compile(bcc: ModuleType, names: Sequence[str], wanted: Wanted) -> Any:
    """Return bcc's module of the compiled program, with its maps created."""
    folder = source_folder()
    page = os.sysconf("SC_PAGE_SIZE")
    entries = wanted.compact_bytes // COMPACT_ENTRY_DTYPE.itemsize
    flags = [f"-I{folder}"]
    for headers in header_folders():
        flags += ["-isystem", str(headers)]
    flags += [
        # The stand-in headers replace a configured kernel tree, so what it would define is said here.
        "-DCONFIG_BPF_SYSCALL=1",
        "-DCONFIG_64BIT",
        f"-DPAGE_SIZE={page}",
        f"-DEPM_COMPACT_PAGES={wanted.compact_bytes // page}",
        f"-DEPM_BULK_PAGES={wanted.bulk_bytes // page}",
        # What is not wanted is not compiled: half the time goes by program.
        *(f"-D{name.upper().replace('EPM_', 'EPM_WITH_')}={int(name in names)}" for name in PROGRAMS),
        f"-DEPM_TUNNELS={int(wanted.tunnels)}",
        f"-DEPM_FOLLOW_UP={int(wanted.follow_up)}",
        f"-DEPM_LANES={int(wanted.lanes > 0)}",
        f"-DEPM_PREEMPT_RT={int(is_preempt_rt(platform.version()))}",
        f"-DEPM_CPUS={wanted.lanes}",
        f"-DEPM_LANE_ENTRIES={entries}",
        f"-DEPM_COMPACT_ENTRIES={wanted.lanes * entries}",
    ]
    os.environ["BCC_KERNEL_SOURCE"] = str(folder)
    return bcc.BPF(text=source_text(folder / "epm_inspector.c").encode(), cflags=flags)


def source_text(path: Path) -> str:
    """Return a source with the project's own headers in it: bcc understands map accesses in one file only."""
    lines = [f'#line 1 "{path.name}"']
    for number, line in enumerate(path.read_text(encoding="ascii").splitlines(), 1):
        included = _INCLUDE.fullmatch(line)
        if included is None:
            lines.append(line)
        else:
            lines += [source_text(path.parent / included[1]), f'#line {number + 1} "{path.name}"']
    return "\n".join(lines)


def _load_one(instructions: bytes, name: str) -> int:
    """Load one program, which bcc has compiled and given its maps' descriptors."""
    if name in (TC_PROGRAM, TC_BARE_PROGRAM):
        return syscalls.program_load(instructions, syscalls.ProgramType.SCHED_CLS, name)
    return syscalls.program_load(
        instructions,
        syscalls.ProgramType.XDP,
        name,
        attach_type=syscalls.AttachType.XDP,
        flags=syscalls.ProgramFlag.XDP_HAS_FRAGS,
    )


def bcc_version() -> str:
    """Return the version of the BPF Compiler Collection; found out in a child, so that it is not kept in memory."""

    def work() -> dict[str, int]:
        return {str(import_bcc().__version__): os.open(os.devnull, os.O_RDONLY)}

    versions = _in_child(work, 1)
    for fd in versions.values():
        os.close(fd)
    return next(iter(versions))
