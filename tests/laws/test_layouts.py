"""Law: what is made like an array has its layout, whoever wrote it: chunks, compression, checksum and fill value.

Levels of pyramids, results of `Plate.map`, and positions that are copied or upgraded are made like the array that
they come from. Where a format or lamella does not write a codec, a similar or the default one stands for it; nothing
is refused.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numcodecs
import numpy as np
import pytest
import zarr
from zarr.codecs import BloscCodec, Crc32cCodec, GzipCodec, TransposeCodec, ZstdCodec

import lamella

PIXELS = np.random.default_rng(0).integers(0, 1000, (1, 2, 4, 32, 32)).astype("uint16")
CHUNKS = (1, 1, 2, 16, 16)


class Layout(NamedTuple):
    """How an array was written, and the codecs that may stand for it in Zarr v2 and v3."""

    version: str
    options: dict[str, Any]
    v2: list[str]
    v3: list[str]


def of_v2(*codecs: str, v3: list[str] | None = None, **options: Any) -> Layout:
    return Layout("0.4", options, list(codecs), v3 if v3 is not None else list(codecs))


def of_v3(*codecs: str, v2: list[str] | None = None, **options: Any) -> Layout:
    kept = [codec for codec in codecs if codec != "crc32c"]
    return Layout("0.5", options, v2 if v2 is not None else kept, list(codecs))


LAYOUTS = {
    "v2 uncompressed": of_v2(compressors=None),
    "v2 gzip": of_v2("gzip", compressors=numcodecs.GZip(3)),
    "v2 zlib": of_v2("zlib", v3=["gzip"], compressors=numcodecs.Zlib(3)),
    "v2 bz2": of_v2("bz2", v3=["blosc"], compressors=numcodecs.BZ2(3)),
    "v2 lz4": of_v2("blosc", compressors=numcodecs.LZ4()),
    "v2 lzma": of_v2("blosc", compressors=numcodecs.LZMA()),
    "v2 blosc that chooses its shuffle": of_v2("blosc", compressors=numcodecs.Blosc("zlib", 7, -1)),
    "v2 filters alone": of_v2(filters=[numcodecs.Delta("<u2")], compressors=None),
    "v2 in order F": of_v2("gzip", order="F", compressors=numcodecs.GZip(3)),
    "v2 big-endian": of_v2("gzip", dtype=">u2", compressors=numcodecs.GZip(3)),
    "v2 with dots": of_v2(
        "gzip", compressors=numcodecs.GZip(3), chunk_key_encoding={"name": "v2", "separator": "."}
    ),
    "v2 fill value": of_v2("gzip", fill_value=7, compressors=numcodecs.GZip(3)),
    "v3 uncompressed": of_v3(compressors=None),
    "v3 shards of uncompressed chunks": of_v3(compressors=None, shards=(1, 1, 4, 32, 32)),
    "v3 checksum alone": of_v3("crc32c", compressors=[Crc32cCodec()]),
    "v3 checksum": of_v3("zstd", "crc32c", compressors=[ZstdCodec(level=3), Crc32cCodec()]),
    "v3 shards of gzip": of_v3("gzip", compressors=GzipCodec(level=3), shards=(1, 1, 4, 32, 32)),
    "v3 blosc": of_v3("blosc", compressors=BloscCodec(cname="lz4", clevel=7, shuffle="shuffle", typesize=2)),
    "v3 transposed": of_v3(
        "gzip", compressors=GzipCodec(level=3), filters=[TransposeCodec(order=(4, 3, 2, 1, 0))]
    ),
    "v3 with dots and a fill value": of_v3(
        "gzip",
        compressors=GzipCodec(level=3),
        fill_value=7,
        chunk_key_encoding={"name": "default", "separator": "."},
    ),
}


def written(path, layout):
    """A plate with one image, whose array zarr-python wrote."""
    with lamella.open_ome_zarr(
        path, layout="hcs", mode="w", channel_names=["a", "b"], version=layout.version
    ) as plate:
        plate.create_position("A", "1", "0").create_image("0", PIXELS)
    made: dict[str, Any] = {
        "dtype": "u2",
        "zarr_format": 2,
        "chunk_key_encoding": {"name": "v2", "separator": "/"},
    }
    if layout.version == "0.5":
        made = {"dtype": "u2", "zarr_format": 3, "dimension_names": list("TCZYX")}
    array = zarr.create_array(
        str(path / "A/1/0/0"), shape=PIXELS.shape, chunks=CHUNKS, overwrite=True, **{**made, **layout.options}
    )
    array[:] = PIXELS
    return lamella.open_ome_zarr(path, mode="r+")


def codecs(array):
    """Names of what compresses the chunks of an array, by zarr-python."""
    names = []
    for codec in (*array.zarr().compressors,):
        config = codec.to_dict() if hasattr(codec, "to_dict") else codec.get_config()
        names.append(config.get("name", config.get("id")))
    return names


def as_is(pixels):
    return pixels


def finest(position):
    return position["0"][:]


def level_of_pyramid(plate, folder):
    plate["A/1/0"].compute_pyramid(levels=2)
    return plate["A/1/0/1"]


def map_of_regions(plate, folder):
    return plate.map(as_is, over="regions", output=folder / "regions.zarr").output["A/1/0/0"]


def map_of_positions(plate, folder):
    return plate.map(finest, output=folder / "positions.zarr").output["A/1/0/0"]


def copy_to(version):
    def copy(plate, folder):
        with lamella.open_ome_zarr(
            folder / "first.zarr", layout="fov", mode="w", channel_names=["a", "b"], version=version
        ) as first:
            first["0"] = PIXELS
            made = lamella.Plate.from_positions(
                folder / "copy.zarr", {"A/1/0": first, "A/2/0": plate["A/1/0"]}
            )
        return made["A/2/0/0"]

    return copy


def upgrade(plate, folder):
    to = "0.5" if plate.version == "0.4" else "0.6"
    lamella.upgrade(plate.zgroup.store.root, to, folder / "upgraded.zarr")
    return lamella.open_ome_zarr(folder / "upgraded.zarr")["A/1/0/0"]


MAKERS = {
    "level of a pyramid": level_of_pyramid,
    "map over regions": map_of_regions,
    "map over positions": map_of_positions,
    "from_positions to 0.4": copy_to("0.4"),
    "from_positions to 0.5": copy_to("0.5"),
    "upgrade": upgrade,
}


@pytest.mark.filterwarnings(
    "ignore::lamella.errors.MetadataWarning"
)  # of dots between the numbers of chunk keys
@pytest.mark.parametrize(
    ("maker", "layout"),
    [(m, n) for i, m in enumerate(MAKERS) for j, n in enumerate(LAYOUTS) if (i + j) % 2 == 0],
)
def test_what_is_made_like_an_array_has_its_layout(tmp_path, maker, layout):
    stored = LAYOUTS[layout]
    plate = written(tmp_path / "source.zarr", stored)
    made = MAKERS[maker](plate, tmp_path)
    as_file = made.metadata.zarr_format == (2 if stored.version == "0.4" else 3)
    if maker.startswith(("from_positions", "upgrade")) and as_file:
        assert codecs(made) == codecs(plate["A/1/0/0"])
    else:
        assert codecs(made) == (stored.v2 if made.metadata.zarr_format == 2 else stored.v3)
    assert made.chunks == CHUNKS
    assert (made.shards is not None) == ("shards" in stored.options and made.metadata.zarr_format == 3)
    if maker != "map over positions":  # whose arrays are written whole
        assert made.fill_value == stored.options.get("fill_value", 0)
    if maker != "level of a pyramid":
        np.testing.assert_array_equal(made[:], PIXELS)


def test_a_fill_value_that_the_data_type_of_results_cannot_hold_is_zero(tmp_path):
    with lamella.open_ome_zarr(
        tmp_path / "plate.zarr", layout="hcs", mode="w", channel_names=["a", "b"], version="0.5"
    ) as plate:
        plate.create_position("A", "1", "0")["0"] = PIXELS.astype("f4")
    zarr.create_array(
        str(tmp_path / "plate.zarr/A/1/0/0"),
        shape=PIXELS.shape,
        chunks=CHUNKS,
        dtype="f4",
        fill_value=float("nan"),
        overwrite=True,
        dimension_names=list("TCZYX"),
    )
    plate = lamella.open_ome_zarr(tmp_path / "plate.zarr")
    same = plate.map(as_is, over="regions", output=tmp_path / "same.zarr").output["A/1/0/0"]
    counted = plate.map(np.isnan, over="regions", dtype="u1", output=tmp_path / "counted.zarr").output[
        "A/1/0/0"
    ]
    assert np.isnan(same.fill_value)
    assert np.isnan(same[:]).all()
    assert counted.fill_value == 0
    assert (counted[:] == 1).all()
