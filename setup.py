"""Compiles the decoder (`inspector.decode`), where there is a C compiler; all else is in pyproject.toml."""

from __future__ import annotations

import ast
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup

DECODE = Path("inspector/decode")
MODULES = ("table", "templates", "reader", "calls", "streams", "rows", "engine")
INT_MAX = 2**31 - 1
DIRECTIVES = {"language_level": 3, "cdivision": True, "infer_types": True, "annotation_typing": False}


def write_layout() -> None:
    """Write the constants of layout.py as C constants."""
    constants = {
        node.target.id: ast.literal_eval(node.value)
        for node in ast.parse((DECODE / "layout.py").read_text()).body
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value is not None
    }
    # What fits no int is no constant of an enum.
    wide = {name: value for name, value in constants.items() if value > INT_MAX}
    text = "# Written by setup.py from layout.py.\ncdef enum:\n"
    text += "".join(f"    {name} = {value}\n" for name, value in constants.items() if name not in wide)
    defines = "".join(f"    #define EPM_{name} {value}LL\n" for name, value in wide.items())
    text += f'cdef extern from *:\n    """\n{defines}    """\n'
    text += "".join(f'    long long {name} "EPM_{name}"\n' for name in wide)
    target = DECODE / "layout.pxd"
    if not target.exists() or target.read_text() != text:
        target.write_text(text)


write_layout()
extensions = cythonize(
    [
        Extension(f"inspector.decode.{name}", [str(DECODE / f"{name}.py")], extra_compile_args=["-O2"])
        for name in MODULES
    ],
    compiler_directives=DIRECTIVES,
    build_dir="build/cython",
)
for extension in extensions:
    # Where there is no compiler, the modules are installed all the same, and not used.
    extension.optional = True
setup(ext_modules=extensions)
