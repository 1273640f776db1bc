"""Choose chunks, shards and codec of each array, from the arguments for a whole store. Pure arithmetic."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil, prod
from typing import TYPE_CHECKING, Literal

from lamella.arguments import whole_numbers
from lamella.errors import InvalidArgumentError
from lamella.store.compressor import Compressor, nearest_choice
from lamella.store.documents import new_array
from lamella.store.layout import chunks_and_shards, fit_chunks

if TYPE_CHECKING:
    from lamella.store.array_meta import ArrayMeta
    from lamella.store.compressor import CompressorChoice
    from lamella.store.layout import Cut
    from lamella.types import Shape

_LARGEST_BLOSC = (1 << 31) - 1


@dataclass(frozen=True)
class RequestedLayout:
    """The requested layout of the arrays of a store; None keeps the layout of each array.

    ``chunks`` are lengths of the last axes, 1 for those before, or "auto". ``shards`` too; on the axes before, they
    have the length of the chunks. "none" means no shards.
    """

    chunks: Cut = None
    shards: Cut = None
    compressor: CompressorChoice = None

    def check(self) -> None:
        """Raise InvalidArgumentError for a layout that fits no array."""
        if self.chunks is None and self.shards is None and self.compressor is None:
            raise InvalidArgumentError("Give at least one of chunks, shards, compressor.")
        for what, cut, words in (
            ("chunks", self.chunks, ("auto",)),
            ("shards", self.shards, ("auto", "none")),
        ):
            if isinstance(cut, str) or cut is None:
                if cut is not None and cut not in words:
                    raise InvalidArgumentError(f"{what}={cut!r} is neither {' nor '.join(words)} nor lengths")
            elif not whole_numbers(cut, what, 1):
                raise InvalidArgumentError(
                    f"{what} is a list of whole numbers from 1 on for the last axes, not {cut!r}."
                )
        if self.compressor is not None:
            Compressor.of(self.compressor)

    def array(self, meta: ArrayMeta, lead: int) -> ArrayMeta:
        """Return an array's metadata in the new layout; automatic chunks have length 1 along ``lead`` axes."""
        chunks, shards = self._cut(meta, lead)
        compressor = self._compressor(meta)
        if (chunks, shards) == (meta.chunks, meta.shards) and (
            self.compressor is None or (compressor or None) == meta.compressor
        ):
            return meta
        if compressor and compressor.name == "blosc" and prod(chunks) * meta.dtype.itemsize > _LARGEST_BLOSC:
            raise InvalidArgumentError(
                f"chunks {chunks} of {meta.dtype.name} are above 2 GiB, which blosc cannot compress: "
                "ask for smaller chunks"
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
        return _with_unknown_keys(new, meta)

    def _cut(self, meta: ArrayMeta, lead: int) -> tuple[Shape, Shape | None]:
        if meta.ndim == 0:
            return meta.chunks, meta.shards
        shards, chunks = _last(self.shards, meta.ndim), _last(self.chunks, meta.ndim)
        if meta.zarr_format == 2 and shards and not isinstance(shards, str):
            raise InvalidArgumentError("OME-NGFF 0.4 (Zarr v2) has no shards: upgrade to 0.5 first")
        if meta.zarr_format == 2 or shards is meta.shards is None:
            shards = "none"
        if chunks is None and shards == "none":
            return meta.chunks, None
        if chunks is None:
            chunks = meta.chunks if isinstance(shards, str) else fit_chunks(meta.chunks, shards or ())
        if shards is None and meta.shards is not None:  # kept, in whole chunks
            if isinstance(chunks, str):
                chunks = chunks_and_shards(
                    meta.shape, meta.dtype.itemsize, lead, chunks=chunks, shards="none"
                )[0]
            inner = (1,) * (meta.ndim - len(chunks)) + chunks
            return inner, tuple(ceil(s / c) * c for s, c in zip(meta.shards, inner, strict=True))
        return chunks_and_shards(
            meta.shape, meta.dtype.itemsize, lead, chunks=chunks, shards=shards or "none"
        )

    def _compressor(self, meta: ArrayMeta) -> Compressor | Literal[False] | None:
        """Return the compressor for `new_array`: the requested one, or that of the array if it can be written."""
        if self.compressor is not None:
            return Compressor.of(self.compressor) or False
        return nearest_choice(meta.compressor, meta.zarr_format, meta.dtype.itemsize)


def _last(lengths: Cut, count: int) -> Shape | Literal["auto", "none"] | None:
    """Return the lengths for the last axes: (4, 64, 64) is (64, 64) for an array of two axes."""
    return lengths if lengths is None or isinstance(lengths, str) else tuple(map(int, lengths))[-count:]


def _with_unknown_keys(new: ArrayMeta, old: ArrayMeta) -> ArrayMeta:
    """Copy the keys of the old document that do not describe the layout."""
    return replace(new, document={**old.document, **new.document})
