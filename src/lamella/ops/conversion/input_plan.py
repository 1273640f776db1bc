"""Plan the images to write: group files to fields, place them in wells, and refuse ambiguous sources."""

from __future__ import annotations

import math
import os
import re
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, Literal

from lamella.errors import SourceError, counted, first_of
from lamella.ops.conversion.combine import (
    CombinedSource,
    Member,
    notes_of_skipped,
    number_axis,
    stack_sources,
)
from lamella.ops.conversion.facts import stored_text
from lamella.ops.conversion.file_layouts import recognise_layout
from lamella.ops.conversion.file_names import order_stack
from lamella.ops.conversion.inputs import titles_of
from lamella.ops.conversion.originals import choose_originals
from lamella.ops.conversion.placement import PlacedFile, Placement, place_by_map, place_by_regex
from lamella.ops.conversion.source import COPY_AGAIN, LEGAL_ORDER, MAX_PLANES, SourceChannel
from lamella.spec.channels import name_for_file
from lamella.store.keys import name_order, natural_order
from lamella.store.paths import local_path

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from lamella.ops.conversion.file_layouts import FileLayout
    from lamella.ops.conversion.inputs import Inputs
    from lamella.ops.conversion.reader import Container, OriginalMetadata
    from lamella.ops.conversion.source import PlaneSource

_MAX_LISTED = 5
"""Maximum number of gaps that a note lists."""

_MEANINGLESS_TITLE = re.compile(r"(?i:Image[ :_]?\d*)|([A-Za-z]:)?[/\\].*")
"""Titles that libraries write for images without a name: a number, or the path of another file."""

_PLACE_HINT = "place them in a plate with --well-regex or --map"

Layout = Literal["fov", "hcs", "collection"]
"""One image ("fov"), a plate ("hcs"), or the images of a file under their numbers ("collection")."""


@dataclass(frozen=True)
class ImagePlan:
    """An image to write: its path in the store (empty for a single image), and a source with an axis "c".

    ``number`` is its number among the images of its file, ``name`` the name that the store has for it.
    """

    path: str
    source: CombinedSource
    number: int = 0
    name: str = ""


@dataclass(frozen=True)
class InputPlan:
    """All images to write, with notes for the user, and the original metadata of their files.

    ``originals_left_out`` is the number of texts of original metadata that are not stored.
    """

    layout: Layout
    images: tuple[ImagePlan, ...]
    notes: tuple[str, ...]
    originals: tuple[OriginalMetadata, ...] = ()
    originals_left_out: int = 0


def plan_images(inputs: Inputs) -> InputPlan:
    """Plan the images: one image without a path, or positions of a plate, as the arrangement states."""
    notes = [note for reason, files in inputs.left_out.items() for note in _notes_of_unused(files, reason)]
    placed = place_files(inputs, notes)
    selected_paths = inputs.arrangement.only
    if placed is None:
        images = _plan_unplaced(inputs, notes)
        images = [image for image in images if selected_paths is None or image.path in selected_paths]
    else:
        selected = [
            file for file in placed if selected_paths is None or file.placement.path in selected_paths
        ]
        images = _combine_placed(inputs, selected, notes, keep_order=inputs.arrangement.map_file is not None)
    missing_planes = _note_of_missing_planes(images)
    if missing_planes and not inputs.corrections.take_what_is_there:
        raise SourceError(
            f"{missing_planes}. Copy them beside the index, or pass --take-what-is-there to write zeros for them."
        )
    notes += [missing_planes] if missing_planes else []
    for image in images:
        if (planes := math.prod(image.source.description.shape[:-2])) > MAX_PLANES:
            where = image.source.description.where
            raise SourceError(f"{where} is damaged: it states {planes} planes of one image. {COPY_AGAIN}")
    images = [replace(image, name=_stored_name(image, inputs)) for image in images]
    for image in images:
        image.source.description = inputs.corrections.correct_description(image.source.description)
    notes += inputs.corrections.notes_of_unused_sizes([image.source.description for image in images])
    notes[:0] = _notes_of_files(images, inputs.containers)
    notes += _notes_of_gaps(images)
    notes += _notes_of_wells(images)
    folder = None if selected_paths is None or placed is None else os.path.abspath(inputs.names[0])
    originals, left_out = choose_originals(inputs.containers, folder)
    return InputPlan(_layout_of(images[0].path), tuple(images), tuple(notes), originals, left_out)


