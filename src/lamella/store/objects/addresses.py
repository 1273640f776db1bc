"""Derive the URL, the display name and the lock name of a zarr-python store.

Recognises stores of zarr-python, fsspec and obstore by their attributes, without importing them.
"""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import unquote

from lamella.store.keys import title_of

_SCHEMES = {"S3Store": ("s3", "bucket"), "GCSStore": ("gs", "bucket"), "AzureStore": ("az", "container_name")}
_WITH_QUERY = ("http", "https", "ftp", "az", "abfs", "abfss")
_WEB_URL = re.compile(r"(https?://)(?:[^\s/@'\"<>]*@)?([^\s?'\"<>]*)(?:\?[^\s'\"<>]*)?", re.IGNORECASE)
_BETWEEN = re.compile(r"(?<!\[)::(?![^\[/]*\])")
"""Between the URLs of a chain; not in the host of ``http://[::1]:8000``."""
KINDS = {
    "s3": "s3",
    "s3a": "s3",
    "gs": "gs",
    "gcs": "gs",
    "az": "az",
    "abfs": "az",
    "abfss": "az",
    "http": "http",
    "https": "http",
}
"""The kind of service by the scheme of a URL."""
_AWS = re.compile(r"(?:(?P<bucket>.+)\.)?s3(?:[.-][a-z0-9.-]+)?\.amazonaws\.com(?:\.cn)?")
_GOOGLE = re.compile(r"(?:(?P<bucket>.+)\.)?storage\.(?:cloud\.google|googleapis)\.com")
_AZURE = re.compile(r"(?P<account>[a-z0-9-]+)\.(?:blob|dfs)\.core\.windows\.net")


def is_web(url: str) -> bool:
    """Whether a URL is one of a web server, whose paths are percent-encoded."""
    return url.lower().startswith(("http://", "https://"))


def may_have_query(url: str) -> bool:
    """Whether ``?`` begins a query in a URL of this kind; elsewhere it belongs to the name of an object."""
    return url.partition("://")[0].lower() in _WITH_QUERY


def clean_url(url: str) -> str:
    """Return a URL for messages: without password, query (which may contain a signature) and trailing slash."""
    return "::".join(map(_clean_part, split_chain(url)))


def split_chain(url: str) -> list[str]:
    """Return the URLs that a URL of fsspec chains, such as ``zip://a.zarr`` and ``s3://bucket/a.zip``."""
    return _BETWEEN.split(url)


def is_chained(url: str) -> bool:
    """Whether a URL chains several, which fsspec opens."""
    return len(split_chain(url)) > 1


def _clean_part(url: str) -> str:
    scheme, slashes, after_scheme = url.partition("://")
    kind = scheme.lower().rpartition("+")[2]  # of icechunk+https
    if slashes and kind in _WITH_QUERY:
        after_scheme = re.split(r"[?#]", after_scheme, maxsplit=1)[0]
    host, slash, path = after_scheme.partition("/")
    user, at, name = host.rpartition("@")
    if at and (":" in user or kind in ("http", "https")):  # abfs has a container before the @
        host = name
    return f"{scheme}{slashes}{f'{host}{slash}{path}'.rstrip('/')}"


def without_secrets(text: str) -> str:
    """Return a text with every URL in it stripped of its password and query."""
    return _WEB_URL.sub(r"\1\2", text)


def address_of(store: Any) -> str:
    """Return the URL of a zarr-python store, or its ``str()`` where it has no URL."""
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
    """Whether a forked process can use a store after its parent did; it lacks the threads of obstore and icechunk."""
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


def split_url(url: str) -> tuple[str, str]:
    """Return the bucket and the prefix in a URL of an object store."""
    bucket, _, prefix = url.partition("://")[2].partition("/")
    return bucket.partition("@")[0], prefix.strip("/")


def lock_name(url: str) -> str:
    """Return the prefix of a store's lock names: equal for all spellings of its URL, on whatever service."""
    kind = KINDS.get(url.partition("://")[0].lower(), "http")
    if is_chained(url) or kind == "http":
        return url.rstrip("/")
    return f"{kind}://{'/'.join(split_url(url))}".rstrip("/")


def identity_of(url: str, endpoint: str = "", account: str = "") -> str:
    """Return a text that is equal for all URLs of one store, also for those that a web browser uses.

    ``endpoint`` is the address of a service other than that of Amazon, Google and Azure, ``account`` one of Azure.
    """
    scheme, slashes, after_scheme = clean_url(url).partition("://")
    kind = KINDS.get(scheme.lower())
    if not slashes or is_chained(url) or kind is None:
        return clean_url(url)
    if kind == "http":
        host, _, path = after_scheme.partition("/")
        return _web_identity(host, unquote(path))
    azure_host = after_scheme.partition("/")[0].partition("@")[2]  # of abfss
    hosts = {
        "s3": "s3.amazonaws.com",
        "gs": "storage.googleapis.com",
        "az": azure_host or f"{account}.blob.core.windows.net",
    }
    host, _, path_above = (endpoint.partition("://")[2] or hosts[kind]).partition("/")
    return _web_identity(host, "/".join((path_above, *split_url(url))))


def _web_identity(host: str, path: str) -> str:
    """Return host and path as a URL; the name of a bucket in the host's name becomes part of the path."""
    host = host.lower()
    for pattern, common in ((_AWS, "s3.amazonaws.com"), (_GOOGLE, "storage.googleapis.com")):
        if service := pattern.fullmatch(host):
            host, path = common, f"{service['bucket'] or ''}/{path}"
    if azure := _AZURE.fullmatch(host):
        host = f"{azure['account']}.blob.core.windows.net"
    return "/".join(("web:/", host, *filter(None, path.split("/"))))


def endpoint_of(store: Any) -> tuple[str, str]:
    """Return the endpoint and the account of Azure of a zarr-python store, as far as it shows them; "" otherwise."""
    store = _unwrapped(store)
    file_system = getattr(store, "fs", None)
    config = getattr(getattr(store, "store", None), "config", None)
    if isinstance(config, dict):
        settings = [config.get(name) for name in ("endpoint", "base_url", "account_name")]
    else:
        settings = [
            getattr(file_system, name, None) for name in ("endpoint_url", "_endpoint", "account_name")
        ]
    first, second, account = (setting if isinstance(setting, str) else "" for setting in settings)
    return first or second, account


def title_in(address: str) -> str:
    """Return the last name of a URL without endings such as ``.zarr``; "" where the URL has no name."""
    scheme, separator, after_scheme = split_chain(address)[-1].partition("://")
    if not separator or (scheme == "memory" and after_scheme.isdecimal()) or scheme == "object_store":
        return ""
    return title_of(unquote(after_scheme) if scheme in ("http", "https") else after_scheme)


def lock_root(store: Any) -> str:
    """Return the prefix of the lock names of a store, equal for all stores of this process at one location."""
    store = _unwrapped(store)
    address = address_of(store)
    class_names = {kind.__name__ for kind in type(store).__mro__}
    is_address = "://" in address and not address.startswith("object_store://")
    if is_address and not class_names.isdisjoint(("FsspecStore", "ObjectStore", "ZipStore")):
        return lock_name(address)
    # Stores in memory are named by the object with their bytes, which read-only views share.
    for name in ("_store_dict", "store", "session"):
        content = getattr(store, name, None)
        if content is not None:
            return f"{type(store).__name__}:{id(content)}"
    return f"{type(store).__name__}:{id(store)}"
