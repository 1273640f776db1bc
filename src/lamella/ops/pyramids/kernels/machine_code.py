"""Kernels as machine code: compiled once, kept on disk, and called without numba.

Importing numba and unpacking a kernel from its own cache takes 0.35 s of processor time in each new process on
Python 3.11 and 0.6 s on 3.13, as long as decoding half a gigabyte. What LLVM made of a kernel needs neither: llvmlite
alone puts it into memory in 0.05 s. So numba is imported by the first process that needs a kernel for a dtype, and its
work is kept as a file that says by its name for what it holds (source, versions, processor). Where that cannot be had,
numba calls the kernel itself.

Layer: ops. llvmlite is imported by the first call. How kernels are compiled is in :mod:`.jit`.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import importlib.util
import os
import struct
import tempfile
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

Plain: TypeAlias = "NDArray[Any] | int"
"""What numba takes."""
Argument: TypeAlias = "Plain | Constant"
Signature: TypeAlias = tuple[tuple[str, int, bool] | None, ...]
"""Dtype, axes and writeability of each array; None for a whole number."""

_HERE = Path(__file__).parent
ENTRY = "lamella_kernel"
"""Name of the function in machine code."""


class Constant:
    """An array that is passed to many calls: what is passed of it is found once.

    Attributes
    ----------
    array
        Of one shape and one place in memory.
    kind
        What a signature says of it.
    numbers
        As the calling convention has it.
    """

    __slots__ = ("array", "kind", "numbers")

    def __init__(self, array: NDArray[Any]) -> None:
        self.array = array
        self.kind = _kind(array)
        self.numbers = _numbers_of(array)


class Kernel:
    """A compiled function of C-contiguous arrays and whole numbers that returns nothing.

    Parameters
    ----------
    module
        Module of this package that defines it.
    name
        The function.
    """

    def __init__(self, module: str, name: str) -> None:
        self.module = module
        self.name = name
        self._codes: dict[Signature, Callable[[Sequence[Argument]], object]] = {}

    def __call__(self, *args: Argument) -> None:
        """Run it, without the GIL."""
        signature = _signature(args)
        code = self._codes.get(signature)
        if code is None:  # two threads may both load it: a lock of ours would not survive a fork
            code = self._codes[signature] = self._load(signature, args)
        code(args)

    def _load(self, signature: Signature, args: Sequence[Argument]) -> Callable[[Sequence[Argument]], object]:
        """Read the machine code from disk, or compile and store it."""
        places = self._places(signature)
        for place in places:
            with contextlib.suppress(OSError):
                if kept := _unpacked(place.read_bytes()):
                    return _linked(kept)
        from lamella.ops.pyramids.kernels.jit import compiled

        plain, made = compiled(self.module, self.name, _arrays(args))
        if made is None:
            return lambda values: plain(*_arrays(values))
        _keep(places, _packed(made))
        return _linked(made)

    def _places(self, signature: Signature) -> list[Path]:
        """Where the machine code may be: beside the bytecode of this package, or in the user's cache folder."""
        try:
            title = f"{self.module}.{self.name}-{_fingerprint(self.module, signature)}.machine-code"
        except (
            OSError
        ):  # a package without source, as in a frozen program: nothing says whether a file is current
            return []
        return [folder / title for folder in _folders()]


def _signature(args: Sequence[Argument]) -> Signature:
    return tuple(
        [
            arg.kind if isinstance(arg, Constant) else None if isinstance(arg, int) else _kind(arg)
            for arg in args
        ]
    )


def _kind(array: NDArray[Any]) -> tuple[str, int, bool]:
    return array.dtype.str, array.ndim, array.flags.writeable


def _arrays(args: Sequence[Argument]) -> list[Plain]:
    """Arguments as numba takes them."""
    return [arg.array if isinstance(arg, Constant) else arg for arg in args]


def _fingerprint(module: str, signature: Signature) -> str:
    """Name all that the machine code depends on."""
    digest = hashlib.sha256(repr((_machine(), signature)).encode())
    for source in (module, "jit", "machine_code"):
        digest.update((_HERE / f"{source}.py").read_bytes())
    return digest.hexdigest()[:32]


