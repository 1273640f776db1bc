"""Transformations by a field of vectors, which is a separate image (CT-35).

Applying them needs the pixels of that image, so it is not done here.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from lamella.spec.transformations.base import Transformation


class _ByField(Transformation):
    """A path to the image with the vectors, and how to interpolate between them."""

    path: str = Field(min_length=1)
    interpolation: Literal["nearest", "linear", "cubic", "bspline-cubic"] | None = None

    def _why_not(self, what: str) -> str:
        return f"{self.title} cannot {what} by its metadata: it is a field of vectors at {self.path!r}"


class Displacements(_ByField):
    """Each point moves by the vector that the field has there (CT-35).

    Attributes
    ----------
    path : str
        Path of the image with the vectors.
    interpolation : str or None
        "nearest", "linear" (when None) or "cubic", which the text calls "bspline-cubic" (A10).

    Examples
    --------
    >>> Displacements(path="coordinateTransformations/dfield").to_json()
    {'type': 'displacements', 'path': 'coordinateTransformations/dfield'}
    """

    type: Literal["displacements"] = "displacements"


class Coordinates(_ByField):
    """Each point moves to the position that the field has there (CT-35).

    Attributes
    ----------
    path : str
        Path of the image with the positions.
    interpolation : str or None
        As for ``Displacements``.

    Examples
    --------
    >>> Coordinates(path="coordinateTransformations/cfield").inverse()
    Traceback (most recent call last):
    ...
    lamella.errors.InvalidArgumentError: the coordinates cannot be inverted by its metadata: ...
    """

    type: Literal["coordinates"] = "coordinates"
