"""The compiled decoder: blocks of records in, batches of findings out.

It follows connections, splits their streams into PDUs and reads all fields that a finding depends on, in C. Only what
is beyond doubt is decided here: bytes in order, little-endian PDUs whose every length agrees, calls of known contexts.
Everything else - bytes out of order, lost or cut, fragments of calls, anomalies of any kind - goes with its connection
to the scalar decoder (`inspector.wire`), which may give the connection back when it is plain again. The verdict on a
response is that of `inspector.judge`: it is asked once for each distinct content, and kept as a template.

The modules are plain Python. Their `.pxd` files declare the C types with which Cython compiles them; without a C
compiler they run as they are, slowly. `layout.pxd` is written from `layout.py` when the package is built.
"""

from __future__ import annotations

import functools
import importlib.util
import sys


@functools.cache
def is_compiled() -> bool:
    """Return whether the engine was compiled with the package; interpreted, it is slower than `inspector.wire`.

    Compiled code reads little-endian integers as the machine's own.
    """
    spec = importlib.util.find_spec("inspector.decode.engine")
    found = spec is not None and spec.origin is not None and not spec.origin.endswith(".py")
    return found and sys.byteorder == "little"


def implementation() -> str:
    """Return which decoder `attach` and `read` use, in one word for people: compiled, or interpreted."""
    return "compiled" if is_compiled() else "interpreted"
