"""``upgrade``: convert a whole store to another version of OME-NGFF; :mod:`lamella.ops.rewriting.rewrite` writes it.

Arrays are rewritten only for another Zarr format; chunks are copied if both formats can describe their encoding.
"""

from __future__ import annotations

import os
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from lamella.arguments import check_flags
from lamella.errors import InvalidArgumentError, MetadataError, clause
from lamella.nodes.reporting import check_copied
from lamella.nodes.store_handle import NodePath, StoreHandle
from lamella.nodes.tables import is_in_tables
from lamella.ops.execution import Workers, check_progress
from lamella.ops.rewriting.arrays import has_same_encoding
from lamella.ops.rewriting.rewrite import Plan, RewriteCall, RewriteReport, rewrite
from lamella.spec.versions import by_name, convert_attributes, detect
from lamella.store.files.local import LocalStorage
from lamella.store.metadata.array_creation import array_like
from lamella.store.metadata.parents import groups_above
from lamella.store.storage import open_storage, with_options

if TYPE_CHECKING:
    from collections.abc import Mapping
    from concurrent.futures import Executor

    from zarr.abc.store import Store

    from lamella.ops.execution import Progress
    from lamella.ops.rewriting.inventory import Inventory
    from lamella.spec.versions import SpecVersion
    from lamella.store.metadata.array_meta import ArrayMeta
    from lamella.store.metadata.documents import Documents
    from lamella.types import JSONObject, StrPath, VersionName


def upgrade(
    source: StrPath | Store,
    to: VersionName,
    destination: StrPath | Store | None = None,
    *,
    lossy: bool = False,
    overwrite: bool = False,
    jobs: int | None = None,
    executor: Executor | None = None,
    progress: Progress | bool | None = None,
    follow_links: bool = False,
    storage_options: Mapping[str, Any] | None = None,
) -> RewriteReport:
    """Convert a store to another version of OME-NGFF, newer or older: an image, a plate or a collection.

    Labels, unknown attributes, groups and files of other programs are kept. Pixels stay the same: between 0.5 and 0.6
    no chunk is touched; to or from 0.4 encoded chunks are copied unchanged if the codec allows it, in chunks of the
    same size (shards are unpacked for 0.4, which does not support them).

    The same call resumes a killed one. A replaced store is deleted last, once the new one is in place; no other program
    may write to it in the meantime.

    Parameters
    ----------
    source : path, URL or zarr store
        The store to read, in any version from 0.1 to 0.6.
    to : "0.4", "0.5" or "0.6"
        The version to write.
    destination : path, URL or zarr store, optional
        The new folder, or a URL, to which a temporary folder is copied at the end. None replaces the source.
    lossy : bool
        Leave out what the version does not support, instead of raising.
    overwrite : bool
        Replace a Zarr store at the destination, once the new one is complete.
    jobs : int, optional
        Number of workers; one per processor by default. Each needs some 100 MB, or more for larger shards.
    executor : concurrent.futures.Executor, optional
        Runs the units instead of threads of this process; its workers need access to both stores.
    progress : bool or callable, optional
        True shows a bar on the terminal. A function is called with the bytes of pixels done, those of all arrays, and
        "pixels" or "documents".
    follow_links : bool
        Follow symbolic links that lead out of the source, for plates of linked images.
    storage_options : mapping, optional
        Credentials and settings of a URL, as for `lamella.open_ome_zarr`.

    Returns
    -------
    RewriteReport
        The destination and the numbers of groups and arrays.

    Raises
    ------
    StoreNotFoundError
        There is no store to read.
    StoreExistsError
        The destination exists, and `overwrite` is false or it is not a Zarr store.
    ReadOnlyError
        The source cannot be replaced.
    InvalidArgumentError
        The version is read only, the destination is the source, the source is a part of a larger store that would
        have two versions, or another command's unfinished store is in the way.
    MetadataError
        A document is damaged, or the version does not support all of it.
    DamagedDataError
        A chunk cannot be decoded.

    Examples
    --------
    >>> import lamella
    >>> report = lamella.upgrade(plate.zgroup.store.root, "0.6", tmp / "plate_06.zarr")
    >>> report.arrays, report.carried, lamella.open_ome_zarr(tmp / "plate_06.zarr").version
    (1, 1, '0.6')
    """
    check_flags(lossy=lossy, overwrite=overwrite, follow_links=follow_links)
    workers = Workers(jobs, executor)
    check_progress(progress)
    version = by_name(to)
    if not version.writable:
        raise InvalidArgumentError(f"OME-NGFF {to} is read, not written: choose one of 0.4, 0.5, 0.6.")
    storage = open_storage(with_options(source, storage_options)) if destination is None else None
    if isinstance(storage, LocalStorage):
        root = os.path.realpath(storage.root)
        if outer_store := next(groups_above(root), None):
            raise InvalidArgumentError(
                f"{root} lies in the store {outer_store}, which has one version throughout (ST-08): upgrade that "
                "store, or use a destination."
            )

    def prepare(
        documents: Documents, inventory: Inventory, in_place: Documents | None
    ) -> UpgradePlan | RewriteReport:
        if documents.kind("") == "array":
            raise MetadataError(
                f"{documents.storage.name} is an array, not a group. Use the store that has it."
            )
        plan = UpgradePlan(documents, inventory.groups, version, lossy=lossy)
        changed_arrays = None if in_place is None else _changed_arrays(documents, inventory, plan)
        if in_place is None or changed_arrays is None:
            return plan
        return _rewrite_documents(in_place, inventory, plan, changed_arrays)

    settings: JSONObject = {"command": "upgrade", "to": to, "lossy": lossy}
    call = RewriteCall(settings, prepare, workers, progress, follow_links)
    return rewrite(source, destination, call, overwrite=overwrite, storage_options=storage_options)


