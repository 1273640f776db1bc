"""Views of object stores, and of stores of zarr-python, that cannot be listed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lamella.store.known_storage import KnownStorage
from lamella.store.objects.object_storage import ObjectStorage
from lamella.store.objects.zarr_storage import ZarrStorage

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from lamella.store.metadata.array_meta import ArrayMeta
    from lamella.store.storage import Stamp, Storage


class KnownZarrStorage(KnownStorage, ZarrStorage):
    """A view of a zarr-python store."""


class KnownObjectStorage(KnownStorage, ObjectStorage):
    """A view of an object store that may not be listed."""

    def stamps_below(self, folder: str) -> dict[str, Stamp | None]:
        """Return the stamps of the known and existing keys below a folder."""
        keys = self.keys_below(folder)
        return dict(zip(keys, self.stamps(keys), strict=True))


def known_storage(
    inner: Storage, documents: Iterable[str], arrays: Mapping[str, ArrayMeta]
) -> KnownStorage | None:
    """Return a view of a storage that cannot list; None for other kinds."""
    if isinstance(inner, ObjectStorage):
        return KnownObjectStorage(inner, documents, arrays)
    return KnownZarrStorage(inner, documents, arrays) if isinstance(inner, ZarrStorage) else None
