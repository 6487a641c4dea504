"""Compiles the loops over records, packets and findings, where there is a C compiler; all else is in pyproject.toml."""

from __future__ import annotations

import ast
import os
import shutil
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup

PACKAGE = Path("inspector")
MODULES = (
    *(
        f"decode.{name}"
        for name in (
            "table",
            "templates",
            "reader",
            "activations",
            "answers",
            "calls",
            "streams",
            "rows",
            "engine",
            "buckets",
            "followed",
        )
    ),
    "live.rings.scan",
    "output.lines",
    *(f"capture.{name}" for name in ("octets", "rows", "flows", "associations", "sights", "course", "triage", "scan")),
)
LAYOUTS = [PACKAGE / folder / "layout.py" for folder in ("capture", "decode", "output")]
BUILD = "build/cython"
INT_MAX = 2**31 - 1
DIRECTIVES = {"language_level": 3, "cdivision": True, "infer_types": True, "annotation_typing": False}
# Arrays are read as integers of several widths, which C's rules on aliasing forbid.
FLAGS = ["-fno-strict-aliasing"]
if os.environ.get("SANITIZE"):
    # For tests (`make sanitize`): an access outside of an allocation, or undefined behaviour, ends the process. The
    # interpreter's own flags define signed overflow; here it is an error, too.
    FLAGS += ["-O1", "-g", "-fno-omit-frame-pointer", "-fno-wrapv"]
    FLAGS += ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined"]
else:
    FLAGS += ["-O2"]


def write_layout(source: Path) -> None:
    """Write the constants of a layout.py as C constants."""
    constants = {
        node.target.id: ast.literal_eval(node.value)
        for node in ast.parse(source.read_text()).body
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value is not None
    }
    # What fits no int is no constant of an enum.
    wide = {name: value for name, value in constants.items() if value > INT_MAX}
    text = "# Written by setup.py from layout.py.\ncdef enum:\n"
    text += "".join(f"    {name} = {value}\n" for name, value in constants.items() if name not in wide)
    defines = "".join(f"    #define EPM_{name} {value}LL\n" for name, value in wide.items())
    text += f'cdef extern from *:\n    """\n{defines}    """\n'
    text += "".join(f'    long long {name} "EPM_{name}"\n' for name in wide)
    target = source.with_suffix(".pxd")
    if not target.exists() or target.read_text() != text:
        # Cython does not notice that modules depend on it.
        shutil.rmtree(BUILD, ignore_errors=True)
        target.write_text(text)


for layout in LAYOUTS:
    write_layout(layout)
extensions = cythonize(
    [
        Extension(
            f"inspector.{name}",
            [f"inspector/{name.replace('.', '/')}.py"],
            extra_compile_args=FLAGS,
            extra_link_args=FLAGS,
        )
        for name in MODULES
    ],
    compiler_directives=DIRECTIVES,
    build_dir=BUILD,
)
for extension in extensions:
    # Where there is no compiler, the modules are installed all the same, and not used.
    extension.optional = True
setup(ext_modules=extensions, options={"build_ext": {"parallel": os.cpu_count()}})