def _changed_arrays(
    documents: Documents, inventory: Inventory, plan: UpgradePlan
) -> dict[str, ArrayMeta] | None:
    """Return the new metadata of arrays whose documents change; None if chunks change too."""
    if documents.format != plan.zarr_format:
        return None
    changed_metas = {}
    for path in inventory.arrays:
        try:
            old_meta = documents.array(path)
        except MetadataError:  # an array of another program stays as it is
            continue
        new_meta = plan.array(path, old_meta)
        if not has_same_encoding(old_meta, new_meta) or new_meta.separator != old_meta.separator:
            return None
        if new_meta is not old_meta:
            changed_metas[path] = new_meta
    return changed_metas


def _rewrite_documents(
    documents: Documents, inventory: Inventory, plan: UpgradePlan, arrays: dict[str, ArrayMeta]
) -> RewriteReport:
    """Change documents in place, each atomically, the root last; the next run finishes a killed one."""
    groups = []
    for path in inventory.groups:
        old_attributes = documents.group(path)
        try:
            if plan.group(path, old_attributes) != old_attributes:
                groups.append(path)
        except MetadataError as error:
            raise MetadataError(
                f"Cannot upgrade the group {documents.location(path)}: {clause(error)}."
            ) from error
    documents.put_arrays(arrays)
    for path in reversed(groups):
        documents.edit_group(path, lambda attributes, path=path: plan.group(path, attributes))  # type: ignore[misc]
    array_count = len(inventory.arrays)
    nbytes = sum(_nbytes(documents, path) for path in inventory.arrays)
    notes = () if groups or arrays else (f"all documents were those of {plan.version.name} already",)
    return RewriteReport(
        os.path.realpath(documents.storage.name), len(groups), array_count, array_count, nbytes, notes
    )


def _nbytes(documents: Documents, path: str) -> int:
    try:
        return documents.array(path).nbytes
    except MetadataError:
        return 0


