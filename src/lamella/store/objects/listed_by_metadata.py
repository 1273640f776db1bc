"""Views of object stores, and of stores of zarr-python, that cannot be listed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lamella.store.listed_by_metadata import ListedByMetadata
from lamella.store.objects.object_storage import ObjectStorage
from lamella.store.objects.zarr_storage import ZarrStorage

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from lamella.store.flat_storage import FlatStorage
    from lamella.store.metadata.array_meta import ArrayMeta
    from lamella.store.storage import Stamp


class ListedZarrStorage(ListedByMetadata, ZarrStorage):
    """A view of a zarr-python store that cannot list."""


class ListedObjectStorage(ListedByMetadata, ObjectStorage):
    """A view of an object store that may not be listed."""

    def stamps_below(self, folder: str) -> dict[str, Stamp | None]:
        """Return the stamps of documents and existing chunks below a folder."""
        keys = self.keys_below(folder)
        return dict(zip(keys, self.stamps(keys), strict=True))


def list_by_metadata(
    inner: FlatStorage, documents: Iterable[str], arrays: Mapping[str, ArrayMeta]
) -> ListedByMetadata:
    """Return a view of a storage that cannot list."""
    view = ListedObjectStorage if isinstance(inner, ObjectStorage) else ListedZarrStorage
    return view(inner, documents, arrays)
