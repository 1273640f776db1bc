"""Arrays that are created alike in thousands of positions: what was checked for one document holds for its equals.

Layer: nodes. What is checked is in :mod:`lamella.nodes.position_images`.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Hashable

    import numpy as np

    from lamella.nodes.live import LiveDocument
    from lamella.nodes.session import Place
    from lamella.spec.images import ImagesMeta
    from lamella.store.array_meta import ArrayMeta
    from lamella.store.compressor import CompressorChoice
    from lamella.store.stored_group import StoredGroup
    from lamella.types import Shape


class Wanted(NamedTuple):
    """What a caller asks of a new array, in one spelling."""

    shape: Shape
    dtype: np.dtype[Any]
    chunks: Shape | Literal["auto"] | None
    shards_ratio: Shape | None
    compressor: CompressorChoice
    checksum: bool | None


class Creation(NamedTuple):
    """An array that was created in a position, and fits into all whose document says the same.

    Attributes
    ----------
    view
        What the document was understood as; kept, so that its identity stays its own.
    key
        The array's path in the position.
    array
        Its description.
    same
        The name of the change of the document, see :meth:`LiveDocument.edit`.
    """

    view: ImagesMeta
    key: str
    array: ArrayMeta
    same: Hashable


class _TakenError(Exception):
    """There is something at the place of a new array."""


def remember(content: StoredGroup, asked: Hashable, creation: Creation) -> None:
    """Remember a creation that succeeded in a position, by what its document said before."""
    with suppress(TypeError):  # a compressor given as a dict cannot be remembered
        content.made((id(creation.view), asked), lambda: creation)


def create_alike(
    live: LiveDocument[ImagesMeta], place: Place, asked: Hashable
) -> tuple[Place, ImagesMeta] | None:
    """Create an array in a position as it was created in another one.

    Nothing is looked at before. That the document still says the same is found under its lock, and that nothing is at
    the array's place when its folder is made.

    Returns
    -------
    tuple or None
        The place of the array, and what the document was understood as, for looking only. None where it was not
        created before, or something is different here: nothing was done then.
    """
    content = live.content
    if content is None:
        return None
    creation: Creation | None = content.known((id(live.last_view), asked))
    if creation is None:
        return None
    array = place.child(creation.key)

    def put() -> None:
        if not place.session.documents.put_new_array(array.path, creation.array):
            raise _TakenError

    try:
        done = live.repeat(creation.same, put)
    except _TakenError:
        return None
    return (array, creation.view) if done else None
