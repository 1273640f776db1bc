"""Change the metadata of one image, or of all fields of a plate.

All changes of a field are one atomic write of its document. The changes of all fields are checked before the first
write. Fields that already have the changes are skipped, so the same call resumes after a kill.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from lamella.arguments import checked_channel_name
from lamella.errors import InvalidArgumentError, WrongTypeError, counted, did_you_mean
from lamella.nodes.position_metadata import dtype_window
from lamella.ops.execution import run_at_store
from lamella.ops.images.transforms import following_labels, has_new_size, spans
from lamella.ops.tables.outdated_tables import warn_of_measured_channels, warning_of_moved_rois
from lamella.spec import edits
from lamella.spec.axes import axis_kind

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator

    from lamella.nodes.node import NGFFNode
    from lamella.nodes.position import Position
    from lamella.spec.images import ImagesMeta
    from lamella.types import JSON, JSONObject

_RESERVED = frozenset(
    {
        "ome",
        "lamella",
        "multiscales",
        "omero",
        "plate",
        "well",
        "labels",
        "image-label",
        "bioformats2raw.layout",
    }
)
"""Keys of attributes that `edit_attributes` refuses: nodes have methods to change them."""

_Target = tuple[Literal["axis", "channel", "name"], str]
"""An axis or a channel of an image, by its name, that a change needs."""


@dataclass(frozen=True)
class ImageEdits:
    """Requested changes of the metadata of an image."""

    renamed: Mapping[str, str] = field(default_factory=dict)
    """New names of channels by the old ones."""
    channels: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Options of `lamella.spec.edits.set_channel` by the name of the channel, after renaming."""
    sizes: Mapping[str, float] = field(default_factory=dict)
    """Size of a voxel of the finest level by axis."""
    units: Mapping[str, str | None] | str = field(default_factory=dict)
    """Unit by axis, or one text for all axes of space."""
    name: str | None = None

    @classmethod
    def of_channel(cls, name: object, label: object, **options: Any) -> ImageEdits:
        """Return the changes of one channel: its new name ``label``, if any, and options of its display."""
        name = checked_channel_name(name)
        renamed = {} if label in (None, name) else {name: checked_channel_name(label)}
        return cls(renamed, {renamed.get(name, name): options})

    def __post_init__(self) -> None:
        """Raise for arguments of a wrong type, and for values that no image can store."""
        for subject, value in (("sizes", self.sizes), ("renamed", self.renamed), ("units", self.units)):
            if not isinstance(value, Mapping) and not (subject == "units" and isinstance(value, str)):
                raise WrongTypeError(f"Changes of metadata are a mapping of name to value, not {value!r}.")
        for axis, size in self.sizes.items():
            edits.checked_size(axis, size)

    @property
    def targets(self) -> set[_Target]:
        """Axes and channels that the changes need."""
        units = () if isinstance(self.units, str) else self.units
        new = set(self.renamed.values())
        return {
            *(("axis", str(axis).lower()) for axis in (*self.sizes, *units)),
            *(("channel", name) for name in (*self.renamed, *(set(self.channels) - new))),
        }

    def check_new_names(self, names: Iterable[str]) -> None:
        """Raise for a channel that the same changes rename: its other changes must use the new name."""
        for name in names:
            if name in self.renamed and name not in self.renamed.values():
                new = self.renamed[name]
                raise InvalidArgumentError(
                    f"The channel {name!r} is renamed to {new!r} first: use {new!r} for its other changes."
                )

    def limited_to(self, position: Position) -> ImageEdits:
        """Return the changes whose axes and channels an image has."""
        axes, names = set(position.axis_names), position.channel_names
        renamed = {old: new for old, new in self.renamed.items() if old in names}
        new_names = (set(names) - set(renamed)) | set(renamed.values())
        sizes = {axis: size for axis, size in self.sizes.items() if str(axis).lower() in axes}
        units = self._units_along(axes)
        channels = {name: options for name, options in self.channels.items() if name in new_names}
        # Without pixels, a pair (start, end) cannot be completed by min and max.
        if not position.dataset_paths:
            channels = {name: _without_pair(options) for name, options in channels.items()}
        return ImageEdits(renamed, channels, sizes if position.dataset_paths else {}, units, self.name)

    def apply(self, meta: ImagesMeta, position: Position, names: list[str]) -> ImagesMeta:
        """Return the changed metadata of an image; ``names`` are its channel names."""
        if self.renamed or self.channels:
            meta = position._with_all_names(meta, names)
        if self.channels and position.dataset_paths:
            meta = edits.fill_windows(meta, dtype_window(position.data.dtype))
        for old, new in self.renamed.items():
            meta = edits.rename_channel(meta, old, new)
        for name, options in self.channels.items():
            meta = edits.set_channel(meta, name, **options)
        if self.sizes:
            meta = edits.set_pixel_size(meta, self.sizes)
        for axis, unit in self._units_of(meta):
            meta = edits.set_unit(meta, axis, unit)
        return meta if self.name is None else edits.set_name(meta, self.name)

    def _units_along(self, axes: Collection[str]) -> Mapping[str, str | None] | str:
        """Return the units of the axes that an image has."""
        if isinstance(self.units, str):
            return self.units
        return {axis: unit for axis, unit in self.units.items() if str(axis).lower() in axes}

    def _units_of(self, meta: ImagesMeta) -> Iterator[tuple[str, str | None]]:
        if isinstance(self.units, str):
            for axis in meta.multiscales[0].axes:
                if axis_kind(axis) == "space":
                    yield axis.name, self.units
        else:
            yield from self.units.items()


