"""The other libraries, each behind the same four methods, and their known quirks.

What a method returns is plain: pixels as numpy arrays, physical sizes by lower-case axis name.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

AXES = "tczyx"
Pixels: TypeAlias = "np.ndarray[Any, Any]"
Scale: TypeAlias = dict[str, float]
Fields: TypeAlias = dict[str, Pixels]

CHANNELS = ["DAPI", "GFP"]
SCALE: Scale = {"t": 3.0, "c": 1.0, "z": 2.0, "y": 0.5, "x": 0.25}


def random_pixels(shape: tuple[int, ...], seed: int) -> Pixels:
    """Noise, so that no two voxels can be taken for each other."""
    return np.random.default_rng(seed).integers(0, 60000, shape, dtype="uint16")


@dataclass
class ReadImage:
    """What a peer says about an image."""

    levels: list[Pixels]
    scale: Scale


class Peer(ABC):
    """A library that reads and writes OME-Zarr images and plates."""

    name: str

    @abstractmethod
    def read_image(self, path: Path) -> ReadImage:
        """Every level of an image that the library finds by itself."""

    @abstractmethod
    def read_plate(self, path: Path) -> Fields:
        """The finest level of every field, by 'row/column/field'."""

    @abstractmethod
    def write_image(self, path: Path, pixels: Pixels, scale: Scale, version: str) -> None:
        """An image of 5 axes, with the library's own lower levels where it makes any."""

    @abstractmethod
    def write_plate(self, path: Path, fields: Fields, version: str) -> None:
        """A plate of fields by 'row/column/field'."""


class Iohub(Peer):
    """iohub: needs level "0" for `.data`."""

    name = "iohub"

    def read_image(self, path: Path) -> ReadImage:
        from iohub.ngff import open_ome_zarr

        with open_ome_zarr(path, mode="r") as position:
            levels = [position[key][:] for key, _ in position.images()]
            names = [axis.name.lower() for axis in position.axes]
            return ReadImage(levels, dict(zip(names, position.scale, strict=True)))

    def read_plate(self, path: Path) -> Fields:
        from iohub.ngff import open_ome_zarr

        with open_ome_zarr(path, mode="r") as plate:
            return {name: position.data[:] for name, position in plate.positions()}

    def write_image(self, path: Path, pixels: Pixels, scale: Scale, version: str) -> None:
        from iohub.ngff import TransformationMeta, open_ome_zarr

        transform = [TransformationMeta(type="scale", scale=[scale[axis] for axis in AXES])]
        with open_ome_zarr(path, layout="fov", mode="w", channel_names=CHANNELS, version=version) as position:
            position.create_image("0", pixels, transform=transform)
            position.compute_pyramid(levels=2, method="mean")

    def write_plate(self, path: Path, fields: Fields, version: str) -> None:
        from iohub.ngff import open_ome_zarr

        with open_ome_zarr(path, layout="hcs", mode="w", channel_names=CHANNELS, version=version) as plate:
            for name, pixels in fields.items():
                plate.create_position(*name.split("/")).create_image("0", pixels)


class OmeZarr(Peer):
    """ome-zarr-py, the reference implementation: names its levels s0, s1, ..."""

    name = "ome-zarr"

    def read_image(self, path: Path) -> ReadImage:
        from ome_zarr.io import parse_url
        from ome_zarr.reader import Reader

        (node,) = Reader(parse_url(path))()
        transforms = node.metadata["coordinateTransformations"][0]
        (scale,) = [t["scale"] for t in transforms if t["type"] == "scale"]
        names = [axis["name"].lower() for axis in node.metadata["axes"]]
        return ReadImage([np.asarray(level) for level in node.data], dict(zip(names, scale, strict=True)))

    def read_plate(self, path: Path) -> Fields:
        import zarr

        # Its plate reader stitches the wells into one picture; users open the fields one by one.
        group = zarr.open_group(str(path), mode="r")
        attributes = dict(group.attrs.get("ome", group.attrs))
        found = {}
        for well in attributes["plate"]["wells"]:
            well_attributes = dict(group[well["path"]].attrs)
            for image in well_attributes.get("ome", well_attributes)["well"]["images"]:
                name = f"{well['path']}/{image['path']}"
                found[name] = self.read_image(path / name).levels[0]
        return found

    def write_image(self, path: Path, pixels: Pixels, scale: Scale, version: str) -> None:
        from ome_zarr.format import FormatV04, FormatV05
        from ome_zarr.writer import write_image

        units = {"t": "second", "z": "micrometer", "y": "micrometer", "x": "micrometer"}
        write_image(
            pixels,
            str(path),
            axes=AXES,
            scale=scale,
            axes_units=units,
            scale_factors=[2],
            fmt=FormatV04() if version == "0.4" else FormatV05(),
        )

    def write_plate(self, path: Path, fields: Fields, version: str) -> None:
        import zarr
        from ome_zarr.format import FormatV04, FormatV05
        from ome_zarr.writer import write_image, write_plate_metadata, write_well_metadata

        fmt = FormatV04() if version == "0.4" else FormatV05()
        group = zarr.open_group(str(path), mode="w", zarr_format=2 if version == "0.4" else 3)
        wells = sorted({name.rpartition("/")[0] for name in fields})
        rows = sorted({well.split("/")[0] for well in wells})
        columns = sorted({well.split("/")[1] for well in wells})
        write_plate_metadata(group, rows, columns, wells, fmt=fmt)
        for well in wells:
            names = [name.rpartition("/")[2] for name in fields if name.startswith(f"{well}/")]
            write_well_metadata(group.require_group(well), names, fmt=fmt)
            for name in names:
                image = group.require_group(f"{well}/{name}")
                write_image(fields[f"{well}/{name}"], image, axes=AXES, scale_factors=[2], fmt=fmt)


