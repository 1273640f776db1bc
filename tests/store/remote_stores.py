"""Empty stores of every kind that lamella writes to, for tests of what must hold on all of them."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

KINDS = ["folder", "memory URL", "s3 URL", "memory store", "obstore memory", "obstore s3"]
"""Kinds that `empty_store` makes."""

ALL_KINDS = [
    *KINDS[:5],
    "obstore of a service",
    "obstore folder",
    "fsspec s3",
    "fsspec memory",
    "fsspec folder",
    "icechunk",
]
"""More kinds, without a server that takes longer."""


def empty_store(kind: str, tmp_path: Any, request: Any) -> Any:
    """Return what `open_ome_zarr` is given for an empty store of a kind; each call another one."""
    name = f"{uuid.uuid4().hex[:8]}/plate.zarr"
    if kind == "folder":
        return str(tmp_path / name)
    if kind == "memory URL":
        return f"memory://{name}"
    if kind == "s3 URL":
        request.getfixturevalue("service")
        return f"s3://bucket/{name}"
    return _empty_object(kind, name, tmp_path, request)


def _empty_object(kind: str, name: str, tmp_path: Any, request: Any) -> Any:
    """Return an empty store of zarr-python, or a session of icechunk."""
    if kind == "memory store":
        from zarr.storage import MemoryStore

        return MemoryStore()
    if kind == "icechunk":
        icechunk = pytest.importorskip("icechunk", reason="icechunk is installed on Python 3.12 or newer")
        return icechunk.Repository.create(icechunk.in_memory_storage()).writable_session("main")
    if kind.startswith("fsspec"):
        return _of_fsspec(kind, name, tmp_path, request)
    return _of_obstore(kind, name, tmp_path, request)


def _of_obstore(kind: str, name: str, tmp_path: Any, request: Any) -> Any:
    from obstore.store import LocalStore, MemoryStore, S3Store
    from zarr.storage import ObjectStore

    if kind == "obstore memory":
        return ObjectStore(MemoryStore())
    if kind == "obstore folder":
        return ObjectStore(LocalStore(tmp_path / name, mkdir=True))
    if kind == "obstore of a service":
        bucket, endpoint = "bucket", request.getfixturevalue("service").endpoint
    else:
        s3 = request.getfixturevalue("s3")
        bucket, endpoint = s3.name, s3.endpoint
    return ObjectStore(
        S3Store(
            bucket,
            prefix=name,
            endpoint=endpoint,
            region="us-east-1",
            access_key_id="testing",
            secret_access_key="testing",
            client_options={"allow_http": True},
        )
    )


def _of_fsspec(kind: str, name: str, tmp_path: Any, request: Any) -> Any:
    from zarr.storage import FsspecStore

    if kind == "fsspec memory":
        return FsspecStore.from_url(f"memory://{name}")
    if kind == "fsspec folder":
        return FsspecStore.from_url(f"file://{tmp_path}/{name}", storage_options={"auto_mkdir": True})
    endpoint = request.getfixturevalue("service").endpoint
    keys = {"key": "testing", "secret": "testing", "endpoint_url": endpoint}
    return FsspecStore.from_url(f"s3://bucket/{name}", storage_options=keys)


def fill(target: Any, files: dict[str, bytes]) -> None:
    """Write files into a store, many at a time."""
    from lamella.store.storage import open_storage

    open_storage(target).write_many(files.items())
