"""Compiled reading of numbers of 8 to 64 bits at any offset of an array of bytes: one instruction each.

Nothing is checked: the caller has looked at how long the array is. All come back as 64-bit integers, those of
less than 64 bits not negative.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from inspector.compiled import intrinsic

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    import numpy.typing as npt

    Bytes = npt.NDArray[np.uint8]


def _load(bits: int, *, big_endian: bool = False) -> Callable[[Bytes, int], int]:
    """Return a function of an array of bytes and an offset."""

    def load(_context: Any, data: Any, _at: Any) -> tuple[Any, Any]:
        from llvmlite import ir  # type: ignore[import-untyped]
        from numba.core import types

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            array = context.make_array(signature.args[0])(context, builder, arguments[0])
            pointer = builder.gep(array.data, [arguments[1]])
            value = builder.load(builder.bitcast(pointer, ir.IntType(bits).as_pointer()))
            value.align = 1
            if big_endian:
                value = builder.bswap(value)
            return value if bits == 64 else builder.zext(value, ir.IntType(64))

        return types.int64(data, types.int64), generate

    made: Any = intrinsic(load)
    function: Callable[[Bytes, int], int] = made
    return function


load_8 = _load(8)
load_16_big = _load(16, big_endian=True)
load_32 = _load(32)
load_32_big = _load(32, big_endian=True)
load_64 = _load(64)
