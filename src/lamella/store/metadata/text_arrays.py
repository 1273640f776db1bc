"""Convert the documents of text and bytes arrays, as tables have them, from one Zarr format to the other.

lamella does not decode such arrays. Their encoded chunks are equal in both formats, so only the document changes: an
array of texts has the dtype ``|O`` and the filter ``vlen-utf8`` in Zarr v2, and the data type ``string`` in Zarr v3. An
array of texts of a fixed length of 8 is ``<U8`` in Zarr v2, ``fixed_length_utf32`` of 32 bytes in Zarr v3.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from lamella.errors import InvalidArgumentError, MetadataError
from lamella.store.metadata import format_v2, format_v3
from lamella.store.metadata.array_creation import new_array
from lamella.store.pixels.coding import coding_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lamella.store.metadata.array_meta import ArrayMeta, Compressor, ZarrFormat
    from lamella.types import JSON, JSONObject

_VARIABLE_LENGTH = {"vlen-utf8": "string", "vlen-bytes": "variable_length_bytes"}
"""Zarr v3 dtypes of variable length, by the name of their codec, which is the same in both formats."""

_FIXED_LENGTH = {"U": ("fixed_length_utf32", 4), "S": ("null_terminated_bytes", 1)}
"""Zarr v3 dtype of fixed length and bytes per character, by NumPy's letter."""

_SHARED_COMPRESSORS = ("blosc", "zstd", "gzip")
_XARRAY_DIMENSIONS = "_ARRAY_DIMENSIONS"


def translated(document: JSONObject, attributes: JSONObject, node: str) -> tuple[ArrayMeta, ArrayMeta] | None:
    """Describe an array of texts in its own Zarr format and in the other one; None where the other has no such array.

    Both descriptions have uint8 as dtype: use only their shapes, chunk keys and documents.
    """
    try:
        if document.get("zarr_format") == 2:
            return _to_v3(document, attributes, node)
        return _to_v2(document, node)
    except (MetadataError, InvalidArgumentError):
        return None


def text_array(
    texts: Sequence[str], zarr_format: ZarrFormat, attributes: JSONObject
) -> tuple[ArrayMeta, dict[str, bytes]]:
    """Describe a new array of texts, and encode its chunk by key; the dtype in the description is uint8."""
    meta = new_array(
        (len(texts),),
        "uint8",
        zarr_format=zarr_format,
        chunks=(max(1, len(texts)),),
        compressor="zstd",
        attributes=attributes,
    )
    if zarr_format == 3:
        codecs = [{"name": "vlen-utf8"}, *meta.document["codecs"][1:]]
        text_fields: JSONObject = {"data_type": "string", "codecs": codecs, "fill_value": ""}
    else:
        text_fields = {"dtype": "|O", "filters": [{"id": "vlen-utf8"}], "fill_value": ""}
    # The codec vlen-utf8: the number of texts, then the length and the bytes of each.
    data = bytearray(_encode_count(len(texts)))
    for text in texts:
        encoded = text.encode("utf-8")
        data += _encode_count(len(encoded)) + encoded
    coding = coding_of(meta)
    assert coding is not None
    assert coding.compress is not None
    chunk = coding.compress(np.frombuffer(data, "uint8"))
    text_meta = replace(meta, document={**meta.document, **text_fields})
    return text_meta, {meta.chunk_key((0,)): chunk} if texts else {}


def _encode_count(count: int) -> bytes:
    return count.to_bytes(4, "little")


