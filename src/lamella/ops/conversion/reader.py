"""The interface of ``convert`` to file formats: a reader claims paths, and opens each as a container of images.

:mod:`lamella.adapters.formats` finds readers; ``handles`` has the base of readers over a library.
"""

from __future__ import annotations

import os
import sys
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from itertools import chain
from typing import TYPE_CHECKING, ClassVar, NoReturn, overload

from lamella.errors import MissingDependencyError, SourceError, first_of
from lamella.ops.conversion.source import LEGAL_ORDER, is_legal_order
from lamella.store.keys import natural_order

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from lamella.ops.conversion.source import ImageDescription, PlaneSource


MAX_ORIGINAL_BYTES = 64 << 20
"""Maximum size of the original metadata of several files in a store, and of one file that lists other files."""


@dataclass(frozen=True)
class OriginalMetadata:
    """A text with metadata of a file, unchanged: OME-XML, other XML, JSON or plain text.

    ``name`` is the name of the file in the store that gets the text, such as ``METADATA.ome.xml`` or ``metadata.json``.
    """

    name: str
    text: str


class Container(Sequence["PlaneSource"]):
    """The images of one path, in the order of the format, and its original metadata.

    ``originals_left_out`` is the number of texts of original metadata that were too large to read, and ``notes`` are
    information for the user about the file as a whole.
    """

    def __init__(
        self,
        sources: Sequence[PlaneSource],
        original: Sequence[OriginalMetadata] = (),
        *,
        originals_left_out: int = 0,
    ) -> None:
        self.notes: tuple[str, ...] = ()
        self.sources = tuple(sources)
        self.original = tuple(original)
        self.originals_left_out = originals_left_out

    def __len__(self) -> int:
        return len(self.sources)

    @overload
    def __getitem__(self, index: int) -> PlaneSource: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[PlaneSource]: ...
    def __getitem__(self, index: int | slice) -> PlaneSource | Sequence[PlaneSource]:
        return self.sources[index]

    def keep_open(self) -> None:
        """Keep files that the images share open until `close`; do nothing if they share none."""

    def close(self) -> None:
        """Close the files of all images; a later read opens them again."""
        for source in self.sources:
            source.close()


class Reader(ABC):
    """A file format that ``convert`` reads.

    Attributes
    ----------
    name : str
        Short name in lower case, for ``--format`` ("nd2").
    title : str
        Name of the format for people ("Nikon ND2").
    endings : tuple of str
        Endings of file names in lower case, with their dots; all files of a folder that end so belong to the format.
    extra : str
        The extra of lamella that installs the libraries; empty if the format needs none.
    libraries : tuple of str
        Modules that must be importable.
    python : tuple of int
        The oldest Python on which the libraries install.
    is_fallback : bool
        Whether the reader is asked only if no other reader claims a path.
    lists_files : bool
        Whether its files only list other files, which have the pixels.
    first_bytes : tuple of bytes
        How its files may begin, where other formats begin so too: an error names the formats that a file may be of.
    index_root : bytes
        How the root element of its XML index begins (``b"<SpimData"``): an error about such a file under an unknown
        name says what it is.
    index_name : str
        The name that this index must have ("Index.idx.xml"), or how it must end ("*.xml").
    """

    name: ClassVar[str]
    title: ClassVar[str]
    endings: ClassVar[tuple[str, ...]] = ()
    extra: ClassVar[str] = ""
    libraries: ClassVar[tuple[str, ...]] = ()
    python: ClassVar[tuple[int, int]] = (3, 11)
    is_fallback: ClassVar[bool] = False
    lists_files: ClassVar[bool] = False
    first_bytes: ClassVar[tuple[bytes, ...]] = ()
    index_root: ClassVar[bytes] = b""
    index_name: ClassVar[str] = ""

    def claims(self, path: str) -> bool:
        """Return whether a file or folder is of this format, by its name or by an index file in it.

        A folder that is claimed is one data set. Libraries are not checked here: if one is not installed, `open` raises
        with the name of the extra.
        """
        return path.lower().endswith(self.endings) and os.path.isfile(path)

    def may_claim_file(self, name: str) -> bool:
        """Return False if no file of this name is of this format; `claims` is then not called, which reads the disk."""
        return True

    def recognises(self, head: bytes) -> bool:
        """Return whether a file is of this format, by its first 512 bytes, whatever its name is.

        Called for files that no reader claims by name, or that the reader of their name cannot read.
        """
        return False

    @abstractmethod
    def open(self, path: str) -> Container:
        """Return the images of a path with their descriptions; the files are closed again.

        Raise SourceError for a file that is damaged, truncated, or has unsupported axes or pixels.
        """

    def open_what_is_there(self, path: str) -> Container:
        """Open a path that may be truncated: planes without bytes are missing, and a note names them.

        A reader that does not override this refuses truncated files, as `open` does.
        """
        return self.open(path)

    @property
    def missing(self) -> tuple[str, ...]:
        """The libraries that are not installed."""
        return tuple(name for name in self.libraries if find_spec(name) is None)

    def require(self) -> None:
        """Raise MissingDependencyError, which names the extra, if a library is not installed, or Python is too old."""
        is_too_old = sys.version_info < self.python
        if not self.missing and not is_too_old:
            return
        names = " and ".join(self.libraries if is_too_old else self.missing)
        if is_too_old:
            needed = ".".join(map(str, self.python))
            raise MissingDependencyError(
                f"Reading {self.title} needs {names}, which needs Python {needed} or newer; this is "
                f"{sys.version_info.major}.{sys.version_info.minor}."
            )
        install = (
            f'pip install "lamella[{self.extra}]"' if self.extra else f"pip install {' '.join(self.missing)}"
        )
        raise MissingDependencyError(
            f"Reading {self.title} needs {names}, which {'is' if len(self.missing) == 1 else 'are'} not installed "
            f"({install})."
        )


