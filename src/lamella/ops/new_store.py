"""Yield the destination of a new store: a folder beside its path, which is packed at the end for an archive."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from lamella.errors import InvalidArgumentError
from lamella.ops.copying.pack import check_archive, folder_to_pack, pack
from lamella.ops.rewriting.destination import Destination
from lamella.store.archives import is_archive_name

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lamella.ops.progress import Progress
    from lamella.types import VersionName


@contextmanager
def new_store(
    path: str, overwrite: bool, command: str, version: VersionName, progress: Progress | bool | None
) -> Iterator[Destination]:
    """Yield the destination of a new store at an absolute path; for an archive a folder beside it, packed at the end.

    Only the same ``command`` resumes an interrupted one. Raise StoreExistsError for an existing path that is not
    replaced, and InvalidArgumentError for a ``version`` that the archive does not support.
    """
    if not is_archive_name(path):
        target = Destination(path, overwrite, command)
        target.finish_interrupted()
        target.check()
        yield target
        return
    if path.lower().endswith(".ozx") and version == "0.4":
        raise InvalidArgumentError(
            f"{path} cannot be OME-NGFF 0.4: .ozx archives (RFC-9) need 0.5 or newer. Choose version 0.5, or a name "
            "that ends with .zip."
        )
    check_archive(path, overwrite=overwrite)
    with folder_to_pack(path) as folder:
        target = Destination(folder, True, command)
        target.finish_interrupted()
        yield target
        pack(folder, path, overwrite=overwrite, progress=progress)
