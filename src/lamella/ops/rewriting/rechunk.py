"""``rechunk``: rewrite the arrays of a whole store with other chunks, shards, or another codec.

:mod:`lamella.ops.rewriting.rechunk_layout` chooses chunks and shards, and
:mod:`lamella.ops.rewriting.rewrite` writes the store.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lamella.errors import MetadataError
from lamella.ops.execution import Workers
from lamella.ops.new_store import folder_or_store, is_copied, rewritten_elsewhere
from lamella.ops.progress import check_progress
from lamella.ops.rewriting.endpoints import Target
from lamella.ops.rewriting.rechunk_layout import RequestedLayout
from lamella.ops.rewriting.rewrite import RewriteReport, rewrite
from lamella.spec.axes import space_axes
from lamella.spec.images import ImagesMeta
from lamella.spec.versions import detect
from lamella.store.compressor import Compressor
from lamella.store.keys import join
from lamella.store.storage import open_storage, with_options

if TYPE_CHECKING:
    from collections.abc import Mapping
    from concurrent.futures import Executor

    from zarr.abc.store import Store

    from lamella.ops.progress import Progress
    from lamella.ops.rewriting.inventory import Inventory
    from lamella.store.array_meta import ArrayMeta, ZarrFormat
    from lamella.store.compressor import CompressorChoice
    from lamella.store.documents import Documents
    from lamella.store.layout import Cut
    from lamella.types import JSONObject, StrPath


def rechunk(
    source: StrPath | Store,
    destination: StrPath | Store | None = None,
    *,
    chunks: Cut = None,
    shards: Cut = None,
    compressor: CompressorChoice = None,
    overwrite: bool = False,
    jobs: int | None = None,
    executor: Executor | None = None,
    progress: Progress | bool | None = None,
    follow_links: bool = False,
    storage_options: Mapping[str, Any] | None = None,
) -> RewriteReport:
    """Rewrite the arrays of a store with other chunks, shards or compression.

    All images of the store with their levels and labels are rewritten; everything else is copied unchanged. Lengths
    apply to the last axes: ``(16, 256, 256)`` are chunks of z, y and x, with one time and channel each.

    The same call resumes a killed one. A replaced store is deleted last, once the new one is in place; no other program
    may write to it in the meantime.

    Parameters
    ----------
    source : path, URL or zarr store
        The store to read: an image, a plate, a part of one, or a single array.
    destination : path, URL or zarr store, optional
        The new folder, or a URL, to which a temporary folder is copied at the end. None replaces the source.
    chunks : sequence of int or "auto", optional
        Lengths of the last axes. By default those of each array, or divisors of the new shards.
    shards : sequence of int, "auto" or "none", optional
        Lengths of the last axes, multiples of the chunks (0.5 and 0.6). By default those of each array, adapted to
        its chunks.
    compressor : Compressor, str or mapping, optional
        ``"zstd"``, ``"blosc"``, ``"gzip"``, ``"none"``, ...; by default that of each array.
    overwrite : bool
        Replace a Zarr store at the destination, once the new one is complete.
    jobs, executor, progress, follow_links, storage_options
        As for `lamella.upgrade`.

    Returns
    -------
    RewriteReport
        The destination and the numbers of groups and arrays.

    Raises
    ------
    StoreNotFoundError
        There is no store to read.
    StoreExistsError
        The destination exists, and `overwrite` is false or it is not a Zarr store.
    ReadOnlyError
        The source cannot be replaced.
    InvalidArgumentError
        The layout does not fit, the destination is the source, or another command's unfinished store is in the way.
    MetadataError, DamagedDataError
        A document is damaged, or a chunk.

    Examples
    --------
    >>> import lamella, numpy as np, tempfile
    >>> path = tempfile.mkdtemp() + "/cells.zarr"
    >>> with lamella.open_ome_zarr(path, layout="fov", mode="w", channel_names=["GFP"], version="0.5") as position:
    ...     position["0"] = np.ones((1, 1, 8, 64, 64), "uint16")
    >>> report = lamella.rechunk(path, chunks=(4, 32, 32), shards=(8, 64, 64), compressor="zstd")
    >>> image = lamella.open_ome_zarr(path)["0"]
    >>> image.chunks, image.shards
    ((1, 1, 4, 32, 32), (1, 1, 8, 64, 64))
    """
    workers = Workers(jobs, executor)
    check_progress(progress)
    layout = RequestedLayout(chunks, shards, compressor)
    layout.check()
    destination = None if destination is None else folder_or_store(destination)
    if destination is not None and is_copied(destination):
        options: dict[str, Any] = {"jobs": jobs, "executor": executor, "follow_links": follow_links}
        options |= {"progress": progress, "overwrite": overwrite, "storage_options": storage_options}
        options |= {"chunks": chunks, "shards": shards, "compressor": compressor}
        return rewritten_elsewhere(rechunk, "rechunk", source, destination, **options)
    source = with_options(source, storage_options)
    target = Target.of(source, destination, overwrite=overwrite)
    choice = None if compressor is None else Compressor.of(compressor)
    settings = {
        "command": "rechunk",
        "source": open_storage(source).name,
        "destination": None if target.in_place else target.path,
        "chunks": _plain(chunks),
        "shards": _plain(shards),
        "compressor": None if compressor is None else "none" if choice is None else repr(choice),
    }

    def prepare(documents: Documents, members: Inventory) -> RechunkPlan:
        return RechunkPlan(documents, members.groups, layout)

    return rewrite(source, target, settings, prepare, workers, progress=progress, follow_links=follow_links)


def _plain(cut: Cut) -> str | list[int] | None:
    return cut if cut is None or isinstance(cut, str) else [int(n) for n in cut]


class RechunkPlan:
    """The nodes of a store with other chunks."""

    lossy = False

    def __init__(self, documents: Documents, groups: list[str], layout: RequestedLayout) -> None:
        self.zarr_format: ZarrFormat = documents.format
        self.notes: list[str] = []
        self._layout = layout
        self._lead: dict[str, tuple[int, int]] = {}
        for path in groups:
            self._note_axes(path, documents.group(path))

    def _note_axes(self, path: str, attributes: JSONObject) -> None:
        """Store the arrays of an image, with the number of their axes and of those before space."""
        try:
            images = detect(self.zarr_format, attributes).load(ImagesMeta, attributes)
        except MetadataError as error:
            self.notes.append(f"group {path or '/'!r} was copied unchanged: {error}")
            return
        for scales in images.multiscales if images is not None else ():
            axes = (len(scales.axes), min(space_axes(scales.axes), default=0))
            for level in scales.get_dataset_paths():
                self._lead[join(path, level.strip("/"))] = axes

    def group(self, path: str, attributes: JSONObject) -> JSONObject:
        """Return the attributes of a group, unchanged."""
        del path
        return attributes

    def is_level(self, path: str) -> bool:
        """Return whether an image lists an array."""
        return path in self._lead

    def is_ome(self, path: str) -> bool:
        """Return True: documents and undecoded files stay unchanged, so the question does not matter."""
        del path
        return True

    def array(self, path: str, meta: ArrayMeta) -> ArrayMeta:
        """Describe an array of an image in its new layout; return arrays of other programs unchanged."""
        if path and path not in self._lead:
            return meta
        ndim, lead = self._lead.get(path, (meta.ndim, max(0, meta.ndim - 3)))
        return self._layout.array(meta, lead if ndim == meta.ndim else max(0, meta.ndim - 3))
