"""Report which times and channels of images are written, missing or damaged, from sizes of files and indexes of shards.

No chunk is decoded, so a report takes as long as listing the files. lamella stores every chunk that is written, also
zeros; other writers leave out chunks of the fill value, and these count as missing.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, get_args

from lamella.errors import LamellaError, StorageError, clause, counted
from lamella.log import logged
from lamella.nodes.position import Position
from lamella.nodes.walk import CONTAINERS, walk
from lamella.ops.execution import Workers, check_progress, counting, run
from lamella.ops.integrity.array_status import ArrayStatus, State
from lamella.ops.streaming.record import StreamRecord
from lamella.spec.axes import channel_axis, time_axis
from lamella.spec.stale_levels import read_unfinished
from lamella.store.keys import join
from lamella.store.pixels.arrays import StoredArray
from lamella.store.pixels.stored_chunks import describe_foreign, foreign_chunk_key
from lamella.store.pixels.stored_files import inspect_stored_files
from lamella.store.storage import with_options

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from concurrent.futures import Executor

    from zarr.abc.store import Store

    from lamella.nodes.node import NGFFNode
    from lamella.ops.execution import Progress
    from lamella.types import JSONObject, StrPath


@dataclass(frozen=True, repr=False)
class ImageStatus:
    """The state of one image. True if nothing is damaged.

    Attributes
    ----------
    path
        Path of the image in the store.
    levels
        State of each array, the finest first.
    channels
        Names of the channels.
    problem
        Why the state is unknown; empty if it is known.
    unread
        Whether a service or the system refused to read the image.

    Examples
    --------
    >>> image = position.status()
    >>> image.state, image.channels, bool(image)
    ('written', ('DAPI', 'GFP'), True)
    """

    path: str
    levels: tuple[ArrayStatus, ...] = ()
    channels: tuple[str, ...] = ()
    problem: str = ""
    unread: bool = False

    @property
    def state(self) -> State:
        """State of level 0; "damaged" if any level is, "unread" if any could not be read."""
        if self.unread or any(level.unread for level in self.levels):
            return "unread"
        if self.problem or any(level.state == "damaged" for level in self.levels):
            return "damaged"
        return self.levels[0].state if self.levels else "missing"

    def __bool__(self) -> bool:
        return self.state not in ("damaged", "unread")

    def __repr__(self) -> str:
        return f"<ImageStatus {next(self.lines())}>"

    def __str__(self) -> str:
        return "\n".join(self.lines())

    def lines(self) -> Iterator[str]:
        """Yield the text that ``lamella status`` prints: one line, and one for each region that is not written.

        Examples
        --------
        >>> list(position.status().lines())
        ['A/1/0: written, 2 of 2 chunks']
        """
        name = self.path or "image"
        if self.problem:
            yield f"{name}: {'could not be read' if self.unread else 'damaged'}: {self.problem}"
            return
        if not self.levels:
            yield f"{name}: missing: it has no array yet"
            return
        level = self.levels[0]
        if level.unread:
            yield f"{name}: could not be read"
        else:
            yield f"{name}: {self.state}, {level.stored} of {counted(level.expected, 'chunk')}"
        if level.state in ("partly", "damaged") and not level.problem:
            for times, channels, state in level.runs():
                if state != "written":
                    yield f"  {_range_text('t', times)}, {self._channel_text(channels)}: {_WORDS_OF_STATE[state]}"
        if level.stream is not None:
            yield from _stream_lines(level.stream)
        for level in self.levels:
            yield from (f"  {level.path}: unfinished: {region}" for region in level.unfinished)
        for level in self.levels:
            if level.problem:
                yield f"  {level.path}: {'could not be read: ' if level.unread else ''}{level.problem}"
            for fault in level.faults:
                yield f"  {fault.key}: {fault.found}"

    def to_dict(self) -> JSONObject:
        """Return the status as JSON values.

        Examples
        --------
        >>> position.status().to_dict()["state"]
        'written'
        """
        return {
            "path": self.path,
            "state": self.state,
            "problem": self.problem or None,
            "levels": [level.to_dict() for level in self.levels],
        }

    def _channel_text(self, channels: range) -> str:
        if len(channels) == 1 and channels.start < len(self.channels):
            return self.channels[channels.start]
        return _range_text("c", channels)


@dataclass(frozen=True, repr=False)
class StoreStatus:
    """The state of all images of a store. True if nothing is damaged.

    Attributes
    ----------
    name
        Path or URL of the store.
    images
        State of each image, followed by those of its label images.

    Examples
    --------
    >>> import lamella
    >>> report = lamella.status(plate)
    >>> report.counts, bool(report)
    ({'written': 1, 'partly': 0, 'missing': 2, 'damaged': 0, 'unread': 0}, True)
    """

    name: str
    images: tuple[ImageStatus, ...]

    @property
    def counts(self) -> dict[State, int]:
        """Number of images in each state."""
        counts = Counter(image.state for image in self.images)
        return {state: counts[state] for state in get_args(State)}

    def __bool__(self) -> bool:
        return all(self.images)

    def __repr__(self) -> str:
        return f"<StoreStatus {self.name}: {self.verdict}>"

    def __str__(self) -> str:
        return "\n".join(self.lines())

    def lines(self) -> Iterator[str]:
        """Yield the text that ``lamella status`` prints.

        Examples
        --------
        >>> import lamella
        >>> list(lamella.status(plate).lines())[-1]
        '3 images: 1 written, 2 missing'
        """
        for image in self.images:
            yield from image.lines()
        if len(self.images) != 1:
            yield self.verdict

    @property
    def verdict(self) -> str:
        """One line: the number of images in each state."""
        states = [
            f"{number} {'could not be read' if state == 'unread' else state}"
            for state, number in self.counts.items()
            if number
        ]
        return f"{counted(len(self.images), 'image')}: {', '.join(states) or 'none'}"

    def to_dict(self) -> JSONObject:
        """Return the status as JSON values.

        Examples
        --------
        >>> import lamella
        >>> sorted(lamella.status(plate).to_dict())
        ['counts', 'images', 'store']
        """
        return {
            "store": self.name,
            "counts": dict(self.counts.items()),
            "images": [image.to_dict() for image in self.images],
        }


_WORDS_OF_STATE = {"missing": "never written", "partly": "partly written", "damaged": "damaged"}


def position_status(position: Position) -> ImageStatus:
    """Return the state of an image or label image."""
    levels = []
    paths = position.dataset_paths
    position.documents.request_ahead(
        [join(position.path, "labels")], arrays=[join(position.path, path) for path in paths]
    )
    for path in paths:
        try:
            levels.append(_array_status(position, path))
        except LamellaError as error:
            levels.append(
                ArrayStatus(join(position.path, path), problem=clause(error), unread=_is_unread(error))
            )
    return ImageStatus(position.path, tuple(levels), tuple(position.channel_names))


def status(
    path_or_node: StrPath | Store | NGFFNode,
    *,
    jobs: int | None = None,
    executor: Executor | None = None,
    progress: Progress | bool | None = None,
    follow_links: bool = False,
    storage_options: Mapping[str, Any] | None = None,
) -> StoreStatus:
    """Report for each image of a store what is written, missing or damaged, from indexes and sizes, without decoding.

    Parameters
    ----------
    path_or_node : path, URL, zarr store or node
        An image, plate, row, well or collection; label images are included.
    jobs : int, optional
        Number of workers; one per processor by default.
    executor : concurrent.futures.Executor, optional
        Reads the files instead of threads of this process.
    progress : bool or callable, optional
        True shows a bar on the terminal. A function is called with the images done, 0 (unknown total), and "images".
    follow_links : bool
        Follow symbolic links that lead out of the store, for plates of linked images. Ignored for an open node.
    storage_options : mapping, optional
        Credentials and settings of a URL, as for `lamella.open_ome_zarr`.

    Raises
    ------
    StoreNotFoundError, MetadataError
        There is no store, or its own document cannot be read. Problems of its members are in the report.

    Examples
    --------
    >>> import lamella
    >>> path = tmp / "film.zarr"
    >>> with lamella.open_ome_zarr(path, layout="fov", mode="w", channel_names=["DAPI", "GFP"]) as position:
    ...     film = position.create_zeros("0", (5, 2, 1, 8, 8), "uint16", chunks=(1, 1, 1, 8, 8))
    ...     film[:3] = 7
    ...     film[3, 0] = 7
    >>> print(lamella.status(path))
    image: partly, 7 of 10 chunks
      t 4, DAPI: never written
      t 3 to 4, GFP: never written
    """
    from lamella.nodes.node import NGFFNode
    from lamella.nodes.open import open_ome_zarr

    workers = Workers(jobs, executor)
    check_progress(progress)
    target = with_options(path_or_node, storage_options)
    node = (
        target if isinstance(target, NGFFNode) else open_ome_zarr(target, disable_path_checking=follow_links)
    )
    workers.check_reach(node.documents.storage)
    workers = workers.waiting_for(node.documents.storage)
    statuses: dict[int, list[ImageStatus]] = {}
    with logged("Look at the files of %s", node.node_path), counting(progress, "images") as count:

        def collect(numbered: tuple[int, list[ImageStatus]]) -> None:
            number, statuses[number] = numbered
            count.add(len(statuses[number]))

        run(_statuses, _images(node), workers, on_result=collect)
    return StoreStatus(
        str(node.node_path), tuple(image for number in sorted(statuses) for image in statuses[number])
    )


class _Image(NamedTuple):
    """An image, or the error for which it cannot be opened, and its place in the report."""

    number: int
    path: str
    node: Position | LamellaError


def _images(node: NGFFNode) -> Iterator[_Image]:
    if isinstance(node, Position):
        yield _Image(0, node.path, node)
    elif isinstance(node, CONTAINERS):
        for number, image in enumerate(walk(node)):
            yield _Image(number, join(node.path, image.path), image.node)


def _statuses(image: _Image) -> tuple[int, list[ImageStatus]]:
    """Return the state of an image and of its label images, with the image's number."""
    number, path, node = image
    if isinstance(node, LamellaError):
        return number, [ImageStatus(path, problem=clause(node), unread=_is_unread(node))]
    images = [position_status(node)]
    try:
        labels = [node.labels[name] for name in node.labels]
    except LamellaError as error:
        path = join(path, "labels")
        return number, [*images, ImageStatus(path, problem=clause(error), unread=_is_unread(error))]
    return number, images + [position_status(label) for label in labels]