class NgffZarr(Peer):
    """ngff-zarr: names its levels scale0/image, scale1/image, ..."""

    name = "ngff-zarr"

    def read_image(self, path: Path) -> ReadImage:
        import ngff_zarr

        images = ngff_zarr.from_ngff_zarr(str(path), validate=True).images
        scale = {axis.lower(): float(value) for axis, value in images[0].scale.items()}
        return ReadImage([np.asarray(image.data) for image in images], scale)

    def read_plate(self, path: Path) -> Fields:
        import ngff_zarr

        plate = ngff_zarr.from_hcs_zarr(str(path), validate=True)
        found = {}
        for entry in plate.wells:
            well = plate.get_well(*entry.path.split("/"))
            for index, image in enumerate(well.images):
                found[f"{entry.path}/{image.path}"] = np.asarray(well.get_image(index).images[0].data)
        return found

    def write_image(self, path: Path, pixels: Pixels, scale: Scale, version: str) -> None:
        import ngff_zarr

        image = ngff_zarr.to_ngff_image(pixels, dims=list(AXES), scale={k: scale[k] for k in "tzyx"})
        multiscales = ngff_zarr.to_multiscales(image, scale_factors=[2])
        ngff_zarr.to_ngff_zarr(str(path), multiscales, version=version)

    def write_plate(self, path: Path, fields: Fields, version: str) -> None:
        import ngff_zarr as nz

        wells = sorted({name.rpartition("/")[0] for name in fields})
        rows = sorted({well.split("/")[0] for well in wells})
        columns = sorted({well.split("/")[1] for well in wells})
        metadata = nz.Plate(
            columns=[nz.PlateColumn(name=name) for name in columns],
            rows=[nz.PlateRow(name=name) for name in rows],
            wells=[
                nz.PlateWell(well, rows.index(well.split("/")[0]), columns.index(well.split("/")[1]))
                for well in wells
            ],
            name="made by ngff-zarr",
            field_count=2,
            version=version,
        )
        nz.to_hcs_zarr(nz.HCSPlate(str(path), metadata), str(path))
        for name, pixels in fields.items():
            row, column, field = name.split("/")
            multiscales = nz.to_multiscales(nz.to_ngff_image(pixels, dims=list(AXES)), scale_factors=[2])
            nz.write_hcs_well_image(
                str(path),
                multiscales,
                metadata,
                row,
                column,
                int(field),
                acquisition_id=None,
                version=version,
            )


class Ngio(Peer):
    """ngio: refuses axes in capitals, and writes column "1" as "01"."""

    name = "ngio"

    def read_image(self, path: Path) -> ReadImage:
        import ngio

        container = ngio.open_ome_zarr_container(path, mode="r")
        levels = [container.get_image(path=level).get_as_numpy() for level in container.level_paths]
        size = container.get_image().pixel_size
        return ReadImage(levels, {"t": size.t, "z": size.z, "y": size.y, "x": size.x})

    def read_plate(self, path: Path) -> Fields:
        import ngio

        images = ngio.open_ome_zarr_plate(path, mode="r").get_images()
        return {name: image.get_image().get_as_numpy() for name, image in images.items()}

    def write_image(self, path: Path, pixels: Pixels, scale: Scale, version: str) -> None:
        import ngio

        ngio.create_ome_zarr_from_array(
            path,
            pixels,
            pixelsize=(scale["y"], scale["x"]),
            z_spacing=scale["z"],
            time_spacing=scale["t"],
            levels=2,
            axes_names=list(AXES),
            ngff_version=version,
        )

    def write_plate(self, path: Path, fields: Fields, version: str) -> None:
        import ngio

        plate = ngio.create_empty_plate(path, name="made by ngio", ngff_version=version)
        for name, pixels in fields.items():
            row, column, field = name.split("/")
            plate.add_image(row, column, field)
            ngio.create_ome_zarr_from_array(
                path / name, pixels, pixelsize=1.0, levels=2, axes_names=list(AXES), ngff_version=version
            )


PEERS = {peer.name: peer for peer in (Iohub(), OmeZarr(), NgffZarr(), Ngio())}
