"""The record's C header and its Python twin say the same: names, offsets, sizes, types, constants."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from inspector import record
from inspector.model import Segment, Tunnel, TunnelKind
from inspector.record import (
    COMPACT_DTYPE,
    COMPACT_ENTRY_DTYPE,
    HEADER_DTYPE,
    LANE_DTYPE,
    OPTIONS_DTYPE,
    TUNNEL_DTYPE,
    Attribute,
    KernelCounter,
    pack_record,
    unpack_record,
)

HEADER = Path(__file__).parents[2] / "bpf" / "epm_record.h"
STRUCTURES = {
    "epm_record": HEADER_DTYPE,
    "epm_tunnel": TUNNEL_DTYPE,
    "epm_compact_record": COMPACT_DTYPE,
    "epm_compact_entry": COMPACT_ENTRY_DTYPE,
    "epm_lane": LANE_DTYPE,
    "epm_options": OPTIONS_DTYPE,
    "epm_icmp_error": record.ICMP_ERROR_DTYPE,
    "epm_server": record.SERVER_DTYPE,
    "epm_endpoint": record.ENDPOINT_DTYPE,
    "epm_noted": record.NOTED_DTYPE,
    "epm_flow": record.FLOW_DTYPE,
    "epm_acknowledged": record.ACKNOWLEDGED_DTYPE,
    "epm_budget": np.dtype([("span", "u8"), ("used", "u8")]),
    "epm_counters": np.dtype([("value", "u8", (len(KernelCounter),))]),
}
CONSTANTS = {
    "EPM_COMPACT_PAYLOAD": record.COMPACT_PAYLOAD,
    "EPM_BULK_SMALL_PAYLOAD": record.BULK_SMALL_PAYLOAD,
    "EPM_BULK_MEDIUM_PAYLOAD": record.BULK_MEDIUM_PAYLOAD,
    "EPM_BULK_LARGE_PAYLOAD": record.BULK_LARGE_PAYLOAD,
    "EPM_INTERFACES": record.INTERFACES,
    "EPM_INTERFACE_BITS": record.INTERFACE_BITS,
    "EPM_PORT_WORDS": record.PORT_WORDS,
    "EPM_PORT_SERVED": record.PORT_SERVED,
    "EPM_PORT_ENDPOINT": record.PORT_ENDPOINT,
    "EPM_SERVERS": record.SERVERS,
    "EPM_ENDPOINTS": record.ENDPOINTS,
    "EPM_FLOWS": record.FLOWS,
    "EPM_LOWEST_ENDPOINT": record.LOWEST_ENDPOINT,
    "EPM_ICMP_BUDGET": record.ICMP_BUDGET,
    "EPM_TUNNEL_DEPTH": record.TUNNEL_DEPTH,
    "EPM_TUNNEL_REACH": record.TUNNEL_REACH,
    "EPM_DISCARDED": record.DISCARDED,
    "EPM_LANE_MARGIN": record.LANE_MARGIN,
    **{f"EPM_TUNNEL_{member.name}": int(member) for member in TunnelKind},
    **{f"EPM_{member.name}": int(member) for member in Attribute},
    **{f"EPM_{member.name}": int(member) for member in KernelCounter},
    "EPM_COUNTERS": len(KernelCounter),
}
# The program prints a field's element type by what the compiler takes it for.
TYPE_OF = """
#define TYPE(x) _Generic((x), __u8: "u1", __u16: "u2", __u32: "u4", __u64: "u8", \\
    __s8: "i1", __s16: "i2", __s32: "i4", __s64: "i8", \\
    __u8 *: "u1", __u16 *: "u2", __u32 *: "u4", __u64 *: "u8", __s8 *: "i1", __s32 *: "i4", __s64 *: "i8", \\
    struct epm_record: "epm_record", struct epm_compact_record: "epm_compact_record", default: "?")