def _layout_of(path: str) -> Layout:
    """Return the layout of a store by the path of one of its images: "", "B/3/0" or "2"."""
    if not path:
        return "fov"
    return "hcs" if "/" in path else "collection"


def _stored_name(image: ImagePlan, inputs: Inputs) -> str:
    """Return the name of an image: the user's, or that in its files if they agree, or its path in a plate, or its file.

    In a plate the user's name is that of the plate.
    """
    titles = image.source.titles
    if inputs.corrections.name is not None and "/" not in image.path:
        return inputs.corrections.name
    title = next(iter(titles)).strip() if len(titles) == 1 else ""
    if title and not _MEANINGLESS_TITLE.fullmatch(title):
        return title
    return image.path if "/" in image.path else stored_text(image.source.description.name)


def _note_of_missing_planes(images: Sequence[ImagePlan]) -> str:
    """Return a note that lists planes of an index whose files are missing; empty without any."""
    missing = [plane for image in images for plane in image.source.description.missing]
    if not missing:
        return ""
    verb = "is" if len(missing) == 1 else "are"
    return (
        f"{counted(len(missing), 'plane')} of the index {verb} missing: {first_of(missing, separator='; ')}"
    )


def _notes_of_unused(files: Sequence[str], reason: str) -> list[str]:
    """Return a note on files that were left out; ``reason`` is a sentence without its object, the first file."""
    if not files:
        return []
    left_out = f"{counted(len(files), 'file')} {'was' if len(files) == 1 else 'were'} left out"
    return [f"{left_out}: {reason} {first_of([*map(os.path.basename, files)], 1)}"]


def _notes_of_files(images: Sequence[ImagePlan], containers: Sequence[tuple[str, Container]]) -> list[str]:
    """Return each note once, with its first file and the number of other files."""
    files: dict[str, dict[str, None]] = {}
    for path, container in containers:
        for note in container.notes:
            files.setdefault(note, {})[os.path.basename(path)] = None
    for image in images:
        for file, note in image.source.notes_by_file:
            files.setdefault(note, {})[file] = None
    return [f"{first_of(list(files_of_note), 1)}: {note}" for note, files_of_note in files.items()]


def _notes_of_gaps(images: Sequence[ImagePlan]) -> list[str]:
    """Return a note on combinations of channel, z and t without a file."""
    incomplete = [image for image in images if image.source.missing]
    if not incomplete:
        return []
    total = sum(image.source.missing for image in incomplete)
    gaps = (
        f"{image.path or image.source.description.name} ({gap})"
        for image in incomplete
        for gap in image.source.gaps()
    )
    verbs = "has no file and is" if total == 1 else "have no file and are"
    return [
        f"{counted(total, 'combination')} of channel, z and t {verbs} zeros, in {len(incomplete)} of "
        f"{counted(len(images), 'image')}: {', '.join(islice(gaps, _MAX_LISTED))}"
        f"{f' and {total - _MAX_LISTED} more' if total > _MAX_LISTED else ''}"
    ]


def _notes_of_wells(images: Sequence[ImagePlan]) -> list[str]:
    """Return a note on wells such as A/1 and A/01, which may be one well."""
    spellings: dict[tuple[str, str], set[str]] = {}
    for well in {image.path.rpartition("/")[0] for image in images}:
        row, _, column = well.partition("/")
        spellings.setdefault((row.lstrip("0"), column.lstrip("0")), set()).add(well)
    similar_wells = [" and ".join(sorted(wells)) for _, wells in sorted(spellings.items()) if len(wells) > 1]
    if not similar_wells:
        return []
    return [
        f"{first_of(similar_wells)} are wells of their own, though "
        "their names differ by zeros alone: if they are one well, name their files alike"
    ]


