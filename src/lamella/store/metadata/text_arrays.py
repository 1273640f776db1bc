"""Convert the documents of text and bytes arrays, as tables have them, from one Zarr format to the other.

lamella does not decode such arrays. Their encoded chunks are equal in both formats, so only the document changes.
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

_VARIABLE = {"vlen-utf8": "string", "vlen-bytes": "variable_length_bytes"}
"""Zarr v3 dtypes of variable length, by the name of their codec, which is the same in both formats."""

_FIXED = {"U": ("fixed_length_utf32", 4), "S": ("null_terminated_bytes", 1)}
"""Zarr v3 dtype of fixed length and bytes per character, by NumPy's letter."""

_SHARED_COMPRESSORS = ("blosc", "zstd", "gzip")
_DIMENSIONS = "_ARRAY_DIMENSIONS"


def translated(document: JSONObject, attributes: JSONObject, node: str) -> tuple[ArrayMeta, ArrayMeta] | None:
    """Describe an array of texts as it is, and as it is in the other Zarr format; None where that is not possible.

    Both descriptions have uint8 as dtype: use only shapes, chunk keys and documents.
    """
    try:
        if document.get("zarr_format") == 2:
            return _to_v3(document, attributes, node)
        return _to_v2(document, node)
    except (MetadataError, InvalidArgumentError):
        return None


def text_array(
    values: Sequence[str], zarr_format: ZarrFormat, attributes: JSONObject
) -> tuple[ArrayMeta, dict[str, bytes]]:
    """Describe a new array of texts, and encode its chunk by key; the dtype in the description is uint8."""
    meta = new_array(
        (len(values),),
        "uint8",
        zarr_format=zarr_format,
        chunks=(max(1, len(values)),),
        compressor="zstd",
        attributes=attributes,
    )
    if zarr_format == 3:
        codecs = [{"name": "vlen-utf8"}, *meta.document["codecs"][1:]]
        changed: JSONObject = {"data_type": "string", "codecs": codecs, "fill_value": ""}
    else:
        changed = {"dtype": "|O", "filters": [{"id": "vlen-utf8"}], "fill_value": ""}
    texts = [value.encode("utf-8") for value in values]
    data = b"".join([_length(len(texts)), *(part for text in texts for part in (_length(len(text)), text))])
    coding = coding_of(meta)
    assert coding is not None
    assert coding.compress is not None
    chunk = coding.compress(np.frombuffer(data, "uint8"))
    described = replace(meta, document={**meta.document, **changed})
    return described, {meta.chunk_key((0,)): chunk} if texts else {}


def _length(number: int) -> bytes:
    return number.to_bytes(4, "little")


def _to_v3(document: JSONObject, attributes: JSONObject, node: str) -> tuple[ArrayMeta, ArrayMeta] | None:
    filters, dtype = document.get("filters") or [], document.get("dtype")
    codec: JSONObject
    kind: JSON
    if dtype == "|O" and len(filters) == 1 and filters[0].get("id") in _VARIABLE:
        codec = {"name": filters[0]["id"]}
        kind = _VARIABLE[filters[0]["id"]]
    elif isinstance(dtype, str) and (match := re.fullmatch(r"[<|]([US])(\d+)", dtype)) and not filters:
        name, width = _FIXED[match[1]]
        kind = {"name": name, "configuration": {"length_bytes": int(match[2]) * width}}
        codec = {"name": "bytes", "configuration": {"endian": "little"}} if width > 1 else {"name": "bytes"}
    else:
        return None
    plain = {**document, "dtype": "|u1", "fill_value": None, "filters": None}
    old = format_v2.parse_array(plain, attributes, node)
    if plain.get("order", "C") != "C" or not _is_in_both_formats(old.compressor):
        return None
    new = _new(old, 3)
    compressor = [] if old.compressor is None else [old.compressor.to_json(3, 1)]
    changed = {"data_type": kind, "codecs": [codec, *compressor], "fill_value": _fill(document)}
    return old, replace(new, document={**new.document, **changed})


def _to_v2(document: JSONObject, node: str) -> tuple[ArrayMeta, ArrayMeta] | None:
    kind, codecs = document.get("data_type"), document.get("codecs")
    if not isinstance(codecs, list) or not codecs or not isinstance(codecs[0], dict):
        return None
    name, first = kind.get("name") if isinstance(kind, dict) else kind, codecs[0].get("name")
    filters: list[JSONObject] | None = None
    if _VARIABLE.get(str(first)) == name:
        dtype, filters = "|O", [{"id": first}]
    elif first == "bytes" and isinstance(kind, dict):
        width = kind.get("configuration", {}).get("length_bytes")
        fixed = {data_type: (letter, size) for letter, (data_type, size) in _FIXED.items()}
        letter, size = fixed.get(str(name), ("", 1))
        endian = codecs[0].get("configuration", {}).get("endian", "little")
        if not letter or not isinstance(width, int) or width % size or endian != "little":
            return None
        dtype = f"{'<' if size > 1 else '|'}{letter}{width // size}"
    else:
        return None
    plain = {**document, "data_type": "uint8", "fill_value": 0, "codecs": [{"name": "bytes"}, *codecs[1:]]}
    old = format_v3.parse_array(plain, node)
    compressors = () if old.compressor is None else (old.compressor.name,)
    if old.codecs != ("bytes", *compressors) or old.shards or not _is_in_both_formats(old.compressor):
        return None
    new = _new(old, 2)
    changed = {"dtype": dtype, "filters": filters, "fill_value": _fill(document)}
    return old, replace(new, document={**new.document, **changed})


def _new(old: ArrayMeta, zarr_format: ZarrFormat) -> ArrayMeta:
    attributes = old.attributes
    if zarr_format == 2 and old.dimension_names and all(old.dimension_names):
        attributes = {_DIMENSIONS: list(old.dimension_names)} | attributes
    return new_array(
        old.shape,
        "uint8",
        zarr_format=zarr_format,
        chunks=old.chunks,
        compressor=old.compressor or False,
        checksum=False,
        attributes=attributes,
    )


def _is_in_both_formats(compressor: Compressor | None) -> bool:
    return compressor is None or compressor.name in _SHARED_COMPRESSORS


def _fill(document: JSONObject) -> Any:
    value = document.get("fill_value")
    return value if isinstance(value, str) else ""
