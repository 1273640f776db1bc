"""Methods of nodes that draw pictures, done by :mod:`lamella.adapters`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from lamella.arguments import items_of
from lamella.errors import warn
from lamella.nodes.node import NGFFNode

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from PIL.Image import Image

    from lamella.types import StrPath


class Pictures(NGFFNode):
    """Methods of images, and of nodes that contain images, which draw them."""

    def preview(
        self,
        path: StrPath | None = None,
        *,
        channels: Sequence[str] | None = None,
        label: str | None = None,
        z: int | Literal["max"] | None = None,
        t: int | None = None,
        level: str | int | None = None,
        region: Mapping[str, Any] | None = None,
        size: int | None = None,
        jobs: int | None = None,
    ) -> Image:
        """Draw the image, or all fields of a plate, row, well or collection, as a picture of Pillow.

        Channels are blended in the colours and contrast limits of the metadata; a single channel is grey. Contrast that
        is not stored is computed from the pixels, once for all fields. Wells are at their places in the plate. Warns of
        each field of a plate that cannot be read, which is crossed out, or lacks the label image.

        Parameters
        ----------
        path
            File to write the picture to as well, such as "cells.png"; an existing one is replaced.
        channels
            Names of the channels to draw; the active ones by default.
        label
            Name of a label image to overlay.
        z
            Index of the Z plane in level 0, by default the middle one, or "max" for the maximum over Z.
        t
            Index of the time point; 0 by default.
        level
            Path of the level to read, by default the coarsest one with enough pixels. The picture of an image then has
            one pixel for each pixel of the level, unless ``size`` is set.
        region
            Start and stop along Y and X in pixels of level 0, of each field: ``{"y": (0, 100), "x": (50, None)}``.
        size
            Pixels of the larger side of the image, or of all wells together. By default 512 for an image, and 150 per
            field of a plate, within 512 to 2048.
        jobs
            Number of fields that are drawn at a time; one per processor by default.

        Returns
        -------
        PIL.Image.Image
            The picture that ``lamella preview`` writes, with names, legend and scale bar.

        Raises
        ------
        InvalidArgumentError, NodeNotFoundError
            If the channel, plane or region (a ValueError), or the level or label image (a KeyError) does not exist.
        MissingDependencyError
            If Pillow is not installed (an ImportError): ``pip install "lamella[preview]"``.
        LamellaError
            If no field can be read.

        Examples
        --------
        >>> position.preview(size=64).mode
        'RGB'
        >>> picture = position.preview(tmp / "gfp.png", channels=["GFP"], z="max", region={"x": (2, 6)})
        """
        from lamella.adapters.png import check_target, draw_preview, save
        from lamella.ops.display.preview import PreviewOptions

        names = (
            None
            if channels is None
            else tuple(items_of(channels, "The argument channels is a list of names"))
        )
        options = PreviewOptions(label, z, t, names, None if level is None else str(level), region)
        target = None if path is None else check_target(path)
        page, problems = draw_preview(self, options, size=size, jobs=jobs)
        for problem in problems:
            warn(f"{problem.path}: {problem.error}.")
        picture: Image = page.image
        if target is not None:
            save(picture, target)
        return picture

    def view(self, *, height: int = 560) -> Any:
        """Show the node in a notebook: the viewer of ``lamella view`` as a widget (extra ``notebook``).

        Parameters
        ----------
        height
            Height of the widget in pixels.

        Returns
        -------
        anywidget.AnyWidget
            The widget; a notebook shows it as the value of a cell. The kernel reads the pixels when the screen needs
            them, so they wait while a cell runs. ``close()`` ends it. The function ``lamella.view(node)`` opens a
            browser instead.

        Raises
        ------
        MetadataError, MissingDependencyError
            If there is nothing to show (a ValueError), or anywidget is not installed (an ImportError).

        Examples
        --------
        >>> widget = position.view(height=400)
        >>> widget.height
        400
        >>> widget.close()
        """
        from lamella.adapters.viewer.widget import view_widget

        return view_widget(self, height)
