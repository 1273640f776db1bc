"""Format the hierarchy below a node as text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lamella.arguments import whole_number
from lamella.errors import LamellaError, NotDecodedError
from lamella.store.documents import may_be_node_name

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lamella.nodes.store_handle import NodePath


def tree_lines(node_path: NodePath, level: int | None = None) -> Iterator[str]:
    """Yield one line per node, indented below its parent, up to `level` levels deep; arrays with shape and dtype.

    Damaged nodes, and arrays with unsupported codecs, have a line with the problem.
    """
    if level is not None:
        level = whole_number(level, "level", 0)
    yield f"/{node_path.path}"
    yield from _below(node_path, "", level)


def _below(node_path: NodePath, indent: str, level: int | None) -> Iterator[str]:
    if level is not None and level <= 0:
        return
    try:
        members = [
            (name, *_text_of(node_path.child(name)))
            for name in node_path.store_handle.documents.storage.list(node_path.path)
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
            yield from _below(node_path.child(name), below, None if level is None else level - 1)


def _text_of(node_path: NodePath) -> tuple[str | None, bool]:
    """Return the text after the name of a node, and whether it is a group; None if there is no node."""
    documents = node_path.store_handle.documents
    try:
        kind = documents.kind(node_path.path)
        if kind != "array":
            return (None if kind is None else ""), kind == "group"
        meta = documents.array(node_path.path)
        return f" {meta.shape} {meta.dtype}", False
    except NotDecodedError as error:
        return f" (not decoded here: {error})", False
    except LamellaError as fault:
        return f" (damaged: {fault})", False
