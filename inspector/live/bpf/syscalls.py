"""bpf(2), as far as it is needed here: thin, typed, and raising OSError with the kernel's errno.

bcc has no call for links, for test runs or for loading with fragment support, so these go straight to the
system call, with the structures of `inspector.live.bpf.uapi`; fields which stay zero at the end are left out.
"""

from __future__ import annotations

import ctypes
import enum
import os
import platform
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from inspector.live.bpf import uapi

if TYPE_CHECKING:
    import numpy.typing as npt

_SYSCALL_NUMBERS: Final = {"x86_64": 321, "aarch64": 280, "riscv64": 280, "ppc64le": 361, "s390x": 351}
_LIBC: Final = ctypes.CDLL(None, use_errno=True)
LINK_TYPE_TRACING: Final = 2


class Command(enum.IntEnum):
    """enum bpf_cmd."""

    MAP_CREATE = 0
    MAP_LOOKUP_ELEM = 1
    MAP_UPDATE_ELEM = 2
    PROG_LOAD = 5
    PROG_TEST_RUN = 10
    PROG_GET_FD_BY_ID = 13
    OBJ_GET_INFO_BY_FD = 15
    PROG_QUERY = 16
    MAP_LOOKUP_BATCH = 24
    LINK_CREATE = 28
    LINK_GET_FD_BY_ID = 30
    LINK_GET_NEXT_ID = 31


class ProgramType(enum.IntEnum):
    """enum bpf_prog_type."""

    SCHED_CLS = 3
    XDP = 6


class AttachType(enum.IntEnum):
    """enum bpf_attach_type."""

    NONE = 0
    XDP = 37
    TCX_INGRESS = 46
    TCX_EGRESS = 47


class ProgramFlag(enum.IntFlag):
    """BPF_F_* of PROG_LOAD."""

    NONE = 0
    XDP_HAS_FRAGS = 1 << 5


class LinkFlag(enum.IntFlag):
    """XDP_FLAGS_* (linux/if_link.h), and BPF_F_BEFORE of tcx."""

    NONE = 0
    XDP_GENERIC = 1 << 1
    XDP_NATIVE = 1 << 2
    TCX_BEFORE = 1 << 3


def _call(command: Command, attributes: ctypes.Structure) -> int:
    """Make the system call; raise OSError with the kernel's errno."""
    machine = platform.machine()
    if machine not in _SYSCALL_NUMBERS:
        raise OSError(f"bpf(2) is not supported on {machine}")
    result = _LIBC.syscall(_SYSCALL_NUMBERS[machine], int(command), ctypes.byref(attributes), ctypes.sizeof(attributes))
    if result < 0:
        errno = ctypes.get_errno()
        raise OSError(errno, os.strerror(errno))
    return int(result)


@dataclass(frozen=True, slots=True)
class ProgramInfo:
    """What the kernel says of a loaded program; `tag` is the hash of its instructions, in hex."""

    id: int
    name: str
    tag: str


@dataclass(frozen=True, slots=True)
class LinkInfo:
    """What the kernel says of a link: to an interface, whose index is 0 once it is detached from it, or to a program.

    `extended_id` is the program in which it replaces a function, 0 for links of another type.
    """

    id: int
    program_id: int
    interface_index: int
    extended_id: int


@dataclass(frozen=True, slots=True)
class ProgramRun:
    """What a test run returned: the program's value, the packet afterwards, nanoseconds per repetition."""

    retval: int
    data: bytes
    duration_ns: int


class VerifierError(OSError):
    """The verifier refused the program; `log` holds what it said."""

    def __init__(self, errno: int, log: str) -> None:
        super().__init__(errno, os.strerror(errno))
        self.log = log


def map_create_array(value_size: int) -> int:
    """Create an array of one value and return its descriptor: the cheapest question whether BPF may be used."""
    return _call(Command.MAP_CREATE, uapi.MapCreate(map_type=2, key_size=4, value_size=value_size, max_entries=1))


def map_lookup(map_fd: int, key: int, value_size: int) -> bytes:
    """Return the value of a map with u32 keys; per-CPU maps give one value for each possible CPU."""
    key_buffer = ctypes.c_uint32(key)
    value = ctypes.create_string_buffer(value_size)
    _call(
        Command.MAP_LOOKUP_ELEM,
        uapi.MapElement(map_fd=map_fd, key=ctypes.addressof(key_buffer), value=ctypes.addressof(value)),
    )
    return value.raw