def _check_distinct(placed: Sequence[PlacedFile]) -> None:
    """Raise SourceError for files with the same placement, and list them."""
    file_by_placement: dict[Placement, PlacedFile] = {}
    pairs = [
        (first, file)
        for file in placed
        if (first := file_by_placement.setdefault(file.placement, file)) is not file
    ]
    if not pairs:
        return
    conflicts = [
        f"{first.origin} and {second.origin} have the same position ({second.placement})"
        for first, second in pairs
    ]
    raise SourceError(
        f"{first_of(conflicts, separator='; ')}: add the field, channel, z or t that distinguishes them."
    )


def place_files(inputs: Inputs, notes: list[str]) -> list[PlacedFile] | None:
    """Place the files by a pattern, a table, or a layout that is named or recognised; None if nothing places them."""
    arrangement = inputs.arrangement
    if arrangement.map_file is not None:
        table = local_path(arrangement.map_file, "the table")
        placed = place_by_map(table, lambda entry: inputs.locate(entry, table))
        used = {os.path.abspath(file.path) for file in placed}
        unused = [file for file in inputs.files if os.path.abspath(file) not in used]
        notes += _notes_of_unused(unused, f"{table} does not name")
        return placed
    if arrangement.well_regex is not None:
        placed, unused = place_by_regex(inputs.files, arrangement.well_regex, inputs.relative)
        notes += _notes_of_unused(unused, "the pattern does not match")
        return placed
    layout = None if inputs.has_data_set else arrangement.layout or _recognise_layout(inputs, notes)
    if layout is None:
        return None
    placed, unused = layout.place(inputs.files, inputs.relative)
    notes += _notes_of_unused(unused, f"{layout.title} does not name files like")
    return placed


def _recognise_layout(inputs: Inputs, notes: list[str]) -> FileLayout | None:
    """Return the layout that the names of all files match; None without one, or if the user named a file itself."""
    if len(inputs.files) < 2 or len(inputs.relative) < len(inputs.files):
        return None
    layout = recognise_layout(inputs.files, inputs.relative)
    if layout is None:
        if inputs.is_nested:
            raise SourceError(
                f"{os.path.abspath(inputs.names[0])} contains images only in folders below it: name one of them, or "
                f"{_PLACE_HINT}."
            )
        return None
    notes.append(
        f"{os.path.abspath(inputs.names[0])}: its files were placed as those of {layout.title} (--layout "
        f"{layout.name}), by their names"
    )
    return layout


def _plan_unplaced(inputs: Inputs, notes: list[str]) -> list[ImagePlan]:
    """Plan files without placement: the images of one file or data set, or a stack of the files of a folder."""
    if not inputs.files:
        raise SourceError("There is nothing to convert: name a file or a folder.")
    first = inputs.files[0]
    images = inputs.images_of(first)
    first_files = {os.path.abspath(file) for image in images for file in image.description.files} | {
        os.path.abspath(first)
    }
    later_files = [file for file in inputs.files if os.path.abspath(file) not in first_files]
    if later_files and len(inputs.names) > 1:
        raise SourceError(
            f"{len(inputs.names)} sources are {len(inputs.names)} images ({os.path.abspath(first)}, "
            f"{os.path.abspath(later_files[0])}{', ...' if len(later_files) > 1 else ''}): {_PLACE_HINT}, "
            "or convert them one by one."
        )
    if later_files:
        return [_plan_stack(inputs, notes)]
    if inputs.series == "all":
        return [
            ImagePlan(str(number), _with_axes(image, "c", image.description.name), number)
            for number, image in enumerate(images)
        ]
    has_wells = all(image.description.well for image in images)
    is_plate = has_wells and bool(images[0].description.plate) and inputs.series is None
    if len(images) == 1 and inputs.series != "fields" and not is_plate:
        return [ImagePlan("", _with_axes(images[0], "c", images[0].description.name))]
    if has_wells:
        return _plan_wells(images)
    if inputs.series == "fields":
        axes = _union(image.description.axes for image in images)
        return [
            ImagePlan(f"A/1/{number}", _with_axes(image, axes, image.description.name), number)
            for number, image in enumerate(images)
        ]
    raise SourceError(
        f"{first} contains {len(images)} images, {titles_of(images)}: choose one with --series, or convert all of them "
        f"with --series all (a collection) or --series fields (the fields of a well), or save one image per file and "
        f"{_PLACE_HINT}."
    )


