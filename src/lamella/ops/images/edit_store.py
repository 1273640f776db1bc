"""``edit_store``: change the metadata of a whole store in one call, with a report or as a dry run."""

from __future__ import annotations

import difflib
import json
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from lamella.errors import InvalidArgumentError, counted, did_you_mean, first_of
from lamella.log import logged
from lamella.nodes.open import open_ome_zarr
from lamella.nodes.plate import Plate
from lamella.nodes.position import Position
from lamella.nodes.walk import images_of
from lamella.ops.contrast import compute_contrast
from lamella.ops.images.delete_channel import check_deletable, delete_from_fields, killed_deletion
from lamella.ops.images.edit import (
    ImageEdits,
    already_renamed,
    checked_attributes,
    edit_attributes,
    edit_images,
    label_edits,
    planned_edits,
    store_of,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from zarr.abc.store import Store

    from lamella.nodes.node import NGFFNode
    from lamella.ops.execution import Progress
    from lamella.types import JSON, JSONObject, StrPath

#: Name of a channel, its start and end, and the paths of the images that had other limits before.
_Window = tuple[str, tuple[float, float], tuple[str, ...]]
#: A list without lists and objects in it, over several lines.
_PLAIN_LIST = re.compile(r"\[\n\s*([^\[\]{}]*?)\n\s*\]")


@dataclass(frozen=True)
class EditReport:
    """The changes that were made, or that a dry run would make."""

    changes: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...]
    """Differences of the metadata, as lines, with the paths of all images that have them."""
    deleted: tuple[tuple[str, tuple[str, ...]], ...]
    """Deleted channels with the paths of the images."""
    dry_run: bool
    """Whether nothing was written."""
    skipped_renames: tuple[tuple[str, str], ...] = ()
    """Old and new names of renames that seem to be done already: no image has the old name, and one has the new."""
    contrast: tuple[_Window, ...] = ()
    """Contrast limits that were computed from the pixels."""

    def lines(self) -> list[str]:
        """Return the report as text."""
        lines = [
            f"Skipped the rename of {old!r}: no image has it, and {new!r} exists already."
            for old, new in self.skipped_renames
        ]
        for paths, difference in self.changes:
            lines += [f"{first_of(paths)}:", *(f"  {line}" for line in difference)]
        verb = "Would delete" if self.dry_run else "Deleted"
        lines += [f"{verb} the channel {name!r} of {first_of(paths)}." for name, paths in self.deleted]
        verb = "Would set" if self.dry_run else "Set"
        lines += [
            f"{verb} the contrast limits of {name!r} to {start:g} and {end:g} in {first_of(paths)}."
            for name, (start, end), paths in self.contrast
        ]
        all_paths = [paths for paths, _ in self.changes] + [paths for _, _, paths in self.contrast]
        count = len({path for paths in all_paths for path in paths})
        verb = "Would change" if self.dry_run else "Changed"
        return [*lines, f"{verb} the metadata of {counted(count, 'node')}."]

    def to_dict(self) -> JSONObject:
        """Return the report as JSON values."""
        return {
            "changes": [
                {"paths": list(paths), "difference": list(difference)} for paths, difference in self.changes
            ],
            "deleted": [{"channel": name, "paths": list(paths)} for name, paths in self.deleted],
            "contrast": [
                {"channel": name, "start": start, "end": end, "paths": list(paths)}
                for name, (start, end), paths in self.contrast
            ],
            "skipped_renames": [{"old": old, "new": new} for old, new in self.skipped_renames],
            "dry_run": self.dry_run,
        }


def edit_store(
    path: StrPath | Store,
    edits: ImageEdits,
    *,
    name: str | None = None,
    attributes: Mapping[str, JSON] | None = None,
    channels_to_delete: Sequence[str] = (),
    contrast: bool = False,
    dry_run: bool = False,
    jobs: int | None = None,
    progress: Progress | bool | None = None,
    follow_links: bool = False,
    storage_options: Mapping[str, Any] | None = None,
) -> EditReport:
    """Change the metadata of all images of a store that have the axes or channels.

    ``name`` and ``attributes`` apply to the node itself, a plate or image. All changes are checked before the first
    write. Channels are deleted after the other changes; then ``contrast`` computes the limits of the channels
    whose limits are not among the changes.
    """
    node = open_ome_zarr(
        path,
        mode="r" if dry_run else "r+",
        disable_path_checking=follow_links,
        storage_options=storage_options,
    )
    with logged("Edit %s", node.node_path), node.documents.storage.reading_once(node.path):
        images = images_of(node)
        if isinstance(node, Position) and name is not None:
            edits = replace(edits, name=name)
        elif not isinstance(node, Plate) and name is not None:
            raise InvalidArgumentError(
                f"{node.node_path} is a {type(node).__name__.lower()}, which has no name of its own: name the image or "
                "the plate."
            )
        edits.check_new_names(channels_to_delete)
        edits_by_path = planned_edits(images, edits, is_first_step=bool(channels_to_delete) or contrast)
        skipped = tuple(already_renamed(images, edits).items())
        changes: dict[tuple[str, ...], list[str]] = {}
        for image, image_edits in edits_by_path.items():
            for changed_path, difference in _differences(images[image], image_edits):
                changes.setdefault(difference, []).append(changed_path)
        node_changes = _changes_of_node(node, name, attributes or {})
        if node_changes:
            changes.setdefault(node_changes, []).append(node.path or node.store_handle.name)
        to_delete = _channels_to_delete(images, edits, channels_to_delete)
        if not dry_run:
            edit_images(images, edits_by_path)
            if isinstance(node, Plate) and name is not None:
                node.set_name(name)
            if attributes:
                edit_attributes(node, attributes)
            for channel, _ in to_delete:
                delete_from_fields(images, channel, jobs=jobs)
        windows = _compute_windows(images, edits, jobs, progress, dry_run=dry_run) if contrast else ()
        if dry_run:
            windows = _after_edits(windows, edits, channels_to_delete)
        else:
            node.documents.storage.commit_own("Edit the metadata")
    return EditReport(
        tuple((tuple(paths), difference) for difference, paths in changes.items()),
        tuple(to_delete),
        dry_run,
        skipped,
        windows,
    )