def map_update(map_fd: int, key: int, value: bytes) -> None:
    """Write a value of a map with u32 keys."""
    key_buffer = ctypes.c_uint32(key)
    buffer = ctypes.create_string_buffer(value, len(value))
    _call(
        Command.MAP_UPDATE_ELEM,
        uapi.MapElement(map_fd=map_fd, key=ctypes.addressof(key_buffer), value=ctypes.addressof(buffer)),
    )


def map_read(map_fd: int, key: bytes, value_size: int) -> bytes | None:
    """Return the value of a key of any size, None if the map does not have it."""
    keys = ctypes.create_string_buffer(key, len(key))
    value = ctypes.create_string_buffer(value_size)
    element = uapi.MapElement(map_fd=map_fd, key=ctypes.addressof(keys), value=ctypes.addressof(value))
    try:
        _call(Command.MAP_LOOKUP_ELEM, element)
    except FileNotFoundError:
        return None
    return value.raw


def map_write(map_fd: int, key: bytes, value: bytes, flags: int = 0) -> None:
    """Write the value of a key of any size; with BPF_NOEXIST only where there is none (FileExistsError)."""
    keys = ctypes.create_string_buffer(key, len(key))
    values = ctypes.create_string_buffer(value, len(value))
    _call(
        Command.MAP_UPDATE_ELEM,
        uapi.MapElement(map_fd=map_fd, key=ctypes.addressof(keys), value=ctypes.addressof(values), flags=flags),
    )


def map_read_all(
    map_fd: int, key_type: np.dtype[np.void], value_type: np.dtype[np.void], batch: int
) -> tuple[npt.NDArray[np.void], npt.NDArray[np.void]]:
    """Return all keys and values of a hash map, asked for `batch` at a time; what changes meanwhile may be missing."""
    parts: list[tuple[npt.NDArray[np.void], npt.NDArray[np.void]]] = []
    # Where the last batch ended: a number of the kernel's, of the key's size at least.
    position = ctypes.create_string_buffer(max(key_type.itemsize, 8))
    first, ended = True, False
    while not ended:
        keys, values = np.zeros(batch, key_type), np.zeros(batch, value_type)
        request = uapi.MapBatch(
            in_batch=0 if first else ctypes.addressof(position),
            out_batch=ctypes.addressof(position),
            keys=keys.ctypes.data,
            values=values.ctypes.data,
            count=batch,
            map_fd=map_fd,
        )
        try:
            _call(Command.MAP_LOOKUP_BATCH, request)
        except FileNotFoundError:
            ended = True
        parts.append((keys[: request.count], values[: request.count]))
        first = False
    return np.concatenate([keys for keys, _ in parts]), np.concatenate([values for _, values in parts])


def program_load(
    instructions: bytes,
    program_type: ProgramType,
    name: str,
    *,
    attach_type: AttachType = AttachType.NONE,
    flags: ProgramFlag = ProgramFlag.NONE,
    program_license: str = "Dual MIT/GPL",
) -> int:
    """Load instructions (8 bytes each) and return the program's descriptor.

    Raises VerifierError, which carries the verifier's log, when the program is refused, and OSError for all else.
    """
    code = ctypes.create_string_buffer(instructions, len(instructions))
    text = ctypes.create_string_buffer(program_license.encode())
    attributes = uapi.ProgramLoad(
        prog_type=program_type,
        insn_cnt=len(instructions) // 8,
        insns=ctypes.addressof(code),
        license=ctypes.addressof(text),
        prog_flags=flags,
        prog_name=name.encode()[: uapi.NAME_LENGTH - 1],
        expected_attach_type=attach_type,
    )
    try:
        return _call(Command.PROG_LOAD, attributes)
    except OSError as refusal:
        # Writing the log costs time, so the first attempt goes without.
        log = ctypes.create_string_buffer(1 << 24)
        attributes.log_level = 1
        attributes.log_size = len(log)
        attributes.log_buf = ctypes.addressof(log)
        try:
            return _call(Command.PROG_LOAD, attributes)
        except OSError:
            if not log.value:
                raise refusal from None
            raise VerifierError(refusal.errno or 0, log.value.decode(errors="replace")) from None


