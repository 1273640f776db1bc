"""Models of an image: levels, axes, transformations, the display block (rules MS-01 to MS-10, OM-01 to OM-04).

``lamella.spec.geometry`` composes transformations, ``lamella.spec.channels`` chooses the colour of a channel of the
transitional ``omero`` block.
"""

from copy import deepcopy
from typing import Any, Literal, Self

from pydantic import ConfigDict, Field, ValidationError, model_validator, with_config
from typing_extensions import TypedDict

from lamella.errors import MetadataError
from lamella.spec.axes import AnyAxis
from lamella.spec.base import MetaModel, json_copy
from lamella.spec.coordinate_systems import ImageSystemsMeta
from lamella.types import JSON, JSONObject


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
                f"A transformation of type {self.type!r} needs {self.type}=, a list with one number per axis"
            )
        return self


@with_config(ConfigDict(extra="allow"))
class WindowDict(TypedDict, total=False):
    """Contrast of a channel: the displayed range (start to end) of the possible range (min to max), in pixel values.

    Examples
    --------
    >>> WindowDict(start=100, end=4000, min=0, max=65535)["end"]
    4000
    """

    start: int | float
    end: int | float
    min: int | float
    max: int | float


class ChannelMeta(MetaModel):
    """The display settings of one channel.

    Attributes
    ----------
    color : str or None
        Six hex digits RGB without ``#`` (OM-02); other values of a file are kept.
    label : str or None
        Name of the channel.
    window : WindowDict or None
        Contrast limits.

    Examples
    --------
    >>> ChannelMeta(label="DAPI", color="0000FF").to_json()
    {'color': '0000FF', 'label': 'DAPI'}
    """

    active: bool | None = None
    coefficient: float | None = None
    color: str | None = None
    family: str | None = None
    inverted: bool | None = None
    label: str | None = None
    window: WindowDict | None = None


class RDefsMeta(MetaModel):
    """The plane that a viewer shows first, and whether in colour.

    Examples
    --------
    >>> RDefsMeta(default_t=0, default_z=5, model="color").to_json()
    {'defaultT': 0, 'defaultZ': 5, 'model': 'color'}
    """

    default_t: int | None = Field(default=None, alias="defaultT")
    default_z: int | None = Field(default=None, alias="defaultZ")
    model: str | None = None
    projection: str | None = None


class OMEROMeta(MetaModel):
    """The ``omero`` block of an image.

    Examples
    --------
    >>> OMEROMeta(channels=[ChannelMeta(label="GFP")]).channels[0].label
    'GFP'
    """

    id: int | str | None = None
    name: str | None = None
    version: str | None = None
    channels: list[ChannelMeta] = Field(default_factory=list)
    rdefs: RDefsMeta | None = None


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

    @classmethod
    def from_json(cls, document: JSON, location: str = "") -> Self:
        """Read the model from its part of a document, as :meth:`MetaModel.from_json` does.

        Values of ``omero`` of a wrong type are read as missing (OM-01 to OM-03): they say how pixels are shown, not
        what they are.

        Examples
        --------
        >>> window = {"start": 0, "end": 9, "min": None, "max": 9}
        >>> ImagesMeta.from_json({"omero": {"channels": [{"window": window}]}}).omero.channels[0].window
        {'start': 0, 'end': 9, 'max': 9}
        """
        try:
            return super().from_json(document, location)
        except MetadataError as error:
            usable = _without_unusable_omero(document, error.__cause__)
            if usable is None:
                raise
        return super().from_json(usable, location)


def _without_unusable_omero(document: JSON, error: BaseException | None) -> JSON:
    """Return a document without the values of ``omero`` that a validation refuses; None if it refuses others."""
    locations = [problem["loc"] for problem in error.errors()] if isinstance(error, ValidationError) else []
    if not locations or any(location[:1] != ("omero",) for location in locations):
        return None
    usable: Any = deepcopy(document)
    for *above, key in dict.fromkeys(_key_path(document, location) for location in locations):
        holder: Any = usable
        for part in above:
            holder = holder[part]
        if isinstance(holder, list):
            holder[key] = {}
        else:
            del holder[key]
    return usable


def _key_path(document: Any, location: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return the keys of a value that a validation refuses: its location without the names of types at the end."""
    for depth, part in enumerate(location):
        if not (part in document if isinstance(document, dict) else isinstance(part, int)):
            return location[:depth]
        document = document[part]
    return location


def keep_unusable_omero(part: JSONObject, old: JSONObject | None) -> JSONObject:
    """Return an image's part of a document with the values of ``omero`` that `ImagesMeta.from_json` ignored.

    ``old`` is the part that ``part`` replaces. A value stays as it was spelled unless the model has another one now.

    >>> old = {"omero": {"channels": [{"label": "GFP", "color": "green"}], "rdefs": "none"}}
    >>> meta = ImagesMeta.from_json(old)
    >>> meta.omero.channels[0].label = "Actin"
    >>> keep_unusable_omero(meta.to_json(), old)["omero"]
    {'channels': [{'label': 'Actin', 'color': 'green'}], 'rdefs': 'none'}
    """
    if old is None or "omero" not in old or part.get("omero") == old["omero"]:
        return part
    stored = json_copy(old["omero"])
    read = ImagesMeta.from_json({"omero": stored}).to_json().get("omero")
    omero = _merged(stored, read, part.get("omero"))
    return {**part, "omero": omero} if omero is not None else part


def _merged(stored: JSON, read: JSON, new: JSON) -> JSON:
    """Return ``stored`` with the changes from ``read``, the usable part of it, to ``new``."""
    if new == read:
        return stored
    if isinstance(stored, dict) and isinstance(read, dict) and isinstance(new, dict):
        ignored = {key for key in stored if key not in read}
        edited = {key: value for key, value in stored.items() if key in new or key in ignored}
        for key, value in new.items():
            edited[key] = _merged(stored[key], read[key], value) if key in stored and key in read else value
        return edited
    if isinstance(stored, list) and isinstance(read, list) and isinstance(new, list):
        return [_merged_item(stored, read, new, index) for index in range(len(new))]
    return new


def _merged_item(stored: list[JSON], read: list[JSON], new: list[JSON], index: int) -> JSON:
    """Return an item of a list; the unchanged ones are found by their values, since others may have been deleted."""
    item = new[index]
    if read.count(item) == 1:
        return stored[read.index(item)]
    if len(new) == len(read) == len(stored) and read[index] not in new[:index] + new[index + 1 :]:
        return _merged(stored[index], read[index], item)
    return item
