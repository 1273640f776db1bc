"""Where the encoded chunks of an array come from: what files in a folder and objects of a store have in common."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Sequence

    from lamella.store.chunk_parts import Part
    from lamella.store.storage import Stamp
    from lamella.types import Array, Shape

#: Where values go: an array, the index of them in the chunk, and their index in the array.
Use: TypeAlias = "tuple[Array, tuple[Any, ...], tuple[Any, ...]]"


class Chunks(Protocol):
    """One file or object of an array, a shard or a single chunk; safe for threads."""

    @property
    def stamp(self) -> Stamp | None:
        """Stamp of what is there, for chunks that are kept; None where it does not tell it from what comes next."""

    @property
    def path(self) -> str:
        """The whole path or URL."""

    @property
    def is_missing(self) -> bool:
        """Whether it was looked for and is not there."""

    def decoded(self, number: int) -> Array | None:
        """Return a chunk that is kept of what is there."""

    def keep(self, number: int, chunk: Array) -> None:
        """Keep a decoded chunk, where there is a `stamp`."""

    def chunk(self, number: int) -> bytes | memoryview | None:
        """Return the bytes of one chunk by its number in the shard; None where it was never written.

        Raises
        ------
        DamagedDataError
            There are no such bytes, or the index is damaged.
        OSError
            The system or the service refused.
        """

    def read_again(self, number: int) -> bool:
        """Ask once more for a chunk that cannot be decoded, where its bytes may have been damaged on the way."""

    def places(self, numbers: Sequence[int]) -> dict[int, tuple[int, int]]:
        """Return where those of some chunks lie in the shard that are stored: start and length.

        Raises
        ------
        DamagedDataError, OSError
            As `chunk`.
        """

    def read(self, start: int, length: int) -> bytes | memoryview:
        """Return bytes of the shard; fewer where it ends before."""

    def done(self) -> None:
        """Count one chunk as used."""

    def close(self) -> None:
        """Close what is open, whatever is still to be asked for."""


class Task(NamedTuple):
    """A chunk to decode: its file, its number there, the file's key below the array, and who uses it."""

    file: Chunks
    number: int
    key: str
    uses: list[Use]
    #: The only user's memory, where the chunk can be decoded into it without a copy.
    view: Array | None


@dataclass(eq=False)
class FileChange:
    """A file to write.

    Attributes
    ----------
    key
        Below the array.
    parts
        What is written to its chunks.
    others
        Numbers of the chunks that stay as they are.
    is_replaced
        Whether its part in the array is covered whole, so that it is replaced without being read.
    old
        What is there now, once the source has opened it.
    """

    key: str
    parts: list[Part]
    others: frozenset[int]
    is_replaced: bool
    old: Chunks = field(init=False)


#: A file with the number and the bytes of a chunk of it; those of one file follow each other.
Encoded: TypeAlias = "Generator[tuple[FileChange, int, bytes], None, None]"


class DamagedFileError(ValueError):
    """A file cannot be decoded; `key` is its key below the array."""

    def __init__(self, key: str, reason: object) -> None:
        super().__init__(f"{key}: {reason}")
        self.key = key


class ChunkSource(Protocol):
    """The files or objects of one array."""

    def open(self, key: str, place: Shape, numbers: Collection[int]) -> Chunks:
        """Return a file of which some chunks will be asked for.

        Parameters
        ----------
        key, place
            Its key below the array, and its place in the grid of files.
        numbers
            Of the chunks.
        """

    def decoded(self, key: str, number: int) -> Array | None:
        """Return one chunk that is kept and is still what is stored, where a look is enough to know."""

    def read(self, tasks: Sequence[Task], keeps: bool, decode: Callable[[Sequence[Task]], None]) -> None:
        """Read chunks and pass them to `decode`, all at once or as their bytes come; again where something changes.

        Parameters
        ----------
        tasks
            The chunks; those of one file follow each other.
        keeps
            Whether chunks are kept, and used where they are kept.
        decode
            What decodes some of them.
        """

    def write(self, files: Iterator[FileChange], encoded: Callable[[Iterable[FileChange]], Encoded]) -> None:
        """Write files, each in one step.

        Parameters
        ----------
        files
            Those to write.
        encoded
            What encodes the chunks of files that are open.
        """
