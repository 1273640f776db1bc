"""Parse and build Zarr v2 documents: ``.zgroup``, ``.zarray`` and ``.zattrs``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from lamella.errors import InvalidArgumentError, MetadataError, NotDecodedError, short_repr
from lamella.store.keys import V2
from lamella.store.metadata.array_meta import DTYPES, ArrayMeta, Compressor, compressor_from_json
from lamella.store.metadata.format_v3 import fill_from_json, fill_to_json, lengths_from_json
from lamella.store.metadata.json_document import document_name, wrong_field

if TYPE_CHECKING:
    from lamella.types import JSON, JSONObject


GROUP_DOCUMENT: JSONObject = {"zarr_format": 2}

_TIME_DTYPE = re.compile(r"[<>|=]?[mM]8(\[\d*[A-Za-z]+\])?", re.ASCII)
_SIMPLE_DTYPE = re.compile(r"[<>|=]?[a-z][a-z0-9]*", re.ASCII | re.IGNORECASE)


def with_document(meta: ArrayMeta) -> ArrayMeta:
    """Return the description of a new array with its ``.zarray`` document."""
    itemsize = meta.dtype.itemsize
    compressor = None if meta.compressor is None else meta.compressor.to_json(2, itemsize)
    document: JSONObject = {
        "zarr_format": 2,
        "shape": list(meta.shape),
        "chunks": list(meta.chunks),
        "dtype": meta.dtype.newbyteorder("<").str,
        "compressor": compressor,
        "fill_value": fill_to_json(meta.fill_value),
        "order": "C",
        "filters": None,
        "dimension_separator": "/",
    }
    codec_names = () if meta.compressor is None else (meta.compressor.name,)
    return replace(meta, document=document, codecs=codec_names)


def parse_array(document: JSONObject, attributes: JSONObject, node: str) -> ArrayMeta:
    """Parse the ``.zarray`` of an array; `MetadataError` for invalid fields, but not for unknown codecs."""
    where = document_name(node, V2.array)
    if document.get("zarr_format") != 2:
        raise wrong_field(where, f"zarr_format {short_repr(document.get('zarr_format'))}, not 2")
    shape = lengths_from_json(document.get("shape"), "shape", where)
    chunks = lengths_from_json(document.get("chunks"), "chunks", where, minimum=1)
    if len(shape) != len(chunks):
        raise wrong_field(where, f"the shape {short_repr(shape)}, but chunks {short_repr(chunks)}")
    if document.get("order", "C") not in ("C", "F"):
        raise wrong_field(where, f"the order {short_repr(document['order'])}, not 'C' or 'F'")
    separator = document.get("dimension_separator") or "."
    if separator not in ("/", "."):
        raise wrong_field(where, f"the dimension_separator {short_repr(separator)}, not '/' or '.'")
    dtype = _dtype(document.get("dtype"), where)
    compressor, codecs = _codecs(document, where)
    return ArrayMeta(
        shape,
        dtype,
        chunks,
        None,
        fill_from_json(document.get("fill_value"), dtype, where),
        compressor,
        None,
        attributes,
        2,
        separator,
        codecs,
        document,
    )


def _dtype(dtype_json: JSON, where: str) -> np.dtype[Any]:
    try:  # the pattern excludes comma-separated dtypes, at which NumPy raises other errors
        dtype = (
            np.dtype(dtype_json)
            if isinstance(dtype_json, str) and _SIMPLE_DTYPE.fullmatch(dtype_json)
            else None
        )
    except TypeError:
        dtype = None
    if dtype is None or dtype.name not in DTYPES:
        error_type = (
            MetadataError if dtype is None and not _is_unsupported_dtype(dtype_json) else NotDecodedError
        )
        raise error_type(
            f"{where} has the dtype {short_repr(dtype_json)}, and lamella reads {', '.join(DTYPES)}."
        )
    return dtype.newbyteorder("=")


def _is_unsupported_dtype(dtype_json: JSON) -> bool:
    """Whether a dtype is valid NumPy but unsupported: a time, or a list of named fields."""
    if isinstance(dtype_json, list):
        return bool(dtype_json) and all(
            isinstance(field, list) and len(field) in (2, 3) and isinstance(field[0], str)
            for field in dtype_json
        )
    return isinstance(dtype_json, str) and _TIME_DTYPE.fullmatch(dtype_json) is not None


def _codecs(document: JSONObject, where: str) -> tuple[Compressor | None, tuple[str, ...]]:
    compressor_json = document.get("compressor")
    filters = document.get("filters") or []
    if not isinstance(filters, list) or not (compressor_json is None or isinstance(compressor_json, Mapping)):
        raise wrong_field(
            where,
            f"the compressor {short_repr(compressor_json)} and filters {short_repr(filters)}, not an object and a list",
        )
    try:
        compressor = None if compressor_json is None else compressor_from_json(compressor_json)
    except InvalidArgumentError as error:
        raise wrong_field(
            where, f"the compressor {short_repr(compressor_json)}, which cannot be understood"
        ) from error
    filter_names = [
        str(filter_json.get("id")) if isinstance(filter_json, Mapping) else repr(filter_json)
        for filter_json in filters
    ]
    return compressor, (*filter_names, *((compressor.name,) if compressor else ()))
