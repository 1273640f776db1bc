"""Derive the factors between two stored levels, and read the method that computed them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, get_args

from lamella.ops.pyramids.downsample import Method
from lamella.spec.edits import MAKER

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lamella.nodes.position import Position
    from lamella.types import JSONObject, Shape


def level_factors(fine: Shape, coarse: Shape, ratios: Sequence[float]) -> Shape | None:
    """Return the whole factors between two stored levels; None without whole factors.

    ``ratios`` are the pixel sizes of the coarse level relative to the fine one. They decide between possible factors: 5
    voxels become 2 by a factor of 3 or of 4.

    >>> level_factors((3, 5, 100), (3, 2, 50), (1.0, 4.0, 2.0))
    (1, 4, 2)
    >>> level_factors((10,), (7,), (1.43,)) is None
    True
    """
    if len(fine) != len(coarse):
        return None
    factors = []
    for length, reduced, ratio in zip(fine, coarse, ratios, strict=True):
        if length == reduced:
            factors.append(1)
            continue
        if not 0 < reduced < length or not math.isfinite(ratio):
            return None
        # ceil(a / f) is b for the f from `low` to `high`.
        low, high = (
            -(-length // reduced),
            (length - 1) // (reduced - 1) if reduced > 1 else max(length, round(ratio)),
        )
        if low > high:
            return None
        power = 1 << (low - 1).bit_length()
        rounded = round(ratio)
        factors.append(rounded if low <= rounded <= high else power if power <= high else low)
    return tuple(factors)


def recorded_method(multiscale: JSONObject) -> Method | None:
    """Return the method by which lamella computed a pyramid; None if another program did."""
    details = multiscale.get("metadata")
    if not isinstance(details, dict) or details.get("method") != MAKER:
        return None
    arguments = details.get("kwargs")
    name = arguments.get("method") if isinstance(arguments, dict) else None
    return name if name in get_args(Method) else None


def made_by(position: Position) -> Method | None:
    """Return the method by which lamella computed the levels of an image; None if another program did."""
    details = position.document.own_model.multiscales[0].metadata
    return recorded_method({"metadata": details}) if isinstance(details, dict) else None