def _plan_stack(inputs: Inputs, notes: list[str]) -> ImagePlan:
    folder = os.path.abspath(inputs.names[0])
    folder_name = os.path.basename(folder)
    first = inputs.files[0]
    _check_single_file(first, inputs.images_of(first), folder)
    order = order_stack(inputs.files, folder)
    named_sources = [(file, inputs.image_of(file)) for file in order.files]
    for file, image in named_sources:
        _check_single_file(file, [image], folder)
    stack, axis = stack_sources(named_sources, folder_name, order.axis)
    reason = f", since {order.word!r} stands before the number" if order.word else ""
    notes.append(
        f"{folder}: its {len(inputs.files)} files were stacked along {axis}, in natural order of their names"
        f"{reason}"
    )
    notes += notes_of_skipped(axis, order.numbers)
    return ImagePlan("", _with_axes(stack, "c", folder_name))


def _check_single_file(file: str, images: Sequence[PlaneSource], folder: str) -> None:
    """Raise if a file is one of several of an OME-TIFF: files of a folder that are stacked are one image each."""
    files = max(len(image.description.files) for image in images)
    if files > 1:
        raise SourceError(
            f"{file} is one of the {files} files of one OME-TIFF, and {folder} has files that do not belong to it: "
            "convert it alone, by the name of one of its files."
        )


def _plan_wells(images: Sequence[PlaneSource]) -> list[ImagePlan]:
    """Plan the images of one file whose metadata name the wells."""
    positions: dict[str, tuple[int, PlaneSource]] = {}
    for number, image in enumerate(images):
        path = "/".join(image.description.well or ())
        if path in positions:
            raise SourceError(
                f"{image.description.name} puts two images at {path} of its plate. Choose one of them with --series."
            )
        positions[path] = number, image
    axes = _union(image.description.axes for image in images)
    ordered = sorted(
        positions.items(), key=lambda position: [name_order(name) for name in position[0].split("/")]
    )
    return [
        ImagePlan(path, _with_axes(image, axes, image.description.name), number)
        for path, (number, image) in ordered
    ]


def _with_axes(source: PlaneSource, axes: str, name: str) -> CombinedSource:
    """Return an image as a combined source that has all of ``axes``: those that it lacks have length 1."""
    return CombinedSource([Member(source, {}, name)], {}, axes=axes, name=name)


def _union(axes: Iterable[str]) -> str:
    """Return the axes of all images together, and the channel axis, in legal order."""
    letters = {"c", *"".join(axes)}
    return "".join(axis for axis in LEGAL_ORDER if axis in letters)