def _to_v3(document: JSONObject, attributes: JSONObject, node: str) -> tuple[ArrayMeta, ArrayMeta] | None:
    filters, dtype = document.get("filters") or [], document.get("dtype")
    array_codec: JSONObject
    data_type: JSON
    if dtype == "|O" and len(filters) == 1 and filters[0].get("id") in _VARIABLE_LENGTH:
        array_codec = {"name": filters[0]["id"]}
        data_type = _VARIABLE_LENGTH[filters[0]["id"]]
    elif isinstance(dtype, str) and (match := re.fullmatch(r"[<|]([US])(\d+)", dtype)) and not filters:
        name, character_bytes = _FIXED_LENGTH[match[1]]
        data_type = {"name": name, "configuration": {"length_bytes": int(match[2]) * character_bytes}}
        array_codec = (
            {"name": "bytes", "configuration": {"endian": "little"}}
            if character_bytes > 1
            else {"name": "bytes"}
        )
    else:
        return None
    as_bytes = {**document, "dtype": "|u1", "fill_value": None, "filters": None}
    old_meta = format_v2.parse_array(as_bytes, attributes, node)
    if as_bytes.get("order", "C") != "C" or not _is_in_both_formats(old_meta.compressor):
        return None
    new_meta = _in_format(old_meta, 3)
    compressor = [] if old_meta.compressor is None else [old_meta.compressor.to_json(3, 1)]
    text_fields = {
        "data_type": data_type,
        "codecs": [array_codec, *compressor],
        "fill_value": _text_fill_value(document),
    }
    return old_meta, replace(new_meta, document={**new_meta.document, **text_fields})


def _to_v2(document: JSONObject, node: str) -> tuple[ArrayMeta, ArrayMeta] | None:
    data_type, codecs = document.get("data_type"), document.get("codecs")
    if not isinstance(codecs, list) or not codecs or not isinstance(codecs[0], dict):
        return None
    name, codec_name = (
        data_type.get("name") if isinstance(data_type, dict) else data_type,
        codecs[0].get("name"),
    )
    filters: list[JSONObject] | None = None
    if _VARIABLE_LENGTH.get(str(codec_name)) == name:
        dtype, filters = "|O", [{"id": codec_name}]
    elif codec_name == "bytes" and isinstance(data_type, dict):
        item_bytes = data_type.get("configuration", {}).get("length_bytes")
        fixed_types = {
            data_type: (letter, character_bytes)
            for letter, (data_type, character_bytes) in _FIXED_LENGTH.items()
        }
        letter, character_bytes = fixed_types.get(str(name), ("", 1))
        endian = codecs[0].get("configuration", {}).get("endian", "little")
        if (
            not letter
            or not isinstance(item_bytes, int)
            or item_bytes % character_bytes
            or endian != "little"
        ):
            return None
        dtype = f"{'<' if character_bytes > 1 else '|'}{letter}{item_bytes // character_bytes}"
    else:
        return None
    as_bytes = {**document, "data_type": "uint8", "fill_value": 0, "codecs": [{"name": "bytes"}, *codecs[1:]]}
    old_meta = format_v3.parse_array(as_bytes, node)
    compressors = () if old_meta.compressor is None else (old_meta.compressor.name,)
    if (
        old_meta.codecs != ("bytes", *compressors)
        or old_meta.shards
        or not _is_in_both_formats(old_meta.compressor)
    ):
        return None
    new_meta = _in_format(old_meta, 2)
    text_fields = {"dtype": dtype, "filters": filters, "fill_value": _text_fill_value(document)}
    return old_meta, replace(new_meta, document={**new_meta.document, **text_fields})


def _in_format(old_meta: ArrayMeta, zarr_format: ZarrFormat) -> ArrayMeta:
    """Describe an array of uint8 again, in the other Zarr format."""
    attributes = old_meta.attributes
    if zarr_format == 2 and old_meta.dimension_names and all(old_meta.dimension_names):
        attributes = {_XARRAY_DIMENSIONS: list(old_meta.dimension_names)} | attributes
    return new_array(
        old_meta.shape,
        "uint8",
        zarr_format=zarr_format,
        chunks=old_meta.chunks,
        compressor=old_meta.compressor or False,
        checksum=False,
        attributes=attributes,
    )


def _is_in_both_formats(compressor: Compressor | None) -> bool:
    return compressor is None or compressor.name in _SHARED_COMPRESSORS


def _text_fill_value(document: JSONObject) -> Any:
    value = document.get("fill_value")
    return value if isinstance(value, str) else ""
