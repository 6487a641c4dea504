"""Compiles the loops over records, packets and findings, where there is a C compiler; all else is in pyproject.toml."""

from __future__ import annotations

import ast
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup

PACKAGE = Path("inspector")
MODULES = (
    *(f"decode.{name}" for name in ("table", "templates", "reader", "calls", "streams", "engine")),
    "live.rings.scan",
    "output.lines",
    "capture.scan",
)
LAYOUTS = [PACKAGE / folder / "layout.py" for folder in ("capture", "decode", "output")]
INT_MAX = 2**31 - 1
DIRECTIVES = {"language_level": 3, "cdivision": True, "infer_types": True, "annotation_typing": False}


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
        target.write_text(text)


for layout in LAYOUTS:
    write_layout(layout)
extensions = cythonize(
    [
        Extension(f"inspector.{name}", [f"inspector/{name.replace('.', '/')}.py"], extra_compile_args=["-O2"])
        for name in MODULES
    ],
    compiler_directives=DIRECTIVES,
    build_dir="build/cython",
)
for extension in extensions:
    # Where there is no compiler, the modules are installed all the same, and not used.
    extension.optional = True
setup(ext_modules=extensions)
