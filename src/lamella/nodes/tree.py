"""The hierarchy below a node as text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lamella.arguments import whole_number
from lamella.errors import LamellaError, NotDecodedError
from lamella.store.documents import may_be_node_name

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lamella.nodes.store_handle import NodePath


def tree_lines(place: NodePath, level: int | None = None) -> Iterator[str]:
    """Yield one line per node: the root, then its members indented below it, arrays with shape and dtype.

    A damaged node has a line with the problem. An array of another program has one too, but is not damaged.

    Parameters
    ----------
    place
        Where to start.
    level
        How many levels below the start to show; all by default.
    """
    if level is not None:
        level = whole_number(level, "level", 0)
    yield f"/{place.path}"
    yield from _below(place, "", level)


def _below(place: NodePath, indent: str, level: int | None) -> Iterator[str]:
    if level is not None and level <= 0:
        return
    try:
        members = [
            (name, *_told(place.child(name)))
            for name in place.store_handle.documents.storage.list(place.path)
            if may_be_node_name(name)
        ]
    except LamellaError as fault:
        yield f"{indent}└── ? ({fault})"
        return
    members = [(name, text, is_group) for name, text, is_group in members if text is not None]
    for i, (name, text, is_group) in enumerate(members):
        last = i == len(members) - 1
        yield f"{indent}{'└── ' if last else '├── '}{name}{text}"
        if is_group:
            below = indent + ("    " if last else "│   ")
            yield from _below(place.child(name), below, None if level is None else level - 1)


def _told(place: NodePath) -> tuple[str | None, bool]:
    """Return the text after the name of a node, and whether it is a group; None without a node."""
    documents = place.store_handle.documents
    try:
        kind = documents.kind(place.path)
        if kind != "array":
            return (None if kind is None else ""), kind == "group"
        meta = documents.array(place.path)
        return f" {meta.shape} {meta.dtype}", False
    except NotDecodedError as found:
        return f" (not decoded here: {found})", False
    except LamellaError as fault:
        return f" (damaged: {fault})", False
