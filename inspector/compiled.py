"""Compilation of functions over arrays, by numba. Imported where compiled code is wanted, and only there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numba
import numba.extending
from llvmlite import ir  # type: ignore[import-untyped]
from numba.core import types

from inspector import codecache

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import ParamSpec, TypeVar

    import numpy as np
    import numpy.typing as npt

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


def _prefetch(_typing: Any, array: Any, _number: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        made = context.make_array(signature.args[0])(context, builder, arguments[0])
        byte = ir.IntType(8).as_pointer()
        pointer = builder.bitcast(builder.gep(made.data, [arguments[1]]), byte)
        flag = ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [byte, flag, flag, flag])
        function = builder.module.declare_intrinsic("llvm.prefetch", [byte], kind)
        # For reading, to be kept, data and not instructions.
        builder.call(function, [pointer, flag(0), flag(3), flag(1)])
        return context.get_dummy_value()

    return types.void(array, types.int64), generate


_made: Any = numba.extending.intrinsic(_prefetch)
prefetch: Callable[[npt.NDArray[np.uint64], int], None] = _made
"""Ask the processor to bring an element of a one-dimensional array near, and go on meanwhile; in compiled code only."""
