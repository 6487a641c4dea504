"""Compilation of functions over arrays, by numba. Imported where compiled code is wanted, and only there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numba

from inspector import codecache

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import ParamSpec, TypeVar

    P = ParamSpec("P")
    R = TypeVar("R")

# Its types leave out the option to do without reference counting.
_compile: Any = numba.njit
_folder = codecache.folder()
if _folder is not None:
    numba.config.CACHE_DIR = str(_folder)  # type: ignore[attr-defined]  # made from the environment's names


def compiled(function: Callable[P, R]) -> Callable[P, R]:
    """Compile a function when it is first called, for the types it is called with; kept on disk for the next process.

    It runs without the interpreter's lock, and may not make arrays: so none of them needs to be counted. Integers
    are of 64 bits and wrap around, indexes are not checked.
    """
    made: Callable[P, R] = _compile(cache=_folder is not None, nogil=True, _nrt=False)(function)
    return made


def inlined(function: Callable[P, R]) -> Callable[P, R]:
    """Do the same for a function that becomes part of each which calls it: an array is seven arguments in a call."""
    made: Callable[P, R] = _compile(nogil=True, _nrt=False, inline="always")(function)
    return made
