"""ome-zarr-py, the reference implementation: names its levels s0, s1, ...; its classes read and write 0.6."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from peer import AXES, CHANNELS, CHUNKS, SHARDS, Fields, Form, Peer, Pixels, ReadImage, Scale

if TYPE_CHECKING:
    from pathlib import Path

UNITS = {"t": "second", "z": "micrometer", "y": "micrometer", "x": "micrometer"}


def _format(version: str) -> Any:
    """Get the class of a version, for the functions that write plates: ImportError where there is none."""
    import importlib

    module = importlib.import_module("ome_zarr.format")
    name = f"FormatV{version.replace('.', '')}"
    if not hasattr(module, name):
        raise ImportError(f"cannot import name '{name}' from 'ome_zarr.format'")
    return getattr(module, name)()


def _storage(form: Form, axes: int = 5) -> dict[str, Any]:
    chunks, shards = CHUNKS[-axes:], SHARDS[-axes:]
    return {"chunks": chunks, "shards": shards} if form.sharded else {"chunks": chunks}


def _read(multiscale: Any) -> ReadImage:
    images = multiscale.images
    scale = {axis.lower(): float(value) for axis, value in images[0].scale.items()}
    return ReadImage([np.asarray(image.data) for image in images], scale)


class OmeZarr(Peer):
    """ome-zarr-py."""

    name = "ome-zarr"

    def read_image(self, path: Path) -> ReadImage:
        from ome_zarr.classes import OMEZarrMultiscale

        return _read(OMEZarrMultiscale.from_ome_zarr(str(path)))

    def read_labels(self, path: Path, name: str) -> ReadImage:
        from ome_zarr.classes import OMEZarrLabels

        return _read(OMEZarrLabels.from_ome_zarr(str(path / "labels" / name)))

    def read_plate(self, path: Path) -> dict[str, ReadImage]:
        import zarr

        # Its plate reader stitches the wells into one picture; users open the fields one by one.
        group = zarr.open_group(str(path), mode="r")
        attributes = dict(group.attrs.get("ome", group.attrs))
        found = {}
        for well in attributes["plate"]["wells"]:
            well_attributes = dict(group[well["path"]].attrs)
            for image in well_attributes.get("ome", well_attributes)["well"]["images"]:
                name = f"{well['path']}/{image['path']}"
                found[name] = self.read_image(path / name)
        return found

    def write_image(self, path: Path, pixels: Pixels, scale: Scale, form: Form) -> None:
        from ome_zarr.classes import OMEZarrImage, OMEZarrMultiscale

        image = OMEZarrImage(pixels, AXES, scale, UNITS)
        multiscale = OMEZarrMultiscale(image, scale_factors=[2], channel_names=CHANNELS)
        multiscale.to_ome_zarr(str(path), storage_options=_storage(form), version=form.version)

    def write_labels(self, path: Path, pixels: Pixels, scale: Scale, labels: Pixels, form: Form) -> None:
        from ome_zarr.classes import OMEZarrImage, OMEZarrLabels, OMEZarrMultiscale

        sizes = {axis: scale[axis] for axis in "tzyx"}
        cells = OMEZarrLabels(OMEZarrImage(labels, "tzyx", sizes, UNITS, name="cells"), scale_factors=[2])
        image = OMEZarrImage(pixels, AXES, scale, UNITS)
        whole = OMEZarrMultiscale(image, scale_factors=[2], labels={"cells": cells})
        whole.to_ome_zarr(str(path), version=form.version)
        if (
            form.sharded
        ):  # one layout for both is all that it takes, and they differ in axes: write them again
            storage = _storage(form, 4)
            place = str(path / "labels" / "cells")
            cells.to_ome_zarr(place, storage_options=storage, version=form.version, overwrite=True)

    def write_plate(self, path: Path, fields: Fields, form: Form) -> None:
        import zarr
        from ome_zarr.writer import write_image, write_plate_metadata, write_well_metadata

        fmt = _format(form.version)
        group = zarr.open_group(str(path), mode="w", zarr_format=2 if form.version == "0.4" else 3)
        wells = sorted({name.rpartition("/")[0] for name in fields})
        rows = sorted({well.split("/")[0] for well in wells})
        columns = sorted({well.split("/")[1] for well in wells})
        write_plate_metadata(group, rows, columns, wells, fmt=fmt)
        for well in wells:
            names = [name.rpartition("/")[2] for name in fields if name.startswith(f"{well}/")]
            write_well_metadata(group.require_group(well), names, fmt=fmt)
            for name in names:
                image = group.require_group(f"{well}/{name}")
                pixels = fields[f"{well}/{name}"]
                write_image(
                    pixels, image, axes=AXES, scale_factors=[2], fmt=fmt, storage_options=_storage(form)
                )
