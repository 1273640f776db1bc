"""Plan the images to write: group files to fields, place them in wells, and refuse ambiguous sources."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, Literal

from lamella.errors import SourceError, counted
from lamella.ops.conversion.combine import CombinedSource, Member, number_axis, stack_sources
from lamella.ops.conversion.facts import stored_text
from lamella.ops.conversion.file_layouts import recognise_layout
from lamella.ops.conversion.file_names import order_stack
from lamella.ops.conversion.inputs import titles_of
from lamella.ops.conversion.originals import choose_originals
from lamella.ops.conversion.placement import (
    PlacedFile,
    Placement,
    name_order,
    place_by_map,
    place_by_regex,
)
from lamella.ops.conversion.source import LEGAL_ORDER, SourceChannel
from lamella.spec.channels import plain_name
from lamella.store.keys import natural_order
from lamella.store.paths import local_path

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from lamella.ops.conversion.file_layouts import FileLayout
    from lamella.ops.conversion.inputs import Inputs
    from lamella.ops.conversion.reader import Container, OriginalMetadata
    from lamella.ops.conversion.source import PlaneSource

_MAX_LISTED = 5
"""Maximum number of items that a message lists."""

_NO_NAME = re.compile(r"(?i:Image[ :_]?\d*)|([A-Za-z]:)?[/\\].*")
"""What libraries write for images without a name: a number, or the path of another file."""

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
    """Plan the images: one image without a path, or positions of a plate, as the arrangement says."""
    notes: list[str] = []
    placed = place_files(inputs, notes)
    only = inputs.arrangement.only
    if placed is None:
        images = _plan_unplaced(inputs, notes)
        images = [image for image in images if only is None or image.path in only]
    else:
        chosen = [item for item in placed if only is None or item.placement.path in only]
        images = _combine_placed(inputs, chosen, keep_order=inputs.arrangement.map_file is not None)
    missing = _note_of_missing_planes(images)
    if missing and not inputs.corrections.take_what_is_there:
        raise SourceError(
            f"{missing}. Copy them beside the index, or pass --take-what-is-there to write zeros for them."
        )
    notes += [missing] if missing else []
    images = [replace(image, name=_stored_name(image, inputs)) for image in images]
    for image in images:
        image.source.description = inputs.corrections.correct_description(image.source.description)
    notes[:0] = _notes_of_files(images, inputs.containers)
    notes += _notes_of_gaps(images)
    notes += _notes_of_wells(images)
    folder = None if only is None or placed is None else os.path.abspath(inputs.names[0])
    originals, left_out = choose_originals(inputs.containers, folder)
    return InputPlan(_layout_of(images[0].path), tuple(images), tuple(notes), originals, left_out)


def _layout_of(path: str) -> Layout:
    """Return the layout of a store by the path of one of its images: "", "B/3/0" or "2"."""
    if not path:
        return "fov"
    return "hcs" if "/" in path else "collection"


def _stored_name(image: ImagePlan, inputs: Inputs) -> str:
    """Return the name of an image: the user's, that in its files if they agree, its path in a plate, or its file.

    In a plate the user's name is that of the plate, and a file may have one of several channels of the image.
    """
    titles = image.source.titles
    if inputs.corrections.name is not None and "/" not in image.path:
        return inputs.corrections.name
    title = next(iter(titles)).strip() if len(titles) == 1 else ""
    if title and not _NO_NAME.fullmatch(title):
        return title
    return image.path if "/" in image.path else stored_text(image.source.description.name)


def _note_of_missing_planes(images: Sequence[ImagePlan]) -> str:
    """Return a note that lists planes of an index whose files are missing; empty without any."""
    missing = [text for image in images for text in image.source.description.missing]
    if not missing:
        return ""
    verb = "is" if len(missing) == 1 else "are"
    shown = f"{'; '.join(missing[:_MAX_LISTED])}{_and_unlisted(len(missing))}"
    return f"{counted(len(missing), 'plane')} of the index {verb} missing: {shown}"


def _notes_of_unused(files: Sequence[str], reason: str) -> list[str]:
    """Return a note on files that were left out; the name of the first one ends the sentence ``reason``."""
    if not files:
        return []
    left_out = f"{counted(len(files), 'file')} {'was' if len(files) == 1 else 'were'} left out"
    return [f"{left_out}: {reason} {os.path.basename(files[0])}{_and_other_files(files)}"]


def _and_other_files(files: Sequence[str]) -> str:
    return f" and {len(files) - 1} more" if len(files) > 1 else ""


def _notes_of_files(images: Sequence[ImagePlan], containers: Sequence[tuple[str, Container]]) -> list[str]:
    """Return each note once, with its first file and the number of other files."""
    files: dict[str, dict[str, None]] = {}
    for path, container in containers:
        for note in container.notes:
            files.setdefault(note, {})[os.path.basename(path)] = None
    for image in images:
        for file, note in image.source.notes_by_file:
            files.setdefault(note, {})[file] = None
    return [
        f"{next(iter(files_of_note))}{_and_other_files(list(files_of_note))}: {note}"
        for note, files_of_note in files.items()
    ]


def _notes_of_gaps(images: Sequence[ImagePlan]) -> list[str]:
    """Return a note on combinations of channel, z and t that no file has."""
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
        f"{counted(len(images), 'image')}: {', '.join(islice(gaps, _MAX_LISTED))}{_and_unlisted(total)}"
    ]


def _notes_of_wells(images: Sequence[ImagePlan]) -> list[str]:
    """Return a note on wells such as A/1 and A/01, which may be one well."""
    spellings: dict[tuple[str, str], set[str]] = {}
    for well in {image.path.rpartition("/")[0] for image in images}:
        row, _, column = well.partition("/")
        spellings.setdefault((row.lstrip("0"), column.lstrip("0")), set()).add(well)
    alike = [" and ".join(sorted(wells)) for _, wells in sorted(spellings.items()) if len(wells) > 1]
    if not alike:
        return []
    return [
        f"{', '.join(alike[:_MAX_LISTED])}{_and_unlisted(len(alike))} are wells of their own, though their names "
        "differ by zeros alone: if they are one well, name their files alike"
    ]


def _and_unlisted(total: int) -> str:
    return f", and {total - _MAX_LISTED} more" if total > _MAX_LISTED else ""


def _check_distinct(placed: Sequence[PlacedFile]) -> None:
    """Raise SourceError for files with the same placement, and list them."""
    files: dict[Placement, PlacedFile] = {}
    pairs = [
        (other, item) for item in placed if (other := files.setdefault(item.placement, item)) is not item
    ]
    if not pairs:
        return
    texts = [
        f"{first.origin} and {second.origin} have the same position ({second.placement})"
        for first, second in pairs[:_MAX_LISTED]
    ]
    raise SourceError(
        f"{'; '.join(texts)}{_and_unlisted(len(pairs))}: add the field, channel, z or t that distinguishes them."
    )


def place_files(inputs: Inputs, notes: list[str]) -> list[PlacedFile] | None:
    """Place the files by a pattern, a table, or a layout that is named or recognised; None if nothing places them."""
    arrangement, unused = inputs.arrangement, list[str]()
    if arrangement.map_file is not None:
        table = local_path(arrangement.map_file, "the table")
        placed = place_by_map(table, lambda entry: inputs.locate(entry, table))
        used = {os.path.abspath(item.file) for item in placed}
        unused = [file for file in inputs.files if os.path.abspath(file) not in used]
        notes += _notes_of_unused(unused, f"{table} does not name")
        return placed
    if arrangement.well_regex is not None:
        placed, unused = place_by_regex(inputs.files, arrangement.well_regex, inputs.relative)
        notes += _notes_of_unused(unused, "the pattern does not match")
        return placed
    layout = arrangement.layout
    if inputs.has_data_set:
        return None
    if layout is None:
        layout = _recognise_layout(inputs, notes)
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
    own_files = {os.path.abspath(file) for image in images for file in image.description.files} | {
        os.path.abspath(first)
    }
    others = [file for file in inputs.files if os.path.abspath(file) not in own_files]
    if others and len(inputs.names) > 1:
        raise SourceError(
            f"{len(inputs.names)} sources are {len(inputs.names)} images ({os.path.abspath(first)}, "
            f"{os.path.abspath(others[0])}{', ...' if len(others) > 1 else ''}): {_PLACE_HINT}, or convert them one by "
            "one."
        )
    if others:
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
    """Plan one image of all files of a folder."""
    folder_path = os.path.abspath(inputs.names[0])
    folder = os.path.basename(folder_path)
    first = inputs.files[0]
    _check_single_file(first, inputs.images_of(first), folder_path)
    order = order_stack(inputs.files, folder_path)
    opened = [(file, inputs.image_of(file)) for file in order.files]
    for file, image in opened:
        _check_single_file(file, [image], folder_path)
    stack, axis = stack_sources(opened, folder, order.axis)
    reason = f", since {order.word!r} stands before the number" if order.word else ""
    notes.append(
        f"{folder_path}: its {len(inputs.files)} files were stacked along {axis}, in natural order of their names"
        f"{reason}"
    )
    return ImagePlan("", _with_axes(stack, "c", folder))


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
    ordered = sorted(positions.items(), key=lambda item: [name_order(name) for name in item[0].split("/")])
    return [
        ImagePlan(path, _with_axes(image, axes, image.description.name), number)
        for path, (number, image) in ordered
    ]


def _with_axes(source: PlaneSource, axes: str, name: str) -> CombinedSource:
    """Return an image as a source with axes of length 1 for those it lacks."""
    return CombinedSource([Member(source, {}, name)], {}, axes=axes, name=name)


def _union(axes: Iterable[str]) -> str:
    """Return the axes of all images together, and the channel axis, in legal order."""
    letters = {"c", *"".join(axes)}
    return "".join(axis for axis in LEGAL_ORDER if axis in letters)


def _combine_placed(inputs: Inputs, placed: Sequence[PlacedFile], *, keep_order: bool) -> list[ImagePlan]:
    """Combine placed files to one image per field; all get the same axes and the same grid of channel, z and t."""
    _check_distinct(placed)
    _check_all_or_none("well", placed, [bool(item.placement.path) for item in placed])
    sources = {item.file: _placed_source(inputs, item) for item in placed}
    channels = _channel_order(placed, sources, keep_order=keep_order)
    grids: dict[str, dict[int, int]] = {}
    for axis in "tz":
        numbers = [getattr(item.placement, axis) for item in placed]
        stated = [number for number in numbers if number is not None]
        _check_all_or_none(axis, placed, [number is not None for number in numbers])
        if stated:
            grids[axis] = number_axis(stated)
    lengths = {axis: max(grid.values()) + 1 for axis, grid in grids.items()}
    if channels:
        lengths["c"] = len(channels)
    fields: dict[str, list[tuple[PlacedFile, PlaneSource]]] = {}
    for item in placed:
        fields.setdefault(item.placement.path, []).append((item, sources[item.file]))
    axes = _union([*lengths, *(source.description.axes for group in fields.values() for _, source in group)])
    plans = []
    for path in sorted(fields, key=lambda path: [name_order(name) for name in path.split("/")]):
        members = [
            Member(source, _index_in_field(item.placement, grids, channels), item.origin)
            for item, source in fields[path]
        ]
        name = os.path.basename(members[0].source.description.name)
        channel_list = _placed_channels(members, channels) if channels else None
        plans.append(
            ImagePlan(path, CombinedSource(members, lengths, axes=axes, name=name, channels=channel_list))
        )
    return plans


def _placed_source(inputs: Inputs, item: PlacedFile) -> PlaneSource:
    """Open a placed file; raise for one of several files of an image that describes itself."""
    source = inputs.image_of(item.file)
    if len(source.description.files) > 1:
        raise SourceError(
            f"{item.origin} is one of the {len(source.description.files)} files of one OME-TIFF, which says itself "
            "how they belong together: convert it without a pattern or table."
        )
    return source


def _channel_order(
    placed: Sequence[PlacedFile], sources: Mapping[str, PlaneSource], *, keep_order: bool
) -> list[str]:
    """Return the names of the placed channels: in the order of the table, of their numbers, or in natural order."""
    _check_all_or_none("channel", placed, [item.placement.channel is not None for item in placed])
    names = list(
        dict.fromkeys(item.placement.channel for item in placed if item.placement.channel is not None)
    )
    if keep_order:
        return names
    numbers: dict[str, set[int | None]] = {}
    for item in placed:
        own = sources[item.file].description.channels
        numbers.setdefault(item.placement.channel or "", set()).add(own[0].number if len(own) == 1 else None)
    stated = {name: next(iter(of_name)) for name, of_name in numbers.items() if len(of_name) == 1}
    if len(stated) == len(names) and None not in stated.values() and len(set(stated.values())) == len(names):
        return sorted(names, key=lambda name: stated[name] or 0)
    return sorted(names, key=natural_order)


def _check_all_or_none(axis: str, placed: Sequence[PlacedFile], stated: Sequence[bool]) -> None:
    if any(stated) and not all(stated):
        raise SourceError(
            f"{placed[stated.index(False)].origin} has no {axis}, but {placed[stated.index(True)].origin} has one: "
            "specify it for all files or for none."
        )


def _index_in_field(
    placement: Placement, grids: dict[str, dict[int, int]], channels: Sequence[str]
) -> dict[str, int]:
    """Return the index of a file along t, z and channel of its field."""
    index = {axis: grid[getattr(placement, axis)] for axis, grid in grids.items()}
    if channels and placement.channel is not None:
        index["c"] = channels.index(placement.channel)
    return index


def _placed_channels(members: Sequence[Member], names: Sequence[str]) -> list[SourceChannel]:
    """Return channels with the names of the placement and the colours of the files.

    The name in a file is preferred if that of the placement is the same without special characters.
    """
    described = [SourceChannel(name) for name in names]
    for member in members:
        file_channels = member.source.description.channels
        index = member.index["c"]
        if len(file_channels) == 1 and described[index].color is None:
            own = file_channels[0].label
            label = own if own and plain_name(own) == names[index] else names[index]
            described[index] = replace(file_channels[0], label=label)
    return described
