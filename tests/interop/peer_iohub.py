"""iohub: 5 axes, 0.4 and 0.5; reads labels without their sizes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from peer import AXES, CHANNELS, CHUNKS, SHARDS, CannotError, Fields, Form, Peer, Pixels, ReadImage, Scale

if TYPE_CHECKING:
    from pathlib import Path


def _sizes(node: Any) -> Scale:
    return dict(zip((axis.name.lower() for axis in node.axes), node.scale, strict=True))


def _layout(form: Form) -> dict[str, Any]:
    ratio = tuple(s // c for s, c in zip(SHARDS, CHUNKS, strict=True))
    return {"chunks": CHUNKS, "shards_ratio": ratio} if form.sharded else {"chunks": CHUNKS}


class Iohub(Peer):
    """iohub: needs level "0" for `.data`."""

    name = "iohub"
    label_scale = dict.fromkeys("tzyx", 1.0)

    def read_image(self, path: Path) -> ReadImage:
        from iohub.ngff import open_ome_zarr

        with open_ome_zarr(path, mode="r") as position:
            return ReadImage([position[key][:] for key, _ in position.images()], _sizes(position))

    def read_labels(self, path: Path, name: str) -> ReadImage:
        from iohub.ngff import open_ome_zarr

        with open_ome_zarr(path, mode="r") as position:
            label = position.get_label(name)
            (scales,) = label.metadata.multiscales
            levels = [label[dataset.path][:] for dataset in scales.datasets]
            names = [axis.name.lower() for axis in scales.axes]
            (transform,) = scales.datasets[0].coordinate_transformations
            return ReadImage(levels, dict(zip(names, transform.scale, strict=True)))

    def read_plate(self, path: Path) -> dict[str, ReadImage]:
        from iohub.ngff import open_ome_zarr

        with open_ome_zarr(path, mode="r") as plate:
            return {name: ReadImage([field.data[:]], _sizes(field)) for name, field in plate.positions()}

    def write_image(self, path: Path, pixels: Pixels, scale: Scale, form: Form) -> None:
        from iohub.ngff import TransformationMeta, open_ome_zarr

        transform = [TransformationMeta(type="scale", scale=[scale[axis] for axis in AXES])]
        with open_ome_zarr(
            path, layout="fov", mode="w", channel_names=CHANNELS, version=form.version
        ) as position:
            position.create_image("0", pixels, transform=transform, **_layout(form))
            position.compute_pyramid(levels=2, method="mean")

    def write_labels(self, path: Path, pixels: Pixels, scale: Scale, labels: Pixels, form: Form) -> None:
        from iohub.ngff import open_ome_zarr

        self.write_image(path, pixels, scale, form)

        layout = {key: value[1:] for key, value in _layout(form).items()}
        with open_ome_zarr(path, layout="fov", mode="r+") as position:
            position.create_label("cells", labels, **layout)

    def write_tiled(self, path: Path, pixels: Pixels, scale: Scale, form: Form) -> None:
        import inspect

        from iohub.ngff import TiledPosition, TransformationMeta, open_ome_zarr

        if form.sharded and not [
            p for p in inspect.signature(TiledPosition.make_tiles).parameters if "shard" in p
        ]:
            raise CannotError("make_tiles has no parameter for shards")

        transform = [TransformationMeta(type="scale", scale=[scale[axis] for axis in AXES])]
        with open_ome_zarr(
            path, layout="tiled", mode="w", channel_names=CHANNELS, version=form.version
        ) as image:
            shape = (*pixels.shape[:3], pixels.shape[3] // 2, pixels.shape[4] // 2)
            image.make_tiles("0", (2, 2), shape, pixels.dtype, transform=transform)[...] = pixels

    def write_plate(self, path: Path, fields: Fields, form: Form) -> None:
        from iohub.ngff import open_ome_zarr

        with open_ome_zarr(
            path, layout="hcs", mode="w", channel_names=CHANNELS, version=form.version
        ) as plate:
            for name, pixels in fields.items():
                plate.create_position(*name.split("/")).create_image("0", pixels, **_layout(form))
