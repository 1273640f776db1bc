"""Explain that a member is missing: list the existing members, and suggest the nearest name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lamella.errors import LamellaError, NodeNotFoundError, first_of, nearest
from lamella.store.keys import join
from lamella.store.missing_document import content_without_document

if TYPE_CHECKING:
    from lamella.nodes.node import NGFFNode

_MAX_NAMES = 20


def missing(node: NGFFNode, key: str) -> NodeNotFoundError:
    """Return the error for a missing member of a node, or of a node below it."""
    parent, found_parts, other_parts = _deepest(node, key.split("/"))
    if parent is None:
        what = f"There is no member {key!r} in {node.node_path}."
        return NodeNotFoundError(f"{what} Nothing lies below the array {'/'.join(found_parts)!r}.")
    lost = content_without_document(parent.documents, join(parent.path, other_parts[0]))
    if lost is not None:
        return NodeNotFoundError(f"Cannot open {key!r} in {node.node_path}. {lost}")
    what = f"There is no member {key!r} in {node.node_path}."
    try:
        names = parent._member_names()
    except LamellaError as fault:
        return NodeNotFoundError(f"{what} Which members there are cannot be read: {fault}")
    whose = f"{'/'.join(found_parts)!r} has the members" if found_parts else "Its members are"
    close = nearest(other_parts[0], names)
    hint = "" if close is None else f" Did you mean {'/'.join([*found_parts, close, *other_parts[1:]])!r}?"
    return NodeNotFoundError(f"{what} {whose}: {first_of(names, _MAX_NAMES)}.{hint}")


def _deepest(node: NGFFNode, parts: list[str]) -> tuple[NGFFNode | None, list[str], list[str]]:
    """Follow a path to its last existing node (None for an array); return the path to it and the rest."""
    from lamella.nodes.node import NGFFNode

    parent = node
    for number, part in enumerate(parts[:-1]):
        try:
            below = parent[part]
        except LamellaError:
            return parent, parts[:number], parts[number:]
        if not isinstance(below, NGFFNode):
            return None, parts[: number + 1], parts[number + 1 :]
        parent = below
    return parent, parts[:-1], parts[-1:]
