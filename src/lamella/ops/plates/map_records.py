"""Record the results of `Plate.map`, so that the same call skips results that would be the same.

The record of a position's result is in the position's document, under ``lamella.map`` (docs/design.md): a digest of the
function and of the position that it read, and one of each array of the result. An empty record marks an image or label
image that `Plate.map` has begun and may replace. The regions of an array have a journal, a hidden file in the folder of
the array. :mod:`lamella.ops.jobs.units` decides whether a result is skipped.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lamella.errors import InvalidArgumentError, LamellaError
from lamella.ops.jobs.units import Files, digest, files_of_region, is_done, state_of
from lamella.spec.own_key import OWN_KEY, own_object, with_own_record
from lamella.store.keys import METADATA_FILES, PRIVATE_PREFIX, join, join_names
from lamella.store.pixels.stored_chunks import iter_stored_files

if TYPE_CHECKING:
    from lamella.nodes.image_array import ImageArray
    from lamella.nodes.position import Position
    from lamella.ops.regions import Region
    from lamella.types import JSONObject

LABELS = "labels/"

_MAP = "map"
REGIONS_FILE = f"{PRIVATE_PREFIX}map"
"""Name of the journal of an array, in its folder."""


def without_records(attributes: JSONObject) -> JSONObject:
    """Return attributes without lamella's records about the pixels of this store."""
    own = attributes.get(OWN_KEY)
    if not isinstance(own, dict):
        return attributes
    dropped = {_MAP, "stale_levels", "stream"}
    remaining = {key: record for key, record in own.items() if key not in dropped}
    return {
        key: remaining if key == OWN_KEY else attribute
        for key, attribute in attributes.items()
        if key != OWN_KEY or remaining
    }


def _write_record(position: Position, name: str, record: JSONObject) -> None:
    def edit(attributes: JSONObject) -> JSONObject:
        return with_own_record(attributes, _MAP, {**own_object(attributes, _MAP), name: record})

    position.documents.edit_group(position.path, edit)


def begin_result(position: Position, name: str) -> None:
    """Record that `Plate.map` may replace an image or label image, before it is written or removed."""
    _write_record(position, name, {})


def is_recorded(position: Position, name: str) -> bool:
    """Return whether `Plate.map` has created or begun an image or label image."""
    return name in own_object(position.documents.group(position.path), _MAP)


def exists(position: Position, name: str) -> bool:
    """Return whether an image or label image exists, listed or not."""
    if name.startswith(LABELS):
        return name.removeprefix(LABELS) in position.labels
    return (
        name in position.dataset_paths
        or position.documents.kind(position.node_path.child(name).path) is not None
    )


def array_exists(position: Position, name: str) -> bool:
    """Return whether an array exists, listed or not; an unlisted array without pixels is left from a kill."""
    if name in position.dataset_paths:
        return True
    kind = position.documents.kind(position.node_path.child(name).path)
    return kind == "array" and not position.is_unwritten(name)


def refuse_results_of_others(position: Position, name: str, *, empty_is_free: bool) -> None:
    """Raise for an image or label image that `Plate.map` did not create."""
    if not exists(position, name) or is_recorded(position, name):
        return
    if empty_is_free and name in position.dataset_paths and not _has_pixels(position[name]):
        return
    raise InvalidArgumentError(
        f"{position.node_path.child(name)} exists already, and was not computed by map. Choose another name, "
        "delete it, or pass resume=False to replace it."
    )


def _has_pixels(array: ImageArray) -> bool:
    stored = array.stored
    return any(True for _ in iter_stored_files(stored.documents.storage, stored.path, stored.meta))


# -- whole positions ----------------------------------------------------------------------------------------------


