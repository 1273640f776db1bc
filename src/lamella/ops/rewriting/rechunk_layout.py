"""How arrays are cut and coded anew: chunks, shards and codec of each array out of what was asked for a whole store.

Pure arithmetic on descriptions of arrays.

Layer: ops.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil, prod
from typing import TYPE_CHECKING, Literal

from lamella.arguments import whole_numbers
from lamella.errors import InvalidArgumentError
from lamella.ops.conversion.layout import choose_layout
from lamella.store.compressor import Compressor, nearest_choice
from lamella.store.documents import new_array
from lamella.store.layout import auto_layout

if TYPE_CHECKING:
    from lamella.ops.conversion.layout import Cut
    from lamella.store.array_meta import ArrayMeta
    from lamella.store.compressor import CompressorChoice
    from lamella.types import Shape

_LARGEST_BLOSC = (1 << 31) - 1


@dataclass(frozen=True)
class Recut:
    """What was asked for the arrays of a store.

    Attributes
    ----------
    chunks
        Lengths for the last axes, 1 for those before; "auto", or None to keep them.
    shards
        The same; the axes before are those of the chunks. "none" for no shards.
    codec
        A compressor; None keeps it.
    """

    chunks: Cut = None
    shards: Cut = None
    codec: CompressorChoice = None

    def check(self) -> None:
        """Refuse what fits no array.

        Raises
        ------
        InvalidArgumentError
            Nothing was asked, or no numbers from 1 on, or a codec that nobody knows.
        """
        if self.chunks is None and self.shards is None and self.codec is None:
            raise InvalidArgumentError("nothing was asked to be changed: give chunks, shards or a codec")
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
        if self.codec is not None:
            Compressor.of(self.codec)

    def array(self, meta: ArrayMeta, lead: int) -> ArrayMeta:
        """Describe an array as it will be; the same object where nothing changes.

        Parameters
        ----------
        meta
            As it is.
        lead
            Number of its axes before space, of which automatic chunks take one at a time.

        Raises
        ------
        InvalidArgumentError
            The shards are no whole multiples of the chunks, or Zarr v2 has no shards, or blosc no such chunks.
        """
        chunks, shards = self._cut(meta, lead)
        compressor = self._compressor(meta)
        if (chunks, shards) == (meta.chunks, meta.shards) and (
            self.codec is None or (compressor or None) == meta.compressor
        ):
            return meta
        if compressor and compressor.name == "blosc" and prod(chunks) * meta.dtype.itemsize > _LARGEST_BLOSC:
            raise InvalidArgumentError(
                f"chunks {chunks} of {meta.dtype.name} are above 2 GiB, which blosc cannot compress: "
                "ask for smaller chunks"
            )
        made = new_array(
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
        return _with_unknown_keys(made, meta)

    def _cut(self, meta: ArrayMeta, lead: int) -> tuple[Shape, Shape | None]:
        if meta.ndim == 0:
            return meta.chunks, meta.shards
        chunks, shards = self._chunks(meta, lead), self.shards
        if (
            shards == "none"
            or (shards is None and meta.shards is None)
            or (shards == "auto" and meta.zarr_format == 2)
        ):
            if self.chunks is not None:
                # Cut at the edge: lower levels are smaller than what was asked for the finest.
                chunks = tuple(min(c, max(1, n)) for c, n in zip(chunks, meta.shape, strict=True))
            return chunks, None
        if shards == "auto":
            letters = "t" * lead + "x" * (meta.ndim - lead)
            return choose_layout(
                letters, meta.shape, meta.dtype.itemsize, chunks=chunks, shards="auto", sharded=True
            )
        if shards is None:
            kept = meta.shards or chunks
            return chunks, tuple(ceil(s / c) * c for s, c in zip(kept, chunks, strict=True))
        return self._given_shards(meta, chunks, tuple(int(n) for n in shards))

    def _chunks(self, meta: ArrayMeta, lead: int) -> Shape:
        if self.chunks is None:
            return meta.chunks
        if isinstance(self.chunks, str):
            chosen, _ = auto_layout(meta.shape[lead:], meta.dtype.itemsize, False)
            return (1,) * lead + chosen
        return _last(self.chunks, (1,) * meta.ndim)

    def _given_shards(self, meta: ArrayMeta, chunks: Shape, given: Shape) -> tuple[Shape, Shape | None]:
        if meta.zarr_format == 2:
            raise InvalidArgumentError(
                "shards were asked for, but OME-NGFF 0.4 (Zarr v2) has none: upgrade to 0.5 first"
            )
        if self.chunks is None or isinstance(self.chunks, str):
            chunks = tuple(_divisor(s, c) for s, c in zip(_last(given, chunks), chunks, strict=True))
        shards = _last(given, chunks)
        if any(s % c for s, c in zip(shards, chunks, strict=True)):
            raise InvalidArgumentError(f"the shards {shards} are no whole multiples of the chunks {chunks}")
        return chunks, shards

    def _compressor(self, meta: ArrayMeta) -> Compressor | Literal[False] | None:
        """Return what `new_array` takes: the one asked for, or that of the array where it can still be written."""
        if self.codec is not None:
            return Compressor.of(self.codec) or False
        return nearest_choice(meta.compressor, meta.zarr_format, meta.dtype.itemsize)


def _last(given: object, otherwise: Shape) -> Shape:
    """Put lengths on the last axes, and others on the axes before.

    >>> _last((4, 64, 64), (1, 1, 1, 1)), _last((4, 64, 64), (1, 1))
    ((1, 4, 64, 64), (64, 64))
    """
    lengths = tuple(int(n) for n in given)[-len(otherwise) :]  # type: ignore[attr-defined]
    return otherwise[: len(otherwise) - len(lengths)] + lengths


def _divisor(length: int, limit: int) -> int:
    """Largest divisor of a length that is at most a limit."""
    return max(part for part in range(1, min(length, limit) + 1) if length % part == 0)


def _with_unknown_keys(made: ArrayMeta, old: ArrayMeta) -> ArrayMeta:
    """Keep what the old document says beside the layout."""
    return replace(made, document={**old.document, **made.document})
