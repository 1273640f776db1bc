"""List the names in the bytecode of a function: globals, attributes, and imported modules."""

from __future__ import annotations

import dis
import importlib.util
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import types
    from collections.abc import Iterator


def nested_codes(code: types.CodeType) -> Iterator[types.CodeType]:
    """Yield a code object and all code objects inside it: lambdas, comprehensions, functions, classes."""
    yield code
    for value in code.co_consts:
        if hasattr(value, "co_code"):
            yield from nested_codes(value)


def global_names(code: types.CodeType) -> set[str]:
    """Return the global variables and builtins that a code object reads."""
    return {
        str(step.argval)
        for nested in nested_codes(code)
        for step in dis.get_instructions(nested)
        if step.opname in ("LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS")
    }


def attribute_names(code: types.CodeType) -> set[str]:
    """Return all names in a code object: of attributes, globals and imports."""
    return {name for nested in nested_codes(code) for name in nested.co_names}


def imports(function: types.FunctionType) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield the full names of the modules that a function imports, each with the imported members."""
    package = function.__globals__.get("__package__") or ""
    for code in nested_codes(function.__code__):
        before: list[Any] = [0, None]
        for step in dis.get_instructions(code):
            if step.opname == "IMPORT_NAME":
                level, members = before
                name = "." * int(level or 0) + str(step.argval)
                try:
                    yield importlib.util.resolve_name(name, package), tuple(members or ())
                except ImportError:
                    yield name, ()
            before = [before[-1], step.argval]
