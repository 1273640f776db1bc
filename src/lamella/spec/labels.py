"""Models of label images (rules LB-01 to LB-15)."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from lamella.spec.base import MetaModel


class LabelsMeta(MetaModel):
    """The list of an image's label images: the document of the group ``labels``.

    Examples
    --------
    >>> LabelsMeta(labels=["nuclei"]).to_json()
    {'labels': ['nuclei']}
    """

    labels: list[str]


class LabelColorMeta(MetaModel):
    """The colour of one label.

    Attributes
    ----------
    label_value : int or float
        Pixel value of the label; an integer in a valid document (LB-09).
    rgba : list of int or None
        Red, green, blue, opacity, 0 to 255.

    Examples
    --------
    >>> LabelColorMeta(label_value=1, rgba=[255, 0, 0, 255]).to_json()
    {'label-value': 1, 'rgba': [255, 0, 0, 255]}
    """

    label_value: int | float = Field(alias="label-value")
    rgba: list[int] | None = None


class ImageLabelMeta(MetaModel):
    """The metadata of a label image: colours and properties of its labels, and its source.

    Attributes
    ----------
    properties : list of dict or None
        Each with ``label-value`` and any other keys.
    source : dict or None
        ``image``: relative path of the image that was segmented, ``../../`` by default.

    Examples
    --------
    >>> ImageLabelMeta(colors=[LabelColorMeta(label_value=1)], source={"image": "../../"}).to_json()
    {'colors': [{'label-value': 1}], 'source': {'image': '../../'}}
    """

    version: str | None = None
    colors: list[LabelColorMeta] | None = None
    properties: list[dict[str, Any]] | None = None
    source: dict[str, Any] | None = None
