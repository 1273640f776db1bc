"""Levels that are being made: their arrays are there, and the image lists them when their pixels are whole.

Until then only lamella knows of them, by the mark in the image's document: the same call goes on with them, another
plan replaces them, and readers, of whatever program, see an image without lower levels.

Layer: ops. What the document says is in :mod:`lamella.spec.stale_levels`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from lamella.errors import NodeExistsError, NodeNotFoundError
from lamella.spec.stale_levels import StaleLevels, read_stale, with_stale
from lamella.store.keys import is_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from lamella.nodes.position import Position
    from lamella.spec.images import ImagesMeta
    from lamella.store.array_meta import ArrayMeta
    from lamella.types import JSONObject

T = TypeVar("T")


def unlisted_levels(position: Position) -> tuple[str, ...]:
    """Return the paths of levels of an image that are being made, or were when a call was killed."""
    stale, listed = read_stale(position.documents.group(position.path)), position.dataset_paths
    return tuple(path for path in stale.unlisted if is_key(path) and path not in listed)


def begin_unlisted(position: Position, levels: Mapping[str, ArrayMeta], mark: Callable[[], T]) -> T:
    """Create the arrays of levels that the image lists later.

    Parameters
    ----------
    position
        The image.
    levels
        Path to description. Arrays of a killed call that are the same stay, with what was written to them.
    mark
        Writes into the image's document that these levels are being made; its result is returned. An array of a level
        is never there without that mark.
    """
    documents = position.documents
    with documents.lock(position.path):  # so that nobody else begins with levels meanwhile
        refuse_listed(position, position.document.refresh())
        ours = unlisted_levels(position)
        refuse_taken(position, {path: meta for path, meta in levels.items() if path not in ours})
        kept = [path for path in levels if path in ours and _is(position, path, levels[path])]
        _delete(position, (path for path in ours if path not in kept))
        begun = mark()
        # Those that stay too: a kill may have come between two files of one.
        for path, meta in levels.items():
            documents.put_array(position.node_path.child(path).path, meta)
    return begun


def end(
    position: Position,
    levels: Iterable[str],
    name: str,
    change: Callable[[ImagesMeta], ImagesMeta],
    ended: Callable[[JSONObject], JSONObject],
    work: str | None = None,
) -> None:
    """List levels whose pixels are whole, and say that nobody makes them any more: one write.

    Of two calls that make the same levels the first to end lists them, and they are stale until the other ends.

    Parameters
    ----------
    position
        The image.
    levels
        Their paths.
    name
        Under which its document says that they are being made.
    change
        Lists and describes them.
    ended
        Changes what the document says of them, see `lamella.ops.pyramids.plan.ended`.
    work
        What was made, as the mark names it.

    Raises
    ------
    NodeExistsError
        Another call began to make other levels meanwhile, or the same by another method.
    NodeNotFoundError
        The levels were deleted meanwhile.
    """
    paths = list(levels)
    listed: list[str] = []

    def listing(meta: ImagesMeta) -> ImagesMeta:
        listed.extend(meta.multiscales[0].get_dataset_paths())
        return change(meta)

    def told(attributes: JSONObject) -> JSONObject:
        _check(position, paths, listed, read_stale(attributes), name, work)
        return ended(attributes)

    try:
        position.document.edit(listing, beside=told)
    except NodeExistsError:
        _distrust(position, name)
        raise


def refuse_overtaken(position: Position, levels: Iterable[str], name: str, work: str | None) -> None:
    """Refuse to list levels that others replaced or deleted meanwhile; arguments and errors as for `end`."""
    listed = position.document.refresh().multiscales[0].get_dataset_paths()
    stale = read_stale(position.documents.group(position.path))
    try:
        _check(position, list(levels), listed, stale, name, work)
    except NodeExistsError:
        _distrust(position, name)
        raise


def _check(
    position: Position, paths: list[str], listed: list[str], stale: StaleLevels, name: str, work: str | None
) -> None:
    """Refuse levels that are not those that the document says are being made, or lists."""
    if stale.names(name):
        return
    other = stale.making is not None and stale.making.work != work
    if stale.unlisted and (other or set(stale.unlisted) != set(paths)):
        raise NodeExistsError(
            f"The levels {paths} of {position.node_path} are not listed: another call began to make the levels "
            f"{list(stale.unlisted)} meanwhile. Call compute_pyramid() again when it has ended."
        )
    if not set(paths) <= {*listed, *stale.unlisted}:
        raise NodeNotFoundError(
            f"The levels {paths} of {position.node_path} are not listed: they were deleted while they were computed."
        )


def _distrust(position: Position, name: str) -> None:
    """Say that what was written here may lie over what another call wrote: its levels are stale when it ends."""
    position.documents.edit_group(position.path, lambda old: with_stale(old, read_stale(old).begun(name)))


def forget(position: Position) -> None:
    """Delete levels that a killed call has left unlisted, and the mark that names them."""
    with position.documents.lock(position.path):
        drop(position)


def drop(position: Position) -> None:
    """Do the same as `forget`, for who holds the lock of the image."""
    documents = position.documents
    if read_stale(documents.group(position.path)).unlisted:
        _delete(position, unlisted_levels(position))
        position.store_handle.writes.forget(position.path)
        documents.edit_group(position.path, lambda old: with_stale(old, StaleLevels()))


def refuse_listed(position: Position, meta: ImagesMeta) -> None:
    """Refuse to create levels where another call has created some since it was asked."""
    paths = meta.multiscales[0].get_dataset_paths()
    if len(paths) != 1:
        raise NodeExistsError(
            f"Cannot create levels of {position.node_path}: another call created some meanwhile. "
            f"Its levels are {paths}."
        )


def refuse_taken(position: Position, levels: Mapping[str, ArrayMeta]) -> None:
    """Refuse to create levels where something is that the metadata do not list."""
    taken = [path for path, array in levels.items() if not _is_free(position, path, array)]
    if taken:
        raise NodeExistsError(
            f"The levels {taken} of {position.node_path} are there already, but its metadata do not list them. "
            "Delete them first."
        )


def _is_free(position: Position, path: str, planned: ArrayMeta) -> bool:
    """Whether nothing is at a level's place but what a killed call of the same left there: such an array, empty."""
    place = position.node_path.child(path)
    kind = position.documents.kind(place.path)
    if kind != "array" or not position.is_unwritten(path):
        return kind is None
    there = position.documents.array(place.path)
    return (there.shape, there.dtype) == (planned.shape, planned.dtype)


def _is(position: Position, path: str, planned: ArrayMeta) -> bool:
    """Whether an array is as it is planned."""
    place = position.node_path.child(path).path
    if position.documents.kind(place) != "array":
        return False
    return bool(position.documents.array(place).document == planned.document)


def _delete(position: Position, levels: Iterable[str]) -> None:
    """Delete arrays that are there."""
    for path in levels:
        place = position.node_path.child(path).path
        if position.documents.kind(place) == "array":
            position.documents.delete(place)
