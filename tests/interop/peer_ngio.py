"""ngio: 0.4 and 0.5; refuses axes in capitals, and writes column "1" as "01"."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from peer import AXES, CHUNKS, SHARDS, Fields, Form, Peer, Pixels, ReadImage, Scale

if TYPE_CHECKING:
    from pathlib import Path


def _layout(form: Form) -> dict[str, Any]:
    return {"chunks": CHUNKS, "shards": SHARDS} if form.sharded else {"chunks": CHUNKS}


def _size(image: Any) -> Scale:
    size = image.pixel_size
    return {"t": size.t, "z": size.z, "y": size.y, "x": size.x}


def _read(container: Any) -> ReadImage:
    levels = [container.get_image(path=level).get_as_numpy() for level in container.level_paths]
    return ReadImage(levels, _size(container.get_image()))


class Ngio(Peer):
    """ngio."""

    name = "ngio"

    def read_image(self, path: Path) -> ReadImage:
        import ngio

        return _read(ngio.open_ome_zarr_container(path, mode="r"))

    def read_labels(self, path: Path, name: str) -> ReadImage:
        import ngio

        container = ngio.open_ome_zarr_container(path, mode="r")
        levels = [container.get_label(name, path=level).get_as_numpy() for level in container.level_paths]
        return ReadImage(levels, _size(container.get_label(name)))

    def read_plate(self, path: Path) -> dict[str, ReadImage]:
        import ngio

        images = ngio.open_ome_zarr_plate(path, mode="r").get_images()
        return {name: _read(image) for name, image in images.items()}

    def write_image(self, path: Path, pixels: Pixels, scale: Scale, form: Form) -> None:
        import ngio

        ngio.create_ome_zarr_from_array(
            path,
            pixels,
            pixelsize=(scale["y"], scale["x"]),
            z_spacing=scale["z"],
            time_spacing=scale["t"],
            levels=2,
            axes_names=list(AXES),
            ngff_version=form.version,
            **_layout(form),
        )

    def write_labels(self, path: Path, pixels: Pixels, scale: Scale, labels: Pixels, form: Form) -> None:
        import ngio

        self.write_image(path, pixels, scale, form)
        image = ngio.open_ome_zarr_container(path, mode="r+")
        label = image.derive_label("cells", dtype=str(labels.dtype), **_layout(form))
        label.set_array(labels)
        label.consolidate()

    def write_plate(self, path: Path, fields: Fields, form: Form) -> None:
        import ngio

        plate = ngio.create_empty_plate(path, name="made by ngio", ngff_version=form.version)
        for name, pixels in fields.items():
            row, column, field = name.split("/")
            plate.add_image(row, column, field)
            self.write_image(path / name, pixels, dict.fromkeys(AXES, 1.0), form)
