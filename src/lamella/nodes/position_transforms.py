"""Physical sizes and places of the levels of a position.

Layer: nodes. The algebra is in :mod:`lamella.spec.geometry`, the edits in :mod:`lamella.spec.edits`.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

from lamella.errors import InvalidArgumentError, MetadataError, MetadataWarning, NodeNotFoundError
from lamella.nodes.node import NGFFNode
from lamella.nodes.parts import unreadable
from lamella.nodes.reporting import callers_level
from lamella.spec import edits, geometry
from lamella.spec.axes import axis_index

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from lamella.nodes.live import LiveDocument
    from lamella.spec.images import ImagesMeta
    from lamella.spec.transforms import TransformationMeta


class TransformEdits(NGFFNode):
    """What a position can do with its coordinate transformations."""

    _live: LiveDocument[ImagesMeta]
    _scale_told = False

    @property
    def scale(self) -> list[float]:
        """Physical size of a voxel of the finest level, per axis, in the unit of each axis.

        Sizes of 0 and below are given as they are stored, with a UserWarning.
        """
        scale = self._live.derived(_usual_scale)
        if scale is not None:
            return [*scale]
        meta = self._live.view
        return self._named(geometry.effective_scale, meta, _finest(meta))

    def _named(
        self, compute: Callable[[ImagesMeta, str], list[float]], meta: ImagesMeta, image: str
    ) -> list[float]:
        """Compute from the metadata; an error of theirs names the position."""
        try:
            found = compute(meta, image)
        except MetadataError as fault:
            raise unreadable(self._place, fault) from fault
        except NodeNotFoundError as fault:
            raise NodeNotFoundError(f"{fault} (asked of {self._place})") from fault
        if compute is geometry.effective_scale and found and min(found) <= 0:
            self._tell_of_scale(found, image)
        return found

    def _tell_of_scale(self, scale: list[float], image: str) -> None:
        """Warn once that voxels of no size, or a mirrored axis, are given as they are stored."""
        if self._session.strict:
            raise MetadataError(
                f"The scale of {self._place}, image {image!r}, is {scale}: the size of a voxel is above 0. The store "
                "was opened with strict=True."
            )
        if self._scale_told:
            return
        self._scale_told = True
        text = (
            f"The scale of {self._place}, image {image!r}, is {scale}: the size of a voxel is above 0. It is given as "
            "it is stored; correct it with set_scale or set_transform."
        )
        warnings.warn(text, MetadataWarning, stacklevel=callers_level())

    def get_axis_index(self, axis_name: str) -> int:
        """Return the index of an axis.

        Parameters
        ----------
        axis_name
            Name of the axis, in any case.

        Raises
        ------
        InvalidArgumentError
            If there is no such axis (a ValueError).

        Examples
        --------
        >>> position.get_axis_index("z"), position.get_axis_index("Z")
        (2, 2)
        """
        self._check_axis_name(axis_name)
        try:
            return axis_index(self.axes, axis_name)
        except InvalidArgumentError as fault:
            raise InvalidArgumentError(f"{fault} (asked of {self._place})") from None

    def _check_axis_name(self, axis_name: str) -> None:
        if not isinstance(axis_name, str):
            raise InvalidArgumentError(f"An axis of {self._place} is named by text, not by {axis_name!r}.")

    def get_effective_scale(self, image: str) -> list[float]:
        """Return the size of a voxel of one level, or the factor of the whole position.

        Parameters
        ----------
        image
            Name of an array, such as "0", or "*" for the position alone.

        Returns
        -------
        list of float
            One number per axis, in the unit of the axis: level scale times position scale (CT-07).

        Raises
        ------
        NodeNotFoundError
            If there is no such array (a KeyError).

        Examples
        --------
        >>> position.set_scale("*", "x", 2)
        >>> position.get_effective_scale("0"), position.get_effective_scale("*")
        ([1.0, 1.0, 0.5, 0.25, 0.5], [1.0, 1.0, 1.0, 1.0, 2.0])
        """
        return self._named(geometry.effective_scale, self._live.view, str(image))

    def get_effective_translation(self, image: str) -> list[float]:
        """Return where the first voxel of one level, or the whole position, lies.

        Parameters
        ----------
        image
            Name of an array, such as "0", or "*" for the position alone.

        Returns
        -------
        list of float
            One number per axis, in the unit of the axis: position scale times level translation plus position
            translation (CT-07).

        Raises
        ------
        NodeNotFoundError
            If there is no such array (a KeyError).

        Examples
        --------
        >>> position.initialize_pyramid(levels=2)
        >>> position.get_effective_translation("1")  # half a voxel of level 0: first voxels share their outer edge
        [0.0, 0.0, 0.25, 0.125, 0.125]
        """
        return self._named(geometry.effective_translation, self._live.view, str(image))

    def set_transform(self, image: str, transform: Sequence[TransformationMeta]) -> None:
        """Set the coordinate transformations of one level or of the whole position.

        Parameters
        ----------
        image
            Name of an array, such as "0", or "*" for the position.
        transform
            Identity, scale and translation in any number and order; the equal scale and translation are stored
            (CT-03, CT-04).

        Raises
        ------
        NodeNotFoundError
            If there is no such array (a KeyError).
        InvalidArgumentError
            If a transformation does not fit the axes (a ValueError).

        Examples
        --------
        >>> from lamella.models import TransformationMeta
        >>> stage = TransformationMeta(type="translation", translation=[0, 0, 0, 120.5, 80])
        >>> position.set_transform("*", [stage])
        >>> position.get_effective_translation("0")
        [0.0, 0.0, 0.0, 120.5, 80.0]
        """
        self._require_writable("set a transform")
        self._live.edit(lambda meta: edits.set_transform(meta, str(image), transform))

    def set_scale(self, image: str, axis_name: str, new_scale: float) -> None:
        """Set the physical size of a voxel along one axis; translations stay and the levels stay consistent.

        Parameters
        ----------
        image
            Name of an array, such as "0", or "*" for the position.
        axis_name
            Name of the axis, in any case.
        new_scale
            Size in the unit of the axis; greater than 0.

        Raises
        ------
        NodeNotFoundError
            If there is no such array (a KeyError).
        InvalidArgumentError
            If there is no such axis, or the size is not a number above 0 (a ValueError).

        Examples
        --------
        >>> position.initialize_pyramid(levels=2)
        >>> position.set_scale("0", "z", 1.5)
        >>> position.scale[2], position.get_effective_scale("1")[2]
        (1.5, 3.0)
        """
        self._require_writable("set a scale")
        self._check_axis_name(axis_name)
        self._live.edit(lambda meta: edits.set_scale(meta, str(image), axis_name, new_scale))


def _finest(meta: ImagesMeta) -> str:
    return next(iter(meta.multiscales[0].get_dataset_paths()), geometry.WHOLE)


def _usual_scale(meta: ImagesMeta) -> list[float] | None:
    """Return the scale of the finest level; None where there is none to return without a word."""
    try:
        scale = geometry.effective_scale(meta, _finest(meta))
    except (MetadataError, NodeNotFoundError):
        return None
    return scale if min(scale, default=1) > 0 else None
