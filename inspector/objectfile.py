"""One object file of everything that numba has compiled in this process, and the table by which it is called.

Of numba's own this uses what its compiled functions say of themselves: signature, name, type and LLVM IR. The rest
is LLVM's. Each function gets one beside it which takes its arguments out of a block of words
(`inspector.machinecode`); what nobody calls any more, as all that calls back into Python, is taken out.
"""

from __future__ import annotations

import hashlib
import json
import os
from typing import TYPE_CHECKING, Any, Final

from llvmlite import binding as llvm  # type: ignore[import-untyped]
from llvmlite import ir
from numba.core import types

from inspector.machinecode import name_of

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

_WORD: Final = ir.IntType(64)


def write(functions: Iterable[Any], code: Path, table_path: Path) -> None:
    """Write object file and table of functions (numba's dispatchers), all of which have been called.

    Raises ValueError where one was not, or with arguments of more types than one, or of other types than integers
    and contiguous arrays.
    """
    table: dict[str, tuple[str, list[list[tuple[str, int]]], str]] = {}
    whole = llvm.parse_assembly("")
    for function in functions:
        name = name_of(function.py_func)
        if len(function.signatures) != 1:
            raise ValueError(f"{name} was not called in one way: {function.signatures}")
        made = function.overloads[function.signatures[0]]
        symbol = f"entry_{len(table)}"
        whole.link_in(_with_entry(made, symbol))
        table[name] = symbol, [_parameters(one) for one in made.signature.args], _result(made.signature.return_type)
    # The table last: it says that all is there.
    compiled = _machine().emit_object(whole)
    kept = {"object": hashlib.sha256(compiled).hexdigest(), "functions": table}
    for path, content in ((code, compiled), (table_path, json.dumps(kept).encode())):
        unfinished = path.with_suffix(f"{path.suffix}.{os.getpid()}")
        unfinished.write_bytes(content)
        unfinished.replace(path)


def _machine() -> llvm.TargetMachine:
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    # As numba does it, whose names these are.
    name = os.environ.get("NUMBA_CPU_NAME", llvm.get_host_cpu_name())
    abilities = os.environ.get("NUMBA_CPU_FEATURES", llvm.get_host_cpu_features().flatten())
    return llvm.Target.from_default_triple().create_target_machine(
        cpu=name, features=abilities, opt=3, reloc="pic", codemodel="jitdefault", jit=True
    )


def _parameters(kind: Any) -> list[tuple[str, int]]:
    """Return what `inspector.machinecode.Parameter` says of an argument: one, or several of a tuple."""
    if isinstance(kind, types.BaseTuple):
        kinds: Any = kind
        return [parameter for one in kinds for parameter in _parameters(one)]
    if isinstance(kind, types.Array) and kind.layout == "C":
        (code,) = ({types.int32: "<i4", types.int64: "<i8", types.uint64: "<u8", types.uint8: "|u1"}[kind.dtype],)
        return [(code, kind.ndim)]
    if kind == types.int64:
        return [("", 0)]
    raise ValueError(f"an argument of compiled code is of type {kind}")


def _result(kind: Any) -> str:
    """Return what `inspector.machinecode.Description` says of a result."""
    names = {"none": "none", "bool": "boolean", "boolean": "boolean", "int64": "integer"}
    if isinstance(kind, types.UniTuple) and kind.dtype == types.int64 and kind.count == 2:
        return "pair"
    return names[str(kind)]


def _with_entry(made: Any, symbol: str) -> llvm.ModuleRef:
    """Return a module with a compiled function and, the only one that can be seen, its entry of that name."""
    kind = made.target_context.call_conv.get_function_type(made.fndesc.restype, made.fndesc.argtypes)
    module = llvm.parse_assembly(made.library.get_llvm_str())
    module.link_in(_entry(kind, made.fndesc.llvm_func_name, symbol, module.triple, module.data_layout))
    for function in module.functions:
        if not function.is_declaration and function.name != symbol:
            function.linkage = "internal"
    builder = llvm.create_pass_builder(_machine(), llvm.create_pipeline_tuning_options())
    passes = llvm.create_new_module_pass_manager()
    passes.add_global_dead_code_eliminate_pass()
    passes.run(module, builder)
    return module


def _entry(kind: ir.FunctionType, name: str, symbol: str, triple: str, data_layout: str) -> llvm.ModuleRef:
    """Return a module with a function of two addresses, of words and of results, which calls one of that type."""
    module = ir.Module()
    module.triple, module.data_layout = triple, data_layout
    function = ir.Function(module, kind, name)
    entry = ir.Function(module, ir.FunctionType(ir.IntType(32), [_WORD.as_pointer(), _WORD.as_pointer()]), symbol)
    builder = ir.IRBuilder(entry.append_basic_block())
    result, error, *arguments = kind.args
    values = [builder.bitcast(entry.args[1], result), builder.alloca(error.pointee)]
    for number, argument in enumerate(arguments):
        word = builder.load(builder.gep(entry.args[0], [_WORD(number)]))
        values.append(builder.inttoptr(word, argument) if isinstance(argument, ir.PointerType) else word)
    builder.ret(builder.call(function, values))
    return llvm.parse_assembly(str(module))