def _combine_placed(
    inputs: Inputs, placed: Sequence[PlacedFile], notes: list[str], *, keep_order: bool
) -> list[ImagePlan]:
    """Combine placed files to one image per field; all get the same axes and the same lengths of channel, z and t."""
    _check_distinct(placed)
    _check_all_or_none("well", placed, [bool(file.placement.path) for file in placed])
    sources = {file.path: _placed_source(inputs, file) for file in placed}
    channels = _channel_order(placed, sources, keep_order=keep_order)
    index_by_number: dict[str, dict[int, int]] = {}
    for axis in "tz":
        numbers = [getattr(file.placement, axis) for file in placed]
        placed_numbers = [number for number in numbers if number is not None]
        _check_all_or_none(axis, placed, [number is not None for number in numbers])
        if placed_numbers:
            index_by_number[axis] = number_axis(placed_numbers)
            if max(index_by_number[axis].values()) + 1 == len(index_by_number[axis]):
                notes += notes_of_skipped(axis, placed_numbers)
    lengths = {axis: max(indices.values()) + 1 for axis, indices in index_by_number.items()}
    if channels:
        lengths["c"] = len(channels)
    fields: dict[str, list[tuple[PlacedFile, PlaneSource]]] = {}
    for file in placed:
        fields.setdefault(file.placement.path, []).append((file, sources[file.path]))
    axes = _union([*lengths, *(source.description.axes for files in fields.values() for _, source in files)])
    plans = []
    for path in sorted(fields, key=lambda path: [name_order(name) for name in path.split("/")]):
        members = [
            Member(source, _index_in_field(file.placement, index_by_number, channels), file.origin)
            for file, source in fields[path]
        ]
        name = os.path.basename(members[0].source.description.name)
        channel_list = _placed_channels(members, channels) if channels else None
        plans.append(
            ImagePlan(path, CombinedSource(members, lengths, axes=axes, name=name, channels=channel_list))
        )
    return plans


def _placed_source(inputs: Inputs, file: PlacedFile) -> PlaneSource:
    """Open a placed file; raise for one of several files of an image that describes itself."""
    source = inputs.image_of(file.path)
    if len(source.description.files) > 1:
        raise SourceError(
            f"{file.origin} is one of the {len(source.description.files)} files of one OME-TIFF, which says itself "
            "how they belong together: convert it without a pattern or table."
        )
    return source


def _channel_order(
    placed: Sequence[PlacedFile], sources: Mapping[str, PlaneSource], *, keep_order: bool
) -> list[str]:
    """Return the names of the placed channels: in the order of the table, of their numbers, or in natural order."""
    _check_all_or_none("channel", placed, [file.placement.channel is not None for file in placed])
    names = list(
        dict.fromkeys(file.placement.channel for file in placed if file.placement.channel is not None)
    )
    if keep_order:
        return names
    numbers_in_files: dict[str, set[int | None]] = {}
    for file in placed:
        channels = sources[file.path].description.channels
        number = channels[0].number if len(channels) == 1 else None
        numbers_in_files.setdefault(file.placement.channel or "", set()).add(number)
    number_by_name = {
        name: next(iter(numbers)) for name, numbers in numbers_in_files.items() if len(numbers) == 1
    }
    distinct_numbers = set(number_by_name.values()) - {None}
    if len(number_by_name) == len(distinct_numbers) == len(names):
        return sorted(names, key=lambda name: number_by_name[name] or 0)
    return sorted(names, key=natural_order)


def _check_all_or_none(subject: str, placed: Sequence[PlacedFile], has_subject: Sequence[bool]) -> None:
    """Raise SourceError if some files have a well, channel, z or t (``subject``), and others have none."""
    if any(has_subject) and not all(has_subject):
        raise SourceError(
            f"{placed[has_subject.index(False)].origin} has no {subject}, but "
            f"{placed[has_subject.index(True)].origin} has one: "
            "specify it for all files or for none."
        )


def _index_in_field(
    placement: Placement, index_by_number: dict[str, dict[int, int]], channels: Sequence[str]
) -> dict[str, int]:
    """Return the index of a file along t, z and channel of its field."""
    index = {axis: indices[getattr(placement, axis)] for axis, indices in index_by_number.items()}
    if channels and placement.channel is not None:
        index["c"] = channels.index(placement.channel)
    return index


def _placed_channels(members: Sequence[Member], names: Sequence[str]) -> list[SourceChannel]:
    """Return channels with the names of the placement, and everything else as the files describe them.

    A channel has the name in its file if that of the placement is the same without special characters.
    """
    channels = [SourceChannel(name) for name in names]
    for member in members:
        file_channels = member.source.description.channels
        index = member.index["c"]
        if len(file_channels) == 1 and channels[index].color is None:
            name_in_file = file_channels[0].label
            is_same = name_in_file and name_for_file(name_in_file) == names[index]
            label = name_in_file if is_same else names[index]
            channels[index] = replace(file_channels[0], label=label)
    return channels
