"""Compute a digest of a function: equal digests mean that it computes the same result from the same input.

It covers the bytecode of the function and of all functions and classes of the user's own code that it names, the values
that these use (globals, closures, defaults, `functools.partial`), and the versions of other packages. Not covered:
names that are computed at run time, files that are read, the environment, random generators. Example: if a function
calls ``numpy.max`` and ``threshold`` of the user's script, the digest has the version of numpy and the bytecode of
``threshold``.
"""

from __future__ import annotations

import builtins
import dataclasses
import datetime
import decimal
import dis
import enum
import fractions
import functools
import hashlib
import importlib
import importlib.metadata
import importlib.util
import logging
import operator
import pathlib
import re
import sys
import types
import uuid
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from lamella._version import __version__

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator


_INSTALLED_FOLDERS = {"site-packages", "dist-packages"}
"""Names of the folders of installed packages; code in other folders is the user's own."""

_BY_REPR = (bool, int, float, complex, str, bytes, range, types.EllipsisType, types.NotImplementedType)
"""Exact types whose ``repr`` is the value."""
_BY_REPR_AND_SUBTYPES = (
    *(datetime.date, datetime.time, datetime.timedelta, datetime.timezone),
    *(decimal.Decimal, fractions.Fraction, pathlib.PurePath, uuid.UUID, np.dtype),
)
"""Types whose ``repr`` is the value, with their subtypes."""
_COMPONENTS: dict[type, Callable[[Any], Iterable[Any]]] = {
    list: iter,
    tuple: iter,
    dict: lambda value: chain.from_iterable(value.items()),
    types.MappingProxyType: lambda value: chain.from_iterable(value.items()),
    slice: lambda value: [value.start, value.stop, value.step],
    re.Pattern: lambda value: [value.pattern, value.flags],
    functools.partial: lambda value: [value.func, value.args, value.keywords],
    functools.cached_property: lambda value: [value.func],
    functools._lru_cache_wrapper: lambda value: [value.__wrapped__],
    types.MethodType: lambda value: [value.__func__, value.__self__],
    staticmethod: lambda value: [value.__func__],
    classmethod: lambda value: [value.__func__],
    property: lambda value: [value.fget, value.fset, value.fdel],
    operator.attrgetter: lambda value: value.__reduce__(),
    operator.itemgetter: lambda value: value.__reduce__(),
    operator.methodcaller: lambda value: value.__reduce__(),
}
"""Types whose values are added as lists of other values, with the function that lists them."""
_BY_NAME = (
    *(types.BuiltinFunctionType, types.MethodDescriptorType, types.WrapperDescriptorType),
    *(types.ClassMethodDescriptorType, types.MethodWrapperType, types.GetSetDescriptorType, np.ufunc),
)
"""Types of objects of C that are added by their names and the versions of their packages."""
_BUILTIN_BASES: tuple[Any, ...] = (list, tuple, dict, set, frozenset, int, float, str, bytes)
"""Builtin types whose value an instance of a subclass has in addition to its attributes."""
_UFUNC_MODULES = ("numpy", "scipy.special")
_PACKAGES_IN_EVERY_DIGEST = {"builtins", "lamella", "numpy"}
"""Packages whose code counts by its version alone, which `function_digest` always adds."""

_IGNORED_ATTRIBUTES = {
    *("__dict__", "__weakref__", "__doc__", "__module__", "__qualname__", "__annotations__", "__annotate__"),
    *("__annotate_func__", "__annotations_cache__", "__abstractmethods__", "_abc_impl", "__match_args__"),
    *(
        "__firstlineno__",
        "__static_attributes__",
        "__dataclass_fields__",
        "__dataclass_params__",
        "__slotnames__",
    ),
    *("__parameters__", "__orig_bases__"),
}
"""Attributes of classes that do not affect the results of their methods."""


class _ExampleTuple(NamedTuple):
    field: int = 0


_FIELDS = (types.MemberDescriptorType, type(_ExampleTuple.field))
"""Types of class attributes for slots and fields of named tuples."""


class NoDigestError(Exception):
    """A function uses an object that has no digest: the message, a sentence, names the object."""


def function_digest(function: Callable[..., Any]) -> str:
    """Return the digest of a function, lambda, method, `functools.partial`, C function, or object with ``__call__``.

    Raise NoDigestError if it uses an object without one: an object of another package, an open file, a lock.
    """
    digest = _Digest(_top_level(_module_of(_innermost(function))))
    digest.add(["lamella", __version__, *sys.version_info[:3]])
    digest.add_version("numpy")  # regions are numpy arrays, whether or not the function names numpy
    digest.add(function)
    return digest.hexdigest()