def run_program(program_fd: int, packet: bytes, *, repeat: int = 1, interface_index: int | None = None) -> ProgramRun:
    """Run a program on a packet without a device.

    `interface_index` (XDP only) must name a device of this network namespace; without it the loopback's is used.
    """
    data_in = ctypes.create_string_buffer(packet, len(packet))
    data_out = ctypes.create_string_buffer(len(packet) + 512)
    attributes = uapi.TestRun(
        prog_fd=program_fd,
        data_size_in=len(packet),
        data_size_out=len(data_out),
        data_in=ctypes.addressof(data_in),
        data_out=ctypes.addressof(data_out),
        repeat=repeat,
    )
    frame = uapi.TestFrame(data_end=len(packet), ingress_ifindex=interface_index or 0)
    if interface_index is not None:
        attributes.ctx_in = ctypes.addressof(frame)
        attributes.ctx_size_in = ctypes.sizeof(frame)
    _call(Command.PROG_TEST_RUN, attributes)
    return ProgramRun(int(attributes.retval), data_out.raw[: attributes.data_size_out], int(attributes.duration))


def program_info(program_fd: int) -> ProgramInfo:
    """Return id, name and tag of a loaded program."""
    info = uapi.ProgramInfo()
    _call(
        Command.OBJ_GET_INFO_BY_FD,
        uapi.ObjectInfo(bpf_fd=program_fd, info_len=ctypes.sizeof(info), info=ctypes.addressof(info)),
    )
    return ProgramInfo(int(info.id), info.name.decode(errors="replace"), bytes(info.tag).hex())


def program_info_by_id(program_id: int) -> ProgramInfo:
    """Return the same by the program's id; the kernel asks for CAP_SYS_ADMIN here, else EPERM."""
    fd = _call(Command.PROG_GET_FD_BY_ID, uapi.ById(id=program_id))
    try:
        return program_info(fd)
    finally:
        os.close(fd)


def link_create(program_fd: int, interface_index: int, attach_type: AttachType, flags: LinkFlag = LinkFlag.NONE) -> int:
    """Attach by an unpinned link and return its descriptor: closing it, or dying, detaches."""
    return _call(
        Command.LINK_CREATE,
        uapi.LinkCreate(prog_fd=program_fd, target_ifindex=interface_index, attach_type=attach_type, flags=flags),
    )


def link_info(link_fd: int) -> LinkInfo:
    """Return what is at the two ends of a link. A link outlives its interface, and being detached by others."""
    info = uapi.LinkInfo()
    _call(
        Command.OBJ_GET_INFO_BY_FD,
        uapi.ObjectInfo(bpf_fd=link_fd, info_len=ctypes.sizeof(info), info=ctypes.addressof(info)),
    )
    if info.type == LINK_TYPE_TRACING:
        return LinkInfo(int(info.id), int(info.prog_id), 0, int(info.target_obj_id))
    return LinkInfo(int(info.id), int(info.prog_id), int(info.ifindex), 0)


def link_ids() -> list[int]:
    """Return the ids of all links on the machine; the kernel asks for CAP_SYS_ADMIN here, else EPERM."""
    found = [0]
    try:
        while True:
            position = uapi.ById(id=found[-1])
            _call(Command.LINK_GET_NEXT_ID, position)
            found.append(int(position.next_id))
    except FileNotFoundError:
        return found[1:]


def link_open(link_id: int) -> int:
    """Return a descriptor of a link by its id, as `link_ids` needs; FileNotFoundError when it has gone."""
    return _call(Command.LINK_GET_FD_BY_ID, uapi.ById(id=link_id))


def query_programs(interface_index: int, attach_type: AttachType) -> list[int]:
    """Return the ids of the programs on a tcx hook, first to run first; OSError EINVAL before Linux 6.6."""
    ids = (ctypes.c_uint32 * 64)()
    attributes = uapi.ProgramQuery(
        target_ifindex=interface_index, attach_type=attach_type, prog_ids=ctypes.addressof(ids), count=len(ids)
    )
    _call(Command.PROG_QUERY, attributes)
    return list(ids[: attributes.count])
