"""Compilation of functions over arrays. Imported where compiled code is wanted, and only there.

What was prepared (`inspector.prepare`) is loaded; where nothing is, and nothing can be kept, numba compiles each
function when it is first called.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, cast

from inspector import codecache

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import ParamSpec, TypeVar

    P = ParamSpec("P")
    R = TypeVar("R")

codecache.complete()
_code: Final = codecache.load()
made: Final[list[Any]] = []
"""The exported functions which numba compiles here; empty where code was loaded."""


def _compile(function: Callable[P, R], **options: Any) -> Any:
    import numba

    # Without the interpreter's lock; making no arrays, so that none of them needs to be counted.
    options |= {"nogil": True, "_nrt": False}
    return numba.njit(**options)(function)


def compiled(function: Callable[P, R]) -> Callable[P, R]:
    """Compile a function of integers and arrays which compiled functions call.

    It runs without the interpreter's lock, and may not make arrays. Integers are of 64 bits and wrap around, indexes
    are not checked.
    """
    return function if _code is not None else cast("Callable[P, R]", _compile(function))


def exported(function: Callable[P, R]) -> Callable[P, R]:
    """Do the same for one that is called from Python too: with integers, contiguous arrays, tuples of these."""
    if _code is not None:
        return cast("Callable[P, R]", _code.function(function))
    made.append(_compile(function))
    return cast("Callable[P, R]", made[-1])


def inlined(function: Callable[P, R]) -> Callable[P, R]:
    """Do the same for a function that becomes part of each which calls it: an array is seven arguments in a call."""
    return function if _code is not None else cast("Callable[P, R]", _compile(function, inline="always"))


def intrinsic(function: Any) -> Any:
    """Make an instruction for compiled functions of what returns its signature and generator (numba's intrinsics)."""
    if _code is not None:
        return function
    from numba.extending import intrinsic as of_numba

    return of_numba(function)


def _prefetch(_typing: Any, array: Any, _number: Any) -> Any:
    """Ask the processor to bring an element of a one-dimensional array near, and go on meanwhile."""
    from llvmlite import ir  # type: ignore[import-untyped]
    from numba.core import types

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


prefetch: Any = intrinsic(_prefetch)
