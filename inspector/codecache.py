"""Where compiled code is kept from one process to the next, and having it made before it is needed.

The folder is named after all sources that code is made of: the compiler itself looks only at the file of a function,
not at those of the functions which became part of it. This module loads no compiler.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import mmap
import os
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

_NAME: Final = "epm-inspector"
_PACKAGE: Final = Path(__file__).parent
_MADE: Final = "complete"
_MAKER: Final = "inspector.prepare"


@functools.cache
def has_compiler() -> bool:
    """Return whether there can be compiled code: its integers are little-endian, like the rings of most machines."""
    return sys.byteorder == "little" and importlib.util.find_spec("numba") is not None and _may_make_code()


def _may_make_code() -> bool:
    """Return whether this process may execute what it wrote: SELinux and systemd's MemoryDenyWriteExecute forbid it."""
    try:
        mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC).close()
    except PermissionError:
        return False
    return True


def _folders() -> Iterator[Path]:
    """Yield where compiled code may be kept: what systemd gives, beside the sources, the user's cache."""
    if "CACHE_DIRECTORY" in os.environ:
        yield Path(os.environ["CACHE_DIRECTORY"].split(":")[0])
    yield _PACKAGE / "__pycache__"
    yield Path(os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()) / _NAME


def _fingerprint() -> str:
    """Return a name for what compiled code is made of: the compiler, and every file with something to compile."""
    digest = hashlib.sha256(version("numba").encode())
    for path in sorted(_PACKAGE.rglob("*.py")):
        text = path.read_bytes()
        if b"inspector.compiled import" in text or path.name in ("layout.py", "compiled.py", "record.py"):
            digest.update(text)
    return digest.hexdigest()[:16]


@functools.cache
def folder() -> Path | None:
    """Return the folder for this version's compiled code, which exists and can be written to; None if there is none."""
    for parent in _folders():
        path = parent / f"compiled-{_fingerprint()}"
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError:
            continue
        if os.access(path, os.W_OK):
            return path
    return None


def is_complete() -> bool:
    """Return whether everything is compiled already."""
    kept = folder()
    return kept is not None and (kept / _MADE).exists()


def note_complete() -> None:
    """Say that everything is compiled now; what other versions left behind goes."""
    kept = folder()
    if kept is None:
        return
    (kept / _MADE).touch()
    for other in kept.parent.glob("compiled-*"):
        if other != kept:
            shutil.rmtree(other, ignore_errors=True)


def complete() -> None:
    """Have everything compiled, if it can be kept: some seconds, once for each version, in a process of its own."""
    if has_compiler() and folder() is not None and not is_complete():
        subprocess.run([sys.executable, "-m", _MAKER], check=False)  # noqa: S603 - our own module