class Formats:
    """The readers that a conversion may use; the first that claims a path reads it.

    ``readers`` may be a function that loads all readers. ``likely`` returns readers for a path, which are asked before
    all are loaded: the first of them that claims a path must be the first of all readers that do. With ``is_chosen``,
    the user chose the only reader, which then reads files of any name.
    """

    def __init__(
        self,
        readers: Sequence[Reader] | Callable[[], Sequence[Reader]],
        *,
        likely: Callable[[str], Sequence[Reader]] | None = None,
        is_chosen: bool = False,
    ) -> None:
        self._readers_or_load = readers
        self._likely = likely
        self._is_chosen = is_chosen

    @cached_property
    def _readers(self) -> list[Reader]:
        readers = self._readers_or_load() if callable(self._readers_or_load) else self._readers_or_load
        return sorted(readers, key=lambda reader: reader.is_fallback)

    def find(self, path: str) -> Reader | None:
        """Return the reader of a file or of a folder that is one data set."""
        is_folder = os.path.isdir(path)
        if self._is_chosen and not is_folder:
            return self._readers[0]
        for reader in () if self._likely is None else self._likely(path):
            if reader.claims(path):
                return reader
        regular = [reader for reader in self._readers if not reader.is_fallback]
        candidates = (reader for reader in regular if is_folder or reader.may_claim_file(path))
        claiming = next((reader for reader in candidates if reader.claims(path)), None)
        if claiming is not None:
            return claiming
        head = _first_bytes(path)
        fallbacks = self._readers[len(regular) :]
        return next(
            chain(
                (reader for reader in regular if reader.recognises(head)),
                (reader for reader in fallbacks if reader.claims(path)),
            ),
            None,
        )

    def open(self, path: str, *, what_is_there: bool = False) -> Container:
        """Open a path by its reader; raise SourceError if no reader claims it.

        A file that its reader cannot read, and that begins like a file of another format, is opened by that reader.
        """

        def open_by(reader: Reader) -> Container:
            return reader.open_what_is_there(path) if what_is_there else reader.open(path)

        reader = self.find(path)
        if reader is None:
            raise SourceError(
                f"{path} is of no known format. `lamella convert --list-formats` lists the formats and the endings of "
                f"their files.{self._hint(path)}"
            )
        try:
            return open_by(reader)
        except (SourceError, MissingDependencyError) as error:
            head = _first_bytes(path)
            if reader.recognises(head) or head.startswith(reader.first_bytes):
                raise
            other = next((candidate for candidate in self._readers if candidate.recognises(head)), None)
            if other is None:
                hint = self._hint(path)
                if not hint:
                    raise
                raise type(error)(f"{error}{hint}") from error
        try:
            container = open_by(other)
        except SourceError as error:
            raise SourceError(
                f"{error} It begins as a file of {other.title}, whatever its name is."
            ) from error
        note = (
            f"it is read as {other.title}, as its first bytes are, and not as {reader.title}, as its name is"
        )
        container.notes = (note, *container.notes)
        return container

    def _hint(self, path: str) -> str:
        """Return a hint for the end of an error: formats whose files begin so, or the name that an index must have."""
        head = _first_bytes(path)
        for reader in self._readers:
            if reader.index_root and reader.index_root in head and not reader.claims(path):
                return (
                    f" It is an index of {reader.title}, whose name must be {reader.index_name}: rename it."
                )
        names = [
            reader.name
            for reader in self._readers
            if reader.first_bytes and head.startswith(reader.first_bytes)
        ]
        return (
            f" By its first bytes it may be of the format {' or '.join(names)} (--format)." if names else ""
        )

    def list_folder(self, folder: str, *, deep: bool = False) -> tuple[list[str], list[str]]:
        """Return the files of a folder in natural order: those of the first reader whose endings occur there.

        The second list has the files that end as those of other readers.

        ``deep`` includes files in folders below, but not in hidden ones and in Zarr stores. It skips readers whose
        files only list other files (``lists_files``): names of files decide where they belong.
        """
        names = list(_names_below(folder) if deep else _names_in(folder))
        for reader in self._readers:
            if deep and reader.lists_files:
                continue
            matching = [name for name in names if name.lower().endswith(reader.endings)]
            if matching:
                other_names = set() if reader.lists_files else {*self._images_among(names)} - {*matching}
                return _paths_in(folder, matching), _paths_in(folder, other_names)
        if self._is_chosen and names and not self._endings():  # the caller knows that these are its files
            return _paths_in(folder, names), []
        where = " and the folders below it contain" if deep else " contains"
        endings = first_of(sorted({os.path.splitext(name)[1].lower() for name in names} - {""}))
        raise SourceError(
            f"The folder {os.path.abspath(folder)}{where} no image of a known format (endings: {endings}): lamella "
            "convert --list-formats lists them. For files that a plugin of bioio reads, add --format bioio."
        )

    def _images_among(self, names: Iterable[str]) -> Iterator[str]:
        endings = tuple(
            ending for reader in self._readers if not reader.lists_files for ending in reader.endings
        )
        yield from (name for name in names if name.lower().endswith(endings))

    def _endings(self) -> list[str]:
        return list(dict.fromkeys(ending for reader in self._readers for ending in reader.endings))


