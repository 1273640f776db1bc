"""Define the interface between the engine and the encoded chunks of an array, in local files or remote objects.

A *file* is a local file or an object, either a shard or a single chunk. Chunks are numbered in C order in their shard.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Sequence

    from lamella.store.pixels.chunk_grid import ChunkPart
    from lamella.store.pixels.coding import DecodedChunk
    from lamella.store.storage import Stamp
    from lamella.types import Array, Shape

#: A block, and the part of a chunk that is copied into it.
Destination: TypeAlias = "tuple[Array, ChunkPart]"


class ArrayFile(Protocol):
    """One file of an array; safe for threads."""

    #: Whether a chunk can be read again without a request, so that it may be decoded in parts.
    can_read_again: bool

    @property
    def stamp(self) -> Stamp | None:
        """Stamp for cached chunks; None where nothing may be cached."""

    @property
    def path(self) -> str:
        """Full path or URL."""

    @property
    def is_missing(self) -> bool:
        """Whether the file was looked up and does not exist."""

    def decoded(self, number: int) -> DecodedChunk | None:
        """Return a cached chunk."""

    def cache_chunk(self, number: int, chunk: DecodedChunk) -> None:
        """Cache a decoded chunk, where there is a `stamp`."""

    def chunk(self, number: int) -> bytes | memoryview | None:
        """Return the bytes of one chunk; None where the chunk was never written.

        Raises `DamagedDataError` where the file is too short or its index is damaged.
        """

    def read_again(self, number: int) -> bool:
        """Read a chunk that cannot be decoded once more; False where that would return the same bytes."""

    def spans(self, numbers: Sequence[int]) -> dict[int, tuple[int, int]]:
        """Return the start and length of those of the chunks that the shard stores, by number."""

    def read(self, start: int, length: int) -> bytes | memoryview:
        """Return bytes of the shard; fewer at its end."""

    def count_read(self) -> None:
        """Count one chunk as read; after the last one the file is closed."""

    def close(self) -> None:
        """Close the file, even if chunks remain to be read."""


class Task(NamedTuple):
    """A chunk to decode: its file, its number in the file, the file's key below the array, and its destinations."""

    file: ArrayFile
    number: int
    key: str
    destinations: list[Destination]
    #: The part of a block that the chunk is decoded into; None where it is decoded elsewhere and copied.
    view: Array | None


@dataclass(eq=False)
class FileChange:
    """A file to write."""

    key: str
    """Key below the array."""
    parts: list[ChunkPart]
    """Parts of its chunks to write."""
    copied: frozenset[int]
    """Numbers of the chunks to copy unchanged from the old file."""
    is_covered: bool
    """Whether all pixels of the file inside the array are written, so that the old file is not read."""
    old: ArrayFile = field(init=False)
    """The old file, once the source has opened it."""


#: A file, the number of one of its chunks, and the encoded chunk; the chunks of a file are consecutive.
EncodedChunks: TypeAlias = "Generator[tuple[FileChange, int, bytes], None, None]"


class DamagedFileError(ValueError):
    """A file that cannot be decoded; `key` is its key below the array."""

    def __init__(self, key: str, reason: object) -> None:
        super().__init__(f"{key}: {reason}")
        self.key = key


class ChunkSource(Protocol):
    """The files of one array."""

    def open(self, key: str, index: Shape, numbers: Collection[int]) -> ArrayFile:
        """Return the file with a key and a file index, not opened yet; `numbers` are the chunks that will be read."""

    def decoded(self, key: str, number: int) -> DecodedChunk | None:
        """Return a cached chunk where a cheap check shows that its file is unchanged."""

    def read(self, tasks: Sequence[Task], use_cache: bool, decode: Callable[[Sequence[Task]], None]) -> None:
        """Read chunks and pass them to `decode` in one or several groups; start again where a file changes meanwhile.

        Consecutive tasks share a file. With ``use_cache``, chunks are read from the cache and added to it.
        """

    def write(
        self, files: Iterator[FileChange], encode: Callable[[Iterable[FileChange]], EncodedChunks]
    ) -> None:
        """Write each file in one step; `encode` yields the encoded chunks of files whose `old` is set."""
