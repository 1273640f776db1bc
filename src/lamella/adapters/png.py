"""Write previews as PNG files: an image, or the montage of a plate, on a dark page (extra ``preview``).

``lamella.adapters.page`` draws; ``lamella.ops.display.preview`` and
``lamella.ops.display.preview_plate`` choose what to show.
"""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

from lamella.adapters.page import (
    BACKGROUND,
    DAMAGE,
    EMPTY,
    FAINT,
    Entry,
    Page,
    elided,
    legend_boxes,
    pillow,
    resized,
    text_width,
)
from lamella.arguments import whole_number
from lamella.errors import (
    AccessError,
    InvalidArgumentError,
    LamellaError,
    MetadataError,
    StorageError,
    clause,
    counted,
)
from lamella.nodes.position import Position
from lamella.nodes.walk import CONTAINERS, ImageContainer
from lamella.ops.display.montage import MAX_FIELDS, Box, Montage, field_grid, fit
from lamella.ops.display.planes import PlaneAxes, coarsest_sufficient_level, pixel_aspect
from lamella.ops.display.preview import (
    FieldPicture,
    PreviewOptions,
    all_channels,
    choose_channels,
    drawn_colors,
    field_picture,
    plane_of,
)
from lamella.ops.display.preview_plate import PlatePlan, Tile, plan_plate, plate_channels
from lamella.ops.execution import Count, Workers, check_progress, counting, run
from lamella.store.metadata.parents import refuse_in_store
from lamella.store.paths import check_replaceable, local_path

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from lamella.nodes.node import NGFFNode
    from lamella.ops.display.preview import ShownChannel
    from lamella.ops.execution import Progress
    from lamella.types import JSONObject, StrPath

T = TypeVar("T")

IMAGE_SIDE = 512
FIELD_SIDE, MIN_PLATE_SIDE, MAX_PLATE_SIDE = 150, 512, 2048
_MARGIN, _TITLE, _SMALL = 20, 15, 13
"""Margin of a page, and sizes of the fonts of titles and of other texts, in pixels."""

_MIN_WIDTH = 280
_MIN_BAR = 60
LARGEST_SIDE = 16384
"""Maximum length of the larger side of a picture, in pixels."""


@dataclass(frozen=True)
class FieldProblem:
    """A field that is not drawn as requested, and the reason.

    A field with ``is_crossed_out`` is not drawn at all. Any other is drawn, but without its labels, or it could not be
    read when the contrast of the plate was computed.
    """

    path: str
    error: str
    is_crossed_out: bool = True

    def to_dict(self) -> JSONObject:
        """Return the problem as JSON values."""
        return {"path": self.path, "error": self.error}


def write_preview(
    node: NGFFNode,
    target: StrPath,
    options: PreviewOptions | None = None,
    *,
    size: int | None = None,
    jobs: int | None = None,
    progress: Progress | bool | None = None,
) -> list[FieldProblem]:
    """Draw an image, plate, row, well or collection to a PNG file, and return the fields with a problem.

    >>> write_preview(position, tmp / "a.png")
    []
    """
    pillow()
    path = check_target(target)
    page, problems = draw_preview(node, options, size=size, jobs=jobs, progress=progress)
    save(page.image, path)
    return problems


def draw_preview(
    node: NGFFNode,
    options: PreviewOptions | None = None,
    *,
    size: int | None = None,
    jobs: int | None = None,
    progress: Progress | bool | None = None,
) -> tuple[Page, list[FieldProblem]]:
    """Draw a node as :func:`write_preview` does, without writing a file."""
    pillow()
    workers = Workers(jobs)
    check_progress(progress)
    if size is not None and not 16 <= whole_number(size, "The argument size", 0) <= LARGEST_SIDE:
        raise InvalidArgumentError(f"The size of a picture is from 16 to {LARGEST_SIDE} pixels, not {size}.")
    preview_options = options or PreviewOptions()
    if isinstance(node, Position):
        return image_page(node, preview_options, size), []
    if isinstance(node, CONTAINERS):
        with counting(progress, "fields") as count:
            return plate_page(node, preview_options, size, workers, count)
    raise InvalidArgumentError(
        f"{node!r} is not an image, plate, row, well or collection, so it cannot be drawn."
    )


# -- pages -------------------------------------------------------------------------------------------------------


