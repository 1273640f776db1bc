"""A script as users of the API write them. Arguments: a folder and an OME-NGFF version."""

import sys
from pathlib import Path

import numpy as np
from iohub.ngff import Plate, open_ome_zarr
from iohub.ngff_meta import TransformationMeta

folder, version = Path(sys.argv[1]), sys.argv[2]
stack = np.arange(2 * 2 * 4 * 32 * 32, dtype=np.uint16).reshape(2, 2, 4, 32, 32)
voxel = [TransformationMeta(type="scale", scale=[1, 1, 0.5, 0.1, 0.1])]
stage = [TransformationMeta(type="translation", translation=[0, 0, 0, 100, 200])]

with open_ome_zarr(folder / "plate.zarr", "hcs", "w-", ["DAPI", "GFP"], version=version) as plate:
    position = plate.create_position("A", "1", "0")
    position.create_image("0", stack, chunks=(1, 1, 2, 16, 16), transform=voxel)
    position.compute_pyramid(levels=3, method="mean")
    position.set_scale("*", "t", 30)
    position.set_contrast_limits("GFP", {"min": 0, "max": 20000, "start": 500, "end": 9000})
    for fov in plate.create_positions([("B", "1", "0"), ("B", "1", "1"), ["B", "2", "0", 1, 1, 0]]):
        fov.create_zeros("0", shape=(1, 2, 4, 32, 32), dtype=np.float32)[0, 1, 2, ::2] = 1.5
        fov.set_transform("*", stage)
    plate.rename_well("B/2", "C/3")
    plate.dump_meta(field_count=True)

with open_ome_zarr(folder / "plate.zarr", mode="r+") as plate:
    print(plate.version, list(dict(plate.rows())), list(dict(plate.wells())), list(dict(plate.positions())))
    for _, fov in plate.positions():
        fov.append_channel("Cy5", resize_arrays=True)
        fov.rename_channel(old="DAPI", new="Hoechst")
        fov.update_channel("Cy5", "0", fov.data[:, fov.get_channel_index("GFP")] + 1)
    position = plate["A/1/0"]
    window = position.maybe_wrapped_ome_attrs["omero"]["channels"][1]["window"]
    print(window["start"], window["end"], plate.maybe_wrapped_ome_attrs["plate"]["field_count"])
    print(position.channel_names, position.axis_names, position.get_axis_index("Z"), position.array_keys())
    print([(name, image.shape, image.chunks, str(image.dtype)) for name, image in position.images()])
    print(position.scale, position.get_effective_scale("2"), plate["C/3/0"].get_effective_translation("0"))
    print(position["1"][0, 1, 1, 15, 15].tolist(), position.data.numpy()[1, :, 3, 31, 31].tolist())
    print(float(plate["C"]["3"]["0"][0].dask_array().sum().compute()), position.is_root(), position.is_leaf())

with open_ome_zarr(folder / "tiles.zarr", "tiled", "a", ["BF"], version=version) as mosaic:
    tiles = mosaic.make_tiles("0", (2, 3), tile_shape=(1, 1, 4, 16, 16), dtype=np.uint8, chunk_dims=3)
    tiles[0, 0, :, 16:, 32:] = 7
    print(tiles.shape, tiles.chunks, int(mosaic["0"].numpy().sum()))

with open_ome_zarr(folder / "cells.zarr", "fov", "a", ["GFP", "Cy5"], version=version) as cells:
    labelled = position.to_xarray().sel(c=["Cy5", "GFP"]).isel(t=[1])
    cells.write_xarray(labelled.assign_attrs(operator="Ada"))
    back = cells.to_xarray()
    print(back.dims, back.c.values.tolist(), back.t.values.tolist(), back.z.attrs, back.attrs)
    print(back.sel(c="GFP").equals(labelled.sel(c="GFP")), back.shape, float(back.x[-1].round(6)))

combined = Plate.from_positions(folder / "combined.zarr", {"A/1/0": position, "Z/1/0": cells})
print([(path, fov.data.shape, fov.channel_names) for path, fov in combined.positions()])
