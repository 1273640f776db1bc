"""Parse and build Zarr v3 documents: ``zarr.json`` of groups and arrays."""

from __future__ import annotations

import re
import struct
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from lamella.errors import InvalidArgumentError, MetadataError, NotDecodedError, short_repr
from lamella.store.keys import V3
from lamella.store.metadata.array_meta import DTYPES, ArrayMeta, Compressor, FillValue, compressor_from_json
from lamella.store.metadata.json_document import document_name, wrong_field

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lamella.store.metadata.stored_documents import NodeKind
    from lamella.types import JSON, JSONObject, Shape

_ARRAY_CODECS = {"transpose", "bytes", "sharding_indexed", "crc32c"}
_UNSUPPORTED_DTYPES = re.compile(
    r"string|bytes|variable_length_bytes|r[0-9]+|bfloat16|u?int[24]|float[468]_\w+|complex_\w+|numpy\.\w+",
    re.ASCII,
)
_SPECIAL_FLOATS = {"NaN": float("nan"), "Infinity": float("inf"), "-Infinity": float("-inf")}


def node_type(document: JSONObject, node: str) -> NodeKind:
    """Return the kind of node that a document describes; raise `MetadataError` for other documents."""
    if document.get("zarr_format") != 3:
        raise wrong_field(
            document_name(node, V3.group), f"zarr_format {short_repr(document.get('zarr_format'))}, not 3"
        )
    kind = document.get("node_type")
    if kind not in ("group", "array"):
        raise wrong_field(
            document_name(node, V3.group), f"the node_type {short_repr(kind)}, not 'group' or 'array'"
        )
    return kind  # type: ignore[no-any-return]


def attributes_of(document: JSONObject, node: str) -> JSONObject:
    """Return the user attributes of a group or array."""
    attributes = document.get("attributes", {})
    if not isinstance(attributes, dict):
        raise wrong_field(
            document_name(node, V3.group),
            f"attributes of type {type(attributes).__name__}, which are not an object",
        )
    return attributes


def group_document(attributes: JSONObject, old_document: JSONObject | None) -> JSONObject:
    """Build the document of a group, with all keys of the old one but ``consolidated_metadata``, which is stale now."""
    other_keys = {key: value for key, value in (old_document or {}).items() if key != "consolidated_metadata"}
    return {**other_keys, "zarr_format": 3, "node_type": "group", "attributes": attributes}


def with_document(meta: ArrayMeta, *, checksum: bool = False) -> ArrayMeta:
    """Return the description of a new array with its document; with `checksum`, each chunk ends in its crc32c."""
    itemsize = meta.dtype.itemsize
    codecs: list[JSONObject] = [_bytes_codec(itemsize)]
    if meta.compressor is not None:
        codecs.append(meta.compressor.to_json(3, itemsize))
    if checksum:
        codecs.append({"name": "crc32c"})
    codec_names = tuple(str(codec["name"]) for codec in codecs)
    if meta.shards is not None:
        codecs = [_sharding(meta.chunks, codecs)]
        codec_names = ("sharding_indexed", *codec_names)
    document: JSONObject = {
        "zarr_format": 3,
        "node_type": "array",
        "shape": list(meta.shape),
        "data_type": meta.dtype.name,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": list(meta.files)}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "fill_value": fill_to_json(meta.fill_value),
        "codecs": codecs,
        "storage_transformers": [],
    }
    if meta.dimension_names is not None:
        document["dimension_names"] = list(meta.dimension_names)
    return replace(meta, document=document, codecs=codec_names)