def image_page(position: Position, options: PreviewOptions, size: int | None = None) -> Page:
    """Draw an image with its name, channels and a scale bar below."""
    channels = choose_channels(all_channels(position), options.channels, str(position.node_path))
    channels = drawn_colors(channels)
    if size is None:
        size = IMAGE_SIDE if options.level is None else max(plane_of(position, options, 1).shape)
    picture = field_picture(position, channels, options, min(size, LARGEST_SIDE))
    pixels = resized(picture, min(size, LARGEST_SIDE))
    height, width = pixels.shape[:2]
    content_width = max(width, _MIN_WIDTH)
    entries = _legend([] if picture.opacity == 1.0 else channels, options.label)
    right = _MARGIN + content_width
    top = _MARGIN + height + 14
    bar = 0 if picture.physical_width is None else width // 4 + 24
    boxes = legend_boxes(_MARGIN, top + _TITLE + 10, right - bar, entries, _SMALL)
    bottom = boxes[-1][0].bottom if boxes else top + _TITLE + 6
    page = Page(bottom + _MARGIN - 4, content_width + 2 * _MARGIN)
    box = Box(_MARGIN, _MARGIN, right, _MARGIN + height).inside(height, width)
    page.paste(pixels, box)
    page.frame(box)
    name = position.document.shared_model.multiscales[0].name or position.node_path.name
    page.text(_MARGIN, top + _TITLE // 2, elided(name, content_width - bar, _TITLE), _TITLE)
    page.legend(_MARGIN, top + _TITLE + 10, right - bar, entries, _SMALL)
    if picture.physical_width is not None and picture.unit is not None:
        bar_box = Box(box.left, top, box.right, top + _SMALL + 12)
        page.scale_bar(bar_box, picture.physical_width / width, picture.unit, _SMALL, width / 4)
    return page


def _legend(channels: Sequence[ShownChannel], label: str | None) -> list[Entry]:
    """Return the entries of channels, and of the label image that is overlaid."""
    entries = [Entry(channel.name, channel.color) for channel in channels]
    return entries if label is None else [*entries, Entry(f"{label} (labels)", None)]


def plate_page(
    node: ImageContainer,
    options: PreviewOptions,
    size: int | None,
    workers: Workers,
    progress: Count,
    max_fields: int = MAX_FIELDS,
) -> tuple[Page, list[FieldProblem]]:
    """Draw the wells of a plate in their grid, with the names of rows and columns, and a scale bar below.

    ``max_fields`` is the number of fields of a well that are drawn.
    """
    plan = plan_plate(node, max_fields)
    aspect = min(max(_measure_first(plan, _aspect) or 1.0, 1 / 3), 3.0)  # of the first readable field
    grid = field_grid(plan.max_fields, aspect)
    longest = FIELD_SIDE * max(len(plan.rows) * grid[0], len(plan.columns) * grid[1])
    side = size or min(max(longest, MIN_PLATE_SIDE), MAX_PLATE_SIDE)
    montage = layout(plan, aspect, side)
    room = max(montage.field_height, montage.field_width)
    workers = workers.waiting_for(node.documents.storage, _plane_bytes(plan, room))
    unread: dict[int, LamellaError] = {}
    plate_colors = plate_channels(
        plan.tiles,
        options,
        room,
        str(node.node_path),
        workers,
        lambda position, error: unread.setdefault(id(position), error),
    )
    channels = drawn_colors(plate_colors)
    entries = _legend(channels, options.label)
    footer = Box(montage.left, montage.height - 4, max(montage.width, montage.left + _MIN_WIDTH) - _MARGIN, 0)
    bar = max(montage.field_width // 2, _MIN_BAR)
    right = footer.right - bar - 24
    boxes = legend_boxes(footer.left, footer.top + _TITLE + 10, right, entries, _SMALL)
    bottom = boxes[-1][0].bottom if boxes else footer.top + _TITLE + 10
    page = Page(bottom + _MARGIN, footer.right + _MARGIN)
    _draw_empty(page, plan, montage)
    progress.expect(len(plan.tiles))
    problems, scale = _draw_tiles(
        page, plan, montage, lambda tile: _tile_picture(tile, channels, options, room), workers, progress
    )
    name = elided(plan.name, (right - footer.left) * 2 // 3, _TITLE)
    page.text(footer.left, footer.top + _TITLE // 2, name, _TITLE)
    counts_left = footer.left + text_width(name, _TITLE) + 12
    counts = elided(_counts(plan), right - counts_left, _SMALL)
    page.text(counts_left, footer.top + _TITLE // 2 + 1, counts, _SMALL, color=FAINT)
    page.legend(footer.left, footer.top + _TITLE + 10, right, entries, _SMALL)
    if scale is not None:
        bar_box = Box(footer.left, footer.top, footer.right, footer.top + _SMALL + 12)
        page.scale_bar(bar_box, *scale, _SMALL, bar)
    return page, _with_unread(problems, plan, unread)


def _with_unread(
    problems: Sequence[FieldProblem], plan: PlatePlan, unread: Mapping[int, LamellaError]
) -> list[FieldProblem]:
    """Add the fields that were drawn, but not read when the contrast was computed; in the order of the plate."""
    by_path = {problem.path: problem for problem in problems}
    for tile in plan.tiles:
        error = unread.get(id(tile.node))
        if error is not None:
            reason = f"could not be read for the contrast, which fits the other fields: {clause(error)}"
            by_path.setdefault(tile.path, FieldProblem(tile.path, reason, is_crossed_out=False))
    return [by_path[path] for path in dict.fromkeys(tile.path for tile in plan.tiles) if path in by_path]


def layout(plan: PlatePlan, aspect: float, side: int) -> Montage:
    """Choose sizes so that the larger side of all wells together is about ``side`` pixels; a field gets at least 4.

    ``aspect`` is the height of a field divided by its width.
    """
    field_rows, field_columns = field_grid(plan.max_fields, aspect)
    rows, columns = max(1, len(plan.rows)), max(1, len(plan.columns))
    gap = 3 if side / max(rows, columns) < 60 else 6
    height, width = fit(rows * field_rows * aspect, columns * field_columns * 1.0, side)
    field_height = max(4, (height - gap * (rows - 1)) // (rows * field_rows))
    field_width = max(4, (width - gap * (columns - 1)) // (columns * field_columns))
    label_size = _label_size(field_height * field_rows, field_width * field_columns)
    name_width = max((text_width(name, label_size) for name in plan.rows), default=0)
    return Montage(
        rows=rows,
        columns=columns,
        field_rows=field_rows,
        field_columns=field_columns,
        field_height=field_height,
        field_width=field_width,
        left=_MARGIN + (min(name_width, 120) + 10 if name_width else 0),
        top=_MARGIN + (24 if any(plan.columns) else 0),
        margin=_MARGIN,
        gap=gap,
    )


def _label_size(height: int, width: int) -> int:
    return min(max(min(height, width) // 8, 11), 18)


def _measure_first(plan: PlatePlan, measure: Callable[[Position], T]) -> T | None:
    """Return the result of ``measure`` for the first field that can be read; None if no field can be read."""
    for tile in plan.tiles:
        with suppress(LamellaError):
            if isinstance(tile.node, Position):
                return measure(tile.node)
    return None


def _plane_bytes(plan: PlatePlan, room: int) -> int:
    """Return the memory in bytes that the planes of a field need, by the first field that can be read."""

    def nbytes(position: Position) -> int:
        _, array = coarsest_sufficient_level(position, room)
        axes = PlaneAxes.of(position.axes, array.ndim)
        return 8 * len(position.channel_names) * axes.height(array.shape) * axes.width(array.shape)

    return _measure_first(plan, nbytes) or 0


def _aspect(position: Position) -> float:
    array, level = position.data, position.dataset_paths[0]
    axes = PlaneAxes.of(position.axes, array.ndim)
    pixels = max(1, axes.height(array.shape)) / max(1, axes.width(array.shape))
    return pixels * pixel_aspect(position, level, axes, array.ndim)


def _counts(plan: PlatePlan) -> str:
    """Return the numbers of wells and fields as a text."""
    wells, fields = len(plan.wells), plan.fields
    if fields is None:
        return f"{counted(wells, 'well')}, the first field of each"
    words = counted(fields, "field")
    if any(plan.rows):
        words = f"{counted(wells, 'well')}, {words}"
    drawn = len(plan.tiles)
    return words if drawn == fields else f"{words}, {drawn} shown"


def _draw_empty(page: Page, plan: PlatePlan, montage: Montage) -> None:
    """Draw the names of rows and columns, and every well as an empty frame."""
    size = _label_size(montage.well_height, montage.well_width)
    for row, name in enumerate(plan.rows):
        well = montage.well(row, 0)
        label = elided(name, montage.left - _MARGIN - 8, size)
        page.text(montage.left - 10, (well.top + well.bottom) / 2, label, size, anchor="rm")
    for column, name in enumerate(plan.columns):
        well = montage.well(0, column)
        label = elided(name, montage.well_width + montage.gap - 2, size)
        page.text((well.left + well.right) / 2, montage.top - 8, label, size, anchor="mb")
    for row in range(len(plan.rows)):
        for column in range(len(plan.columns)):
            well = montage.well(row, column)
            page.fill(well, EMPTY)
            page.frame(well)


def _draw_tiles(
    page: Page,
    plan: PlatePlan,
    montage: Montage,
    picture_of: Callable[[Tile], tuple[FieldPicture, FieldProblem | None]],
    workers: Workers,
    progress: Count,
) -> tuple[list[FieldProblem], tuple[float, str] | None]:
    """Read and draw every field, a few at a time; return the problems in the order of the plate.

    Also return the length of a pixel of the page and its unit, if it is the same in all fields.
    """
    problems: dict[str, FieldProblem] = {}
    errors: dict[str, LamellaError] = {}
    scales: list[tuple[float, str] | None] = []

    def render(tile: Tile) -> tuple[Tile, NDArray[Any] | None, FieldProblem | None, tuple[float, str] | None]:
        box = _box(montage, tile)
        try:
            picture, problem = picture_of(tile)
            pixels = resized(picture, box)
            width, unit = picture.physical_width, picture.unit
            scale = None if width is None or unit is None else (width / pixels.shape[1], unit)
            return tile, pixels, problem, scale
        except LamellaError as error:
            errors[tile.path] = error
            return tile, None, FieldProblem(tile.path, clause(error)), None

    def paste(
        rendered: tuple[Tile, NDArray[Any] | None, FieldProblem | None, tuple[float, str] | None],
    ) -> None:
        progress.add()
        tile, pixels, problem, scale = rendered
        box = _box(montage, tile)
        if problem is not None:
            problems[tile.path] = problem
        if pixels is None:
            page.cross(box, FAINT if _is_unwritten(tile) else DAMAGE)
            return
        scales.append(scale)
        page.fill(box, BACKGROUND)
        page.paste(pixels, box.inside(*pixels.shape[:2]))

    run(render, plan.tiles, workers, on_result=paste)
    if plan.tiles and not scales:
        first = problems[plan.tiles[0].path]
        error = errors[first.path]
        error_type = next(
            (kind for kind in (AccessError, StorageError) if isinstance(error, kind)), MetadataError
        )
        raise error_type(f"No field of {plan.name} can be drawn. {first.path}: {first.error}.") from error
    return [problems[tile.path] for tile in plan.tiles if tile.path in problems], _common_scale(scales)


def _common_scale(scales: Sequence[tuple[float, str] | None]) -> tuple[float, str] | None:
    """Return the scale of all fields, within 1 %; None if they differ or lack one."""
    if not scales or scales[0] is None:
        return None
    size, unit = scales[0]
    are_equal = all(scale and scale[1] == unit and abs(scale[0] / size - 1) <= 0.01 for scale in scales)
    return scales[0] if are_equal else None


def _is_unwritten(tile: Tile) -> bool:
    """Return whether a field has no image yet, which is crossed out in grey as in the viewer."""
    with suppress(LamellaError):
        return isinstance(tile.node, Position) and not tile.node.dataset_paths
    return False


def _box(montage: Montage, tile: Tile) -> Box:
    if tile.whole_well:
        return montage.well(tile.row, tile.column)
    return montage.field(tile.row, tile.column, tile.slot)


def _tile_picture(
    tile: Tile, channels: Sequence[ShownChannel], options: PreviewOptions, room: int
) -> tuple[FieldPicture, FieldProblem | None]:
    """Return the picture of a field; if it lacks the requested labels, without them and with a problem."""
    if not isinstance(tile.node, Position):
        raise tile.node
    if options.label is None or options.label in tile.node.labels:
        return field_picture(tile.node, channels, options, room), None
    without_labels = replace(options, label=None)
    reason = f"it has no labels {options.label!r}, so it is drawn without"
    problem = FieldProblem(tile.path, reason, is_crossed_out=False)
    return field_picture(tile.node, channels, without_labels, room), problem


# -- files -------------------------------------------------------------------------------------------------------


def check_target(target: StrPath) -> str:
    """Return the absolute path of a picture, before anything is read.

    Raise InvalidArgumentError for a name without ``.png``, a folder, a missing parent folder, or a path in a Zarr
    store.
    """
    path = local_path(target, "the picture")
    folder = os.path.dirname(path)
    if not path.lower().endswith(".png"):
        raise InvalidArgumentError(
            f"Cannot write {target}: the picture is a PNG file, so its name ends in .png."
        )
    check_replaceable(path, "the picture")
    if not os.path.isdir(folder):
        raise InvalidArgumentError(
            f"Cannot write {target}: the folder {folder} does not exist. Create it first."
        )
    refuse_in_store(path)
    return path


def save(image: Any, path: str) -> None:
    """Write a picture of Pillow to a temporary file beside its path, then rename it: no reader sees half a file."""
    temporary = f"{path}.{secrets.token_hex(6)}.tmp"
    try:
        with open(temporary, "xb") as file:
            image.save(file, format="PNG", optimize=True)
        os.replace(temporary, path)
    except OSError as error:
        raise StorageError(f"Cannot write {path}: {error.strerror or error}.") from error
    finally:
        if os.path.lexists(temporary):
            os.unlink(temporary)
