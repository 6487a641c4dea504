"""Compiled functions, loaded as machine code and called by their addresses, without the compiler that made them.

The compiler takes half a second and some fifty megabytes to be there at all; the code is an object file beside a
table of its functions (`inspector.prepare` makes both). What is passed is written into a block of 64-bit words,
whose layout is that of the functions' own arguments: an array is seven words and more (numba's array structure).
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import operator
import threading
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from llvmlite import binding as llvm  # type: ignore[import-untyped]

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

# Of an array: where its memory is accounted for (nowhere), its object (none), elements, bytes of one, address.
_ARRAY_WORDS: Final = 5
_FUNCTION: Final = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_void_p, ctypes.c_void_p)


class Parameter(NamedTuple):
    """What an argument must be: an integer, or a contiguous array of that type and number of dimensions."""

    dtype: str
    dimensions: int

    @property
    def words(self) -> int:
        """How many words it takes."""
        return _ARRAY_WORDS + 2 * self.dimensions if self.dimensions else 1


class Description(NamedTuple):
    """A function: its name in the object file, its parameters, which of them come in a tuple, and what it returns."""

    symbol: str
    parameters: tuple[tuple[Parameter, ...], ...]
    result: str


class Function:
    """Calls a compiled function; a class so that its block of words, and the lock for it, are its own.

    Raises TypeError for arguments which the code is not made for.
    """

    def __init__(self, description: Description, address: int) -> None:
        self._call = _FUNCTION(address)
        self._description = description
        self._held: list[Any] = [None] * len(description.parameters)
        sizes = [sum(parameter.words for parameter in group) for group in description.parameters]
        self._at = [sum(sizes[:number]) for number in range(len(sizes))]
        self._words = (ctypes.c_int64 * max(sum(sizes), 1))()
        self._result = (ctypes.c_int64 * 2)()
        self._lock = threading.Lock()

    def __call__(self, *arguments: Any) -> Any:
        """Call it; other threads run meanwhile, unless they want the same function."""
        with self._lock:
            self._write(arguments)
            self._result[0] = 0
            if self._call(ctypes.addressof(self._words), ctypes.addressof(self._result)):
                raise RuntimeError(f"{self._description.symbol}: compiled code failed")
            return self._value()

    def _write(self, arguments: Sequence[Any]) -> None:
        held = self._held
        if len(arguments) != len(held):
            raise TypeError(f"{self._description.symbol} takes {len(held)} arguments")
        for number, argument in enumerate(arguments):
            # What is the same object as last time is in its words already.
            if argument is held[number]:
                continue
            group, at = self._description.parameters[number], self._at[number]
            if type(argument) is int:
                if group[0].dimensions:
                    raise TypeError(f"{self._description.symbol}: argument {number} is no array")
                self._words[at] = argument
            else:
                self._write_arrays(number, argument, group, at)

    def _write_arrays(self, number: int, argument: Any, group: tuple[Parameter, ...], at: int) -> None:
        """Write an array, a tuple of them, or an integer of another type than Python's own."""
        self._held[number] = None
        if not group[0].dimensions:
            self._words[at] = operator.index(argument)
            return
        arrays = argument if isinstance(argument, tuple) else (argument,)
        for parameter, array in zip(group, arrays, strict=True):
            if array.dtype.str != parameter.dtype or array.ndim != parameter.dimensions or not array.flags.c_contiguous:
                raise TypeError(f"{self._description.symbol}: argument {number} is no array of {parameter}")
            address = array.__array_interface__["data"][0]
            self._words[at : at + parameter.words] = [
                0, 0, array.size, array.itemsize, address, *array.shape, *array.strides,
            ]  # fmt: skip
            at += parameter.words
        # A view is let go: what it looks at may have to be unmapped.
        if isinstance(argument, tuple) or argument.flags.owndata:
            self._held[number] = argument

    def _value(self) -> Any:
        kind, first = self._description.result, self._result[0]
        if kind == "none":
            return None
        if kind == "boolean":
            return bool(first & 1)
        return (first, self._result[1]) if kind == "pair" else first


class MachineCode:
    """The functions of an object file; it must live as long as they do."""

    def __init__(self, code: bytes, descriptions: dict[str, Description]) -> None:
        llvm.initialize_native_target()
        llvm.initialize_native_asmprinter()
        machine = llvm.Target.from_default_triple().create_target_machine(jit=True)
        self._engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), machine)
        self._engine.add_object_file(llvm.ObjectFileRef.from_data(code))
        self._engine.finalize_object()
        self._functions = {
            name: Function(description, self._engine.get_function_address(description.symbol))
            for name, description in descriptions.items()
        }

    def function(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return the compiled one of a Python function."""
        return self._functions[name_of(function)]


def name_of(function: Callable[..., Any]) -> str:
    """Return what a function is called in the table."""
    return f"{function.__module__}.{function.__qualname__}"


def load(code: Path, table: Path) -> MachineCode:
    """Load what `inspector.objectfile` has written. Raises OSError or ValueError where it cannot be read."""
    content, kept = code.read_bytes(), json.loads(table.read_text(encoding="utf-8"))
    # LLVM ends the process when it is given what is no object file.
    if kept.get("object") != hashlib.sha256(content).hexdigest():
        raise ValueError(f"{code} is not what {table} was made for")
    return MachineCode(content, {name: _description(one) for name, one in kept["functions"].items()})


def _description(kept: list[Any]) -> Description:
    symbol, parameters, result = kept
    return Description(symbol, tuple(tuple(Parameter(*one) for one in group) for group in parameters), result)
