"""A TensorStore handle of an array, for users who work with TensorStore themselves.

Layer: store.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from lamella.errors import InvalidArgumentError, check_options
from lamella.store.engine_tensorstore import _context, _document
from lamella.store.limits import check_files

if TYPE_CHECKING:
    from lamella.store.documents import Documents


def open_handle(documents: Documents, path: str, *, writable: bool, **options: Any) -> Any:
    """Open an array with TensorStore, from its stored document.

    Parameters
    ----------
    documents : Documents
        Of the store.
    path : str
        Of the array.
    writable : bool
        Whether writing through the handle is accepted.
    **options
        Of ``tensorstore.open``. Without ``context`` the one of lamella's engine: it leaves no lock files, since
        those of TensorStore 0.1 can damage a shard after a kill.

    Returns
    -------
    tensorstore.TensorStore

    Raises
    ------
    NodeNotFoundError, MetadataError
        There is no array, or its document is damaged.
    InvalidArgumentError
        TensorStore cannot reach the store, does not know a codec, or refuses an option.
    UnknownOptionError
        ``tensorstore.open`` has no such option (a TypeError too).
    """
    import tensorstore as ts

    check_options("tensorstore()", options, _known_options(ts))
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
    except Exception as error:  # what TensorStore raises for options and documents that it does not take
        raise InvalidArgumentError(
            f"TensorStore cannot open {documents.location(path)}: {_plainly(error)}. Check the options, or use zarr() "
            "or indexing instead."
        ) from error


def _known_options(ts: Any) -> set[str]:
    """Return the keywords of ``tensorstore.open``, whose signature stands in its docstring alone."""
    head = ts.open.__doc__.partition("->")[0].partition("*,")[2]
    return set(re.findall(r"(\w+): ", head))


def _plainly(error: Exception) -> str:
    """Return what TensorStore says without the status before it and the lines of its source behind it."""
    text = re.sub(r"\[(source locations|tensorstore_spec|domain)=.*", "", str(error), flags=re.DOTALL)
    return re.sub(r"^[A-Z_]+: ", "", text).strip(" .") or type(error).__name__
