"""Empty stores of every kind that lamella writes to, for tests of what must hold on all of them."""

from __future__ import annotations

import uuid
from typing import Any

KINDS = ["folder", "memory URL", "s3 URL", "memory store", "obstore memory", "obstore s3"]
"""Kinds that `empty_store` makes."""


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
    if kind == "memory store":
        from zarr.storage import MemoryStore

        return MemoryStore()
    from obstore.store import MemoryStore as ObstoreMemory
    from obstore.store import S3Store
    from zarr.storage import ObjectStore

    if kind == "obstore memory":
        return ObjectStore(ObstoreMemory())
    s3 = request.getfixturevalue("s3")
    return ObjectStore(
        S3Store(
            s3.name,
            prefix=name,
            endpoint=s3.endpoint,
            region="us-east-1",
            access_key_id="testing",
            secret_access_key="testing",
            client_options={"allow_http": True},
        )
    )


def fill(target: Any, files: dict[str, bytes]) -> None:
    """Write files into a store, many at a time."""
    from lamella.store.storage import open_storage

    open_storage(target).write_many(files.items())
