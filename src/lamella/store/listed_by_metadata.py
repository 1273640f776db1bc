"""List a store that cannot be listed, by its metadata: documents by name, chunks by requesting each."""

from __future__ import annotations

from itertools import islice, product
from typing import TYPE_CHECKING

from lamella.store.keys import ancestors, join, natural_order
from lamella.store.pixels.stored_chunks import check_requestable, index_of_key, names_in
from lamella.store.pixels.stored_files import shows_whole
from lamella.store.storage import Storage

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from lamella.store.metadata.array_meta import ArrayMeta
    from lamella.store.storage import Names


_KEYS_AT_ONCE = 4096
"""Number of chunks that are requested at once."""


class ListedByMetadata(Storage):
    """A storage that lists, on top of one that cannot: by the keys of its `documents`, and its `arrays` by path."""

    def __init__(self, inner: Storage, documents: Iterable[str], arrays: Mapping[str, ArrayMeta]) -> None:
        vars(self).update(vars(inner))  # the same connection and the same address
        self.can_list = True
        self._inner = inner
        self.documents = frozenset(documents)
        self.arrays = dict(arrays)
        self._folders: dict[str, set[str]] = {"": set()}
        for key in [*self.documents, *self.arrays]:
            for above in ancestors(key):
                name = key[len(above) :].lstrip("/").partition("/")[0]
                self._folders.setdefault(above, set()).add(name)

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self._inner, self.documents, self.arrays)

    @property
    def unlisted(self) -> Storage:
        return self._inner

    @property
    def lists_below(self) -> bool:
        return True

    def list(self, prefix: str) -> Names:
        """Return the names of documents and arrays in a folder, and of the chunks that may exist in it."""
        names = set(self._folders.get(prefix, ()))
        array = self._array_above(prefix)
        if array is not None:
            check_requestable(self, array, self.arrays[array])
            names.update(names_in(prefix[len(array) :].lstrip("/"), self.arrays[array]))
        return sorted(names, key=natural_order)

    # By `list`, also where the storage itself requests them from its service.
    members_of_each = Storage.members_of_each
    keys_below_each = Storage.keys_below_each

    def sizes_below(self, folder: str) -> dict[str, int]:
        """Return the sizes of documents and existing chunks below a folder, each by one request."""
        sizes: dict[str, int] = {}
        for keys in self._possible_keys(folder):
            sizes |= {key: size for key, size in zip(keys, self.sizes(keys), strict=True) if size is not None}
        return sizes

    def _possible_keys(self, folder: str) -> Iterator[Names]:
        """Yield the keys that may exist below a folder, up to some thousands at a time."""
        prefix = f"{folder}/" if folder else ""
        yield [key for key in self.documents if key.startswith(prefix)]
        for path, meta in self.arrays.items():
            if f"{path}/".startswith(prefix) or prefix.startswith(f"{path}/"):
                check_requestable(self, path, meta)
                keys = (join(path, meta.chunk_key(index)) for index in product(*map(range, meta.grid)))
                keys_below = (key for key in keys if key.startswith(prefix))
                while batch := list(islice(keys_below, _KEYS_AT_ONCE)):
                    yield batch

    def exists(self, prefix: str) -> bool:
        return prefix in self._folders or self.size(prefix) is not None

    def size(self, key: str) -> int | None:
        """Return the size of a key, except of folders, for which servers return pages."""
        return self._inner.size(key) if self._may_be_file(key) else None

    def sizes(self, keys: Sequence[str]) -> Sequence[int | None]:
        files = [key for key in keys if self._may_be_file(key)]
        sizes = dict(zip(files, self._inner.sizes(files), strict=True))
        return [sizes.get(key) for key in keys]

    def shows_whole(self, key: str, data: bytes) -> bool:
        """Whether the bytes of a chunk or shard show that they are all of it."""
        array = self._array_above(key)
        return array is not None and shows_whole(self.arrays[array], data)

    def _may_be_file(self, key: str) -> bool:
        """Whether a key is that of a document or a chunk, or lies in no array."""
        if key in self._folders:
            return False
        array = self._array_above(key)
        if array is None or key in self.documents:
            return True
        return index_of_key(key[len(array) :].lstrip("/"), self.arrays[array]) is not None

    def _array_above(self, key: str) -> str | None:
        if key in self.arrays:
            return key
        return next((path for path in reversed(ancestors(key)) if path in self.arrays), None)