def parse_array(document: JSONObject, node: str) -> ArrayMeta:
    """Parse the document of an array; `MetadataError` for invalid fields, but not for unknown codecs."""
    where = document_name(node, V3.group)
    if node_type(document, node) != "array":
        raise MetadataError(f"{where} describes a group, not an array.")
    shape = lengths_from_json(document.get("shape"), "shape", where)
    grid_name, grid = _name_and_configuration(document.get("chunk_grid"), "chunk_grid", where)
    if grid_name != "regular":
        raise NotDecodedError(
            f"{where} has the chunk grid {short_repr(grid_name)}, and lamella reads regular grids only."
        )
    if document.get("storage_transformers"):
        raise NotDecodedError(
            f"{where} has storage transformers, {short_repr(document['storage_transformers'])}, and lamella reads "
            "chunks without them only."
        )
    files = lengths_from_json(grid.get("chunk_shape"), "chunk_shape", where, minimum=1)
    dtype = _dtype(document.get("data_type"), where)
    chunks, codecs = _codecs(document.get("codecs"), where)
    shards = files if chunks is not None else None
    chunks = chunks or files
    if not len(shape) == len(files) == len(chunks):
        raise wrong_field(
            where,
            f"the shape {short_repr(shape)}, but chunks {short_repr(chunks)} in files of {short_repr(files)}",
        )
    if any(file_length % chunk_length for file_length, chunk_length in zip(files, chunks, strict=True)):
        raise wrong_field(
            where,
            f"the shards {short_repr(files)}, which are not multiples of its chunks {short_repr(chunks)}",
        )
    dimension_names = document.get("dimension_names")
    if dimension_names is not None and (
        not isinstance(dimension_names, list) or len(dimension_names) != len(shape)
    ):
        raise wrong_field(where, f"the dimension_names {short_repr(dimension_names)} for {len(shape)} axes")
    key_encoding, key_settings = _name_and_configuration(
        document.get("chunk_key_encoding", {"name": "default"}), "chunk_key_encoding", where
    )
    separator = key_settings.get("separator", "/" if key_encoding == "default" else ".")
    if key_encoding not in ("default", "v2") or separator not in ("/", "."):
        raise wrong_field(
            where,
            f"the chunk keys {short_repr(key_encoding)} with the separator {short_repr(separator)}, which are unknown",
        )
    return ArrayMeta(
        shape,
        dtype,
        chunks,
        shards,
        fill_from_json(document.get("fill_value"), dtype, where),
        _compressor(codecs, where),
        None
        if dimension_names is None
        else tuple(name if isinstance(name, str) else None for name in dimension_names),
        attributes_of(document, node),
        3,
        separator,
        (("sharding_indexed",) if shards else ()) + tuple(name for name, _ in codecs),
        {key: value for key, value in document.items() if key != "attributes"},
    )


def _bytes_codec(itemsize: int) -> JSONObject:
    return {"name": "bytes", "configuration": {"endian": "little"}} if itemsize > 1 else {"name": "bytes"}


def _sharding(chunks: Shape, codecs: list[JSONObject]) -> JSONObject:
    return {
        "name": "sharding_indexed",
        "configuration": {
            "chunk_shape": list(chunks),
            "codecs": codecs,
            "index_codecs": [_bytes_codec(8), {"name": "crc32c"}],
            "index_location": "end",
        },
    }


def _name_and_configuration(value: JSON, subject: str, where: str) -> tuple[str, Mapping[str, Any]]:
    """Parse an extension point: an object with a name, or since Zarr 3.1 the name alone."""
    if isinstance(value, str):
        return value, {}
    if isinstance(value, dict) and isinstance(value.get("name"), str):
        configuration = value.get("configuration", {})
        if isinstance(configuration, dict):
            return value["name"], configuration
    raise wrong_field(where, f"the {subject} {short_repr(value)}, which is not an object with a name")


def lengths_from_json(lengths: JSON, subject: str, where: str, *, minimum: int = 0) -> Shape:
    """Parse a shape or the shape of chunks; ``subject`` and ``where`` name it in messages."""
    if not isinstance(lengths, list) or not all(
        isinstance(length, int) and not isinstance(length, bool) and minimum <= length < 1 << 62
        for length in lengths
    ):
        raise wrong_field(
            where, f"the {subject} {short_repr(lengths)}, which is not a list of whole numbers from {minimum}"
        )
    return tuple(lengths)