def _without_pair(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of a channel without contrast limits that are a pair (start, end)."""
    return {
        key: value
        for key, value in options.items()
        if key != "window" or value is None or isinstance(value, Mapping)
    }


def edit_image(position: Position, requested: ImageEdits) -> None:
    """Change an image, and the sizes and units of its label images."""
    edit_images({"": position}, {"": requested})


def edit_images(positions: Mapping[str, Position], edits_by_path: Mapping[str, ImageEdits]) -> None:
    """Change images, each by its path, and their label images; warn if regions of their tables mean other voxels."""
    resized = [
        positions[path]
        for path, image_edits in edits_by_path.items()
        if image_edits.sizes or image_edits.units
    ]

    def write(path: str) -> None:
        position, image_edits = positions[path], edits_by_path[path]
        for label, edits_of_label in label_edits(position, image_edits):
            _write(label, edits_of_label)
        _write(position, image_edits)

    with warning_of_moved_rois(resized):
        _run_for_each(write, edits_by_path, positions)
    warn_of_measured_channels(
        {positions[path]: image_edits.renamed for path, image_edits in edits_by_path.items()}
    )


def edit_fields(positions: Mapping[str, Position], requested: ImageEdits) -> list[str]:
    """Change all images that have the axes or channels; return the paths of images that differ now.

    Raise InvalidArgumentError before any write if a change fits no image, or is invalid for one.
    """
    edits_by_path = planned_edits(positions, requested)
    edit_images(positions, edits_by_path)
    return list(edits_by_path)


def append_to_fields(positions: Mapping[str, Position], name: str) -> list[str]:
    """Append a channel to all images that lack it; return their paths. See :meth:`Plate.append_channel`."""
    lacking = {path: image for path, image in positions.items() if name not in image.channel_names}
    if not lacking:
        what = f"Every field has a channel {name!r} already" if positions else "There is no field"
        raise InvalidArgumentError(f"{what} in {store_of(positions)}.")
    for image in lacking.values():
        image._check_channel_axis(name)
    _run_for_each(lambda path: lacking[path].append_channel(name), lacking, lacking)
    return list(lacking)


def _run_for_each(
    work: Callable[[str], object], paths: Iterable[str], positions: Mapping[str, Position]
) -> None:
    """Call a function for the paths of images of one store."""
    if positions:
        run_at_store(work, paths, next(iter(positions.values())).documents.storage)


def planned_edits(
    positions: Mapping[str, Position], requested: ImageEdits, *, is_first_step: bool = False
) -> dict[str, ImageEdits]:
    """Return the changes of each image that will differ, by its path; raise as `edit_fields` does.

    ``is_first_step``: other steps follow these changes, so a killed call may have renamed all channels already. Then a
    rename whose old name no image has, and whose new name one has, does not raise.
    """
    if not positions and requested != ImageEdits():
        raise InvalidArgumentError("There is no image to change: the plate, well or collection has none.")
    requested.check_new_names(requested.channels)
    if not any(position.dataset_paths for position in positions.values()):
        _check_without_pixels(requested, positions)
    edits_by_path: dict[str, ImageEdits] = {}
    differing: dict[str, bool | InvalidArgumentError] = {}

    def plan(path: str) -> None:
        position = positions[path]
        edits_by_path[path] = image_edits = requested.limited_to(position)
        try:
            images = [*label_edits(position, image_edits), (position, image_edits)]
            # `any` would stop at the first difference; `sum` checks the edits of each image and label.
            differing[path] = sum(_differs(image, edits_of_it) for image, edits_of_it in images) > 0
        except InvalidArgumentError as error:  # raised below: edits that no image has come first
            differing[path] = error

    _run_for_each(plan, positions, positions)
    found_targets = {target for image_edits in edits_by_path.values() for target in image_edits.targets}
    if is_first_step or any(image_edits.renamed for image_edits in edits_by_path.values()):
        found_targets |= {("channel", old) for old in already_renamed(positions, requested)}
    _refuse_missing(requested.targets - found_targets, positions, requested.renamed)
    for path in positions:
        if isinstance(error := differing[path], InvalidArgumentError):
            raise error
    return {path: edits_by_path[path] for path in positions if differing[path]}


def _check_without_pixels(requested: ImageEdits, positions: Mapping[str, Position]) -> None:
    """Raise for changes that need an array, which no image has."""
    pairs = [name for name, options in requested.channels.items() if _without_pair(options) != options]
    for subject in (
        *(f"contrast limits of {name!r}" for name in pairs),
        *(f"size along {axis}" for axis in requested.sizes),
    ):
        first, *other_paths = (str(position.node_path) for position in positions.values())
        where = f"{first} and {counted(len(other_paths), 'other image')}" if other_paths else first
        raise InvalidArgumentError(
            f"The {subject} cannot be stored without pixels. Write pixels to {where} first."
        )


def already_renamed(positions: Mapping[str, Position], requested: ImageEdits) -> dict[str, str]:
    """Return the renames whose old name no image has, and whose new name one has."""
    names = {name for position in positions.values() for name in position.channel_names}
    return {old: new for old, new in requested.renamed.items() if old not in names and new in names}


def store_of(positions: Mapping[str, Position]) -> str:
    """Return the name of the store of images, for messages."""
    return next((position.documents.storage.name for position in positions.values()), "the store")


def _refuse_missing(
    missing_targets: set[_Target], positions: Mapping[str, Position], renamed: Mapping[str, str]
) -> None:
    for kind, name in sorted(missing_targets):
        names = dict.fromkeys(
            member
            for position in positions.values()
            for member in (position.axis_names if kind == "axis" else position.channel_names)
        )
        message = f"No image has the {kind} {name!r}: there are {', '.join(names) or 'none'} in {store_of(positions)}."
        if kind == "channel" and renamed.get(name) in names:
            message += f" If {name!r} was renamed to {renamed[name]!r} before, leave out this rename."
        raise InvalidArgumentError(message + did_you_mean(name, names))


def _differs(position: Position, requested: ImageEdits) -> bool:
    """Return whether the changes alter the image; raise if they are invalid for it."""
    names, meta = position.channel_names, position.document.shared_model
    return position.document.apply_change(lambda old: requested.apply(old, position, names), meta) != meta


def _write(position: Position, requested: ImageEdits) -> None:
    if _differs(position, requested):
        names = position.channel_names
        position.document.edit(lambda meta: requested.apply(meta, position, names))


def label_edits(position: Position, requested: ImageEdits) -> Iterator[tuple[Position, ImageEdits]]:
    """Yield the label images of an image, each with the edits of sizes and units that follow from those of the image.

    Write them before the image: the new voxel size of labels is computed from the old one of the image.
    """
    if not (requested.sizes or requested.units) or not position.dataset_paths:
        return

    def follow(label: Position) -> ImageEdits:
        sizes = dict(_label_sizes(position, label, requested.sizes))
        changes = ImageEdits(sizes=sizes, units=requested._units_along(label.axis_names))
        _differs(label, changes)  # raises if the label image cannot be edited
        return changes

    yield from following_labels(position, follow)


def _label_sizes(
    position: Position, label: Position, sizes: Mapping[str, float]
) -> Iterator[tuple[str, float]]:
    if not label.dataset_paths:
        return
    image_spans = spans(position, position.document.shared_model)
    label_spans = spans(label, label.document.shared_model)
    for axis, size in sizes.items():
        old, label_span = image_spans.get(str(axis).lower()), label_spans.get(str(axis).lower())
        if old is None or label_span is None:
            continue
        if old.size > 0 and not has_new_size(label_span, old, old._replace(size=size)):
            yield axis, size * (label_span.size / old.size)


def edit_attributes(node: NGFFNode, attributes: Mapping[str, JSON]) -> None:
    """Change attributes of a node outside of OME-NGFF; the value None removes an attribute."""
    checked_attributes(node, attributes)

    def change(old_attributes: JSONObject) -> JSONObject:
        merged = {**old_attributes, **attributes}
        return {key: value for key, value in merged.items() if key not in attributes or value is not None}

    node.documents.edit_group(node.path, change)


def checked_attributes(node: NGFFNode, attributes: Mapping[str, JSON]) -> None:
    """Raise for attributes that are not a mapping, or belong to OME-NGFF or lamella."""
    if not isinstance(attributes, Mapping) or not all(isinstance(key, str) for key in attributes):
        raise WrongTypeError(f"attributes={attributes!r} is not a mapping of name to value.")
    for key in attributes:
        if key in _RESERVED:
            raise InvalidArgumentError(
                f"The attribute {key!r} of {node.node_path} is metadata of OME-NGFF or of lamella: use the methods of "
                "the node, or zattrs."
            )