def _compute_windows(
    images: Mapping[str, Position],
    edits: ImageEdits,
    jobs: int | None,
    progress: Progress | bool | None,
    *,
    dry_run: bool,
) -> tuple[_Window, ...]:
    """Compute the contrast limits that the edits do not set; return those that differ from the limits of an image."""
    before = {position.path or position.store_handle.name: _limits(position) for position in images.values()}
    stated = {name for name, options in edits.channels.items() if "window" in options}
    if dry_run:  # the images have the old names
        stated = {old for old in _channels_of(images) if edits.renamed.get(old, old) in stated}
    windows = compute_contrast(
        list(images.values()), jobs=jobs, progress=progress, dry_run=dry_run, without=stated
    )
    computed = {name: (window["start"], window["end"]) for name, window in windows.items()}
    return tuple(
        (name, limits, paths)
        for name, limits in computed.items()
        if (paths := tuple(path for path, old in before.items() if old.get(name, limits) != limits))
    )


def _after_edits(
    windows: tuple[_Window, ...], edits: ImageEdits, channels_to_delete: Sequence[str]
) -> tuple[_Window, ...]:
    """Return windows under the new names of the channels, without channels that are to be deleted."""
    renamed = [(edits.renamed.get(name, name), limits, paths) for name, limits, paths in windows]
    return tuple(window for window in renamed if window[0] not in channels_to_delete)


def _limits(position: Position) -> dict[str, tuple[float | None, float | None]]:
    """Return the contrast limits of the channels of an image that has pixels, None for those without limits."""
    omero = position.document.shared_model.omero
    windows = [channel.window or {} for channel in omero.channels] if omero is not None else []
    names = position.channel_names if position.dataset_paths else []
    windows += [{} for _ in names[len(windows) :]]
    return {
        name: (window.get("start"), window.get("end")) for name, window in zip(names, windows, strict=False)
    }


def _channels_to_delete(
    images: Mapping[str, Position], edits: ImageEdits, channels_to_delete: Sequence[str]
) -> list[tuple[str, tuple[str, ...]]]:
    """Return the channels to delete, each with the images that have it after renaming."""
    to_delete = []
    deleted_by_image = {
        path: {
            name: channel
            for channel in position.channel_names
            if (name := edits.renamed.get(channel, channel)) in channels_to_delete
        }
        for path, position in images.items()
    }
    for name in dict.fromkeys(channels_to_delete):
        paths = tuple(path for path, deleted in deleted_by_image.items() if name in deleted)
        if not paths:
            names = _channels_of(images)
            raise InvalidArgumentError(
                f"No image has the channel {name!r} to delete: there are {', '.join(names) or 'none'} in "
                f"{store_of(images)}."
                f"{did_you_mean(name, names)}"
            )
        to_delete.append((name, paths))
    for path, deleted in deleted_by_image.items():
        if deleted and killed_deletion(images[path]) is None:
            check_deletable(images[path], deleted.values())
    return to_delete


def _channels_of(images: Mapping[str, Position]) -> dict[str, None]:
    """Return the names of the channels of all images, each once."""
    return dict.fromkeys(channel for position in images.values() for channel in position.channel_names)


def _differences(position: Position, requested: ImageEdits) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield the path of an image and of its label images, with the difference of their metadata."""
    for image, image_edits in [*label_edits(position, requested), (position, requested)]:
        names, before = image.channel_names, image.document.shared_model
        after = image_edits.apply(before, image, names)
        difference = _difference(before.to_json(), after.to_json())
        if difference:
            yield image.path or image.store_handle.name, difference


def _changes_of_node(node: NGFFNode, name: str | None, attributes: Mapping[str, JSON]) -> tuple[str, ...]:
    """Return the differences of the node itself: the name of a plate, and attributes."""
    checked_attributes(node, attributes)
    before: JSONObject = {key: node.zattrs[key] for key in attributes if key in node.zattrs}
    after: JSONObject = {key: value for key, value in attributes.items() if value is not None}
    if isinstance(node, Plate) and name is not None:
        before, after = {"name": node.document.shared_model.name, **before}, {"name": name, **after}
    return _difference(before, after)


def _difference(before: JSONObject, after: JSONObject) -> tuple[str, ...]:
    """Return the lines that differ between two documents."""
    diff_lines = difflib.unified_diff(_lines(before), _lines(after), lineterm="", n=0)
    return tuple(
        f"{line[0]} {line[1:].strip().rstrip(',')}"
        for line in diff_lines
        if line[:2] not in ("--", "++", "@@")
    )


def _lines(document: JSONObject) -> list[str]:
    """Return the lines of a document; a list of numbers or texts is on one line with its key."""
    text = json.dumps(document, indent=1, ensure_ascii=False) if document else "{\n}"
    return _PLAIN_LIST.sub(lambda found: "[" + re.sub(r"\n *", " ", found[1]) + "]", text).splitlines()
