"""Arguments and answers of bpf(2), and numbers of the kernel, are those of the public headers (linux-libc-dev)."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import pytest

from inspector.live.bpf import syscalls, uapi
from inspector.live.rings import ringbuf

if TYPE_CHECKING:
    from pathlib import Path


class Twin(NamedTuple):
    """A structure of the kernel: its type, the path to the fields in it, and fields which have another name there.

    A field whose other name is empty is padding, which the kernel's structure has no name for.
    """

    structure: type[ctypes.Structure]
    type_name: str
    path: str = ""
    names: dict[str, str] = {}  # noqa: RUF012 - never changed


TWINS: Final = (
    Twin(uapi.MapCreate, "union bpf_attr"),
    Twin(uapi.MapElement, "union bpf_attr", names={"reserved": ""}),
    Twin(uapi.MapBatch, "union bpf_attr", "batch."),
    Twin(uapi.ProgramLoad, "union bpf_attr"),
    Twin(uapi.TestRun, "union bpf_attr", "test.", {"reserved": ""}),
    Twin(uapi.ById, "union bpf_attr", names={"id": "prog_id"}),
    Twin(uapi.ObjectInfo, "union bpf_attr", "info."),
    Twin(uapi.ProgramInfo, "struct bpf_prog_info"),
    Twin(uapi.LinkInfo, "struct bpf_link_info", names={"padding": "", "of": "", "ifindex": "xdp.ifindex"}),
    Twin(uapi.LinkCreate, "union bpf_attr", "link_create."),
    Twin(
        uapi.ProgramQuery,
        "union bpf_attr",
        "query.",
        {"target_ifindex": "target_fd", "count": "prog_cnt", "reserved": ""},
    ),
    Twin(uapi.TestFrame, "struct xdp_md"),
)
NESTED: Final[dict[type[ctypes.Structure], dict[str, str]]] = {
    uapi.LinkInfo: {"ifindex": "xdp.ifindex", "target_obj_id": "tracing.target_obj_id"}
}
"""Fields of a structure's unnamed parts, and what these are called in the kernel's."""
NEWER_FIELDS: Final = frozenset({"link_ids", "link_attach_flags", "revision"})
NEWER_CONSTANTS: Final = frozenset({"BPF_TCX_INGRESS", "BPF_TCX_EGRESS", "BPF_F_BEFORE"})
"""Known to headers from Linux 6.6 on."""
CONSTANTS: Final = {
    **{f"BPF_{command.name}": int(command) for command in syscalls.Command},
    **{f"BPF_PROG_TYPE_{kind.name}": int(kind) for kind in syscalls.ProgramType},
    **{f"BPF_{kind.name}": int(kind) for kind in syscalls.AttachType if kind != syscalls.AttachType.NONE},
    "BPF_F_XDP_HAS_FRAGS": int(syscalls.ProgramFlag.XDP_HAS_FRAGS),
    "XDP_FLAGS_SKB_MODE": int(syscalls.LinkFlag.XDP_GENERIC),
    "XDP_FLAGS_DRV_MODE": int(syscalls.LinkFlag.XDP_NATIVE),
    "BPF_F_BEFORE": int(syscalls.LinkFlag.TCX_BEFORE),
    "BPF_LINK_TYPE_TRACING": syscalls.LINK_TYPE_TRACING,
    "BPF_OBJ_NAME_LEN": uapi.NAME_LENGTH,
    "BPF_RINGBUF_HDR_SZ": ringbuf.ENTRY_HEADER,
    "BPF_RINGBUF_BUSY_BIT": ringbuf.BUSY,
    "BPF_RINGBUF_DISCARD_BIT": ringbuf.DISCARD,
}
# Others were renamed: bpf_attr.test has the newest name of the command.
RENAMED: Final = {"BPF_PROG_TEST_RUN": "BPF_PROG_RUN"}


def kernel_name(twin: Twin, field: str) -> str:
    """Return what the kernel calls a field, empty for padding."""
    name = twin.names.get(field, field)
    return f"{twin.path}{name}" if name else ""


def fields(twin: Twin) -> dict[str, tuple[int, int]]:
    """Return offset and size of each field which the kernel has a name for, by that name."""
    found = {}
    for name, kind, *_ in twin.structure._fields_:
        if inner := kernel_name(twin, name):
            found[inner] = (getattr(twin.structure, name).offset, ctypes.sizeof(kind))
    for name, inner in NESTED.get(twin.structure, {}).items():
        descriptor = getattr(twin.structure, name)
        found[inner] = (descriptor.offset, descriptor.size)
    return found


def expected() -> dict[str, tuple[int, int] | int]:
    """Return what Python says of all fields and constants."""
    return {f"{twin.type_name} {name}": place for twin in TWINS for name, place in fields(twin).items()} | CONSTANTS


def compiled(folder: Path, wanted: dict[str, Any]) -> dict[str, tuple[int, int] | int]:
    """Return what the headers say of as many of these as they know."""
    compiler = shutil.which("cc")
    assert compiler is not None, "a C compiler (cc) is needed"
    old: list[str] = []
    new: list[str] = []
    for name, value in wanted.items():
        if isinstance(value, int):
            line = f'printf("{name} %lld\\n", (long long)({RENAMED.get(name, name)}));'
        else:
            whole, field = name.rsplit(" ", 1)
            line = f'printf("{name} %zu %zu\\n", offsetof({whole}, {field}), sizeof((({whole} *)0)->{field}));'
        newer = name in NEWER_CONSTANTS or name.rpartition(".")[2] in NEWER_FIELDS
        (new if newer else old).append(line)
    source = folder / "uapi.c"
    source.write_text(
        "#include <stdio.h>\n#include <stddef.h>\n#include <linux/bpf.h>\n#include <linux/if_link.h>\n"
        "#include <linux/version.h>\nint main(void) {\n"
        + "\n".join([*old, "#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 6, 0)", *new, "#endif"])
        + "\nreturn 0; }\n",
        encoding="ascii",
    )
    subprocess.run([compiler, "-std=gnu11", "-o", str(folder / "uapi"), str(source)], check=True, capture_output=True)
    output = subprocess.run([str(folder / "uapi")], check=True, capture_output=True, text=True).stdout
    found: dict[str, tuple[int, int] | int] = {}
    for line in output.splitlines():
        words = line.split()
        if words[0] in ("struct", "union"):
            found[" ".join(words[:3])] = (int(words[3]), int(words[4]))
        else:
            found[words[0]] = int(words[1])
    return found


def test_headers_and_python_agree(tmp_path: Path) -> None:
    """Each field and constant is where, and what, the headers say, as far as these are new enough."""
    wanted = expected()
    found = compiled(tmp_path, wanted)
    assert found == {name: wanted[name] for name in found}
    missing = {name.rpartition(".")[2] for name in wanted.keys() - found.keys()}
    assert missing in (set(), NEWER_FIELDS | NEWER_CONSTANTS)
    assert len(wanted) > 80


@pytest.mark.parametrize("structure", [twin.structure for twin in TWINS])
def test_every_structure_is_compared(structure: type[ctypes.Structure]) -> None:
    """No structure of the module is left out, and each is compared by several fields."""
    declared = {
        found
        for found in vars(uapi).values()
        if isinstance(found, type) and issubclass(found, ctypes.Structure) and not found.__name__.startswith("_")
    } - {ctypes.Structure}
    assert declared == {twin.structure for twin in TWINS}
    [twin] = [twin for twin in TWINS if twin.structure is structure]
    assert len(fields(twin)) >= 3


def test_drift_is_noticed(tmp_path: Path) -> None:
    """A field that is moved or resized differs, as does another constant."""
    right = compiled(tmp_path, expected())

    class Moved(ctypes.Structure):
        """struct xdp_md with a field less in front."""

        _fields_ = uapi.TestFrame._fields_[1:]

    wrong = fields(Twin(Moved, "struct xdp_md"))
    assert all(right[f"struct xdp_md {name}"] != place for name, place in wrong.items())
    assert right["BPF_RINGBUF_BUSY_BIT"] != ringbuf.DISCARD
