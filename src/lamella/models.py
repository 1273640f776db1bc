"""The metadata models, for users: the values of ``node.metadata``, and arguments of the methods that create nodes.

Public names of the spec layer; nothing is defined here.
"""

from lamella.spec.axes import AxisMeta, ChannelAxisMeta, SpaceAxisMeta, TimeAxisMeta, axes, default_axes
from lamella.spec.base import MetaModel
from lamella.spec.coordinate_graph import CoordinateGraph
from lamella.spec.coordinate_systems import CoordinateSystemMeta, ImageSystemsMeta, SceneMeta
from lamella.spec.images import (
    ChannelMeta,
    DatasetMeta,
    ImagesMeta,
    MultiScaleMeta,
    OMEROMeta,
    RDefsMeta,
    TransformationMeta,
    WindowDict,
)
from lamella.spec.labels import ImageLabelMeta, LabelColorMeta, LabelsMeta
from lamella.spec.ome_xml import OMEImage
from lamella.spec.plate import (
    AcquisitionMeta,
    Bioformats2RawMeta,
    ImageMeta,
    PlateAxisMeta,
    PlateMeta,
    WellGroupMeta,
    WellIndexMeta,
)
from lamella.spec.transformations import (
    Affine,
    Bijection,
    ByDimension,
    Coordinates,
    DimensionItem,
    Displacements,
    Identity,
    MapAxis,
    OtherTransformation,
    ProjectAxis,
    Rotation,
    Scale,
    Sequence,
    SystemReference,
    Transformation,
    Translation,
    as_affine,
    compose,
    parse_transformation,
)

__all__ = [
    "AcquisitionMeta",
    "Affine",
    "AxisMeta",
    "Bijection",
    "Bioformats2RawMeta",
    "ByDimension",
    "ChannelAxisMeta",
    "ChannelMeta",
    "CoordinateGraph",
    "CoordinateSystemMeta",
    "Coordinates",
    "DatasetMeta",
    "DimensionItem",
    "Displacements",
    "Identity",
    "ImageLabelMeta",
    "ImageMeta",
    "ImageSystemsMeta",
    "ImagesMeta",
    "LabelColorMeta",
    "LabelsMeta",
    "MapAxis",
    "MetaModel",
    "MultiScaleMeta",
    "OMEImage",
    "OMEROMeta",
    "OtherTransformation",
    "PlateAxisMeta",
    "PlateMeta",
    "ProjectAxis",
    "RDefsMeta",
    "Rotation",
    "Scale",
    "SceneMeta",
    "Sequence",
    "SpaceAxisMeta",
    "SystemReference",
    "TimeAxisMeta",
    "Transformation",
    "TransformationMeta",
    "Translation",
    "WellGroupMeta",
    "WellIndexMeta",
    "WindowDict",
    "as_affine",
    "axes",
    "compose",
    "default_axes",
    "parse_transformation",
]
