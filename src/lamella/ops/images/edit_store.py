"""``edit_store``: change the metadata of a whole store in one call, with a report or as a dry run."""

from __future__ import annotations

import difflib
import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from lamella.errors import InvalidArgumentError, counted, did_you_mean, first_of
from lamella.log import logged
from lamella.nodes.open import open_ome_zarr
from lamella.nodes.plate import Plate
from lamella.nodes.position import Position
from lamella.nodes.walk import images_of
from lamella.ops.contrast import compute_contrast
from lamella.ops.images.delete_channel import delete_from_fields
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
        count = len({path for paths, _ in self.changes for path in paths})
        verb = "Would change" if self.dry_run else "Changed"
        return [*lines, f"{verb} the metadata of {counted(count, 'node')}."]

    def to_dict(self) -> JSONObject:
        """Return the report as JSON values."""
        return {
            "changes": [
                {"paths": list(paths), "difference": list(difference)} for paths, difference in self.changes
            ],
            "deleted": [{"channel": name, "paths": list(paths)} for name, paths in self.deleted],
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
    write. Channels are deleted after the other changes; then ``contrast`` computes the limits of all channels.
    """
    node = open_ome_zarr(
        path,
        mode="r" if dry_run else "r+",
        disable_path_checking=follow_links,
        storage_options=storage_options,
    )
    images = images_of(node)
    if isinstance(node, Position) and name is not None:
        edits = replace(edits, name=name)
    elif not isinstance(node, Plate) and name is not None:
        raise InvalidArgumentError(
            f"{node.node_path} is a {type(node).__name__.lower()}, which has no name of its own: name the image or "
            "the plate."
        )
    with logged("Edit %s", node.node_path):
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
            if contrast:
                compute_contrast(list(images.values()), jobs=jobs, progress=progress)
            node.documents.storage.commit_own("Edit the metadata")
    return EditReport(
        tuple((tuple(paths), difference) for difference, paths in changes.items()),
        tuple(to_delete),
        dry_run,
        skipped,
    )


def _channels_to_delete(
    images: Mapping[str, Position], edits: ImageEdits, channels_to_delete: Sequence[str]
) -> list[tuple[str, tuple[str, ...]]]:
    """Return the channels to delete, each with the images that have it after renaming."""
    to_delete = []
    for name in channels_to_delete:
        paths = tuple(
            path
            for path, position in images.items()
            if name in {edits.renamed.get(channel, channel) for channel in position.channel_names}
        )
        if not paths:
            names = dict.fromkeys(
                channel for position in images.values() for channel in position.channel_names
            )
            raise InvalidArgumentError(
                f"No image has the channel {name!r} to delete: there are {', '.join(names) or 'none'} in "
                f"{store_of(images)}."
                f"{did_you_mean(name, names)}"
            )
        to_delete.append((name, paths))
    return to_delete


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
    old, new = (
        json.dumps(document, indent=1, ensure_ascii=False).splitlines() for document in (before, after)
    )
    diff_lines = difflib.unified_diff(old, new, lineterm="", n=0)
    return tuple(
        f"{line[0]} {line[1:].strip().rstrip(',')}"
        for line in diff_lines
        if line[:2] not in ("--", "++", "@@")
    )
