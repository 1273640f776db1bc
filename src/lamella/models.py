"""The metadata models, for users: what ``node.metadata`` is made of, and what is given to create nodes.

Layer: public names of the spec layer; nothing is defined here.
"""

from lamella.spec.axes import (
    AxisMeta,
    ChannelAxisMeta,
    SpaceAxisMeta,
    TimeAxisMeta,
    axes,
    default_axes,
)
from lamella.spec.base import MetaModel
from lamella.spec.bioformats2raw import Bioformats2RawMeta
from lamella.spec.images import DatasetMeta, ImagesMeta, MultiScaleMeta
from lamella.spec.labels import ImageLabelMeta, LabelColorMeta, LabelsMeta
from lamella.spec.omero import ChannelMeta, OMEROMeta, RDefsMeta, WindowDict
from lamella.spec.plate import (
    AcquisitionMeta,
    ImageMeta,
    PlateAxisMeta,
    PlateMeta,
    WellGroupMeta,
    WellIndexMeta,
)
from lamella.spec.transforms import TransformationMeta

__all__ = [
    "AcquisitionMeta",
    "AxisMeta",
    "Bioformats2RawMeta",
    "ChannelAxisMeta",
    "ChannelMeta",
    "DatasetMeta",
    "ImageLabelMeta",
    "ImageMeta",
    "ImagesMeta",
    "LabelColorMeta",
    "LabelsMeta",
    "MetaModel",
    "MultiScaleMeta",
    "OMEROMeta",
    "PlateAxisMeta",
    "PlateMeta",
    "RDefsMeta",
    "SpaceAxisMeta",
    "TimeAxisMeta",
    "TransformationMeta",
    "WellGroupMeta",
    "WellIndexMeta",
    "WindowDict",
    "axes",
    "default_axes",
]
