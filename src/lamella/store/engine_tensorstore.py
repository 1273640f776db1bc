"""Pixels by TensorStore.

One context serves the whole process, so that threads are counted once and shard indexes are cached across
arrays. Locking between processes is not TensorStore's here: see `_context`.

Layer: store.
"""

from __future__ import annotations

import os
import re
from collections import deque
from contextlib import suppress
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from lamella.store import coverage
from lamella.store.codec_threads import cpus
from lamella.store.format_v3 import fill_to_json
from lamella.store.keys import join
from lamella.store.local import LocalStorage
from lamella.store.misplaced import MissingChunks

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lamella.store.array_meta import ArrayMeta
    from lamella.store.coverage import Kind
    from lamella.store.engine import EngineName
    from lamella.store.selection import Selection
    from lamella.store.storage import Storage
    from lamella.types import Array, JSONObject, Shape

#: Bytes of decoded chunks and shard indexes kept for the process; TensorStore asks the file system on each
#: read whether what it keeps is still current, so other writers are seen.
_CACHE_BYTES = 64 << 20

_V3_CODECS = {"bytes", "blosc", "gzip", "zstd", "crc32c", "transpose", "sharding_indexed"}
_V2_COMPRESSORS = {"blosc", "zlib", "gzip", "bz2", "zstd"}
_V3_KEYS = ("zarr_format", "node_type", "shape", "data_type", "chunk_grid", "chunk_key_encoding", "codecs")
_V2_KEYS = ("zarr_format", "shape", "chunks", "dtype", "compressor", "order", "dimension_separator")

_MOST_PLAIN = 1_000_000

_SYSTEM_NUMBER = re.compile(r"\[os_error_code='(\d+)'")
_DAMAGE = ("FAILED_PRECONDITION", "DATA_LOSS", "INVALID_ARGUMENT", "OUT_OF_RANGE")


@cache
def _context(fsync: bool) -> Any:
    """Make the context of this process; never the global default one, which belongs to the user.

    ``file_io_locking`` is off: TensorStore 0.1.86 writes into ``<key>.__lock`` without cutting off what a
    killed process left in it, so that the next shorter shard ends in old bytes and cannot be read. Without
    locking it writes to a fresh name and renames, which is as atomic; `StoredArray` holds the locks that are
    needed.
    """
    import tensorstore as ts

    return ts.Context(
        {
            "cache_pool": {"total_bytes_limit": _CACHE_BYTES},
            "data_copy_concurrency": {"limit": cpus()},
            "file_io_locking": {"mode": "none"},
            "file_io_sync": fsync,
        }
    )


def open_tensorstore(storage: Storage, path: str, meta: ArrayMeta) -> TensorStoreEngine | None:
    """Open an array, or return None when TensorStore cannot address its store or decode its chunks."""
    if meta.zarr_format == 3:  # below these two folders TensorStore looks for itself
        storage.enter(join(path, "c"))
    kvstore = storage.kvstore(path)
    document = None if kvstore is None else _document(meta)
    if kvstore is None or document is None:
        return None
    try:
        return TensorStoreEngine(kvstore, document, meta, storage, path)
    except ValueError:  # a codec setting that only zarr-python knows, or nobody: its error names the codec
        return None


