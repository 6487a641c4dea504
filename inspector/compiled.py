"""Compilation of functions over arrays, by numba. Imported where compiled code is wanted, and only there.

What was compiled is kept on disk, in a folder named after all the sources it may be made of: numba itself looks only
at the file of a function, not at those of the functions which became part of it.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numba

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import ParamSpec, TypeVar

    P = ParamSpec("P")
    R = TypeVar("R")

_NAME = "epm-inspector"
# Its types leave out the option to do without reference counting.
_compile: Any = numba.njit


def _folders() -> Iterator[Path]:
    """Yield where compiled code may be kept: what systemd gives, beside the sources, the user's cache."""
    if "CACHE_DIRECTORY" in os.environ:
        yield Path(os.environ["CACHE_DIRECTORY"].split(":")[0])
    yield Path(__file__).parent / "__pycache__"
    yield Path(os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()) / _NAME


def _sources() -> str:
    """Return a name for what compiled code is made of: numba, and every file with something to compile."""
    digest = hashlib.sha256(numba.__version__.encode())
    for path in sorted(Path(__file__).parent.rglob("*.py")):
        text = path.read_bytes()
        if b"inspector.compiled import" in text or path.name in ("layout.py", "compiled.py", "record.py"):
            digest.update(text)
    return digest.hexdigest()[:16]


def _keep_compiled() -> bool:
    """Choose the folder for compiled code; False where there is none to write to."""
    for folder in _folders():
        path = folder / f"compiled-{_sources()}"
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError:
            continue
        if os.access(path, os.W_OK):
            numba.config.CACHE_DIR = str(path)  # type: ignore[attr-defined]  # made from the environment's names
            return True
    return False


_KEPT = _keep_compiled()


def compiled(function: Callable[P, R]) -> Callable[P, R]:
    """Compile a function when it is first called, for the types it is called with; kept on disk for the next process.

    It runs without the interpreter's lock, and may not make arrays: so none of them needs to be counted. Integers
    are of 64 bits and wrap around, indexes are not checked.
    """
    made: Callable[P, R] = _compile(cache=_KEPT, nogil=True, _nrt=False)(function)
    return made


def inlined(function: Callable[P, R]) -> Callable[P, R]:
    """Do the same for a function that becomes part of each which calls it: an array is seven arguments in a call."""
    made: Callable[P, R] = _compile(nogil=True, _nrt=False, inline="always")(function)
    return made
