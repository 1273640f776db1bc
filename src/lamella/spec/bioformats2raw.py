"""Model of the transitional bioformats2raw layout (rules BF-01 to BF-07)."""

from __future__ import annotations

from pydantic import Field

from lamella.spec.base import MetaModel


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