def _dtype(dtype_json: JSON, where: str) -> np.dtype[Any]:
    if dtype_json not in DTYPES:
        name = dtype_json.get("name") if isinstance(dtype_json, dict) else dtype_json
        is_unsupported = isinstance(name, str) and (
            isinstance(dtype_json, dict) or _UNSUPPORTED_DTYPES.fullmatch(name)
        )
        raise (NotDecodedError if is_unsupported else MetadataError)(
            f"{where} has the data_type {short_repr(dtype_json)}, and lamella reads {', '.join(DTYPES)}."
        )
    return np.dtype(dtype_json)


def _codecs(codecs_json: JSON, where: str) -> tuple[Shape | None, list[tuple[str, JSONObject]]]:
    """Return the inner chunks (None without shards) and the codecs of a chunk."""
    if not isinstance(codecs_json, list) or not codecs_json:
        raise wrong_field(
            where, f"the codecs {short_repr(codecs_json)}, which are not a list with a codec in it"
        )
    codecs = [(_name_and_configuration(codec, "codec", where)[0], codec) for codec in codecs_json]
    for name, codec in codecs:
        if name == "sharding_indexed":
            configuration = _name_and_configuration(codec, "codec", where)[1]
            chunks = lengths_from_json(
                configuration.get("chunk_shape"), "inner chunk_shape", where, minimum=1
            )
            location = configuration.get("index_location", "end")
            if location not in ("start", "end"):
                raise wrong_field(where, f"the index_location {short_repr(location)}, not 'start' or 'end'")
            return chunks, _codecs(configuration.get("codecs"), where)[1]
    return None, codecs


def _compressor(codecs: list[tuple[str, JSONObject]], where: str) -> Compressor | None:
    for name, codec in codecs:
        if name not in _ARRAY_CODECS:
            try:
                return compressor_from_json(codec if isinstance(codec, dict) else {"name": name})
            except InvalidArgumentError as error:
                raise wrong_field(
                    where, f"the codec {short_repr(codec)}, which cannot be understood"
                ) from error
    return None


def fill_to_json(value: FillValue) -> JSON:
    """Convert a fill value to JSON: special floats to words of the specification, complex numbers to pairs."""
    if isinstance(value, complex):
        return [fill_to_json(value.real), fill_to_json(value.imag)]
    if isinstance(value, float) and not np.isfinite(value):
        return "NaN" if np.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value


def fill_from_json(value: JSON, dtype: np.dtype[Any], where: str) -> FillValue:
    """Parse a fill value; a missing one counts as zero."""
    if value is None:
        return dtype.type(0).item()  # type: ignore[no-any-return]
    try:
        if dtype.kind == "c" and isinstance(value, list):
            part_dtype = np.dtype(f"f{dtype.itemsize // 2}")
            real, imaginary = (_real(component, part_dtype) for component in value)
            with np.errstate(over="raise"):
                np.asarray([real, imaginary], dtype=part_dtype)
            return complex(real, imaginary)
        if dtype.kind in "biu" and (isinstance(value, str) or value != dtype.type(value)):
            raise ValueError("not a value of the dtype")
        if isinstance(value, list):
            raise TypeError("a list is not one value")
        with np.errstate(over="raise"):
            return np.asarray(_real(value, dtype), dtype=dtype).item()  # type: ignore[no-any-return]
    except (ValueError, TypeError, OverflowError, FloatingPointError, struct.error) as error:
        raise wrong_field(
            where, f"the fill_value {short_repr(value)}, which is not a value of {dtype.name}"
        ) from error


def _real(value: JSON, dtype: np.dtype[Any]) -> Any:
    if not isinstance(value, str):
        return value
    if value in _SPECIAL_FLOATS:
        return _SPECIAL_FLOATS[value]
    if value.startswith("0x"):  # the bits of a float, the most significant byte first
        (number,) = np.frombuffer(bytes.fromhex(value[2:]), dtype.newbyteorder(">"))
        return number.item()
    raise ValueError("not a number")
