"""Descriptions of new arrays, from what a caller asks for. Nothing is written.

Layer: store.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lamella.errors import InvalidArgumentError
from lamella.store import format_v2, format_v3
from lamella.store.array_meta import ArrayMeta, FillValue, ZarrFormat, check_new_array

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import DTypeLike

    from lamella.store.compressor import CompressorChoice
    from lamella.types import JSONObject


def new_array(
    shape: Sequence[int],
    dtype: DTypeLike,
    *,
    zarr_format: ZarrFormat,
    chunks: Sequence[int] | None = None,
    shards: Sequence[int] | None = None,
    compressor: CompressorChoice = None,
    checksum: bool | None = None,
    fill_value: FillValue | None = None,
    dimension_names: Sequence[str | None] | None = None,
    attributes: JSONObject | None = None,
) -> ArrayMeta:
    """Describe a new array, for `Documents.put_array`. Nothing is written.

    Parameters
    ----------
    shape : sequence of int
        Lengths per axis, in the order of the axes.
    dtype : numpy dtype or its name
        Bool, integers of 8 to 64 bits, floats of 16 to 64, complex of 64 and 128.
    zarr_format : {2, 3}
        Of the store.
    chunks : sequence of int, optional
        The unit of compression; by default the last three axes whole and 1 before, up to 512 MiB.
    shards : sequence of int, optional
        The unit of a file (Zarr v3): whole multiples of the chunks, also beyond the shape.
    compressor : Compressor, str, mapping or False, optional
        By default blosc with zstd level 1 and bitshuffle; False or ``"none"`` for none.
    checksum : bool, optional
        Whether each chunk ends in a crc32c of its bytes (Zarr v3), so that a flipped bit is an error when it is read,
        never other pixels. By default where there are shards: whoever reads shards knows the codec already
        (docs/checksums.md).
    fill_value : number, optional
        What stands where nothing was written; 0 by default.
    dimension_names : sequence of str, optional
        One per axis; kept in Zarr v3 only.
    attributes : dict, optional
        User attributes of the array.

    Raises
    ------
    InvalidArgumentError
        These do not fit each other.

    Examples
    --------
    >>> new_array((2, 100, 100), "u2", zarr_format=3, chunks=(1, 50, 50), shards=(1, 100, 100)).files
    (1, 100, 100)
    """
    meta = check_new_array(
        shape,
        dtype,
        zarr_format=zarr_format,
        chunks=chunks,
        shards=shards,
        compressor=compressor,
        fill_value=fill_value,
        dimension_names=dimension_names,
        attributes=attributes,
    )
    if zarr_format == 3:
        return format_v3.new_array(meta, checksum=meta.shards is not None if checksum is None else checksum)
    if checksum:
        raise InvalidArgumentError(
            "checksum=True needs version 0.5 or 0.6: Zarr v2 has no checksum that other programs can read"
        )
    return format_v2.new_array(meta)
