"""Create, list and delete unfinished levels: arrays that the image lists when their pixels are complete.

Until then only the mark in the image's document names them: the same call resumes them, another plan replaces them, and
readers see an image without lower levels.

The mark is described in :mod:`lamella.spec.stale_levels`.
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
    """Return the paths of levels that are being computed, or were when a call was killed."""
    stale, listed = read_stale(position.documents.group(position.path)), position.dataset_paths
    return tuple(path for path in stale.unlisted if is_key(path) and path not in listed)


def begin_unlisted(position: Position, levels: Mapping[str, ArrayMeta], mark: Callable[[], T]) -> T:
    """Record levels with ``mark``, and create their arrays; equal arrays of a killed call stay, with their pixels."""
    documents = position.documents
    new = {position.node_path.child(path).path: meta for path, meta in levels.items()}
    with documents.lock(position.path):  # so that no other process begins with levels meanwhile
        documents.expect([position.path, *new], arrays=new, at_once=True)
        refuse_listed(position, position.document.refresh())
        ours = unlisted_levels(position)
        refuse_taken(position, {path: meta for path, meta in levels.items() if path not in ours})
        reusable = [path for path in levels if path in ours and _is_stored(position, path, levels[path])]
        _delete(position, (path for path in ours if path not in reusable))
        marked = mark()
        # Reused arrays too: a kill may have happened between two files of one.
        documents.put_arrays(new)
    return marked


def end(
    position: Position,
    levels: Iterable[str],
    name: str,
    change: Callable[[ImagesMeta], ImagesMeta],
    ended: Callable[[JSONObject], JSONObject],
    work: str | None = None,
) -> None:
    """List levels whose pixels are complete, and remove their mark, in one write of the document.

    If two calls compute the same levels, the first to finish lists them, and they stay stale until the other finishes.
    ``change`` lists the levels, and ``ended`` removes the mark. ``name`` names the call in the mark, and ``work`` is
    the digest of its settings. Raise NodeExistsError if another call has begun other levels or another method, and
    NodeNotFoundError if the levels were deleted.
    """
    paths = list(levels)
    listed: list[str] = []

    def listing(meta: ImagesMeta) -> ImagesMeta:
        listed.extend(meta.multiscales[0].get_dataset_paths())
        return change(meta)

    def without_mark(attributes: JSONObject) -> JSONObject:
        _check(position, paths, listed, read_stale(attributes), name, work)
        return ended(attributes)

    try:
        position.document.edit(listing, beside=without_mark)
    except NodeExistsError:
        _distrust(position, name)
        raise


def refuse_overtaken(position: Position, levels: Iterable[str], name: str, work: str | None) -> None:
    """Raise, as `end` does, if another call has replaced or deleted the levels."""
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
    """Raise for levels that the document neither marks as unfinished nor lists."""
    if stale.names(name):
        return
    other = stale.job is not None and stale.job.work != work
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
    """Record that our pixels may mix with those of another call: its levels stay stale when it finishes."""
    position.documents.edit_group(position.path, lambda old: with_stale(old, read_stale(old).begun(name)))


def forget(position: Position) -> None:
    """Delete unlisted levels of a killed call, and their mark."""
    with position.documents.lock(position.path):
        drop(position)


def drop(position: Position) -> None:
    """Delete unlisted levels, as `forget` does, for callers that have locked the image."""
    documents = position.documents
    if read_stale(documents.group(position.path)).unlisted:
        _delete(position, unlisted_levels(position))
        position.store_handle.writes.forget(position.path)
        documents.edit_group(position.path, lambda old: with_stale(old, StaleLevels()))


def refuse_listed(position: Position, meta: ImagesMeta) -> None:
    """Raise if another call has created levels since this one began."""
    paths = meta.multiscales[0].get_dataset_paths()
    if len(paths) != 1:
        raise NodeExistsError(
            f"Cannot create levels of {position.node_path}: another call created some meanwhile. "
            f"Its levels are {paths}."
        )


def refuse_taken(position: Position, levels: Mapping[str, ArrayMeta]) -> None:
    """Raise if unlisted nodes exist at the paths of new levels."""
    taken = [path for path, array in levels.items() if not _is_free(position, path, array)]
    if taken:
        raise NodeExistsError(
            f"The levels {taken} of {position.node_path} are there already, but its metadata do not list them. "
            "Delete them first."
        )


def _is_free(position: Position, path: str, planned: ArrayMeta) -> bool:
    """Return whether a level's path is empty, or has an empty array of the same killed call."""
    node_path = position.node_path.child(path)
    kind = position.documents.kind(node_path.path)
    if kind != "array" or not position.is_unwritten(path):
        return kind is None
    stored = position.documents.array(node_path.path)
    return (stored.shape, stored.dtype) == (planned.shape, planned.dtype)


def _is_stored(position: Position, path: str, planned: ArrayMeta) -> bool:
    """Return whether a level's array has the planned document."""
    node_path = position.node_path.child(path).path
    if position.documents.kind(node_path) != "array":
        return False
    return bool(position.documents.array(node_path).document == planned.document)


def _delete(position: Position, levels: Iterable[str]) -> None:
    for path in levels:
        node_path = position.node_path.child(path).path
        if position.documents.kind(node_path) == "array":
            position.documents.delete(node_path)