_XARRAY_DIMENSIONS = "_ARRAY_DIMENSIONS"
"""Attribute of the dimension names of Zarr v2 arrays for xarray."""


class UpgradePlan(Plan):
    """The nodes of a store in another version; ``lossy`` leaves out what the version does not support."""

    def __init__(
        self, documents: Documents, groups: list[str], version: SpecVersion, *, lossy: bool = False
    ) -> None:
        self._groups = [path for path in groups if not is_in_tables(documents, path)]
        super().__init__(documents, self._groups, version.zarr_format)
        self.version = version
        self.lossy = lossy
        self._old_format = documents.format
        self._documents = documents
        self._store_handle: StoreHandle | None = None  # one handle reports each broken rule once

    def skip(self, path: str, error: MetadataError) -> None:
        """Do nothing: damaged documents raise when they are converted."""

    def group(self, path: str, attributes: JSONObject) -> JSONObject:
        """Convert the OME attributes of a group from the version that they state; other attributes stay."""
        if is_in_tables(self._documents, path):
            return attributes
        source = detect(self._old_format, attributes)
        if not has_ome(source, attributes):
            return attributes
        converted = self._converted(source, attributes)
        if self._store_handle is None:
            self._store_handle = StoreHandle(self._documents, source)
        check_copied(NodePath(self._store_handle, path), attributes, source)
        return converted

    def _converted(self, source: SpecVersion, attributes: JSONObject) -> JSONObject:
        if source is not self.version:
            return convert_attributes(attributes, source, self.version, lossy=self.lossy)
        if self.zarr_format == 2 or source.stated_version(attributes) == source.name:
            return attributes
        # The document states a draft of the version, or no version (ST-07).
        return source.converted(attributes, source, lossy=self.lossy)

    def array(self, path: str, meta: ArrayMeta) -> ArrayMeta:
        """Describe an array in the version: in its Zarr format, with the names of the axes (ST-04, ST-05)."""
        names, _ = self.axes_of_array.get(path, ((), 0))
        is_listed = len(names) == meta.ndim and bool(names)
        if meta.zarr_format == self.zarr_format:
            if meta.zarr_format == 3 and is_listed and not any(meta.dimension_names or ()):
                return replace(meta, dimension_names=names)
            if meta.zarr_format == 2 and is_listed and meta.separator != "/":
                return replace(meta, document={**meta.document, "dimension_separator": "/"}, separator="/")
            return meta
        attributes = meta.attributes
        if self.zarr_format == 2 and not is_listed and meta.dimension_names and all(meta.dimension_names):
            attributes = {_XARRAY_DIMENSIONS: list(meta.dimension_names)} | attributes
        return array_like(
            meta,
            zarr_format=self.zarr_format,
            dimension_names=names if is_listed else _xarray_names(meta),
            attributes=attributes,
        )

    @cached_property
    def _ome_groups(self) -> set[str]:
        documents = self._documents
        attributes_of = ((path, documents.group(path)) for path in self._groups)
        return {
            path
            for path, attributes in attributes_of
            if has_ome(detect(self._old_format, attributes), attributes)
        }

    def is_ome(self, path: str) -> bool:
        """Return whether a group has metadata of OME-Zarr."""
        return path in self._ome_groups


def has_ome(version: SpecVersion, attributes: JSONObject) -> bool:
    """Return whether attributes of a group include metadata of OME-Zarr."""
    if "ome" in attributes:
        return True
    return any(part.is_in(attributes) for part in version.parts.values())


def _xarray_names(meta: ArrayMeta) -> list[str] | None:
    """Return the dimension names that xarray stores in the attributes; None without fitting names."""
    stored_names = meta.attributes.get(_XARRAY_DIMENSIONS)
    if not isinstance(stored_names, list) or len(stored_names) != meta.ndim:
        return None
    return stored_names if all(isinstance(name, str) for name in stored_names) else None