@cache
def _machine() -> tuple[str, ...]:
    """Versions of the compilers, and the processor: folders are shared by machines that differ."""
    _load_library()
    from llvmlite import binding

    features = binding.get_host_cpu_features().flatten()
    return (
        *(version(package) for package in ("numba", "llvmlite")),
        *(binding.get_process_triple(), binding.get_host_cpu_name(), features),
    )


def _load_library() -> None:
    """Load LLVM without the GIL, which the import of llvmlite holds: all threads stood still while a disk was read.

    That is 0.1 s for the 180 MB of the library. What fails here is told by the import.
    """
    found = importlib.util.find_spec("llvmlite")
    folders = found.submodule_search_locations if found is not None and os.name == "posix" else None
    for library in (path for folder in folders or () for path in Path(folder).glob("binding/libllvmlite.*")):
        load = ctypes.CDLL(None).dlopen  # a function called by ctypes has no GIL
        load.argtypes, load.restype = [ctypes.c_char_p, ctypes.c_int], ctypes.c_void_p
        load(os.fsencode(library), os.RTLD_NOW | os.RTLD_LOCAL)


def _folders() -> list[Path]:
    found = [_HERE / "__pycache__"]
    with contextlib.suppress(RuntimeError):  # no home
        found.append(Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lamella")
    return found


def _packed(code: bytes) -> bytes:
    """Content of a file: a checksum and the machine code.

    >>> _unpacked(_packed(b"code")), _unpacked(_packed(b"code")[:-1])
    (b'code', None)
    """
    return hashlib.sha256(code).digest() + code


def _unpacked(stored: bytes) -> bytes | None:
    """Read what `_packed` made; None when it is damaged: the linker would end the process."""
    checksum, code = stored[:32], stored[32:]
    return code if hashlib.sha256(code).digest() == checksum else None


def _keep(places: Sequence[Path], content: bytes) -> None:
    """Write a file for later processes, to the first place that takes it; none has to."""
    for place in places:
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            number, temporary = tempfile.mkstemp(dir=place.parent, prefix=place.stem, suffix=".tmp")
        except OSError:
            continue
        try:
            with os.fdopen(number, "wb") as file:
                file.write(content)
            Path(temporary).replace(place)
        except OSError:  # full, or over quota
            Path(temporary).unlink(missing_ok=True)
        else:
            return


_engines: list[Any] = []
"""What holds the machine code, for as long as the process lives."""


def _linked(code: bytes) -> Callable[[Sequence[Argument]], object]:
    """Load machine code into memory; return a Python function with its arguments."""
    from llvmlite import binding

    binding.initialize_native_target()
    binding.initialize_native_asmprinter()
    machine = binding.Target.from_default_triple().create_target_machine()
    engine = binding.create_mcjit_compiler(binding.parse_assembly(""), machine)
    engine.add_object_file(binding.ObjectFileRef.from_data(code))
    engine.finalize_object()
    _engines.append(engine)
    function = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_char_p)(engine.get_function_address(ENTRY))

    def call(args: Sequence[Argument]) -> None:
        values = _numbers(args)
        if status := function(struct.pack(f"{len(values)}q", *values)):
            raise RuntimeError(f"a kernel ended with status {status}, called for {_signature(args)}")

    return call


def _numbers(args: Sequence[Argument]) -> list[int]:
    """Arguments by the calling convention of numba: each array as seven numbers or more."""
    found: list[int] = []
    for arg in args:
        if isinstance(arg, int):
            found.append(arg)
        else:
            found += arg.numbers if isinstance(arg, Constant) else _numbers_of(arg)
    return found


def _numbers_of(array: NDArray[Any]) -> tuple[int, ...]:
    """Nobody's memory to count references of (two zeros), voxels, bytes of one, address, shape, strides."""
    return 0, 0, array.size, array.itemsize, array.ctypes.data, *array.shape, *array.strides
