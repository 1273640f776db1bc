"""Models of groups that list images: plates, wells and bioformats2raw collections (rules PL, WL, BF).

``lamella.spec.plate_edits`` changes plates and wells so that they stay valid.
"""

from __future__ import annotations

from pydantic import Field

from lamella.spec.base import MetaModel


class PlateAxisMeta(MetaModel):
    """A row or a column of a plate.

    Examples
    --------
    >>> PlateAxisMeta(name="A").to_json()
    {'name': 'A'}
    """

    name: str


class AcquisitionMeta(MetaModel):
    """One pass of imaging over a plate.

    Attributes
    ----------
    id : int
        ``ImageMeta.acquisition`` refers to it.
    maximum_field_count : int or None
        Maximum number of fields of a well in this acquisition.
    start_time, end_time : int, float or None
        Epoch time, in seconds by the specification and in milliseconds in its examples.

    Examples
    --------
    >>> AcquisitionMeta(id=0, name="day 1", maximum_field_count=4).to_json()
    {'id': 0, 'name': 'day 1', 'maximumfieldcount': 4}
    """

    id: int
    name: str | None = None
    maximum_field_count: int | None = Field(default=None, alias="maximumfieldcount")
    description: str | None = None
    start_time: int | float | None = Field(default=None, alias="starttime")
    end_time: int | float | None = Field(default=None, alias="endtime")


class WellIndexMeta(MetaModel):
    """A well as its plate lists it.

    Attributes
    ----------
    path : str
        Row name, slash, column name (PL-06).
    row_index, column_index : int
        Indices in the plate's lists of rows and columns, from 0.

    Examples
    --------
    >>> WellIndexMeta(path="B/3", row_index=1, column_index=2).to_json()
    {'path': 'B/3', 'rowIndex': 1, 'columnIndex': 2}
    """

    path: str
    row_index: int = Field(alias="rowIndex")
    column_index: int = Field(alias="columnIndex")


class PlateMeta(MetaModel):
    """The metadata of a plate.

    Examples
    --------
    >>> plate = PlateMeta(rows=[PlateAxisMeta(name="A")], columns=[PlateAxisMeta(name="1")],
    ...                   wells=[WellIndexMeta(path="A/1", row_index=0, column_index=0)])
    >>> plate.wells[0].path
    'A/1'
    """

    version: str | None = None
    name: str | None = None
    acquisitions: list[AcquisitionMeta] | None = None
    rows: list[PlateAxisMeta]
    columns: list[PlateAxisMeta]
    wells: list[WellIndexMeta]
    field_count: int | None = None


class ImageMeta(MetaModel):
    """A field of view as its well lists it.

    Examples
    --------
    >>> ImageMeta(path="0", acquisition=1).to_json()
    {'path': '0', 'acquisition': 1}
    """

    path: str
    acquisition: int | None = None


class WellGroupMeta(MetaModel):
    """The metadata of a well.

    Examples
    --------
    >>> WellGroupMeta(images=[ImageMeta(path="0")]).to_json()
    {'images': [{'path': '0'}]}
    """

    version: str | None = None
    images: list[ImageMeta]


class Bioformats2RawMeta(MetaModel):
    """List the images of a store with several images, in order.

    Attributes
    ----------
    layout : int or None
        3, in the document of the top group (BF-01).
    series : list of str or None
        Paths of the images, in the document of the group ``OME`` (BF-05).

    Examples
    --------
    >>> Bioformats2RawMeta(layout=3).to_json()
    {'bioformats2raw.layout': 3}
    """

    layout: int | None = Field(default=None, alias="bioformats2raw.layout")
    series: list[str] | None = None
