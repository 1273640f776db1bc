"""Models of coordinate transformations in datasets and multiscales.

``lamella.spec.geometry`` composes them.
"""

from __future__ import annotations

from typing import Literal, Self

from pydantic import model_validator

from lamella.spec.base import MetaModel


class TransformationMeta(MetaModel):
    """One coordinate transformation: identity, scale or translation (rules CT-01 to CT-08).

    Attributes
    ----------
    type : {"identity", "scale", "translation"}
    scale : list of float or None
        Size of one pixel per axis, in axis order and in the unit of each axis; for ``type="scale"``.
    translation : list of float or None
        Position of the first pixel's centre per axis, in axis order and unit; for ``type="translation"``.
    path : str or None
        Path of an array with the numbers (CT-08); kept, not read.

    Raises
    ------
    MetadataError
        Unknown type, or a scale or translation without its numbers.

    Examples
    --------
    >>> TransformationMeta(type="scale", scale=(1, 0.25, 0.25)).scale
    [1.0, 0.25, 0.25]
    >>> TransformationMeta(type="translation", scale=[1, 1])
    Traceback (most recent call last):
    ...
    lamella.errors.MetadataError: TransformationMeta cannot be made: ... 'translation' needs translation=...
    """

    type: Literal["identity", "scale", "translation"]
    translation: list[float] | None = None
    scale: list[float] | None = None
    path: str | None = None

    @model_validator(mode="after")
    def _has_numbers(self) -> Self:
        if self.type != "identity" and self.path is None and getattr(self, self.type) is None:
            raise ValueError(
                f"a transformation of type {self.type!r} needs {self.type}=, a list with one number per axis"
            )
        return self
