"""ngff-zarr: names its levels scale0/image, scale1/image, ...; a label image is an image to it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from peer import AXES, CHUNKS, SHARDS, CannotError, Fields, Form, Peer, Pixels, ReadImage, Scale

if TYPE_CHECKING:
    from pathlib import Path


def _shards(form: Form) -> dict[str, Any]:
    ratio = {axis: s // c for axis, s, c in zip(AXES, SHARDS, CHUNKS, strict=True)}
    return {"chunks_per_shard": ratio} if form.sharded else {}


def _multiscales(pixels: Pixels, scale: Scale) -> Any:
    import ngff_zarr

    image = ngff_zarr.to_ngff_image(pixels, dims=list(AXES), scale={axis: scale[axis] for axis in "tzyx"})
    return ngff_zarr.to_multiscales(image, scale_factors=[2], chunks=dict(zip(AXES, CHUNKS, strict=True)))


def _read(multiscales: Any) -> ReadImage:
    images = multiscales.images
    scale = {axis.lower(): float(value) for axis, value in images[0].scale.items()}
    return ReadImage([np.asarray(image.data) for image in images], scale)


class NgffZarr(Peer):
    """ngff-zarr."""

    name = "ngff-zarr"

    def read_image(self, path: Path) -> ReadImage:
        import ngff_zarr

        return _read(ngff_zarr.from_ngff_zarr(str(path), validate=True))

    def read_labels(self, path: Path, name: str) -> ReadImage:
        return self.read_image(path / "labels" / name)

    def read_plate(self, path: Path) -> dict[str, ReadImage]:
        import ngff_zarr

        plate = ngff_zarr.from_hcs_zarr(str(path), validate=True)
        found = {}
        for entry in plate.wells:
            well = plate.get_well(*entry.path.split("/"))
            for index, image in enumerate(well.images):
                found[f"{entry.path}/{image.path}"] = _read(well.get_image(index))
        return found

    def write_image(self, path: Path, pixels: Pixels, scale: Scale, form: Form) -> None:
        import ngff_zarr

        ngff_zarr.to_ngff_zarr(str(path), _multiscales(pixels, scale), version=form.version, **_shards(form))

    def write_labels(self, path: Path, pixels: Pixels, scale: Scale, labels: Pixels, form: Form) -> None:
        import ngff_zarr

        if not [part for part in dir(ngff_zarr) if "label" in part.lower()]:
            raise CannotError("nothing in ngff_zarr has label in its name")

    def write_plate(self, path: Path, fields: Fields, form: Form) -> None:
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
            version=form.version,
        )
        nz.to_hcs_zarr(nz.HCSPlate(str(path), metadata), str(path))
        for name, pixels in fields.items():
            row, column, field = name.split("/")
            nz.write_hcs_well_image(
                str(path),
                _multiscales(pixels, dict.fromkeys(AXES, 1.0)),
                metadata,
                row,
                column,
                int(field),
                acquisition_id=None,
                version=form.version,
                **_shards(form),
            )
