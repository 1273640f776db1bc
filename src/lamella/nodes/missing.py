"""What is said of a member that is not there: which there are where the path ends, and the nearest name.

Looks at more of the store than the lookup did, since only errors come here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lamella.errors import LamellaError, NodeNotFoundError, nearest

if TYPE_CHECKING:
    from lamella.nodes.node import NGFFNode

_MOST = 20


def missing(node: NGFFNode, key: str) -> NodeNotFoundError:
    """Return the error for a member, or one below it, that a node has not."""
    holder, done, rest = _deepest(node, key.split("/"))
    what = f"There is no member {key!r} in {node.node_path}."
    if holder is None:
        return NodeNotFoundError(f"{what} Nothing lies below the array {'/'.join(done)!r}.")
    try:
        names = holder._member_names()
    except LamellaError as fault:
        return NodeNotFoundError(f"{what} Which members there are cannot be read: {fault}")
    whose = f"{'/'.join(done)!r} has the members" if done else "Its members are"
    more = f" and {len(names) - _MOST} more" if len(names) > _MOST else ""
    close = nearest(rest[0], names)
    hint = "" if close is None else f" Did you mean {'/'.join([*done, close, *rest[1:]])!r}?"
    return NodeNotFoundError(f"{what} {whose}: {', '.join(names[:_MOST]) or 'none'}{more}.{hint}")


def _deepest(node: NGFFNode, parts: list[str]) -> tuple[NGFFNode | None, list[str], list[str]]:
    """Follow a path as far as there are nodes: the last one, or None for an array, and the path to it and from it."""
    from lamella.nodes.node import NGFFNode

    holder = node
    for number, part in enumerate(parts[:-1]):
        try:
            below = holder[part]
        except LamellaError:
            return holder, parts[:number], parts[number:]
        if not isinstance(below, NGFFNode):
            return None, parts[: number + 1], parts[number + 1 :]
        holder = below
    return holder, parts[:-1], parts[-1:]