"""


def declared_fields(source: str) -> dict[str, list[str]]:
    """Return the names of the fields of every structure, in the order in which the header declares them."""
    bare = re.sub(r"/\*.*?\*/", "", source, flags=re.DOTALL)
    structures = re.findall(r"struct (\w+) \{(.*?)\};", bare, flags=re.DOTALL)
    return {name: re.findall(r"(\w+)(?:\[[^\]]+\])?;", body) for name, body in structures}


def declared_constants(source: str) -> list[str]:
    """Return the names of all constants: macros with a value, and members of enumerations."""
    bare = re.sub(r"/\*.*?\*/", "", source, flags=re.DOTALL)
    members = [
        name
        for body in re.findall(r"enum \w+ \{(.*?)\};", bare, flags=re.DOTALL)
        for name in re.findall(r"\b([A-Z]\w+)", body)
    ]
    return re.findall(r"#define (\w+) +\S", bare) + members


def compiled(source: str) -> dict[str, Any]:
    """Compile the header and return what the C compiler makes of it."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.fail("a C compiler (cc) is needed: the header cannot be checked without one")
    lines = []
    for name, fields in declared_fields(source).items():
        lines.append(f'printf("s {name} %zu\\n", sizeof(struct {name}));')
        lines += [
            f'printf("f {name} {field} %zu %zu %s\\n", offsetof(struct {name}, {field}), '
            f"sizeof(((struct {name} *)0)->{field}), TYPE(((struct {name} *)0)->{field}));"
            for field in fields
        ]
    lines += [f'printf("c {name} %lld\\n", (long long)({name}));' for name in declared_constants(source)]
    program = (
        "#include <stdio.h>\n#include <stddef.h>\n#include <linux/types.h>\n"
        f"{source}\n{TYPE_OF}\nint main(void) {{\n" + "\n".join(lines) + "\nreturn 0; }\n"
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "layout.c"
        path.write_text(program, encoding="ascii")
        subprocess.run(
            [compiler, "-std=gnu11", "-Wno-unused", "-o", f"{folder}/layout", str(path)],
            check=True,
            capture_output=True,
        )
        output = subprocess.run([f"{folder}/layout"], check=True, capture_output=True, text=True).stdout
    return parse(output)


def parse(output: str) -> dict[str, Any]:
    """Return {structure: (size, [(field, offset, size, type)])} and {constant: value} of the program's lines."""
    layout: dict[str, Any] = {}
    for line in output.splitlines():
        kind, name, *rest = line.split()
        if kind == "s":
            layout[f"struct {name}"] = (int(rest[0]), [])
        elif kind == "f":
            fields = layout[f"struct {name}"]
            fields[1].append((rest[0], int(rest[1]), int(rest[2]), rest[3]))
        else:
            layout[name] = int(rest[0])
    return layout


def expected() -> dict[str, Any]:
    """Return the same of the Python side."""
    layout: dict[str, Any] = {}
    for name, dtype in STRUCTURES.items():
        fields = []
        assert dtype.fields is not None
        for field, (kind, offset, *_) in dtype.fields.items():
            element = kind.base
            nested = {HEADER_DTYPE: "epm_record", COMPACT_DTYPE: "epm_compact_record"}
            letters = nested.get(element, f"{element.kind}{element.itemsize}")
            fields.append((field, offset, kind.itemsize, letters))
        layout[f"struct {name}"] = (dtype.itemsize, fields)
    return layout | CONSTANTS


def without_gaps(layout: dict[str, Any]) -> bool:
    """Say whether every structure's fields follow each other and fill it."""
    for key, value in layout.items():
        if not key.startswith("struct"):
            continue
        size, fields = value
        at = 0
        for _, offset, length, _ in fields:
            if offset != at:
                return False
            at = offset + length
        if at != size:
            return False
    return True


def test_header_and_python_agree() -> None:
    """Each structure, field and constant of one side is on the other side, the same."""
    layout = compiled(HEADER.read_text(encoding="ascii"))
    assert json.loads(json.dumps(layout)) == json.loads(json.dumps(expected()))
    assert without_gaps(layout)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("__u16 source_port;", "__u16 destination_port_;"),
        (
            "__u32 sequence;                /* of the first payload byte; of SYN in a SYN */\n\t__u32 acknowledgment;",
            "__u32 acknowledgment;\n\t__u32 sequence;",
        ),
        ("__u32 sequence;", "__s32 sequence;"),
        ("__u16 captured_length;", "__u32 captured_length;"),
        ("__u8 attributes;", "__u8 attributes; __u8 more;"),
        ("__u8 tcp_flags;", "__u16 tcp_flags;"),
        ("EPM_IPV6 = 2", "EPM_IPV6 = 8"),
        ("EPM_FIRST_FRAGMENT = 4,", "EPM_FIRST_FRAGMENT = 4, EPM_MORE = 32,"),
        ("EPM_TUNNELLED = 16", "EPM_TUNNELLED = 32"),
        ("EPM_TUNNEL_GRE = 5", "EPM_TUNNEL_GRE = 9"),
        ("EPM_TUNNEL_IPIP = 1,", "EPM_TUNNEL_IPIP = 1, EPM_TUNNEL_OTHER = 9,"),
        ("#define EPM_TUNNEL_DEPTH 2", "#define EPM_TUNNEL_DEPTH 3"),
        ("#define EPM_TUNNEL_REACH 12288", "#define EPM_TUNNEL_REACH 4096"),
        ("__u8 kind;                     /* enum epm_tunnel_kind */\n\t__u8 depth;", "__u8 depth;\n\t__u8 kind;"),
        ("__u8 kind;", "__s8 kind;"),
        ("__u8 padding[6];", "__u8 padding[5];"),
        ("EPM_LOST_COPY,", "EPM_LOST_COPY, EPM_LOST_OTHER,"),
        (
            "EPM_PACKETS_TO_SERVER,    /* packets to a port of the endpoint mapper */\n\tEPM_PACKETS_FROM_SERVER,",
            "EPM_PACKETS_FROM_SERVER,\n\tEPM_PACKETS_TO_SERVER,",
        ),
        ("#define EPM_BULK_SMALL_PAYLOAD 1472", "#define EPM_BULK_SMALL_PAYLOAD 1480"),
        ("#define EPM_INTERFACES 16", "#define EPM_INTERFACES 8"),
        ("#define EPM_PORT_WORDS 2048", "#define EPM_PORT_WORDS 2048\n#define EPM_DEPTH 2"),
        ("__u64 value[EPM_COUNTERS];", "__u32 value[EPM_COUNTERS];"),
        ("__u32 mark;\n\t__u32 padding;", "__u32 padding;\n\t__u32 mark;"),
        ("#define EPM_DISCARDED 0x40000000", "#define EPM_DISCARDED 0x80000000"),
        ("__u64 consumed;\n\t__u64 waiting;", "__u64 waiting;\n\t__u64 consumed;"),
        ("__u64 padding[7];", "__u64 padding[3];"),
        ("__u8 hop_limit;", "__s8 hop_limit;"),
        ("__u8 padding[7];", "__u8 padding[7]; __u64 more;"),
    ],
)
def test_drift_is_noticed(old: str, new: str) -> None:
    """A header which says anything else differs from the Python side, or does not compile."""
    source = HEADER.read_text(encoding="ascii")
    assert old in source
    try:
        layout = compiled(re.sub(r"_Static_assert\(.*\);", "", source.replace(old, new, 1)))
    except subprocess.CalledProcessError as error:
        pytest.fail(f"the changed header must compile, to be compared: {error.stderr.decode()}")
    assert json.loads(json.dumps(layout)) != json.loads(json.dumps(expected()))


