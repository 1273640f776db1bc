"""Delete keys of fsspec file systems by their exact names: fsspec expands ``*``, ``?`` and ``[`` in what it deletes.

Without this, deleting ``p*.zarr/0`` would delete ``plate.zarr/0`` too. Imports zarr-python: import it inside functions.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from zarr.abc.store import Store
from zarr.storage import FsspecStore

from lamella.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Mapping

_WILDCARDS = frozenset("*?[")

ALLOWED_EXCEPTIONS = (FileNotFoundError, IsADirectoryError, NotADirectoryError)
"""Errors that mean a missing key, as for FsspecStore."""


class ExactDeletes(FsspecStore):
    """A store of fsspec that deletes exactly the given keys."""

    def __init__(
        self,
        fs: Any,
        read_only: bool = False,
        path: str = "/",
        allowed_exceptions: tuple[type[Exception], ...] = ALLOWED_EXCEPTIONS,
    ) -> None:
        # Without FsspecStore.__init__, which warns of the caches of fsspec: they are synchronous, and work.
        Store.__init__(self, read_only=read_only)
        self.fs, self.path, self.allowed_exceptions = fs, path, allowed_exceptions

    async def delete(self, key: str) -> None:
        path = self._full_path(key)
        if _WILDCARDS.isdisjoint(path):
            await super().delete(key)
            return
        self._check_writable()
        with suppress(FileNotFoundError, *self.allowed_exceptions):
            await self._delete_file(path)

    async def delete_dir(self, prefix: str) -> None:
        path = self._full_path(prefix)
        if _WILDCARDS.isdisjoint(path):
            await super().delete_dir(prefix)
            return
        self._check_writable()
        with suppress(FileNotFoundError, *self.allowed_exceptions):
            for file in await self.fs._find(path):
                await self._delete_file(file)
            await self._delete_folders(path)

    async def clear(self) -> None:
        await self.delete_dir("")

    async def _delete_file(self, path: str) -> None:
        try:
            await self.fs._rm_file(path)
        except NotImplementedError as error:
            raise StorageError(
                f"Cannot delete {path}: its file system ({type(self.fs).__name__}) deletes patterns only, and the path "
                "contains '*', '?' or '['. Nothing was deleted."
            ) from error

    async def _delete_folders(self, path: str) -> None:
        """Delete the empty folders that deleted files leave behind, where the file system has folders."""
        if hasattr(self.fs, "_bulk_delete"):
            return
        folders = await self.fs._find(path, withdirs=True)
        for folder in sorted({*folders, path}, reverse=True):
            with suppress(OSError, NotImplementedError):
                await self.fs._rmdir(folder)

    def _full_path(self, key: str) -> str:
        return f"{self.path}/{key}".strip("/") if key else self.path


def open_with_fsspec(url: str, options: Mapping[str, Any], *, read_only: bool) -> ExactDeletes:
    """Open a URL by fsspec, as ``FsspecStore.from_url`` does."""
    from fsspec.core import url_to_fs
    from fsspec.implementations.asyn_wrapper import AsyncFileSystemWrapper

    fs, path = url_to_fs(url, **{"asynchronous": True, **options})
    if not fs.async_impl:
        fs = AsyncFileSystemWrapper(fs, asynchronous=True)
    return ExactDeletes(fs, read_only, path)


def with_exact_deletes(store: FsspecStore) -> FsspecStore:
    """Return a store of fsspec, converted to one that deletes exact names."""
    if type(store) is not FsspecStore:
        return store
    return ExactDeletes(
        fs=store.fs, read_only=store.read_only, path=store.path, allowed_exceptions=store.allowed_exceptions
    )
