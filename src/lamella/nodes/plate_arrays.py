"""Plan the arrays of many new positions at once; :mod:`plate_creation` writes them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from lamella.errors import InvalidArgumentError, NodeExistsError, WrongTypeError, check_options
from lamella.nodes.array_creation import ArrayCreation, create_empty_array, fewer_channels, with_level_state
from lamella.nodes.array_request import ArrayRequest, request_of
from lamella.nodes.position import Position, attributes_without_arrays
from lamella.nodes.position_metadata import dtype_window
from lamella.nodes.reporting import array_facts, warn_of
from lamella.nodes.store_handle import errors_naming
from lamella.spec import edits
from lamella.spec.axes import channel_axis
from lamella.store.keys import join_names

if TYPE_CHECKING:
    from collections.abc import Iterable

    from lamella.nodes.image_array import ImageArray
    from lamella.nodes.plate import Plate
    from lamella.nodes.store_handle import NodePath
    from lamella.nodes.well import Well
    from lamella.spec.rules import ArrayFacts
    from lamella.store.metadata.array_meta import ArrayMeta
    from lamella.store.metadata.documents import Documents
    from lamella.types import ArrayOptions, JSONObject

Requests: TypeAlias = dict[str, ArrayRequest]
"""The arrays of each new position, by name, in the order of creation."""

Nodes: TypeAlias = "dict[str, ArrayMeta | JSONObject]"
"""Arrays, and groups by their attributes, by path below a folder, in the order of writing."""

_OPTIONS = ("shape", "dtype", "chunks", "shards_ratio", "transform", "check_shape", "compressor", "checksum")


class NewPosition(NamedTuple):
    """The nodes of a new position."""

    attributes: JSONObject
    """The attributes of its document, which lists the arrays."""
    members: Nodes
    """The arrays, and the groups above nested arrays, by path in the position, in the order of writing."""
    nodes: Nodes
    """All nodes by path in the position; the document that lists the arrays comes last."""


def requests_of(arrays: Mapping[str, ArrayOptions] | None) -> Requests:
    """Check the names and options of the arrays of new positions."""
    if arrays is None:
        return {}
    if not isinstance(arrays, Mapping):
        raise WrongTypeError(
            f"The argument arrays is a dict of array name to options of create_zeros, not {arrays!r}."
        )
    requests: Requests = {}
    for name, options in arrays.items():
        if not isinstance(options, Mapping):
            raise WrongTypeError(
                f"The argument arrays[{name!r}] is a dict of options of create_zeros such as shape and dtype, not "
                f"{options!r}."
            )
        check_options(f"The argument arrays[{name!r}]", map(str, options), _OPTIONS)
        missing = [option for option in ("shape", "dtype") if option not in options]
        if missing:
            raise InvalidArgumentError(f"The argument arrays[{name!r}] has no {' and no '.join(missing)}.")
        key = str(name).strip("/")
        for other in requests:
            if f"{other}/".startswith(f"{key}/") or f"{key}/".startswith(f"{other}/"):
                raise InvalidArgumentError(
                    f"The argument arrays has {other!r} and {name!r}, which cannot both be arrays of one position."
                )
        requests[key] = request_of(**options)
    return requests


def position_attributes(parent: Plate | Well, notes: list[str]) -> JSONObject:
    """Return the attributes of a position without an image, with the channels and axes of its plate.

    Adds a note if the plate has no positions, from which the new ones could take their channels.
    """
    version, axes, names = parent.store_handle.version, parent.axes, parent.channel_names
    is_first = not names and parent._default_channels is None and parent._first_position() is None
    if is_first and channel_axis(axes) is not None:
        notes.append(
            f"The new positions of {parent.node_path} have no channel names, and the axes "
            f"{''.join(axis.name for axis in axes)}: names and axes are those of the first position, and there was "
            "none. An empty plate does not store those that it was created with: pass channel_names and axes to "
            "open_ome_zarr again."
        )
    meta = edits.new_images(axes, names)
    return attributes_without_arrays(version, meta, version.dump(meta, {}))


def plan_positions(
    parent: Plate | Well,
    node_paths: Iterable[NodePath],
    requests: Requests,
    unlisted: Mapping[str, ArrayMeta],
    notes: list[str],
) -> dict[str, NewPosition]:
    """Return the nodes of new positions by name; positions of one name are equal.

    `node_paths` are their paths in `parent`. Without requests the positions get the arrays of `unlisted`, which the
    document does not list. Warnings are added to `notes`.
    """
    attributes = position_attributes(parent, notes)
    plans: dict[str, NewPosition] = {}
    warnings: dict[str, str] = {}
    for node_path in node_paths:
        name = node_path.path.rpartition("/")[2]
        if name in plans:
            continue
        if not requests:
            plans[name] = NewPosition(attributes, {**unlisted}, {**unlisted, "": attributes})
            continue
        position = Position(node_path, False, parent._default_channels, parent._default_axes)
        with errors_naming(node_path):
            plans[name] = _plan(position, attributes, requests, warnings)
    notes += warnings.values()
    return plans


def _plan(
    position: Position, attributes: JSONObject, requests: Requests, warnings: dict[str, str]
) -> NewPosition:
    """Return the nodes of a new position; add warnings by array name to ``warnings``."""
    from lamella.nodes.new_levels import broken_among, stored_beside

    meta = position._load(attributes)
    members: Nodes = {}
    lower_levels: dict[str, ArrayMeta] = {}
    levels: dict[str, ArrayFacts] = {}
    for name, request in requests.items():
        creation = ArrayCreation(position, name, request)
        key = creation.key
        array, _, is_lower, has_fewer_channels = creation.fit_into(meta)
        names = key.split("/")
        # The groups above the array have no attributes.
        members.update({"/".join(names[:depth]): {} for depth in range(1, len(names))})
        members[key] = array
        if has_fewer_channels:
            warnings[key] = fewer_channels(key, array.shape, meta, position.node_path)
        facts = array_facts(array)
        if is_lower:
            broken = broken_among(position, meta, attributes, levels, key, facts, request.transform)
            if broken is not None:
                warnings[key] = stored_beside(position.node_path, key, broken, request.transform is not None)
                continue
            lower_levels[key] = array
        levels[key] = facts
        meta = edits.add_dataset(meta, key, request.transform, dtype_window(array.dtype))
    document = position._dump(meta, attributes, trusted=True)
    for key, array in lower_levels.items():
        document = with_level_state(document, key, array, False)
    return NewPosition(document, members, {**members, "": document})


def is_as_planned(parent: Plate | Well, node_path: NodePath, plan: NewPosition) -> bool:
    """Whether a stored position has documents of the plan only, as after a killed creation, and no other files."""
    documents = parent.documents
    folders = {"", *plan.members}
    for folder in folders:
        names = documents.storage.list(join_names(node_path.path, folder))
        member_names = {key.rpartition("/")[2] for key in plan.members if key.rpartition("/")[0] == folder}
        if not set(names) <= {*documents.files.document_names, *member_names}:
            return False
    kinds = {key: documents.kind(join_names(node_path.path, key)) for key in folders}
    if kinds[""] is not None and not _is_planned_group(documents, node_path.path, plan.attributes):
        return False
    return all(
        kinds[key] is None
        or (kinds[key] == "array" and documents.array(join_names(node_path.path, key)) == member)
        or _is_planned_group(documents, join_names(node_path.path, key), member)
        for key, member in plan.members.items()
    )


def _is_planned_group(documents: Documents, path: str, attributes: JSONObject | ArrayMeta) -> bool:
    """Whether a node is a group with these attributes; in Zarr v2, a kill may leave a group without attributes."""
    if documents.kind(path) != "group":
        return False
    stored = documents.group(path)
    return stored == attributes or (not stored and not documents.is_whole_group(path))


def create_zeros(plate: Plate, name: str, request: ArrayRequest) -> dict[str, ImageArray]:
    """Create an array of zeros in each position; see :meth:`Plate.create_zeros`."""
    positions = dict(plate.positions())
    created: dict[str, ImageArray] = {}
    for path, position in positions.items():
        array = ArrayCreation(position, name, request).existing()
        if array is not None:
            created[path] = array
    for path in created:
        if len(positions[path].dataset_paths) > 1:
            from lamella.ops.labels import match_levels

            match_levels(positions[path])
    remaining = {path: position for path, position in positions.items() if path not in created}
    if created and not remaining:
        raise NodeExistsError(f"Each position of {plate.node_path} has an array {name!r} already.")
    with_fewer_channels = [
        path for path, position in remaining.items() if ArrayCreation(position, name, request).refuse()
    ]
    for path, position in remaining.items():
        created[path] = create_empty_array(position, name, request._replace(check_shape=False))
    if with_fewer_channels:
        meta = remaining[with_fewer_channels[0]].document.shared_model
        where = f"{len(with_fewer_channels)} positions of {plate.node_path}"
        warn_of([fewer_channels(name, request.settings.shape, meta, where)])
    return {path: created[path] for path in positions}
