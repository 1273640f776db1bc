"""``rechunk``: rewrite the arrays of a whole store with other chunks, shards, or another codec.

:mod:`lamella.ops.rewriting.rewrite` writes the store.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil, prod
from typing import TYPE_CHECKING, Any, Literal

from lamella.arguments import check_flags, whole_numbers
from lamella.errors import InvalidArgumentError, clause
from lamella.ops.execution import Workers, check_progress
from lamella.ops.rewriting.rewrite import Plan, RewriteCall, RewriteReport, rewrite
from lamella.store.metadata.array_creation import check_grid_choices, chunks_and_shards, fit_chunks, new_array
from lamella.store.metadata.array_meta import Compressor, nearest_choice

if TYPE_CHECKING:
    from collections.abc import Mapping
    from concurrent.futures import Executor

    from zarr.abc.store import Store

    from lamella.errors import MetadataError
    from lamella.ops.execution import Progress
    from lamella.store.metadata.array_creation import GridChoice
    from lamella.store.metadata.array_meta import ArrayMeta, CompressorChoice
    from lamella.store.metadata.documents import Documents
    from lamella.types import Shape, StrPath


def rechunk(
    source: StrPath | Store,
    destination: StrPath | Store | None = None,
    *,
    chunks: GridChoice = None,
    shards: GridChoice = None,
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
    >>> import lamella
    >>> path = tmp / "small.zarr"
    >>> report = lamella.rechunk(plate.zgroup.store.root, path, chunks=(4, 4), shards=(4, 8, 8), compressor="zstd")
    >>> image = lamella.open_ome_zarr(path)["A/1/0/0"]
    >>> image.chunks, image.shards
    ((1, 1, 1, 4, 4), (1, 1, 4, 8, 8))
    """
    check_flags(overwrite=overwrite, follow_links=follow_links)
    workers = Workers(jobs, executor)
    check_progress(progress)
    layout = RequestedLayout(chunks, shards, compressor)
    layout.check()
    choice = None if compressor is None else Compressor.of(compressor)
    settings = {
        "command": "rechunk",
        "chunks": _setting(chunks),
        "shards": _setting(shards),
        "compressor": None if compressor is None else "none" if choice is None else repr(choice),
    }
    call = RewriteCall(
        settings,
        lambda documents, inventory, _: RechunkPlan(documents, inventory.groups, layout),
        workers,
        progress,
        follow_links,
    )
    return rewrite(source, destination, call, overwrite=overwrite, storage_options=storage_options)


def _setting(choice: GridChoice) -> str | list[int] | None:
    return choice if choice is None or isinstance(choice, str) else [int(length) for length in choice]


class RechunkPlan(Plan):
    """The nodes of a store with other chunks."""

    def __init__(self, documents: Documents, groups: list[str], layout: RequestedLayout) -> None:
        self._documents = documents
        super().__init__(documents, groups, documents.format)
        self._layout = layout

    def skip(self, path: str, error: MetadataError) -> None:
        """Note a group whose images cannot be read."""
        self.notes.append(f"the group {self._documents.location(path)} was copied unchanged: {clause(error)}")

    def array(self, path: str, meta: ArrayMeta) -> ArrayMeta:
        """Describe an array of an image in its new layout; return arrays of other programs unchanged."""
        if path and path not in self.axes_of_array:
            return meta
        names, lead = self.axes_of_array.get(path, ((), 0))
        return self._layout.array(meta, lead if len(names) == meta.ndim else max(0, meta.ndim - 3))


_MAX_BLOSC_BYTES = (1 << 31) - 1


