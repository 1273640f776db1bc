"""Imports go down only: cli > adapters > ops > nodes > store > spec > errors and types."""

from __future__ import annotations

import ast
import subprocess
import sys
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

SOURCE = Path(__file__).parent.parent / "src" / "lamella"

# From the bottom up. `models` is the public face of spec; `__init__` and `__main__` stand above everything.
LAYERS = (
    ("errors", "types", "arguments", "log", "_version"),
    ("spec", "models"),
    ("store",),
    ("nodes",),
    ("ops",),
    ("adapters", "readers", "torch"),
    ("cli", "__main__", "__init__"),
)
RANK = {name: rank for rank, names in enumerate(LAYERS) for name in names}
NODES = RANK["nodes"]

# Imports the given modules under an empty stand-in for the package, because the real `lamella/__init__.py` is
# the front door and imports upper layers; whatever is listed as forbidden cannot be imported.
PROBE = """
import importlib, sys, types

folder, forbidden, modules = sys.argv[1], sys.argv[2].split(","), sys.argv[3].split(",")

class Barrier:
    def find_spec(self, name, path=None, target=None):
        if any(name == top or name.startswith(top + ".") for top in forbidden):
            raise ImportError(f"{name} is above the layer that is being imported")
        return None

sys.meta_path.insert(0, Barrier())
package = types.ModuleType("lamella")
package.__path__ = [folder]
sys.modules["lamella"] = package
for name in modules:
    importlib.import_module(name)
"""


@cache
def module_names() -> dict[str, Path]:
    """Every module of the package with its file."""
    files = {}
    for path in sorted(SOURCE.rglob("*.py")):
        parts = list(path.relative_to(SOURCE).with_suffix("").parts)
        if parts[-1] == "__init__" and len(parts) > 1:
            parts.pop()
        files[".".join(["lamella", *parts])] = path
    return files


@cache
def tree_of(module: str) -> ast.Module:
    """The source of a module, parsed once."""
    return ast.parse(module_names()[module].read_text(encoding="utf-8"))


def is_importable(module: str) -> bool:
    """Whether the library that a module cannot be without is there: lamella.torch is made of classes of PyTorch."""
    return module != "lamella.torch" or find_spec("torch") is not None


def layer_of(module: str) -> str:
    """The first part after the package: `lamella.spec.axes` is in `spec`."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else "__init__"


def is_type_checking(node: ast.stmt) -> bool:
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)


def imports(tree: ast.AST, *, inside_functions: bool) -> Iterator[tuple[int, str]]:
    """Line and full name of each import that runs, at import time only or at any time."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"line {node.lineno}: relative import"
            # `from lamella import errors` names the module lamella.errors.
            if node.module == "lamella":
                yield from ((node.lineno, f"lamella.{alias.name}") for alias in node.names)
            else:
                yield node.lineno, node.module or ""
        elif isinstance(node, ast.stmt) and is_type_checking(node):
            continue
        elif inside_functions or not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield from imports(node, inside_functions=inside_functions)


@pytest.mark.parametrize("rank", range(len(LAYERS) - 1), ids=[names[0] for names in LAYERS[:-1]])
def test_a_layer_imports_while_the_layers_above_it_are_blocked(rank):
    modules = [name for name in module_names() if RANK[layer_of(name)] == rank and is_importable(name)]
    forbidden = [f"lamella.{name}" for names in LAYERS[rank + 1 :] for name in names]
    if rank <= RANK["spec"]:
        forbidden += ["numpy", "zarr", "tensorstore", "xarray", "dask", "numba"]
    assert modules
    probe = [sys.executable, "-c", PROBE, str(SOURCE), ",".join(forbidden), ",".join(modules)]
    run = subprocess.run(probe, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr


def test_module_level_imports_go_down_only():
    upward = [
        f"{module}, line {line}: {name}"
        for module in module_names()
        for line, name in imports(tree_of(module), inside_functions=False)
        if name.startswith("lamella.") and RANK[layer_of(name)] > RANK[layer_of(module)]
    ]
    assert not upward


def test_spec_and_store_know_nothing_above_them_even_inside_functions():
    # Only methods of nodes, which name an operation or an adapter, may reach up, and only when called.
    upward = [
        f"{module}, line {line}: {name}"
        for module in module_names()
        if RANK[layer_of(module)] < NODES
        for line, name in imports(tree_of(module), inside_functions=True)
        if name.startswith("lamella.") and RANK[layer_of(name)] > RANK[layer_of(module)]
    ]
    assert not upward


def test_every_file_belongs_to_a_layer():
    assert {layer_of(name) for name in module_names()} <= set(RANK)


def test_only_the_store_layer_imports_an_array_engine():
    users = {
        layer_of(module)
        for module in module_names()
        for _, name in imports(tree_of(module), inside_functions=True)
        if name.split(".")[0] == "tensorstore"
    }
    assert users <= {"store"}
