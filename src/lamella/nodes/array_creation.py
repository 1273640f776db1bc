"""Create one array of a position: check that it fits the image, write its document and pixels, and list it."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from lamella.errors import InvalidArgumentError, InvalidNameError, NodeExistsError, counted
from lamella.nodes.array_request import described
from lamella.nodes.image_array import ImageArray
from lamella.nodes.position_metadata import dtype_window
from lamella.nodes.reporting import warn_of
from lamella.nodes.store_handle import errors_naming
from lamella.spec import edits
from lamella.spec.axes import channel_axis
from lamella.spec.stale_levels import read_stale, with_stale
from lamella.store.keys import check_new_name

if TYPE_CHECKING:
    from lamella.nodes.array_request import ArrayRequest
    from lamella.nodes.position import Position
    from lamella.ops.array_writes import Source
    from lamella.spec.images import ImagesMeta
    from lamella.spec.rules import Finding
    from lamella.store.metadata.array_meta import ArrayMeta
    from lamella.types import JSONObject, Shape


_GROUPS = {"labels": "that group contains the label images", "tables": "that group contains the tables"}
"""Names that arrays cannot have."""


class Fit(NamedTuple):
    """How a new array fits an image."""

    array: ArrayMeta
    """Its description."""
    is_listed: bool
    """Whether the image lists an array of this name."""
    is_lower: bool
    """Whether it is a lower level."""
    has_fewer_channels: bool
    """Whether it has fewer channels than the image has channel names."""


class ArrayCreation:
    """The creation of one array of a position, empty or with the pixels of a source."""

    def __init__(
        self, position: Position, name: int | str, request: ArrayRequest, source: Source | None = None
    ) -> None:
        self._position = position
        self._documents = position.documents
        self._request = request
        self._source = source
        self.key = _checked_key(position, name)
        self._node_path = position.node_path.child(self.key)
        self._path = self._node_path.path
        self._fit: Fit
        self._is_level = True
        self._notes: list[str] = []

    def create(self) -> ImageArray:
        """Create the array; warn of it if it does not become a level, or has fewer channels than names."""
        with self._documents.storage.reading_once(self._position.path):
            array = self._create()
        warn_of(self._notes)
        return array

    def _create(self) -> ImageArray:
        document, source, request = self._position.document, self._source, self._request
        # For an empty array, no document is read here: the edit reads it under its lock, and `_add_level` checks again.
        uses_last_model = source is None and document.unedited_document is not None and not self._overwrites
        is_vacant = self._is_vacant()
        model = document.last_shared_model if uses_last_model else document.shared_model
        if self._is_unfinished:
            from lamella.ops.pyramids.progress import delete_unlisted_levels

            delete_unlisted_levels(self._position)
            model = document.shared_model
        try:
            fit = self.fit_into(model)
        except InvalidArgumentError:  # another program may have appended a channel meanwhile
            model, fit = document.shared_model, None
        self._fit = fit or self.fit_into(model)
        kind = None if source is None or is_vacant else self._stored_kind()
        if source is not None:
            self._check_free(kind)
            if kind is None:
                self._check_source(source)
        is_new_level = self._fit.is_lower and not self._fit.is_listed
        broken = self._broken_rule(model) if is_new_level else None
        updates_labels = broken is not None and not request.is_result and self._labels_get_level(broken)
        self._is_level = broken is None or updates_labels
        if self._fit.has_fewer_channels:
            self._note_fewer_channels(model)
        if self._fit.is_listed and (kind or self._documents.kind(self._path)) is not None:
            return self._replace()
        is_default = request.transform is None and not self._fit.is_lower
        meta = document.edit(
            self._add_level,
            before_write=lambda: self._put(kind, is_vacant),
            change_key=("add_dataset", self.key, self._fit.array.dtype.str) if is_default else None,
            edit_attributes=self._mark_unwritten,
        )
        created = self._opened(meta)
        if source is not None:
            self._fill(created, source)
        if updates_labels:
            from lamella.ops.labels import match_levels

            match_levels(self._position)
        return created

    def existing(self) -> ImageArray | None:
        """Return the empty array that a killed call has created, if any; `NodeExistsError` for another array."""
        model = self._position.document.shared_model
        if self._overwrites or self.key not in model.multiscales[0].get_dataset_paths():
            return None
        array = self._opened(model)
        if array.stored.meta != self._described(model) or not self._position.is_unwritten(self.key):
            raise NodeExistsError(
                f"{self._position.node_path} has an array {self.key!r} already. Delete it first."
            )
        return array

    # -- checks ---------------------------------------------------------------------------------------------------

    def fit_into(self, meta: ImagesMeta) -> Fit:
        """Check the array against the metadata of an image."""
        array, request = self._described(meta), self._request
        has_fewer = request.check_shape and has_fewer_channels(
            meta, self.key, array.shape, self._position.node_path
        )
        paths = meta.multiscales[0].get_dataset_paths()
        return Fit(array, self.key in paths, paths[:1] not in ([], [self.key]), has_fewer)

    def refuse(self, model: ImagesMeta | None = None) -> bool:
        """Raise as `create` would; return whether the array has fewer channels than names. Writes nothing."""
        model = model or self._position.document.shared_model
        self._fit = self.fit_into(model)
        if not self._is_unfinished:  # the creation deletes an unfinished level
            self._check_free(self._stored_kind())
        meta = edits.remove_dataset(model, self.key) if self._fit.is_listed else model
        with errors_naming(self._position.node_path):
            edits.add_dataset(meta, self.key, self._request.transform, dtype_window(self._fit.array.dtype))
        return self._fit.has_fewer_channels

    @property
    def _overwrites(self) -> bool:
        return self._position._overwriting_creation

    @property
    def _is_unfinished(self) -> bool:
        """Whether the name is that of an unlisted level of a killed call."""
        return self.key in read_stale(self._position.document.last_attributes).unlisted

    def _described(self, meta: ImagesMeta) -> ArrayMeta:
        axis_names = [axis.name for axis in meta.multiscales[0].axes]
        with errors_naming(self._position.node_path):
            return described(self._request.settings, self._position.store_handle.version, axis_names)

    def _is_vacant(self) -> bool:
        """Whether nothing is stored at the path, in stores that create exclusively: there, creation checks it again.

        False in other stores. Reads the document of the image in the same round.
        """
        storage = self._documents.storage
        return (
            storage.creates_exclusively
            and storage.can_list
            and not self._documents.existing([self._path], groups=[self._position.path])
        )

    def _stored_kind(self) -> str | None:
        """Return the kind of node at the path; None also if only the killed creation of this array was there."""
        kind = self._documents.kind(self._path)
        if kind == "group" and self._documents.has_begun_array(self._path, self._fit.array):
            return None
        return kind

    def _is_stored(self) -> bool:
        """Whether the path has an array with the same description."""
        return (
            self._documents.kind(self._path) == "array"
            and self._documents.array(self._path) == self._fit.array
        )

    def _check_free(self, kind: str | None) -> None:
        """Raise if the path has content, except for an unlisted array without pixels."""
        self._missing_groups_above()
        if kind == "array" and not self._fit.is_listed and self._position.is_unwritten(self.key):
            return
        if kind == "group" or (kind == "array" and not self._overwrites):
            raise NodeExistsError(
                f"{self._position.node_path} has {'a group' if kind == 'group' else 'an array'} {self.key!r} already. "
                f"Delete it first{'' if kind == 'group' else ', or open the store with overwriting_creation=True'}."
            )

    def _check_source(self, source: Source) -> None:
        """Raise for a lazy source that would read its own new array."""
        from lamella.ops.array_writes import reads_from

        if not source.in_memory and reads_from(source.data, self._node_path):
            raise InvalidArgumentError(
                f"Cannot create {self._node_path} from data that are to be read from there: it was deleted, or never "
                "written. Load the data before the store is replaced, or write to another path."
            )

    def _broken_rule(self, model: ImagesMeta) -> Finding | None:
        """Return and note the finding for a rule that the array would break as a level; None for a valid level."""
        from lamella.nodes.new_levels import broken_by_level, stored_beside

        position, transform = self._position, self._request.transform
        with errors_naming(position.node_path):
            broken = broken_by_level(position, model, self.key, self._fit.array, transform)
            if broken is not None and not self._request.is_result and not self._labels_get_level(broken):
                self._notes.append(stored_beside(position.node_path, self.key, broken, transform is not None))
        return broken

    def _labels_get_level(self, broken: Finding) -> bool:
        """Whether the rule demands as many levels of the label images as of the image: they get one more level too."""
        return broken.rule == "LB-04" and self._position._kinds[-1] == "image"

    def _note_fewer_channels(self, meta: ImagesMeta) -> None:
        self._notes.append(fewer_channels(self.key, self._fit.array.shape, meta, self._position.node_path))

    def _missing_groups_above(self) -> list[str]:
        """Return the paths of the missing groups above an array with a nested name, outermost first."""
        if "/" not in self.key:
            return []
        names, node_path = self.key.split("/")[:-1], self._position.node_path
        above = [node_path.child("/".join(names[: depth + 1])).path for depth in range(len(names))]
        kinds = {path: self._documents.kind(path) for path in above}
        for path, kind in kinds.items():
            if kind == "array":
                raise NodeExistsError(f"Cannot create {self.key!r} in {node_path}: {path!r} is an array.")
        return [path for path, kind in kinds.items() if kind is None]

    def _has_leftover_chunks(self) -> bool:
        """Whether a killed deletion left chunks without a document; raise unless they may be replaced."""
        storage = self._documents.storage
        if not storage.can_list or set(storage.list(self._path)) <= set(self._documents.files.document_names):
            return False
        if not self._overwrites:
            raise NodeExistsError(
                f"There is something at {self.key!r} in {self._position.node_path} already that is not an array, such "
                "as the rest of a killed deletion; a new array would show its pixels. Delete it with "
                f"`del node[{self.key!r}]` first."
            )
        return True

    # -- steps ----------------------------------------------------------------------------------------------------

    def _add_level(self, meta: ImagesMeta) -> ImagesMeta:
        """Return the image with the new level, if it is one; the document was read again, so check the fit again."""
        had_fewer_channels = self._fit.has_fewer_channels
        self._fit = self.fit_into(meta)
        if self._fit.has_fewer_channels and not had_fewer_channels:
            self._note_fewer_channels(meta)
        meta = edits.remove_dataset(meta, self.key) if self._fit.is_listed else meta
        if not self._is_level:
            return meta
        return edits.add_dataset(meta, self.key, self._request.transform, dtype_window(self._fit.array.dtype))

    def _mark_unwritten(self, attributes: JSONObject) -> JSONObject:
        """Mark a lower level as stale until it is written."""
        if not self._fit.is_lower or not self._is_level:
            return attributes
        return with_level_state(attributes, self.key, self._fit.array, False)

    def _put(self, kind_before: str | None, is_vacant: bool) -> None:
        """Write the array's document, under the lock of the image's, which is written next and lists the array."""
        array, path = self._fit.array, self._path
        if kind_before is None and "/" not in self.key and self._documents.put_new_array(path, array):
            return
        # Check again: another process may have created the array before the lock.
        if not is_vacant:
            kind = self._stored_kind()
            self._check_free(kind)
            if self._has_leftover_chunks() if kind is None else self._replaces_unlisted():
                self._documents.delete(path)
        self._documents.put_groups({group: {} for group in self._missing_groups_above()})
        others = self._documents.put_new({path: {"": array}})
        if others and not self._is_stored():
            raise self._created_elsewhere_error()

    def _replaces_unlisted(self) -> bool:
        """Whether to replace an unlisted array without pixels; raise for one that a program may be creating now."""
        if not self._documents.storage.creates_exclusively or self._overwrites:
            return True
        if not self._is_stored():
            raise self._created_elsewhere_error()
        return False

    def _created_elsewhere_error(self) -> NodeExistsError:
        return NodeExistsError(
            f"There is another array at {self._documents.storage.where(self._path)} already, which "
            f"{self._position.node_path} does not list: the rest of a killed creation, or the work of another program "
            "that runs now. If none runs, delete it first."
        )

    def _replace(self) -> ImageArray:
        """Replace a listed array by a new one; the source may read from the old one. For others see `put_in_place`."""
        from lamella.nodes.replacing import discard, make_beside, put_in_place
        from lamella.ops.array_writes import write_array

        array, source, position = self._fit.array, self._source, self._position
        mark = partial(with_level_state, key=self.key, array=array, is_written=source is not None)
        edit_before = mark if self._fit.is_lower else None
        self._check_free(self._documents.kind(self._path))
        # Here an invalid transform raises before pixels are written.
        self._add_level(position.document.shared_model)
        new = make_beside(position, array)
        try:
            if source is not None:
                write_array(ImageArray(new), source)
        except BaseException:
            discard(new)
            raise
        return self._opened(put_in_place(position, self.key, new, self._add_level, edit_before=edit_before))

    def _fill(self, array: ImageArray, source: Source) -> None:
        from lamella.ops.array_writes import write_array

        try:
            write_array(array, source)
        except BaseException:
            # After an error the array is deleted; after a kill it remains, and each of its chunks is complete.
            if self._is_level:
                self._position.document.edit(
                    lambda meta: edits.remove_dataset(meta, self.key),
                    edit_attributes=lambda old: with_stale(old, read_stale(old).with_unwritten(self.key, [])),
                )
            self._documents.delete(array.path)
            raise

    def _opened(self, meta: ImagesMeta) -> ImageArray:
        return self._position._array_class(self._node_path, meta.multiscales[0].axes)


def create_empty_array(position: Position, name: str, request: ArrayRequest) -> ImageArray:
    """Create an array without pixels, as a request describes it."""
    array = ArrayCreation(position, name, request).create()
    if not position.path:  # a single image is written next, while a plate is usually created whole first
        array.stored.open_engine()
    return array


def _checked_key(position: Position, name: int | str) -> str:
    """Return the name of a new array as text; raise for reserved names."""
    key = position._checked_key(name)
    first, last = key.partition("/")[0], key.rpartition("/")[2]
    if first in _GROUPS or last.startswith("."):
        raise InvalidNameError(
            f"An array in {position.node_path} cannot be named {key!r}: "
            f"{_GROUPS.get(first, 'that is a name of metadata files')}."
        )
    check_new_name(key)
    return key


def _unnamed_channel_count(meta: ImagesMeta, shape: Shape) -> int:
    """Return how many channels of an array have no name; negative if there are more names than channels."""
    channel, names = channel_axis(meta.multiscales[0].axes), edits.channel_names(meta)
    return 0 if channel is None or not names else shape[channel] - len(names)


def has_fewer_channels(meta: ImagesMeta, name: str, shape: Shape, where: object) -> bool:
    """Raise for an array that does not fit the axes and channels; return whether it has fewer channels than names."""
    axes = meta.multiscales[0].axes
    if len(shape) != len(axes):
        axis_names = "".join(axis.name for axis in axes)
        raise InvalidArgumentError(
            f"The array {name!r} of shape {shape} has {len(shape)} dimensions, but {where} has the "
            f"{len(axes)} axes {axis_names}."
        )
    unnamed_count = _unnamed_channel_count(meta, shape)
    if unnamed_count > 0:
        names = edits.channel_names(meta)
        raise InvalidArgumentError(
            f"The array {name!r} of shape {shape} has {len(names) + unnamed_count} channels, but {where} has names "
            f"for {len(names)}: {names}. Append channels first."
        )
    return unnamed_count < 0


def fewer_channels(name: str, shape: Shape, meta: ImagesMeta, where: object) -> str:
    """Return the warning for an array that has fewer channels than names."""
    names = edits.channel_names(meta)
    count = len(names) + _unnamed_channel_count(meta, shape)
    return f"The array {name!r} has {counted(count, 'channel')}, fewer than the channel names {names} of {where}."


def with_level_state(attributes: JSONObject, key: str, array: ArrayMeta, is_written: bool) -> JSONObject:
    """Return attributes that record whether the pixels of a new level are written."""
    regions = [((0,) * len(array.shape), array.shape)] if all(array.shape) and not is_written else []
    return with_stale(attributes, read_stale(attributes).with_unwritten(key, regions))
