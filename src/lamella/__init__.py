"""lamella: OME-Zarr (OME-NGFF) microscopy data, from one image to plates of thousands of fields.

`write_image` writes an array as an image. The front door is `open`, short for `open_ome_zarr`, which returns
the node at a path:

- `Plate` with its `Row`, `Well` and `Position` nodes for high-content screens,
- `Position` for one image: levels, labels, channels, scales,
- `TiledPosition` for an image made of tiles,
- `Collection` for the images of one file, as bioformats2raw writes them,
- `ImageArray` (`TiledImageArray`) for the pixels of one level.

`validate` checks a store against the specification, and `repair` fixes what needs no guess. `upgrade` converts a store
to another version, `rechunk` to other chunks, and `convert` makes a store of microscopy files. `status` reports which
pixels are written, `verify` decodes all of them, and `checksum` writes a manifest. `copy_store` copies a store or a
part of it to any place, `pack` into one file, `unpack` out of it, and `export` as files
of other formats. `view` shows an image or a plate in the browser.

Public are the names of this module, those of ``lamella.models`` (metadata models), ``lamella.errors``,
``lamella.readers`` (file formats) and ``lamella.torch`` (crops for PyTorch), and the command line. All other modules
are internal, whatever their names: do not import from them, since any version may move or change their contents.

Names are loaded on first use, so that ``import lamella`` costs little.

Examples
--------
>>> import lamella, numpy as np, tempfile
>>> path = tempfile.mkdtemp() + "/cells.zarr"
>>> with lamella.open_ome_zarr(path, layout="fov", mode="w", channel_names=["DAPI"], version="0.5") as position:
...     image = position.create_image("0", np.zeros((1, 1, 8, 64, 64), "uint16"))
...     position.compute_pyramid(levels=2)
...     position.set_scale("0", "x", 0.1)
>>> lamella.open_ome_zarr(path)["1"].shape
(1, 1, 4, 32, 32)
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from lamella._version import __version__

if TYPE_CHECKING:
    from lamella import errors, models, readers
    from lamella.adapters.export.export import export
    from lamella.adapters.viewer.server import Viewer, view
    from lamella.nodes.collection import Collection
    from lamella.nodes.image_array import ImageArray
    from lamella.nodes.labels import LabelImage, Labels
    from lamella.nodes.node import NGFFNode
    from lamella.nodes.open import open, open_ome_zarr
    from lamella.nodes.plate import Plate
    from lamella.nodes.position import Position
    from lamella.nodes.scene import Scene
    from lamella.nodes.tables import Tables
    from lamella.nodes.tiled import TiledImageArray, TiledPosition
    from lamella.nodes.well import Row, Well
    from lamella.ops.conversion.convert import ConvertReport, PlannedImage, convert
    from lamella.ops.conversion.watch import WatchReport, watch
    from lamella.ops.copying.copy_store import copy_store, unpack
    from lamella.ops.copying.pack import pack
    from lamella.ops.copying.selection import CopyReport
    from lamella.ops.images.write import write_image
    from lamella.ops.integrity.array_status import ArrayStatus
    from lamella.ops.integrity.checksum import checksum
    from lamella.ops.integrity.status import ImageStatus, StoreStatus, status
    from lamella.ops.integrity.verify import VerifyReport, verify
    from lamella.ops.mosaics.mosaic import Mosaic
    from lamella.ops.plates.mapping import MapReport
    from lamella.ops.plates.subset import concatenate_channels, merge
    from lamella.ops.repair.repair import RepairReport, repair
    from lamella.ops.rewriting.rechunk import rechunk
    from lamella.ops.rewriting.rewrite import RewriteReport
    from lamella.ops.rewriting.upgrade import upgrade
    from lamella.ops.sampling.crops import CropSource
    from lamella.ops.streaming.stream import FrameStream
    from lamella.ops.tables.rois import Roi
    from lamella.ops.validation.validate import ValidationReport, validate
    from lamella.spec.axes import AxisMeta, ChannelAxisMeta, SpaceAxisMeta, TimeAxisMeta
    from lamella.spec.images import TransformationMeta, WindowDict
    from lamella.spec.plate import AcquisitionMeta
    from lamella.spec.rules.finding import Finding

__all__ = [
    "AcquisitionMeta",
    "ArrayStatus",
    "AxisMeta",
    "ChannelAxisMeta",
    "Collection",
    "ConvertReport",
    "CopyReport",
    "CropSource",
    "Finding",
    "FrameStream",
    "ImageArray",
    "ImageStatus",
    "LabelImage",
    "Labels",
    "MapReport",
    "Mosaic",
    "NGFFNode",
    "PlannedImage",
    "Plate",
    "Position",
    "RepairReport",
    "RewriteReport",
    "Roi",
    "Row",
    "Scene",
    "SpaceAxisMeta",
    "StoreStatus",
    "Tables",
    "TiledImageArray",
    "TiledPosition",
    "TimeAxisMeta",
    "TransformationMeta",
    "ValidationReport",
    "VerifyReport",
    "Viewer",
    "WatchReport",
    "Well",
    "WindowDict",
    "__version__",
    "checksum",
    "concatenate_channels",
    "convert",
    "copy_store",
    "errors",
    "export",
    "merge",
    "models",
    "open",
    "open_ome_zarr",
    "pack",
    "readers",
    "rechunk",
    "repair",
    "status",
    "unpack",
    "upgrade",
    "validate",
    "verify",
    "view",
    "watch",
    "write_image",
]

_MODULES = {
    "AcquisitionMeta": "lamella.spec.plate",
    "ArrayStatus": "lamella.ops.integrity.array_status",
    "AxisMeta": "lamella.spec.axes",
    "ChannelAxisMeta": "lamella.spec.axes",
    "Collection": "lamella.nodes.collection",
    "ConvertReport": "lamella.ops.conversion.convert",
    "PlannedImage": "lamella.ops.conversion.convert",
    "WatchReport": "lamella.ops.conversion.watch",
    "watch": "lamella.ops.conversion.watch",
    "CopyReport": "lamella.ops.copying.selection",
    "CropSource": "lamella.ops.sampling.crops",
    "Finding": "lamella.spec.rules.finding",
    "FrameStream": "lamella.ops.streaming.stream",
    "ImageArray": "lamella.nodes.image_array",
    "ImageStatus": "lamella.ops.integrity.status",
    "LabelImage": "lamella.nodes.labels",
    "Labels": "lamella.nodes.labels",
    "MapReport": "lamella.ops.plates.mapping",
    "Mosaic": "lamella.ops.mosaics.mosaic",
    "NGFFNode": "lamella.nodes.node",
    "Plate": "lamella.nodes.plate",
    "Position": "lamella.nodes.position",
    "RepairReport": "lamella.ops.repair.repair",
    "RewriteReport": "lamella.ops.rewriting.rewrite",
    "Roi": "lamella.ops.tables.rois",
    "Row": "lamella.nodes.well",
    "Scene": "lamella.nodes.scene",
    "SpaceAxisMeta": "lamella.spec.axes",
    "StoreStatus": "lamella.ops.integrity.status",
    "Tables": "lamella.nodes.tables",
    "TiledImageArray": "lamella.nodes.tiled",
    "TiledPosition": "lamella.nodes.tiled",
    "TimeAxisMeta": "lamella.spec.axes",
    "TransformationMeta": "lamella.spec.images",
    "ValidationReport": "lamella.ops.validation.validate",
    "VerifyReport": "lamella.ops.integrity.verify",
    "Viewer": "lamella.adapters.viewer.server",
    "Well": "lamella.nodes.well",
    "WindowDict": "lamella.spec.images",
    "checksum": "lamella.ops.integrity.checksum",
    "concatenate_channels": "lamella.ops.plates.subset",
    "convert": "lamella.ops.conversion.convert",
    "copy_store": "lamella.ops.copying.copy_store",
    "export": "lamella.adapters.export.export",
    "open": "lamella.nodes.open",
    "merge": "lamella.ops.plates.subset",
    "open_ome_zarr": "lamella.nodes.open",
    "pack": "lamella.ops.copying.pack",
    "rechunk": "lamella.ops.rewriting.rechunk",
    "repair": "lamella.ops.repair.repair",
    "status": "lamella.ops.integrity.status",
    "unpack": "lamella.ops.copying.copy_store",
    "upgrade": "lamella.ops.rewriting.upgrade",
    "validate": "lamella.ops.validation.validate",
    "verify": "lamella.ops.integrity.verify",
    "view": "lamella.adapters.viewer.server",
    "write_image": "lamella.ops.images.write",
}


def __getattr__(name: str) -> Any:
    if name in ("errors", "models", "readers", "torch"):
        return import_module(f"lamella.{name}")
    if name not in _MODULES:
        raise AttributeError(f"module 'lamella' has no attribute {name!r}")
    attribute = getattr(import_module(_MODULES[name]), name)
    globals()[name] = attribute  # the next access does not call this function
    return attribute


def __dir__() -> list[str]:
    return sorted(__all__)
