"""A numpy array as an image that ``convert`` reads, for tests that need no file format."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lamella.errors import InvalidArgumentError
from lamella.ops.conversion.source import LEGAL_ORDER, ImageDescription, is_legal_order

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lamella.ops.conversion.source import SourceChannel
    from lamella.types import Array


class ArraySource:
    """A numpy array as a source.

    ``axes`` are letters of "tczyx" in that order, and the keys of ``scale`` and ``units`` are such letters.
    """

    def __init__(
        self,
        array: Array,
        axes: str,
        *,
        name: str = "array",
        scale: Mapping[str, float] | None = None,
        units: Mapping[str, str | None] | None = None,
        channels: tuple[SourceChannel, ...] = (),
        is_rgb: bool = False,
    ) -> None:
        if len(axes) != array.ndim or not is_legal_order(axes):
            raise InvalidArgumentError(
                f"the axes {axes!r} do not describe an array of shape {array.shape}: use one letter for each axis, "
                f'in the order of "{LEGAL_ORDER}", ending with "yx"'
            )
        self._array = array
        self._description = ImageDescription(
            name=name,
            files=(),
            axes=axes,
            shape=array.shape,
            dtype=array.dtype.newbyteorder("="),
            scale=dict(scale or {}),
            units=dict(units or {}),
            channels=channels,
            is_rgb=is_rgb,
        )

    @property
    def description(self) -> ImageDescription:
        """Description of the image."""
        return self._description

    def read_plane(self, index: tuple[int, ...], rows: slice | None = None) -> Array:
        """Read one plane, or some rows of it: see `PlaneSource.read_plane`."""
        plane: Array = self._array[index]
        return plane if rows is None else plane[rows]

    def close(self) -> None:
        """Nothing to close."""