def _paths_in(folder: str, names: Iterable[str]) -> list[str]:
    return [os.path.join(folder, name) for name in sorted(names, key=natural_order)]


def _first_bytes(path: str) -> bytes:
    """Return the first 512 bytes of a file; none of a folder or of a file that cannot be read."""
    with suppress(OSError), open(path, "rb") as file:
        return file.read(512)
    return b""


def scan_folder(folder: str) -> list[os.DirEntry[str]]:
    """List the entries of a folder; raise SourceError if it cannot be listed."""
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError as error:
        _raise_unlisted(error)


def list_names(folder: str) -> list[str]:
    """List the names in a folder; raise SourceError if it cannot be listed."""
    return [entry.name for entry in scan_folder(folder)]


def _raise_unlisted(error: OSError) -> NoReturn:
    raise SourceError(
        f"The folder {error.filename} cannot be listed: {error.strerror or error}. Change its permissions, or name "
        "the files and folders to convert one by one."
    ) from error


def _names_in(folder: str) -> Iterator[str]:
    """Yield the names of the visible files in a folder."""
    yield from (
        entry.name for entry in scan_folder(folder) if not entry.name.startswith(".") and entry.is_file()
    )


_SYSTEM_FOLDERS = {"lost+found", "System Volume Information", "$RECYCLE.BIN"}
"""Folders of file systems: they contain no images, and often cannot be listed."""


def _names_below(folder: str) -> Iterator[str]:
    """Yield the paths, relative to a folder, of the visible files in it and below."""
    for root, folders, names in os.walk(folder, onerror=_raise_unlisted):
        folders[:] = [
            name
            for name in folders
            if not name.startswith(".") and not name.endswith(".zarr") and name not in _SYSTEM_FOLDERS
        ]
        inner = os.path.relpath(root, folder)
        yield from (
            name if inner == os.curdir else os.path.join(inner, name)
            for name in names
            if not name.startswith(".")
        )


def check_description(path: str, description: ImageDescription) -> None:
    """Raise SourceError for an image without y and x, without pixels, or with pixels that are not numbers."""
    axes, shape, dtype = description.axes, description.shape, description.dtype
    image = f"{path} has an image with the axes {axes!r} of shape {tuple(shape)}"
    if not {"y", "x"} <= set(axes):
        raise SourceError(f"{image}: an image needs y and x.")
    if not is_legal_order(axes) or len(shape) != len(axes):
        raise SourceError(f'{image}: axes must be letters of "{LEGAL_ORDER}", in this order.')
    if 0 in shape:
        raise SourceError(f"{image}: there are no pixels to convert.")
    if dtype.kind not in "buifc":
        raise SourceError(f"{path} has pixels of type {dtype}, which are neither intensities nor labels.")
