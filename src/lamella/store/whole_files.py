"""Writing files of a local store that a write covers whole: encoded on several threads, written as they come.

Memory is for the chunks under way, where TensorStore keeps all of a shard several times. The bytes do not depend on the
threads: chunks stand in a shard in C order. Knows nothing of what was in the files before.

Layer: store.
"""

from __future__ import annotations

import itertools
import math
from collections import deque
from concurrent.futures import wait
from operator import itemgetter
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from lamella.store import coverage
from lamella.store.chunk_encoder import ChunkEncoder, encoder_of
from lamella.store.codec_threads import codec_threads, cpus
from lamella.store.keys import join
from lamella.store.local import LocalStorage
from lamella.store.shard_index import NO_CHUNK, IndexForm, encode_index
from lamella.store.staged_file import stage

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from concurrent.futures import Future

    from lamella.store.array_meta import ArrayMeta
    from lamella.store.storage import Storage
    from lamella.types import Array, Shape

#: The place of a file, the number of a chunk in it, and its values or its bytes.
Chunk: TypeAlias = "tuple[Shape, int, Array]"
Encoded: TypeAlias = "tuple[Shape, int, bytes]"

#: Bytes of a chunk below which TensorStore is the faster: a call of Python costs more than the codec then.
LEAST_CHUNK = 128 << 10


class WholeFiles:
    """Writer of whole files of one array.

    Parameters
    ----------
    storage, path
        Where the array is.
    meta, encoder, form
        What its document says; `form` is None where it has no shards.
    """

    def __init__(
        self, storage: LocalStorage, path: str, meta: ArrayMeta, encoder: ChunkEncoder, form: IndexForm | None
    ) -> None:
        self._storage = storage
        self._path = path
        self._meta = meta
        self._encoder = encoder
        self._form = form

    def write(self, box: tuple[slice, ...], block: Array) -> None:
        """Replace all files that a box touches, which it covers as far as the array reaches.

        Parameters
        ----------
        box
            In coordinates of the array.
        block
            Of the box's shape and the array's dtype.

        Raises
        ------
        StorageError
            The system refused; the file that it refused is as it was.
        """
        encoded = self._encoded(self._chunks(box, block))
        for place, chunks in itertools.groupby(encoded, key=itemgetter(0)):
            key = join(self._path, self._meta.chunk_key(place))
            if self._form is None:
                for _, _, data in chunks:
                    self._storage.write(key, data)
            else:
                self._write_shard(key, chunks, self._form)

    def _write_shard(self, key: str, chunks: Iterable[Encoded], form: IndexForm) -> None:
        entries = np.full((math.prod(form.chunks), 2), NO_CHUNK, np.uint64)
        end = 0 if form.at_end else form.size
        file = stage(self._storage, key)
        try:
            for _, number, data in chunks:
                file.write(end, data)
                entries[number] = end, len(data)
                end += len(data)
            file.write(end if form.at_end else 0, encode_index(entries, form))
        except BaseException:
            file.discard()
            raise
        file.commit()

    def _chunks(self, box: tuple[slice, ...], block: Array) -> Iterator[Chunk]:
        """Yield the chunks of all files, file by file; those beyond the array are not stored."""
        meta = self._meta
        for place in coverage.files_of(meta, box):
            grid = self._form.chunks if self._form is not None else (1,) * meta.ndim
            for number, chunk in enumerate(itertools.product(*map(range, grid))):
                starts = [
                    k * f + i * c for k, f, i, c in zip(place, meta.files, chunk, meta.chunks, strict=True)
                ]
                if all(start < n for start, n in zip(starts, meta.shape, strict=True)):
                    ends = [min(s + c, n) for s, c, n in zip(starts, meta.chunks, meta.shape, strict=True)]
                    part = tuple(
                        slice(s - b.start, e - b.start) for s, e, b in zip(starts, ends, box, strict=True)
                    )
                    yield place, number, block[part]

    def _encoded(self, chunks: Iterator[Chunk]) -> Iterator[Encoded]:
        """Encode chunks ahead of those that are taken, in order."""
        pool = codec_threads()
        ahead: deque[tuple[Shape, int, Future[bytes]]] = deque()
        try:
            for place, number, values in chunks:
                ahead.append((place, number, pool.submit(self._encoder.encode, values)))
                if len(ahead) > 2 * cpus():
                    yield _result(ahead.popleft())
            while ahead:
                yield _result(ahead.popleft())
        finally:
            wait([future for _, _, future in ahead])


def open_whole_files(
    storage: Storage, path: str, meta: ArrayMeta, *, any_size: bool = False
) -> WholeFiles | None:
    """Return the writer of an array's files, None where an engine is the better or the only one.

    With `any_size` also where chunks are so small that an engine is the faster.
    """
    small = math.prod(meta.chunks) * meta.dtype.itemsize < LEAST_CHUNK
    if not isinstance(storage, LocalStorage) or (small and not any_size):
        return None
    encoder, form = encoder_of(meta), IndexForm.of(meta)
    if encoder is None or (form is None) != (meta.shards is None):
        return None
    return WholeFiles(storage, path, meta, encoder, form)


def _result(ahead: tuple[Shape, int, Future[bytes]]) -> Encoded:
    place, number, future = ahead
    return place, number, future.result()
