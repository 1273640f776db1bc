"""Write images of a `Composition` into a new store: arrays, documents, and computed levels."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lamella.nodes.labels import LabelImage
from lamella.nodes.position import Position
from lamella.ops.plates.composed_arrays import composed_units
from lamella.ops.plates.composition import ImagePlan
from lamella.ops.plates.map_records import without_records
from lamella.spec.labels import LabelsMeta
from lamella.store.arrays import StoredArray

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from lamella.nodes.store_handle import NodePath
    from lamella.ops.execution import Workers
    from lamella.ops.jobs.units import Unit
    from lamella.spec.images import ImagesMeta
    from lamella.types import JSONObject

WHOLE = ImagePlan()
"""The plan of an image that is copied as it is."""

_TIMES = ("times", "xarray_times")
"""What is recorded of single timepoints, by their index."""


def is_below(path: str, folders: Collection[str]) -> bool:
    """Return whether a path is one of the folders, or below one.

    >>> is_below("labels/cells/0", {"labels/cells"}), is_below("labels/cells2", {"labels/cells"})
    (True, False)
    """
    parts = path.split("/")
    return bool(folders) and any("/".join(parts[: n + 1]) in folders for n in range(len(parts)))


def new_arrays(plan: ImagePlan, target: NodePath, resumed: bool) -> Iterator[Unit]:
    """Create the arrays of a plan, and yield the units that write their pixels."""
    documents = target.store_handle.documents
    for path, array in plan.arrays.items():
        array_path = target.child(path)
        documents.put_array(array_path.path, array.meta)
        if array.pieces:
            stored = StoredArray(documents, array_path.path)
            yield from composed_units(array.pieces, stored, array.meta, resumed=resumed)


def write_documents(plan: ImagePlan, target: NodePath) -> None:
    """Write the metadata of a new image and its label images, without records about pixels of the source."""
    version, documents = target.store_handle.version, target.store_handle.documents
    for path, meta in plan.documents.items():

        def edit(attributes: JSONObject, meta: ImagesMeta = meta) -> JSONObject:
            cleaned = without_records(attributes)
            return version.dump(meta, _without_times(cleaned) if plan.times_change else cleaned)

        documents.edit_group(target.child(path).path, edit)
    if plan.labels:
        group = target.child("labels").path
        listed = (
            version.load(LabelsMeta, documents.group(group)) if documents.kind(group) == "group" else None
        )
        names = [*(listed.labels if listed is not None else []), *plan.labels]
        documents.put_group(group, version.dump(LabelsMeta(labels=list(dict.fromkeys(names))), {}))


def _without_times(attributes: JSONObject) -> JSONObject:
    own = attributes.get("lamella")
    if not isinstance(own, dict):
        return attributes
    return {**attributes, "lamella": {key: value for key, value in own.items() if key not in _TIMES}}


def compute_levels(plan: ImagePlan, target: NodePath, workers: Workers) -> None:
    """Compute the lower levels that could not be cut from stored levels."""
    for path, method in plan.computed.items():
        kind = LabelImage if path else Position
        kind(target.child(path)).compute_pyramid(method=method, jobs=workers.jobs, executor=workers.executor)