def _is_unread(error: LamellaError) -> bool:
    """Return whether a service or the system refused to read, so that the state is unknown."""
    return isinstance(error, StorageError)


def _array_status(position: Position, level: str) -> ArrayStatus:
    array = StoredArray(position.documents, position._level_node_path(level).path)
    meta, storage = array.meta, array.documents.storage
    axes = position.axes
    status = ArrayStatus(array.path, meta.shape, meta.chunks, time_axis(axes), channel_axis(axes))
    status.stream = StreamRecord.of(meta.attributes, array.documents.location(array.path))
    status.unfinished = read_unfinished(meta.attributes)
    for file in inspect_stored_files(storage, array.path, meta):
        status._add(file)
    if status.stored < status.expected:
        key = foreign_chunk_key(storage, array.path, meta)
        if key is not None:
            status.problem = describe_foreign(key, meta)
    return status


def _stream_lines(stream: StreamRecord) -> Iterator[str]:
    if stream.open:
        yield f"  stream: open at frame {stream.frames}, or its writer was killed; resume=True resumes there"
    dropped = sum(count for _, count in stream.skipped)
    if dropped:
        runs = ", ".join(
            str(first) if count == 1 else f"{first} to {first + count - 1}"
            for first, count in stream.skipped[:10]
        )
        more = ", ..." if len(stream.skipped) > 10 else ""
        order = "".join(stream.order)
        frames = f"{counted(stream.frames, 'frame')} {'was' if dropped == 1 else 'were'} dropped"
        yield f"  stream: {dropped} of {frames} in the order {order}: {runs}{more}"


def _range_text(axis: str, indices: range) -> str:
    """Format a range: ("t", range(3, 7)) as "t 3 to 6"."""
    return f"{axis} {indices.start}" + (f" to {indices.stop - 1}" if len(indices) > 1 else "")