class PositionRecord:
    """The record of one computed image, or label image "labels/name".

    ``function`` is the digest of the function; without one the result is computed by every call.
    """

    def __init__(self, source: Position, target: Position, name: str, function: str | None) -> None:
        self._source, self._target, self._name, self._function = source, target, name, function
        self._source_state: str | None = None

    def read_source(self) -> None:
        """Compute the digest of the function and of the source, before the function reads the source."""
        source_digest = _source_digest(self._source, self._target, self._name) if self._function else None
        self._source_state = source_digest and digest([self._function, source_digest])

    def is_done(self) -> bool:
        """Return whether the stored result is the same that the function would compute."""
        try:
            record = own_object(self._target.documents.group(self._target.path), _MAP).get(self._name)
            if self._source_state is None or not isinstance(record, dict) or not record.get("output"):
                return False
            outputs = self._outputs()
            # Levels that were added later are not in the record.
            present = {path: outputs.get(path) for path in record["output"]}
        except (LamellaError, TypeError):
            return False
        return is_done([record.get("source"), record["output"]], self._source_state, present)

    def finish(self) -> None:
        """Record the complete result."""
        outputs = self._outputs() if self._source_state is not None else {}
        if outputs and all(outputs.values()):
            _write_record(self._target, self._name, {"source": self._source_state, "output": outputs})

    def _outputs(self) -> dict[str, str | None]:
        """Return a digest of each array of the result, by its path in the position."""
        position, name = self._target, self._name
        if not name.startswith(LABELS):
            is_array = position.documents.kind(position.node_path.child(name).path) == "array"
            return {name: _array_digest(position, name)} if is_array else {}
        label = name.removeprefix(LABELS)
        if label not in position.labels:
            return {}
        return {
            join_names(name, path): _array_digest(position, join_names(name, path))
            for path in position.labels[label].dataset_paths
        }


def _array_digest(position: Position, path: str) -> str | None:
    """Return the digest of an array's document and the fingerprints of its files; None without fingerprints."""
    node_path = position.node_path.child(path)
    stamps = position.documents.storage.fingerprints_below(node_path.path)
    if not stamps:
        return None
    files = {key: stamp for key, stamp in stamps.items() if key.rpartition("/")[2] not in METADATA_FILES}
    return digest([position.documents.array(node_path.path).document, files])


def _source_digest(source: Position, target: Position, name: str) -> str | None:
    """Return the digest of everything that a function may read of a position, but for the result that it writes."""
    storage, documents = source.documents.storage, source.documents
    try:
        stamps = storage.fingerprints_below(source.path)
        if not stamps:
            return None
        attributes = without_records(documents.group(source.path))
        labels = source.node_path.child("labels").path
        names = _label_names(source, labels)
    except LamellaError:
        return None
    skipped_keys = {join(path, file) for path in (source.path, labels) for file in METADATA_FILES}
    result_folder = None
    if (storage, source.path) == (target.documents.storage, target.path):
        result_folder = f"{source.node_path.child(name).path}/"
        attributes = _without_dataset(attributes, name)
        names = [label for label in names if f"{LABELS}{label}" != name]
    files = {
        key[len(source.path) :].strip("/"): stamp
        for key, stamp in stamps.items()
        if key not in skipped_keys and (result_folder is None or not key.startswith(result_folder))
    }
    return digest([files, attributes, names])


def _label_names(position: Position, labels: str) -> list[Any]:
    if position.documents.kind(labels, confirm_missing=True) != "group":
        return []
    names = position.store_handle.version.ome(position.documents.group(labels)).get("labels")
    return names if isinstance(names, list) else [names]


def _without_dataset(attributes: Any, name: str) -> Any:
    """Return attributes (any JSON value) without one dataset, and without the description of the levels."""
    if isinstance(attributes, dict):
        ignored = ("type", "metadata") if "datasets" in attributes else ()
        return {
            key: [
                dataset
                for dataset in child
                if not (isinstance(dataset, dict) and dataset.get("path") == name)
            ]
            if key == "datasets" and isinstance(child, list)
            else _without_dataset(child, name)
            for key, child in attributes.items()
            if key not in ignored
        }
    if isinstance(attributes, list):
        return [_without_dataset(child, name) for child in attributes]
    return attributes


# -- regions ------------------------------------------------------------------------------------------------------


def region_state(array: ImageArray, region: Region) -> str | None:
    """Return the state of a region's files and of the array's document; None if the store has no fingerprints."""
    stored = array.stored
    try:
        document = stored.documents.array(stored.path).document
    except LamellaError:
        return None
    return state_of(Files(stored.documents.storage, files_of_region(stored, region)), document)


def region_name(region: Region) -> str:
    """Return a region as text: "0:2,8:16"."""
    return ",".join(f"{span.start}:{span.stop}" for span in region)