def test_static_assertions_hold_the_size() -> None:
    """The header itself refuses another size of the record."""
    source = HEADER.read_text(encoding="ascii").replace("__u32 interface_index; ", "__u64 interface_index; ")
    with pytest.raises(subprocess.CalledProcessError):
        compiled(source)


def test_a_gap_is_noticed() -> None:
    """A field which the compiler moves for alignment leaves a gap, and that is seen."""
    source = HEADER.read_text(encoding="ascii").replace("__u8 tcp_flags;", "", 1)
    assert not without_gaps(compiled(re.sub(r"_Static_assert\(.*\);", "", source)))


def test_pack_and_unpack() -> None:
    """A segment becomes record bytes and comes back; a ring's padding is ignored."""
    segment = Segment(
        1_700_000_000_123_456_789,
        bytes(range(16)),
        bytes(range(16, 32)),
        1,
        2,
        135,
        33654,
        9,
        0x18,
        3,
        4,
        b"payload",
        None,
        63,
    )
    packed = pack_record(segment)
    assert len(packed) == HEADER_DTYPE.itemsize + 7
    assert unpack_record(packed) == segment
    assert unpack_record(memoryview(packed + b"padding")) == segment
    header = np.frombuffer(packed, HEADER_DTYPE, count=1)[0]
    assert (header["time_ns"], header["captured_length"], header["interface_index"]) == (segment.time_ns, 7, 4)


def test_pack_and_unpack_with_a_tunnel() -> None:
    """The tunnel stands between header and payload, its padding zero; the captured length is the payload's alone."""
    tunnel = Tunnel(TunnelKind.GENEVE, bytes(range(100, 116)), bytes(range(116, 132)), 2)
    segment = Segment(7, bytes(range(16)), bytes(range(16, 32)), 1, 2, 135, 33654, 9, 0x18, 16, 4, b"payload", tunnel)
    packed = pack_record(segment)
    assert len(packed) == HEADER_DTYPE.itemsize + TUNNEL_DTYPE.itemsize + 7
    assert unpack_record(packed) == unpack_record(memoryview(packed + b"padding")) == segment
    assert packed.endswith(bytes(range(100, 132)) + b"\x07\x02" + bytes(6) + b"payload")
    assert np.frombuffer(packed, HEADER_DTYPE, count=1)[0]["captured_length"] == 7


def test_an_unknown_kind_of_tunnel_is_a_defect() -> None:
    """Records are made by the kernel program, so nothing is guessed."""
    tunnel = Tunnel(TunnelKind.GRE, bytes(16), bytes(16))
    packed = bytearray(pack_record(Segment(7, bytes(16), bytes(16), 1, 2, 3, 4, 1, 0, 16, 4, b"x", tunnel)))
    packed[HEADER_DTYPE.itemsize + 32] = 99
    with pytest.raises(ValueError, match="99"):
        unpack_record(bytes(packed))
