"""Open a TensorStore handle of an array, for users of TensorStore; lamella itself does not use it."""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING, Any

from lamella.errors import InvalidArgumentError, check_options, importing
from lamella.store.metadata.format_v3 import fill_to_json
from lamella.store.process_limits import check_files, cpus

if TYPE_CHECKING:
    from lamella.store.metadata.array_meta import ArrayMeta
    from lamella.store.metadata.documents import Documents
    from lamella.types import JSONObject

_CACHE_BYTES = 64 << 20

_V3_CODECS = {"bytes", "blosc", "gzip", "zstd", "crc32c", "transpose", "sharding_indexed"}
_V2_COMPRESSORS = {"blosc", "zlib", "gzip", "bz2", "zstd"}


def open_handle(documents: Documents, path: str, *, writable: bool, **options: Any) -> Any:
    """Open an array with TensorStore, from its stored document; ``options`` are those of ``tensorstore.open``.

    The default ``context`` creates no lock files: those of TensorStore 0.1 can damage a shard after a kill.
    """
    with importing(
        f"tensorstore() of {documents.location(path)} needs TensorStore (pip install 'lamella[tensorstore]')."
    ):
        import tensorstore as ts

    check_options("tensorstore()", options, _option_names(ts))
    meta = documents.array(path)
    kvstore = documents.storage.kvstore(path)
    if kvstore is None:
        raise InvalidArgumentError(
            f"TensorStore cannot reach {documents.location(path)}: it opens local folders, not a store like "
            f"{documents.storage!r}. Use zarr() or indexing instead."
        )
    check_files(meta, documents.location(path))
    document = _document(meta)
    if document is None:
        raise InvalidArgumentError(
            f"TensorStore cannot decode {documents.location(path)}, which is stored with "
            f"{', '.join(meta.codecs) or 'no codec'}. Use zarr() or indexing instead."
        )
    if options.get("context") is None:
        options["context"] = _context(bool(getattr(documents.storage, "fsync", False)))
    spec = {"driver": "zarr3" if meta.zarr_format == 3 else "zarr", "kvstore": kvstore, "metadata": document}
    settings = {"open": True, "read": True, "write": writable, **options}
    if not writable and settings["write"] is None:
        settings["write"] = False
    try:
        return ts.open(spec, **settings).result()
    except Exception as error:  # TensorStore raises many kinds of errors for options and documents
        raise InvalidArgumentError(
            f"TensorStore cannot open {documents.location(path)}: {_reason(error)}. Check the options, or use zarr() "
            "or indexing instead."
        ) from error


def _option_names(ts: Any) -> set[str]:
    """Return the keywords of ``tensorstore.open``, which only its docstring lists."""
    head = ts.open.__doc__.partition("->")[0].partition("*,")[2]
    return set(re.findall(r"(\w+): ", head))


def _reason(error: Exception) -> str:
    """Return the text of a TensorStore error without the status before it and the source lines after it."""
    text = re.sub(r"\[(source locations|tensorstore_spec|domain)=.*", "", str(error), flags=re.DOTALL)
    return re.sub(r"^[A-Z_]+: ", "", text).strip(" .") or type(error).__name__


@cache
def _context(fsync: bool) -> Any:
    """Return the TensorStore context of this process, with file locking off.

    TensorStore 0.1.86 writes into ``<key>.__lock`` without truncating what a killed process left in it, so that the
    next shorter shard ends in old bytes. Without locking it writes to a new name and renames it.
    """
    import tensorstore as ts

    return ts.Context(
        {
            "cache_pool": {"total_bytes_limit": _CACHE_BYTES},
            "data_copy_concurrency": {"limit": cpus()},
            "file_io_locking": {"mode": "none"},
            "file_io_sync": fsync,
        }
    )


def _document(meta: ArrayMeta) -> JSONObject | None:
    """Return the metadata for TensorStore, which refuses extensions in other keys; None for unsupported codecs."""
    complex_fill = isinstance(meta.fill_value, complex)
    if meta.zarr_format == 3:
        if not set(meta.codecs) <= _V3_CODECS:
            return None
        return {**meta.chunk_document, "fill_value": fill_to_json(meta.fill_value)}
    if (
        meta.document.get("filters")
        or not set(meta.codecs) <= _V2_COMPRESSORS
        or (complex_fill and meta.fill_value)
    ):
        return None
    # TensorStore and zarr-python spell complex fill values of Zarr v2 differently; null counts as zero.
    fill = None if complex_fill else fill_to_json(meta.fill_value)
    return {"order": "C", "compressor": None, **meta.chunk_document, "filters": None, "fill_value": fill}
