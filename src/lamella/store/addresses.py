"""Derive the URL, the display name and the lock name of a zarr-python store.

Recognises stores of zarr-python, fsspec and obstore by their attributes, without importing them.
"""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import unquote

_SCHEMES = {"S3Store": ("s3", "bucket"), "GCSStore": ("gs", "bucket"), "AzureStore": ("az", "container_name")}
_WITH_QUERY = ("http", "https", "ftp", "az", "abfs", "abfss")
_WEB_URL = re.compile(r"(https?://)(?:[^\s/@'\"<>]*@)?([^\s?'\"<>]*)(?:\?[^\s'\"<>]*)?", re.IGNORECASE)
_SUFFIXES = (".zip", ".ozx", ".zarr", ".ome")


def is_web(url: str) -> bool:
    """Whether a URL is one of a web server, whose paths are percent-encoded.

    >>> is_web("HTTPS://host/a%20b.zarr"), is_web("s3://bucket/a b.zarr")
    (True, False)
    """
    return url.lower().startswith(("http://", "https://"))


def may_have_query(url: str) -> bool:
    """Whether ``?`` begins a query in a URL of this kind; elsewhere it belongs to the name of an object.

    >>> may_have_query("az://plates/a.zarr?sig=1"), may_have_query("s3://bucket/which?.zarr")
    (True, False)
    """
    return url.partition("://")[0].lower() in _WITH_QUERY


def clean_url(url: str) -> str:
    """Return a URL for messages: without password, query (which may contain a signature) and trailing slash.

    >>> clean_url("https://me:secret@host/plates/a%20b.zarr/?signature=1")
    'https://host/plates/a%20b.zarr'
    >>> clean_url("zip://a.zarr::ftp://me:secret@host/a.zip"), clean_url("az://plates/a.zarr?sig=1")
    ('zip://a.zarr::ftp://host/a.zip', 'az://plates/a.zarr')
    """
    return "::".join(map(_clean_part, url.split("::")))


def _clean_part(url: str) -> str:
    scheme, slashes, rest = url.partition("://")
    kind = scheme.lower().rpartition("+")[2]  # of icechunk+https
    if slashes and kind in _WITH_QUERY:
        rest = re.split(r"[?#]", rest, maxsplit=1)[0]
    host, slash, path = rest.partition("/")
    user, at, name = host.rpartition("@")
    if at and (":" in user or kind in ("http", "https")):  # abfs has a container before the @
        host = name
    return f"{scheme}{slashes}{host}{slash}{path}".rstrip("/")


def without_secrets(text: str) -> str:
    """Return a text with every URL in it stripped of its password and query.

    >>> without_secrets("403, url='https://me:secret@host/a.zarr?sig=1' (Forbidden)")
    "403, url='https://host/a.zarr' (Forbidden)"
    """
    return _WEB_URL.sub(r"\1\2", text)


def address_of(store: Any) -> str:
    """Return the URL of a zarr-python store, or its ``str()`` where it has no URL.

    >>> from zarr.storage import FsspecStore
    >>> address_of(FsspecStore.from_url("memory://plates/a.zarr"))
    'memory://plates/a.zarr'
    """
    store = _unwrapped(store)
    fs, inner = getattr(store, "fs", None), getattr(store, "store", None)
    if fs is not None and isinstance(getattr(store, "path", None), str):
        protocol = fs.protocol if isinstance(fs.protocol, str) else fs.protocol[0]
        path = store.path if "://" in store.path else f"{protocol}://{store.path.lstrip('/')}"
        return clean_url(path)
    if type(inner).__module__.startswith("obstore"):
        return _obstore_address(inner) or str(store)
    return " ".join(str(store).split())  # icechunk describes itself on several lines


def _unwrapped(store: Any) -> Any:
    """Return the innermost store below zarr-python's wrapper stores."""
    for _ in range(8):
        inner = getattr(store, "_store", None)
        if inner is None or not hasattr(inner, "supports_listing"):
            return store
        store = inner
    return store


def survives_fork(store: Any) -> bool:
    """Whether a forked process can use a store after its parent did: the threads of obstore and icechunk are not there.

    >>> from zarr.storage import MemoryStore, ObjectStore
    >>> from obstore.store import MemoryStore as ObstoreMemory
    >>> survives_fork(MemoryStore()), survives_fork(ObjectStore(ObstoreMemory()))
    (True, False)
    """
    inner = _unwrapped(store)  # of a store of icechunk an object that knows no module
    makers = store, inner, getattr(inner, "store", None), getattr(inner, "session", None)
    modules = [type(maker).__module__.lstrip("_") for maker in makers]
    return not any(module.startswith(("obstore", "icechunk")) for module in modules)


def _obstore_address(inner: Any) -> str:
    kind = type(inner).__name__
    prefix = str(getattr(inner, "prefix", None) or "").strip("/")
    if kind in _SCHEMES:
        scheme, key = _SCHEMES[kind]
        bucket = dict(inner.config).get(key, "")
        return f"{scheme}://{bucket}/{prefix}".rstrip("/") if bucket else ""
    if kind == "HTTPStore":
        return clean_url(str(inner.url))
    return f"file:///{prefix}" if kind == "LocalStore" and prefix else ""


def title_in(address: str) -> str:
    """Return the last name of a URL without endings such as ``.zarr``; "" where the URL has no name.

    >>> title_in("s3://bucket/screen 1.ome.zarr"), title_in("https://host/a%20b.zarr"), title_in("memory://140230")
    ('screen 1', 'a b', '')
    """
    scheme, separator, rest = address.rpartition("::")[2].partition("://")
    if not separator or (scheme == "memory" and rest.isdecimal()) or scheme == "object_store":
        return ""
    name = rest.rstrip("/").rpartition("/")[2]
    if scheme in ("http", "https"):
        name = unquote(name)
    for suffix in _SUFFIXES:
        name = name.removesuffix(suffix)
    return name


def lock_root(store: Any) -> str:
    """Return the prefix of the lock names of a store, equal for all stores of this process at one location.

    >>> from zarr.storage import MemoryStore
    >>> first, second = MemoryStore(), MemoryStore()
    >>> lock_root(first) == lock_root(first), lock_root(first) == lock_root(second)
    (True, False)
    """
    store = _unwrapped(store)
    address = address_of(store)
    kinds = {kind.__name__ for kind in type(store).__mro__}
    is_address = "://" in address and not address.startswith("object_store://")
    if is_address and not kinds.isdisjoint(("FsspecStore", "ObjectStore", "ZipStore")):
        return address
    # Stores in memory are named by the object that holds their bytes, which read-only views share.
    for name in ("_store_dict", "store", "session"):
        holder = getattr(store, name, None)
        if holder is not None:
            return f"{type(store).__name__}:{id(holder)}"
    return f"{type(store).__name__}:{id(store)}"
