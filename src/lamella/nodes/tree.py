"""The hierarchy below a node as text.

Layer: nodes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lamella.nodes.session import Place


def tree_lines(place: Place, level: int | None = None) -> Iterator[str]:
    """Yield one line per node: the root, then its members indented below it, arrays with shape and dtype.

    Parameters
    ----------
    place
        Where to start.
    level
        How many levels below the start to show; all by default.
    """
    yield f"/{place.path}"
    yield from _below(place, "", level)


def _below(place: Place, indent: str, level: int | None) -> Iterator[str]:
    if level is not None and level <= 0:
        return
    children = place.session.documents.children(place.path)
    for i, (name, kind) in enumerate(children.items()):
        last = i == len(children) - 1
        line = f"{indent}{'└── ' if last else '├── '}{name}"
        child = place.child(name)
        if kind == "array":
            meta = place.session.documents.array(child.path)
            yield f"{line} {meta.shape} {meta.dtype}"
        else:
            yield line
            yield from _below(
                child, indent + ("    " if last else "│   "), None if level is None else level - 1
            )
