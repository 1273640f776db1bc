"""Store kernels as machine code on disk, and call them without numba.

Importing numba and unpacking a kernel takes 0.35 s of processor time in each process on Python 3.11 and 0.6 s on 3.13;
llvmlite loads machine code in 0.05 s. So only the first process that needs a kernel imports numba, and stores the code
in a file named by a digest of source, versions and processor. If that fails, numba calls the kernel itself.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import os
import struct
import tempfile
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

NumbaArgument: TypeAlias = "NDArray[Any] | int"
"""An argument as numba accepts it."""
Argument: TypeAlias = "NumbaArgument | Constant"
Signature: TypeAlias = tuple[tuple[str, int, bool] | None, ...]
"""Dtype, axes and writeability of each array; None for a whole number."""
Code: TypeAlias = "Callable[[Sequence[Argument], Sequence[int]], object]"
"""A loaded kernel: a function of its arguments, and of the words as which they are passed (see `_types_and_words`)."""

_HERE = Path(__file__).parent
ENTRY = "lamella_kernel"
"""Name of the function in machine code."""


class Constant:
    """An array at a fixed address that is passed to many calls, with its type and words (see `_types_and_words`)."""

    __slots__ = ("array", "kind", "words")

    def __init__(self, array: NDArray[Any]) -> None:
        self.array = array
        (self.kind,), self.words = _types_and_words([array])


class Kernel:
    """A compiled function of this package with C-contiguous arrays and whole numbers as arguments, and no result."""

    def __init__(self, module: str, name: str) -> None:
        self.module = module
        self.name = name
        self._codes: dict[Signature, Code] = {}

    def __call__(self, *args: Argument) -> None:
        """Run the kernel, without the GIL."""
        signature, words = _types_and_words(args)
        code = self._codes.get(signature)
        if code is None:  # two threads may both load it: a lock would not survive a fork
            code = self._codes[signature] = self._load(signature, args)
        code(args, words)

    def _load(self, signature: Signature, args: Sequence[Argument]) -> Code:
        """Read the machine code from disk, or compile and store it."""
        paths = self._paths(signature)
        for path in paths:
            with contextlib.suppress(OSError):
                if stored := _checked_code(path.read_bytes()):
                    return _load_into_memory(stored)
        from lamella.ops.pyramids.kernels.jit import compiled

        numba_kernel, code = compiled(self.module, self.name, _arrays(args))
        if code is None:
            return lambda values, _: numba_kernel(*_arrays(values))
        _store(paths, hashlib.sha256(code).digest() + code)
        return _load_into_memory(code)

    def _paths(self, signature: Signature) -> list[Path]:
        """Return where the machine code may be: beside the bytecode of this package, or in the user's cache folder."""
        try:
            file_name = f"{self.module}.{self.name}-{_fingerprint(self.module, signature)}.machine-code"
        except OSError:
            return []  # a package without source, as in a frozen program: a stored file might be out of date
        return [folder / file_name for folder in _folders()]


def _types_and_words(args: Sequence[Argument]) -> tuple[Signature, list[int]]:
    """Return the types of arguments, and the 64-bit words as which numba passes them.

    The words of an array are owner and parent (zeros), number of voxels, bytes of one, address, shape and strides.
    """
    signature: list[tuple[str, int, bool] | None] = []
    words: list[int] = []
    for arg in args:
        if isinstance(arg, int):
            signature.append(None)
            words.append(arg)
        elif isinstance(arg, Constant):
            signature.append(arg.kind)
            words += arg.words
        else:
            signature.append((arg.dtype.str, arg.ndim, arg.flags.writeable))
            words += (0, 0, arg.size, arg.itemsize, arg.ctypes.data, *arg.shape, *arg.strides)
    return tuple(signature), words


def _arrays(args: Sequence[Argument]) -> list[NumbaArgument]:
    return [arg.array if isinstance(arg, Constant) else arg for arg in args]


def _fingerprint(module: str, signature: Signature) -> str:
    """Return a digest of everything that the machine code depends on."""
    digest = hashlib.sha256(repr((_machine(), signature)).encode())
    for source in (module, "jit", "machine_code"):
        digest.update((_HERE / f"{source}.py").read_bytes())
    return digest.hexdigest()[:32]


@cache
def _machine() -> tuple[str, ...]:
    """Return versions of the compilers, and the processor: machines that share folders may differ."""
    from importlib.metadata import version  # loads thirty modules, e.g. of mail

    from llvmlite import binding

    features = binding.get_host_cpu_features().flatten()
    return (
        *(version(package) for package in ("numba", "llvmlite")),
        *(binding.get_process_triple(), binding.get_host_cpu_name(), features),
    )


def _folders() -> list[Path]:
    folders = [_HERE / "__pycache__"]
    with contextlib.suppress(RuntimeError):  # no home
        folders.append(Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lamella")
    return folders


def _checked_code(stored: bytes) -> bytes | None:
    """Return the machine code after the checksum of a file; None if it is damaged: the linker would end the process."""
    checksum, code = stored[:32], stored[32:]
    return code if hashlib.sha256(code).digest() == checksum else None


def _store(paths: Sequence[Path], content: bytes) -> None:
    """Write a file for later processes, to the first path that is writable, if there is one."""
    for path in paths:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.stem, suffix=".tmp")
        except OSError:
            continue
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
            Path(temporary).replace(path)
        except OSError:  # full, or over quota
            Path(temporary).unlink(missing_ok=True)
        else:
            return


_engines: list[Any] = []
"""Own the machine code until the process ends."""


def _load_into_memory(code: bytes) -> Code:
    """Load machine code into memory; return a Python function that calls it."""
    from llvmlite import binding

    binding.initialize_native_target()
    binding.initialize_native_asmprinter()
    machine = binding.Target.from_default_triple().create_target_machine()
    engine = binding.create_mcjit_compiler(binding.parse_assembly(""), machine)
    engine.add_object_file(binding.ObjectFileRef.from_data(code))
    engine.finalize_object()
    _engines.append(engine)
    function = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_char_p)(engine.get_function_address(ENTRY))

    def call(args: Sequence[Argument], words: Sequence[int]) -> None:
        if status := function(struct.pack(f"{len(words)}q", *words)):
            raise RuntimeError(
                f"A kernel ended with status {status}, called for {_types_and_words(args)[0]}."
            )

    return call
