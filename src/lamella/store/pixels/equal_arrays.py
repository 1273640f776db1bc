"""Read one region of many arrays with equal metadata at once: a plate has thousands of such levels.

The codecs, the chunks of the region, and where their values lie are computed once. On remote stores all chunks of all
arrays are requested in one round.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from lamella.store.pixels.chunk_grid import parts_by_file
from lamella.store.pixels.coding import coding_of
from lamella.store.pixels.engine import FilesEngine, open_engine, opening
from lamella.store.pixels.selection import basic_or_fancy
from lamella.store.process_limits import check_block

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lamella.store.metadata.array_meta import ArrayMeta
    from lamella.store.metadata.documents import Documents
    from lamella.types import Array


_MOST_LOADED = 1 << 20
"""Maximum size of a decoded chunk whose file `load_equal_arrays` loads."""


def load_equal_arrays(
    documents: Documents, paths: Sequence[str], meta: ArrayMeta, region: tuple[slice, ...]
) -> None:
    """Load files in folders ahead that `read_equal_arrays` reads next, each with the document of its array.

    Large chunks and shards are left out: they are read in parts, or take as long as their decoding.
    """
    names = documents.files_of_array
    if meta.shards is None and math.prod(meta.chunks) * meta.dtype.itemsize <= _MOST_LOADED:
        files = parts_by_file(meta, basic_or_fancy(region, meta.shape))
        names += [meta.chunk_key(file_index) for file_index, _ in files]
    documents.storage.load_ahead([f"{path}/{name}" for path in paths for name in names])


def read_equal_arrays(
    documents: Documents, paths: Sequence[str], meta: ArrayMeta, region: tuple[slice, ...]
) -> Array | None:
    """Return a region of the arrays at some paths, as (array, ...); None if only zarr-python knows their codecs.

    All arrays have the metadata ``meta``. Chunks that are not stored read as the fill value. Raise the engine's own
    error if one of the arrays cannot be read, without its name: the caller then reads each by itself.
    """
    if coding_of(meta) is None:
        return None
    where = f"of {len(paths)} arrays of {documents.storage.name}"
    with opening(documents.storage, "", meta, where):
        engine = open_engine(documents.storage, "", meta)  # for no array: the paths follow below
    assert isinstance(engine, FilesEngine)
    selection = basic_or_fancy(region, meta.shape)
    out = np.empty((len(paths), *selection.shape), meta.dtype)
    check_block(out.shape, meta.dtype.itemsize, f"reading a region {where}")
    engine.read_arrays(paths, list(parts_by_file(meta, selection)), out)
    return out