class TensorStoreEngine:
    """An array opened by TensorStore from metadata that is parsed already."""

    name: EngineName = "tensorstore"
    survives_fork = False  # its threads do not
    errors: tuple[type[Exception], ...] = (ValueError, RuntimeError, NotImplementedError)
    # What lies beyond the array is not in any write, so TensorStore reads the file to keep it.
    reads_before_writing: frozenset[Kind] = frozenset({"ragged"})

    def __init__(
        self,
        kvstore: JSONObject,
        document: JSONObject,
        meta: ArrayMeta,
        storage: Storage,
        path: str,
    ) -> None:
        local = storage if isinstance(storage, LocalStorage) else None
        self._driver = "zarr3" if meta.zarr_format == 3 else "zarr"
        self._meta = meta
        self._document = document
        #: The storage, where each write is to survive a power cut.
        self._flushed = local if local is not None and local.fsync else None
        self._local = local
        self._swept: set[str] = set()
        #: Places of the files that were seen to be no links.
        self._plain: set[Shape] = set()
        self._missing = MissingChunks(storage, path, meta)
        self._files = meta.files
        self._path = path
        self._array = self._open(kvstore, _context(self._flushed is not None))

    def _open(self, kvstore: JSONObject, context: Any) -> Any:
        import tensorstore as ts

        spec = {
            "driver": self._driver,
            "kvstore": kvstore,
            "metadata": self._document,
            "store_data_equal_to_fill_value": True,
        }
        return ts.open(spec, open=True, assume_metadata=True, context=context).result()

    def read(self, selection: Selection, out: Array | None = None) -> Array:
        """Decode the chunks that a selection meets."""
        import tensorstore as ts

        self._look_at(selection)
        view = _view(self._array, selection)
        if out is None:
            # numpy asks the system for large pages, TensorStore does not: a fresh array of 512 MB costs a third of
            # the system's time.
            out = np.empty(selection.shape, self._meta.dtype)
        ts.array(out).write(view).result()
        return out

    def read_many(self, wanted: Sequence[tuple[Selection, Array]]) -> None:
        """Read a few at a time, on TensorStore's threads."""
        import tensorstore as ts

        ahead: deque[Any] = deque()
        try:
            for selection, block in wanted:
                self._look_at(selection)
                ahead.append(ts.array(block).write(_view(self._array, selection)))
                if len(ahead) > 2 * cpus():
                    ahead.popleft().result()
            while ahead:
                ahead.popleft().result()
        finally:
            for one in ahead:  # after a failure nothing may still be filling the caller's memory
                with suppress(*self.errors):
                    one.result()

    def _look_at(self, selection: Selection, *, is_written: bool = False) -> None:
        """Refuse links that lead out of the store, folders and pipes; each file is looked at once.

        TensorStore follows links, waits for the writer of a pipe, and takes a folder for a missing chunk.
        """
        local, plain = self._local, self._plain
        if local is None or self._is_of_one_plain_file(selection):
            return
        if len(plain) > _MOST_PLAIN:
            plain.clear()
        for place in coverage.places_of(self._meta, selection):
            if place in plain:
                continue
            if local.is_plain(key := join(self._path, self._meta.chunk_key(place))):
                plain.add(place)
            elif not is_written and not self._missing.is_known and local.size(key) is None:
                self._missing.note()

    def _is_of_one_plain_file(self, selection: Selection) -> bool:
        """Whether a selection is a crop out of one file that was looked at: asked of each crop, so in 1.5 µs."""
        place = []
        for axis, length in zip(selection.axes, self._files, strict=True):
            if axis.__class__ is not slice:
                return False
            place.append(axis.start // length)
            if (axis.stop - 1) // length != place[-1]:
                return False
        return tuple(place) in self._plain

    def write(self, selection: Selection, block: Array) -> None:
        """Encode and store the chunks that a selection meets."""
        self._look_at(selection, is_written=True)
        if self._local is not None:
            folders = self._folders(selection, block)
            for folder in folders - self._swept:  # what a killed process left
                self._local.sweep(folder)
            self._swept = folders
            if self._flushed is not None:
                # TensorStore flushes each file and the folder that it is in, but not the folders that it makes.
                self._flushed.make_folders(folders)
        try:
            _view(self._array, selection).write(block).result()
        except ValueError:
            self._settle(selection, block)
            raise

    def _folders(self, selection: Selection, block: Array) -> set[str]:
        places = (
            coverage.files_of(self._meta, tuple(one for one in selection.axes if isinstance(one, slice)))
            if selection.is_box
            else (place for place, _, _ in coverage.by_file(self._meta, selection, block))
        )
        return {join(self._path, self._meta.chunk_key(place)).rpartition("/")[0] for place in places}

    def _settle(self, selection: Selection, block: Array) -> None:
        """Wait until nothing of a failed write is under way.

        TensorStore reports the first file that failed while it still writes the others; one of those could land
        after what the caller does next. A second write of a file waits for the first one.
        """
        pending = [
            _view(self._array, chosen).write(part)
            for _, chosen, part in coverage.by_file(self._meta, selection, block)
        ]
        for write in pending:
            with suppress(ValueError):
                write.result()

    def encode(self, selection: Selection, block: Array) -> dict[str, bytes]:
        """Encode files in memory."""
        import tensorstore as ts

        memory = ts.Context({"memory_key_value_store": {}}, _context(self._flushed is not None))
        array = self._open({"driver": "memory"}, memory)
        _view(array, selection).write(block).result()
        files = array.kvstore
        return {key.decode(): bytes(files[key]) for key in files.list().result()}

    def system_fault(self, error: Exception) -> OSError | None:
        """Read TensorStore's message: it begins with a status, and ends with the system's number if there is one."""
        text = str(error)
        number = _SYSTEM_NUMBER.search(text)
        if number:
            return OSError(int(number[1]), os.strerror(int(number[1])))
        return None if text.startswith(_DAMAGE) else OSError(text)


def _view(array: Any, selection: Selection) -> Any:
    if selection.paired:
        return array.vindex[selection.axes]
    if all(isinstance(axis, slice) for axis in selection.axes):
        return array[selection.axes]
    return array.oindex[selection.axes]


def _document(meta: ArrayMeta) -> JSONObject | None:
    """Return the metadata that TensorStore needs, None for what it cannot decode.

    Only the keys that say how chunks are stored: others may be extensions that TensorStore refuses.
    """
    complex_fill = isinstance(meta.fill_value, complex)
    if meta.zarr_format == 3:
        if not set(meta.codecs) <= _V3_CODECS:
            return None
        document = {key: meta.document[key] for key in _V3_KEYS if key in meta.document}
        return {**document, "fill_value": fill_to_json(meta.fill_value)}
    if (
        meta.document.get("filters")
        or not set(meta.codecs) <= _V2_COMPRESSORS
        or (complex_fill and meta.fill_value)
    ):
        return None
    document = {key: meta.document[key] for key in _V2_KEYS if key in meta.document}
    # TensorStore takes complex fill values of Zarr v2 in another spelling than zarr-python; null counts as
    # zero.
    fill = None if complex_fill else fill_to_json(meta.fill_value)
    return {"order": "C", "compressor": None, **document, "filters": None, "fill_value": fill}
