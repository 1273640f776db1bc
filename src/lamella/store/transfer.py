"""Copying files from one store to another as they are: encoded chunks are not decoded.

Layer: store.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from lamella.store.formats import METADATA_FILES
from lamella.store.keys import join
from lamella.store.local import LocalStorage

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lamella.store.storage import Storage


def copy_files(
    source: Storage, source_path: str, target: Storage, target_path: str, *, jobs: int | None = None
) -> None:
    """Copy all files below a path; the JSON documents come last, so that no array appears before its chunks.

    Parameters
    ----------
    source, source_path
        Where to copy from.
    target, target_path
        Where to copy to; files of the same name are replaced, each atomically.
    jobs
        Number of threads; 4 by default, for a disk that serves several requests at a time.
    """
    chunks: list[str] = []
    documents: list[str] = []
    for key in files_below(source, source_path):
        (documents if key.rpartition("/")[2] in METADATA_FILES else chunks).append(key)

    def copy(key: str) -> None:
        relative = key[len(source_path) :].strip("/") if source_path else key
        copy_file(source, key, target, join(target_path, relative))

    with ThreadPoolExecutor(jobs or 4, "lamella-copy") as pool:
        list(pool.map(copy, chunks))
    # Deepest first: the group that lists the arrays is the last to say so.
    for key in sorted(documents, key=lambda key: -key.count("/")):
        copy(key)


def copy_file(source: Storage, key: str, target: Storage, new: str) -> None:
    """Copy one file; the system does it without a detour where both are folders."""
    if isinstance(source, LocalStorage) and isinstance(target, LocalStorage):
        target.copy_in(source, key, new)
        return
    data = source.read(key)
    if data is not None:
        target.write(new, data)


def files_below(storage: Storage, prefix: str) -> Iterator[str]:
    """Yield the keys of all files below a folder, in natural order."""
    for name in storage.list(prefix):
        key = join(prefix, name)
        if storage.size(key) is None:
            yield from files_below(storage, key)
        else:
            yield key
