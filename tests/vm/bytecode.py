"""What bcc compiled, kept: the same sources with the same options are compiled once in a machine.

Compiling takes 0.5 s outside and 7 s in an emulated machine, loading what was compiled 0.2 s and 1 s. Tests load the
program more than a hundred times, and what a kernel is tested for is the loading: so the instructions are kept, and for
each test maps are made, and the program is verified and loaded. Processes which tests start compile by themselves.

The stand-in takes the place of bcc's Python module, and offers of it what `inspector.live.bpf.loader` uses.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import struct
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final

from inspector.live.bpf import syscalls, uapi

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

# linux/bpf.h: a double-width load, and what says that it loads a map by its descriptor.
_INSTRUCTION: Final = struct.Struct("=BBhi")
_LOAD_64, _MAP_BY_FD = 0x18, 1


class _MapAttributes(ctypes.Structure):
    """How a map is made: what BPF_MAP_CREATE takes first."""

    _fields_ = [(name, ctypes.c_uint32) for name in ("type", "key_size", "value_size", "max_entries", "flags")]


class _MapInfo(ctypes.Structure):
    """The beginning of struct bpf_map_info."""

    _fields_ = [(name, ctypes.c_uint32) for name in ("type", "id", "key_size", "value_size", "max_entries", "flags")]


def relocate(instructions: bytes, descriptors: dict[int, int]) -> bytes:
    """Return a program with its maps' descriptors replaced."""
    changed = bytearray(instructions)
    for at in range(0, len(changed), _INSTRUCTION.size):
        code, registers, offset, value = _INSTRUCTION.unpack_from(changed, at)
        if code == _LOAD_64 and registers >> 4 == _MAP_BY_FD:
            _INSTRUCTION.pack_into(changed, at, code, registers, offset, descriptors[value])
    return bytes(changed)


def _names(library: Any, module: Any, what: str) -> list[bytes]:
    """Return the names of a compiled module's functions or tables."""
    count, name = getattr(library, f"bpf_num_{what}s"), getattr(library, f"bpf_{what}_name")
    count.restype, count.argtypes = ctypes.c_size_t, [ctypes.c_void_p]
    name.restype, name.argtypes = ctypes.c_char_p, [ctypes.c_void_p, ctypes.c_size_t]
    return [name(module, number) for number in range(count(module))]


def _describe_map(fd: int) -> dict[str, int]:
    info = _MapInfo()
    question = uapi.ObjectInfo(bpf_fd=fd, info_len=ctypes.sizeof(info), info=ctypes.addressof(info))
    syscalls._call(syscalls.Command.OBJ_GET_INFO_BY_FD, question)
    return {name: getattr(info, name) for name, *_ in _MapAttributes._fields_}


def describe(library: Any, compiled: Any) -> dict[str, Any]:
    """Return what is kept of a compiled program: its functions' instructions, its maps by name and descriptor."""
    functions = {name.decode(): compiled.dump_func(name).hex() for name in _names(library, compiled.module, "function")}
    maps = []
    for name in _names(library, compiled.module, "table"):
        fd = library.bpf_table_fd(compiled.module, name)
        maps.append({"name": name.decode(), "fd": fd, "attributes": _describe_map(fd)})
    return {"functions": functions, "maps": maps}


class _Program:
    """A compiled program with maps of its own, in the place of a `bcc.BPF`."""

    def __init__(self, kept: dict[str, Any]) -> None:
        self.module = self
        self.descriptors: dict[bytes, int] = {}
        self._functions = kept["functions"]
        self._replaced: dict[int, int] = {}
        for one in kept["maps"]:
            fd = syscalls._call(syscalls.Command.MAP_CREATE, _MapAttributes(**one["attributes"]))
            self.descriptors[one["name"].encode()] = self._replaced[one["fd"]] = fd

    def dump_func(self, name: bytes) -> bytes:
        """Return a function's instructions."""
        return relocate(bytes.fromhex(self._functions[name.decode()]), self._replaced)


class Compiler:
    """Stands for bcc: compiles what it has not compiled yet, and keeps it in `folder`."""

    def __init__(self, import_bcc: Callable[[], Any], folder: Path) -> None:
        self._import_bcc = import_bcc
        self._folder = folder

    def module(self) -> SimpleNamespace:
        """Return what stands for bcc's Python module."""
        library = SimpleNamespace(bpf_table_fd=lambda program, name: program.descriptors[name])
        return SimpleNamespace(BPF=self._compile, libbcc=SimpleNamespace(lib=library), __version__="kept")

    def _compile(self, *, text: bytes, cflags: Sequence[str]) -> _Program:
        # All sources but the C library's headers.
        made_of = [*cflags, text.decode()]
        kept = self._folder / f"{hashlib.sha256(json.dumps(made_of).encode()).hexdigest()}.json"
        if not kept.exists():
            bcc = self._import_bcc()
            compiled = bcc.BPF(text=text, cflags=cflags)
            kept.write_text(json.dumps(describe(bcc.libbcc.lib, compiled)), encoding="ascii")
        return _Program(json.loads(kept.read_text(encoding="ascii")))
