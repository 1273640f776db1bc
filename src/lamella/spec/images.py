"""Models of an image: its levels, its axes, its display block (rules MS-01 to MS-10)."""

from typing import Any

from pydantic import Field

from lamella.spec.axes import AnyAxis
from lamella.spec.base import MetaModel
from lamella.spec.coordinate_systems import ImageSystemsMeta
from lamella.spec.omero import OMEROMeta
from lamella.spec.transforms import TransformationMeta


class DatasetMeta(MetaModel):
    """One level of an image: an array and its position in space.

    Attributes
    ----------
    path : str
        Path of the array relative to the image.
    coordinate_transformations : list of TransformationMeta
        From pixels of the array to the image's coordinates.

    Examples
    --------
    >>> DatasetMeta(path="0").path
    '0'
    """

    path: str
    coordinate_transformations: list[TransformationMeta] = Field(
        default_factory=list, alias="coordinateTransformations"
    )


class MultiScaleMeta(MetaModel):
    """An image as a list of levels, from the finest to the coarsest.

    Attributes
    ----------
    version : str or None
        Version key that 0.4 keeps here; written by ``lamella.spec.versions``.
    axes : list of AxisMeta
        In the order of the arrays' dimensions.
    datasets : list of DatasetMeta
        The levels, finest first (MS-05).
    coordinate_transformations : list of TransformationMeta or None
        Applied after those of each dataset (CT-07).
    type : str or None
        How the levels were computed (MS-09).
    metadata : JSON
        Details of the method (MS-10).
    systems : ImageSystemsMeta or None
        Further coordinate systems and their transformations (0.6); None if missing.

    Examples
    --------
    >>> from lamella.models import axes
    >>> scales = MultiScaleMeta(axes=axes("zyx"), datasets=[DatasetMeta(path="0"), DatasetMeta(path="1")])
    >>> scales.get_dataset_paths()
    ['0', '1']
    """

    version: str | None = None
    axes: list[AnyAxis]
    datasets: list[DatasetMeta]
    name: str | None = None
    coordinate_transformations: list[TransformationMeta] | None = Field(
        default=None, alias="coordinateTransformations"
    )
    type: str | None = None
    metadata: Any = None
    systems: ImageSystemsMeta | None = Field(default=None, alias="lamella:systems")

    def get_dataset_paths(self) -> list[str]:
        """Return the paths of the levels, finest first.

        Examples
        --------
        >>> MultiScaleMeta(axes=[], datasets=[DatasetMeta(path="s0")]).get_dataset_paths()
        ['s0']
        """
        return [dataset.path for dataset in self.datasets]


class ImagesMeta(MetaModel):
    """The metadata of an image: its multiscales entries and the display block.

    Readers use the first entry (RD-05). The specification does not allow images without levels (MS-01, MS-03), so an
    image without arrays stores the display block only.

    Examples
    --------
    >>> from lamella.models import axes
    >>> ImagesMeta(multiscales=[MultiScaleMeta(axes=axes("yx"), datasets=[])]).omero is None
    True
    """

    multiscales: list[MultiScaleMeta] = Field(default_factory=list)
    omero: OMEROMeta | None = None