def _innermost(function: Any) -> Any:
    """Return the function inside a partial or method, or the class of a callable object."""
    while isinstance(function, functools.partial | types.MethodType):
        function = function.func if isinstance(function, functools.partial) else function.__func__
    if isinstance(function, types.FunctionType | type) or hasattr(function, "__wrapped__"):
        return function
    return function if isinstance(function, _BY_NAME) else type(function)


def _module_of(value: Any) -> str:
    if isinstance(value, types.ModuleType):
        return value.__name__
    if isinstance(value, types.FunctionType):
        return str(value.__globals__.get("__name__") or "")
    if isinstance(value, np.ufunc):
        return "numpy"
    return str(getattr(value, "__module__", None) or "builtins")


def _top_level(module: str) -> str:
    return module.partition(".")[0]


class _Digest:
    """A hash of values, in the order in which they are added.

    ``own_package`` is the top-level package of the user's function.
    """

    def __init__(self, own_package: str) -> None:
        self._own_package = own_package
        self._hash = hashlib.sha256()
        self._numbers: dict[int, int] = {}
        """Number of each function, class and module that was added, by its id."""
        self._references: list[Any] = []
        """The same objects, so that no other object gets their ids."""
        self._active: list[int] = []
        """Ids of the objects that are being added, outermost first."""
        self._definitions: list[str] = []
        """Names of the functions and classes that are being added, for messages."""
        self._versions: dict[str, list[str]] = {}

    def hexdigest(self) -> str:
        return self._hash.hexdigest()[:32]

    def _write(self, *texts: object) -> None:
        for text in texts:
            data = text if isinstance(text, bytes) else str(text).encode("utf-8", "surrogatepass")
            self._hash.update(b"%d:" % len(data))
            self._hash.update(data)

    def add(self, value: Any) -> None:
        """Add any value; raise NoDigestError if it has no digest."""
        if value is None or type(value) in _BY_REPR:
            self._write(type(value).__name__, repr(value))
        elif isinstance(value, types.FunctionType | type | types.ModuleType):
            self._add_once(value)
        elif id(value) in self._active:
            self._write("cycle", len(self._active) - self._active.index(id(value)))
        else:
            self._active.append(id(value))
            self._add_object(value)
            self._active.pop()

    def _add_once(self, value: Any) -> None:
        """Add a function, class or module of the user: completely the first time, afterwards by its number."""
        if not self._is_own(value):
            self._add_name(value)
        elif id(value) in self._numbers:
            self._write("again", self._numbers[id(value)])
        else:
            self._numbers[id(value)] = len(self._numbers)
            self._references.append(value)
            if isinstance(value, types.FunctionType):
                self._add_function(value)
            elif isinstance(value, type):
                self._add_class(value)
            else:  # only the members that a function names are added, by `_add_members`
                self._write("module", value.__name__)

    def _add_object(self, value: Any) -> None:
        kind = type(value)
        list_components = _COMPONENTS.get(kind)
        if list_components is not None:
            components = list(list_components(value))
            self._write(kind.__name__, len(components))
            self._add_all(components)
        elif kind in (set, frozenset):  # they have no order
            self._write(kind.__name__, *sorted(self._digest_of(member) for member in value))
        elif kind is np.ndarray or isinstance(value, np.generic):
            self._add_array(np.asarray(value), kind.__name__)
        elif kind is types.CodeType:
            self._add_code(value)
        elif isinstance(value, _BY_REPR_AND_SUBTYPES):
            self._write(kind.__qualname__, repr(value))
        elif isinstance(value, logging.Logger):
            self._write("logger")  # its output is not part of the result
        else:
            self._add_other(value)

    def _add_other(self, value: Any) -> None:
        kind = type(value)
        if isinstance(value, enum.Enum):
            self._add_all(["enum", kind, value.name, value.value])
        elif isinstance(value, _BY_NAME) or self._is_member_of_its_module(value):
            self._add_name(value)
        elif self._is_own(kind):
            self._add_instance(value)
        else:
            where = f" in {self._definitions[-1]}" if self._definitions else ""
            raise NoDigestError(f"It uses an object of {kind.__module__}.{kind.__qualname__}{where}.")

    def _add_all(self, values: Iterable[Any]) -> None:
        for value in values:
            self.add(value)

    def _digest_of(self, value: Any) -> str:
        separate = _Digest(self._own_package)
        separate.add(value)
        return separate.hexdigest()

    def _add_array(self, array: np.ndarray[Any, Any], kind: str) -> None:
        self._write(kind, array.dtype.descr, array.shape)
        if array.dtype.hasobject:
            self.add(array.tolist())
        else:
            self._write(np.ascontiguousarray(array).tobytes())

    # -- code -----------------------------------------------------------------------------------------------------

    def _add_function(self, function: types.FunctionType) -> None:
        self._definitions.append(function.__qualname__)
        self._write("function", function.__name__)
        self._add_code(function.__code__)
        self._add_all([function.__defaults__, function.__kwdefaults__, function.__dict__])
        for cell in function.__closure__ or ():
            if _is_filled(cell):
                self.add(cell.cell_contents)
            else:
                self._write("empty cell")
        for name in sorted(global_names(function.__code__)):
            self._add_global(function, name)
        self._add_imports(function)
        self._definitions.pop()

    def _add_code(self, code: types.CodeType) -> None:
        counts = code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags
        self._write("code", code.co_code, *counts, getattr(code, "co_exceptiontable", b""))
        self._add_all([code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars, code.co_consts])

    def _add_global(self, function: types.FunctionType, name: str) -> None:
        self._write("global", name)
        if name in function.__globals__:
            value = function.__globals__[name]
            self.add(value)
            if isinstance(value, types.ModuleType):
                self._add_members(value, attribute_names(function.__code__), set())
        elif not hasattr(builtins, name):
            self._write("unbound")

    def _add_members(self, module: types.ModuleType, names: set[str], visited: set[int]) -> None:
        """Add the members of a module, and of its modules, that a function names."""
        if id(module) in visited or not self._is_own(module):
            return
        visited.add(id(module))
        for name in sorted(names & vars(module).keys()):
            self._write("member", name)
            value = vars(module)[name]
            self.add(value)
            if isinstance(value, types.ModuleType):
                self._add_members(value, names, visited)

    def _add_imports(self, function: types.FunctionType) -> None:
        for name, members in imports(function):
            module = _module(name)
            if module is None:
                self._write("no module", name)
                continue
            self.add(module)
            top_module = sys.modules.get(_top_level(name), module)
            names = attribute_names(function.__code__) | set(name.split(".")) | set(members)
            visited: set[int] = set()
            self._add_members(module, names, visited)
            if not members:  # `import a.b` binds a
                self._add_members(top_module, names, visited)
            for member in members:  # a module of a package is not a member of it before it is imported
                submodule = _module(f"{name}.{member}") if not hasattr(module, member) else None
                if submodule is not None:
                    self.add(submodule)
                    self._add_members(submodule, names, visited)

    def _add_class(self, kind: type) -> None:
        self._definitions.append(kind.__qualname__)
        self._add_all(["class", kind.__qualname__, kind.__bases__, type(kind)])
        is_dataclass = dataclasses.is_dataclass(kind)
        if is_dataclass:
            for field in dataclasses.fields(kind):
                self._write("field", field.name)
                self._add_all(
                    "missing" if value is dataclasses.MISSING else value
                    for value in (field.default, field.default_factory)
                )
        members = kind.__members__ if issubclass(kind, enum.Enum) else {}
        self._add_all((name, member.value) for name, member in members.items())
        for name, value in vars(kind).items():
            is_generated = getattr(getattr(value, "__code__", None), "co_filename", "") == "<string>"
            if (
                name in _IGNORED_ATTRIBUTES
                or name in members
                or (is_dataclass and is_generated)
                or isinstance(value, _FIELDS)
            ):
                continue
            if issubclass(kind, enum.Enum) and not isinstance(value, types.FunctionType | property):
                continue
            self._write("attribute", name)
            self.add(value)
        self._definitions.pop()

    def _add_instance(self, value: Any) -> None:
        kind = type(value)
        self._write("instance")
        self.add(kind)
        for base in _BUILTIN_BASES:
            if isinstance(value, base):
                self.add(base(value))
                break
        slots = (name for base in kind.__mro__ for name in _slots(base))
        attributes = {
            **getattr(value, "__dict__", {}),
            **{name: getattr(value, name) for name in slots if hasattr(value, name)},
        }
        self._add_all(chain.from_iterable(sorted(attributes.items())))

    # -- packages -------------------------------------------------------------------------------------------------

    def _is_own(self, value: Any) -> bool:
        """Return whether code is the user's, which counts by its bytecode; other code counts by its version."""
        name = _module_of(value)
        package = _top_level(name)
        if package in sys.stdlib_module_names or package in _PACKAGES_IN_EVERY_DIGEST:
            return False
        if package in (self._own_package, "__main__") or name not in sys.modules:  # exec() makes such code
            return True
        module = sys.modules[name]
        file = getattr(module, "__file__", None) or next(iter(getattr(module, "__path__", ())), None)
        return file is not None and not _INSTALLED_FOLDERS & set(pathlib.PurePath(file).parts)

    def _is_member_of_its_module(self, value: Any) -> bool:
        """Return whether an object can be found by its name in the package that defines it."""
        name = getattr(value, "__qualname__", None) or getattr(value, "__name__", None)
        module = sys.modules.get(str(getattr(value, "__module__", None)))
        if not isinstance(name, str) or module is None or self._is_own(module):
            return False
        member: Any = module
        for attribute in name.split("."):
            member = getattr(member, attribute, None)
        return member is value

    def _add_name(self, value: Any) -> None:
        """Add an object of another package, the standard library or C, by name and version."""
        module = _module_of(value)
        if isinstance(value, np.ufunc):
            modules = [
                name
                for name in _UFUNC_MODULES
                if getattr(sys.modules.get(name), value.__name__, None) is value
            ]
            if not modules:
                raise NoDigestError(
                    f"It uses the ufunc {value.__name__!r}, which is not one of numpy or scipy."
                )
            module = modules[0]
        if isinstance(value, types.FunctionType) and not self._is_member_of_its_module(value):
            # A decorator of another package created it around an object of the user.
            self._add_code(value.__code__)
            self._add_all([value.__defaults__, value.__kwdefaults__])
            self._add_all(cell.cell_contents for cell in value.__closure__ or () if _is_filled(cell))
        bound_to = getattr(value, "__self__", None)
        if isinstance(bound_to, types.ModuleType):
            module = bound_to.__name__
        elif bound_to is not None and not isinstance(value, types.ModuleType | type):
            self.add(bound_to)
        owner = getattr(value, "__objclass__", None)
        self._write("name", module, getattr(value, "__qualname__", getattr(value, "__name__", "")))
        if isinstance(owner, type):
            module = owner.__module__
            self._write(owner.__qualname__)
        self.add_version(_top_level(module))

    def add_version(self, package: str) -> None:
        """Add the version of a package; raise NoDigestError if it has none."""
        if package in sys.stdlib_module_names or package == "builtins":
            return  # the version of Python is in every digest
        if package not in self._versions:
            versions = [getattr(sys.modules.get(package), "__version__", None), *_installed_versions(package)]
            self._versions[package] = [str(version) for version in versions if version is not None]
        if not self._versions[package]:
            raise NoDigestError(f"It uses the package {package!r}, which has no version.")
        self._write("version", package, *self._versions[package])


