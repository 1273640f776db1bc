"""The files that every reader must read, and the truth about them: one list ``SAMPLES`` in each module ``truth_*``."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lamella.adapters.formats import readers

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import numpy as np

    from lamella.readers import Reader

DATA = Path(__file__).parents[1] / "data" / "formats"


@dataclass(frozen=True)
class Sample:
    """A file or folder under ``tests/data/formats``, and what its reader must say about it.

    ``axes``, ``shape``, ``channels`` (names), ``colors``, ``windows`` and ``expected`` (other attributes of the
    description, numbers compared with a relative tolerance of 1e-6) describe the image with the number ``image``.
    ``pixels`` returns the pixels of every image, in the axes of its description, by the library itself or by the
    formula of a generated file.
    ``folder`` is what must be copied to have all files of the data set, and ``cut`` the file to truncate. ``needs`` are
    modules that ``pixels`` imports besides those of the reader. ``is_chosen`` says that the user must name the format.
    """

    reader: str
    path: str
    axes: str
    shape: tuple[int, ...]
    dtype: str
    pixels: Callable[[Path], Sequence[np.ndarray]]
    images: int = 1
    image: int = 0
    channels: tuple[str, ...] = ()
    colors: tuple[str | None, ...] = ()
    windows: tuple[tuple[float, float] | None, ...] = ()
    expected: Mapping[str, Any] = field(default_factory=dict)
    original: tuple[str, ...] = ()
    folder: str = ""
    cut: str = ""
    needs: tuple[str, ...] = ()
    is_chosen: bool = False

    @property
    def file(self) -> Path:
        """The path that a user would convert."""
        return DATA / self.path

    @property
    def root(self) -> Path:
        """All files of the data set."""
        return DATA / (self.folder or self.path)

    @cached_property
    def the_reader(self) -> Reader:
        """The reader of the format."""
        return readers()[self.reader]


def samples() -> list[Sample]:
    """Return the samples of all modules ``truth_*``."""
    modules = sorted(path.stem for path in Path(__file__).parent.glob("truth_*.py"))
    return [sample for name in modules for sample in import_module(f"tests.formats.{name}").SAMPLES]


def check_covered() -> list[str]:
    """Return the names of the readers without a sample."""
    return sorted(set(readers()) - {sample.reader for sample in samples()})