@dataclass(frozen=True)
class RequestedLayout:
    """The requested layout of the arrays of a store; None keeps the layout of each array.

    ``chunks`` are lengths of the last axes (1 for earlier axes), or "auto". ``shards`` are lengths of the last axes
    (those of the chunks for earlier axes), "auto", or "none" for no shards.
    """

    chunks: GridChoice = None
    shards: GridChoice = None
    compressor: CompressorChoice = None

    def check(self) -> None:
        """Raise InvalidArgumentError for a layout that fits no array."""
        if self.chunks is None and self.shards is None and self.compressor is None:
            raise InvalidArgumentError("Give at least one of chunks, shards, compressor.")
        check_grid_choices(self.chunks, self.shards)
        for argument, lengths in (("chunks", self.chunks), ("shards", self.shards)):
            if isinstance(lengths, str) or lengths is None:
                continue
            if not whole_numbers(lengths, f"The argument {argument}", 1):
                raise InvalidArgumentError(
                    f"{argument}={lengths!r} is not a list of whole numbers from 1 on for the last axes."
                )
        if self.compressor is not None:
            Compressor.of(self.compressor)

    def array(self, meta: ArrayMeta, lead: int) -> ArrayMeta:
        """Return metadata in the new layout; automatic chunks have length 1 along the first ``lead`` axes."""
        chunks, shards = self._chunks_and_shards(meta, lead)
        compressor = self._compressor(meta)
        if (chunks, shards) == (meta.chunks, meta.shards) and (
            self.compressor is None or (compressor or None) == meta.compressor
        ):
            return meta
        if (
            compressor
            and compressor.name == "blosc"
            and prod(chunks) * meta.dtype.itemsize > _MAX_BLOSC_BYTES
        ):
            raise InvalidArgumentError(
                f"Chunks of {chunks} of {meta.dtype.name} are above 2 GiB, which blosc cannot compress: "
                "ask for smaller chunks."
            )
        new = new_array(
            meta.shape,
            meta.dtype,
            zarr_format=meta.zarr_format,
            chunks=chunks,
            shards=shards,
            compressor=compressor,
            checksum=meta.checksum or None,
            fill_value=meta.fill_value,
            dimension_names=meta.dimension_names,
            attributes=meta.attributes,
        )
        # With the keys of the old document that do not describe the layout.
        return replace(new, document={**meta.document, **new.document})

    def _chunks_and_shards(self, meta: ArrayMeta, lead: int) -> tuple[Shape, Shape | None]:
        """Return the new chunks and shards of an array; automatic ones have length 1 along the first ``lead`` axes."""
        if meta.ndim == 0:
            return meta.chunks, meta.shards
        shards, chunks = _for_last_axes(self.shards, meta.ndim), _for_last_axes(self.chunks, meta.ndim)
        if meta.zarr_format == 2 and shards and not isinstance(shards, str):
            raise InvalidArgumentError(
                f"OME-NGFF 0.4 (Zarr v2) has no shards, so shards={self.shards!r} cannot be stored: upgrade to 0.5 "
                "first."
            )
        if meta.zarr_format == 2 or shards is meta.shards is None:
            shards = "none"
        if chunks is None and shards == "none":
            return meta.chunks, None
        if chunks is None:
            chunks = meta.chunks if isinstance(shards, str) else fit_chunks(meta.chunks, shards or ())
        if shards is None and meta.shards is not None:  # as before, rounded up to whole chunks
            if isinstance(chunks, str):
                chunks = chunks_and_shards(
                    meta.shape, meta.dtype.itemsize, lead, chunks=chunks, shards="none"
                )[0]
            chunks_of_all_axes = (1,) * (meta.ndim - len(chunks)) + chunks
            return chunks_of_all_axes, tuple(
                ceil(shard_length / chunk_length) * chunk_length
                for shard_length, chunk_length in zip(meta.shards, chunks_of_all_axes, strict=True)
            )
        return chunks_and_shards(
            meta.shape, meta.dtype.itemsize, lead, chunks=chunks, shards=shards or "none"
        )

    def _compressor(self, meta: ArrayMeta) -> Compressor | Literal[False] | None:
        """Return the compressor for `new_array`: the requested one, or that of the array if it can be written."""
        if self.compressor is not None:
            return Compressor.of(self.compressor) or False
        return nearest_choice(meta.compressor, meta.zarr_format, meta.dtype.itemsize)


def _for_last_axes(lengths: GridChoice, count: int) -> Shape | Literal["auto", "none"] | None:
    """Return the lengths for the last axes: (4, 64, 64) is (64, 64) for an array of two axes."""
    return lengths if lengths is None or isinstance(lengths, str) else tuple(map(int, lengths))[-count:]