def _module(name: str) -> types.ModuleType | None:
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


def _installed_versions(package: str) -> Iterator[str]:
    try:
        yield importlib.metadata.version(package)
        return
    except importlib.metadata.PackageNotFoundError:
        pass
    for name in sorted(set(_distributions().get(package, ()))):
        yield name + importlib.metadata.version(name)


@functools.cache
def _distributions() -> dict[str, list[str]]:
    return dict(importlib.metadata.packages_distributions())


def _is_filled(cell: types.CellType) -> bool:
    """Return whether a variable of a closure has a value."""
    try:
        cell.cell_contents  # noqa: B018
    except ValueError:
        return False
    return True


def _slots(kind: type) -> tuple[str, ...]:
    slots = vars(kind).get("__slots__", ())
    names = (slots,) if isinstance(slots, str) else tuple(slots)
    return tuple(name for name in names if name not in ("__dict__", "__weakref__"))


def nested_codes(code: types.CodeType) -> Iterator[types.CodeType]:
    """Yield a code object and all code objects inside it: lambdas, comprehensions, functions, classes."""
    yield code
    for value in code.co_consts:
        if hasattr(value, "co_code"):
            yield from nested_codes(value)


def global_names(code: types.CodeType) -> set[str]:
    """Return the global variables and builtins that a code object reads."""
    return {
        str(instruction.argval)
        for nested in nested_codes(code)
        for instruction in dis.get_instructions(nested)
        if instruction.opname in ("LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS")
    }


def attribute_names(code: types.CodeType) -> set[str]:
    """Return all names in a code object: of attributes, globals and imports."""
    return {name for nested in nested_codes(code) for name in nested.co_names}


def imports(function: types.FunctionType) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield the full names of the modules that a function imports, each with the imported members."""
    package = function.__globals__.get("__package__") or ""
    for code in nested_codes(function.__code__):
        # The last two arguments before an import are its number of dots and the imported members.
        last_arguments: list[Any] = [0, None]
        for instruction in dis.get_instructions(code):
            if instruction.opname == "IMPORT_NAME":
                dots, members = last_arguments
                name = "." * int(dots or 0) + str(instruction.argval)
                try:
                    yield importlib.util.resolve_name(name, package), tuple(members or ())
                except ImportError:
                    yield name, ()
            last_arguments = [last_arguments[-1], instruction.argval]
