"""Compile the pixel kernels: numba's options, and machine code without numba's wrappers. Imports numba.

A kernel gets an array as rows of voxels, with a list of the input rows of each output row (see ``rows``): so one
function per dtype computes all axes and factors. `.machine_code` stores it under a digest of the kernel's module and of
this one, so a kernel must only call functions of its own module: after a change elsewhere the code on disk would be out
of date.
"""

from __future__ import annotations

import re
from importlib import import_module
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import numba
import numpy as np
from llvmlite import binding

from lamella.ops.pyramids.kernels.machine_code import ENTRY

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from lamella.ops.pyramids.kernels.machine_code import NumbaArgument

P = ParamSpec("P")
R = TypeVar("R")


def kernel(function: Callable[P, R]) -> Callable[P, R]:
    """Compile `function` on its first call, to run without the GIL, or to be called by a kernel of its module."""
    decorated: Callable[P, R] = numba.njit(nogil=True, error_model="numpy")(function)
    return decorated


def compiled(
    module: str, name: str, args: Sequence[NumbaArgument]
) -> tuple[Callable[..., None], bytes | None]:
    """Compile a kernel of a module of this package for the types of some arguments.

    Return the kernel as numba calls it, and machine code with a function `ENTRY` that needs only the C library; None if
    numba does not produce such code.
    """
    numba_kernel: Any = getattr(import_module(f"lamella.ops.pyramids.kernels.{module}"), name)
    try:
        types = tuple(numba.typeof(arg) for arg in args)
        numba_kernel.compile(types)
        result = numba_kernel.overloads[types]
        return numba_kernel, _standalone_code(
            result.library.get_llvm_str(), result.fndesc.llvm_func_name, _llvm_types(args)
        )
    except (AttributeError, KeyError, RuntimeError):
        # Private API of numba: another release may have other names, and NUMBA_DISABLE_JIT leaves no compiler.
        return numba_kernel, None


def _llvm_types(args: Sequence[NumbaArgument]) -> list[str]:
    """Return the LLVM types of arguments as numba passes them, in the order of the words of `machine_code`."""
    types = []
    for arg in args:
        if isinstance(arg, np.ndarray):
            types += ["ptr", "ptr", "i64", "i64", "ptr", *["i64"] * (2 * arg.ndim)]
        else:
            types.append("i64")
    return types


def _entry(symbol: str, types: Sequence[str]) -> str:
    """Return LLVM code of a function whose one argument is the address of all arguments: Python passes forty slowly."""
    loads = "".join(
        f"%p{i} = getelementptr i64, ptr %values, i64 {i}\n%v{i} = load {type_name}, ptr %p{i}\n"
        for i, type_name in enumerate(types)
    )
    passed = ", ".join(f"{type_name} %v{i}" for i, type_name in enumerate(types))
    return (
        f"define i32 @{ENTRY}(ptr %values) {{\n%result = alloca ptr\n%exception = alloca ptr\n{loads}"
        f'%status = call i32 @"{symbol}"(ptr %result, ptr %exception, {passed})\nret i32 %status\n}}\n'
    )


def _standalone_code(code: str, symbol: str, types: Sequence[str]) -> bytes | None:
    """Return machine code of one function, without numba's wrappers; None if it needs more than the C library."""
    # Arrays are passed without an owner, so nothing is ever freed.
    code = re.sub(
        r"^declare void @NRT_MemInfo_call_dtor\(ptr.*$",
        "define internal void @NRT_MemInfo_call_dtor(ptr %0) { ret void }",
        code,
        flags=re.MULTILINE,
    )
    module = binding.parse_assembly(code + _entry(symbol, types))
    if [str(argument.type) for argument in module.get_function(symbol).arguments] != ["ptr", "ptr", *types]:
        return None
    for symbol_value in (*module.functions, *module.global_variables):
        if not symbol_value.is_declaration and symbol_value.name != ENTRY:
            symbol_value.linkage = "internal"
    machine = binding.Target.from_default_triple().create_target_machine(
        cpu=binding.get_host_cpu_name(),
        features=binding.get_host_cpu_features().flatten(),
        opt=3,
        codemodel="jitdefault",
        jit=True,
    )
    builder = binding.create_pass_builder(machine, binding.create_pipeline_tuning_options())
    passes = binding.create_new_module_pass_manager()
    passes.add_global_dead_code_eliminate_pass()
    passes.run(module, builder)
    needed_symbols = [
        symbol_value.name
        for symbol_value in (*module.functions, *module.global_variables)
        if symbol_value.is_declaration and not symbol_value.name.startswith("llvm.")
    ]
    return None if needed_symbols else machine.emit_object(module)
