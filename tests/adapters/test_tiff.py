"""TIFF files in every flavour come out as their pixels, sizes and channels say; tifffile and numpy are the oracles."""

from __future__ import annotations

import itertools
import logging
import os
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from lamella.adapters.tiff.reader import TiffSource, open_tiff
from lamella.errors import MissingDependencyError, SourceError
from lamella.ops.last_used import LastUsed

SAMPLES = Path(__file__).parents[1] / "data" / "samples"


def pixels_of(source: TiffSource) -> np.ndarray:
    """All pixels of a source, read plane by plane: into memory of its own, and into ours."""
    description = source.description
    result, into = np.zeros((2, *description.shape), description.dtype)
    rows = slice(0, description.shape[-2])
    try:
        for index in itertools.product(*map(range, description.shape[:-2])):
            plane = source.read_plane(index)
            result[index] = 0 if plane is None else plane
            assert source.read_into(index, rows, into[index]) == (plane is not None)
        assert_array_equal(into, result)
    finally:
        source.close()
    return result


def random_pixels(shape: tuple[int, ...], dtype: Any = "uint16") -> np.ndarray:
    values = np.random.default_rng(7).integers(0, 100, size=shape)
    return values.astype(dtype)


def one(path: Path) -> TiffSource:
    (source,) = open_tiff(path)
    return source


def write(path: Path, pixels: np.ndarray, **options: Any) -> TiffSource:
    tifffile.imwrite(path, pixels, **options)
    return one(path)


# -- real images ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "axes"),
    [
        ("dsb2018_nuclei.tif", "yx"),
        ("dsb2018_nuclei_labels.tif", "yx"),
        ("idr0062_nuclei_labels.tif", "zyx"),
        ("idr0062_nuclei.ome.tif", "czyx"),
    ],
)
def test_real_images_have_the_pixels_that_tifffile_reads(name: str, axes: str) -> None:
    source = one(SAMPLES / name)
    expected = tifffile.imread(SAMPLES / name)
    if axes == "czyx":
        expected = expected.transpose(1, 0, 2, 3)
    assert source.description.axes == axes
    assert source.description.name == name
    assert_array_equal(pixels_of(source), expected)


def test_real_ome_tiff_keeps_sizes_units_and_channels() -> None:
    description = one(SAMPLES / "idr0062_nuclei.ome.tif").description
    assert description.scale == {"x": 1.4415926138560835, "y": 1.4415926138560835, "z": 0.5002025531914894}
    assert description.units == {"x": "micrometer", "y": "micrometer", "z": "micrometer"}
    assert [channel.label for channel in description.channels] == ["LaminB1", "Dapi"]


# -- storage: bytes to pixels -----------------------------------------------------------------------------------

STORAGE: dict[str, dict[str, Any]] = {
    "raw": {},
    "strips": {"rowsperstrip": 7},
    "tiles": {"tile": (32, 16)},
    "zlib": {"compression": "zlib"},
    "zlib strips": {"compression": "zlib", "rowsperstrip": 5},
    "zlib tiles": {"compression": "zlib", "tile": (16, 32)},
    "lzw predictor": {"compression": "lzw", "predictor": True},
    "zstd": {"compression": "zstd"},
    "big endian": {"byteorder": ">"},
    "big endian zlib": {"byteorder": ">", "compression": "zlib"},
    "BigTIFF": {"bigtiff": True},
    "BigTIFF tiles": {"bigtiff": True, "tile": (16, 16)},
}


@pytest.mark.parametrize("storage", STORAGE)
@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "uint32", "float32", "float64", "bool"])
def test_every_storage_gives_the_same_pixels(tmp_path: Path, storage: str, dtype: str) -> None:
    if dtype == "bool" and "predictor" in storage:
        pytest.skip("there is no predictor for booleans")
    pixels = random_pixels((3, 37, 51), dtype)
    source = write(tmp_path / "image.tif", pixels, photometric="minisblack", **STORAGE[storage])
    assert source.description.dtype == np.dtype(dtype)
    assert_array_equal(pixels_of(source), pixels)


@pytest.mark.parametrize("storage", STORAGE)
@given(first=st.integers(0, 36), rows=st.integers(1, 37))
@settings(max_examples=9, deadline=None)
def test_rows_of_a_plane_are_those_of_the_whole_plane(
    tmp_path_factory: pytest.TempPathFactory, storage: str, first: int, rows: int
) -> None:
    pixels = random_pixels((2, 37, 51))
    path = tmp_path_factory.mktemp("rows") / "image.tif"
    source = write(path, pixels, photometric="minisblack", **STORAGE[storage])
    last = min(37, first + rows)
    found = source.read_plane((1,), slice(first, last))
    source.close()
    assert_array_equal(found, pixels[1, first:last])


@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("storage", ["raw", "zlib strips", "zlib tiles"])
@pytest.mark.parametrize(("samples", "names"), [(3, "Red Green Blue"), (4, "Red Green Blue Alpha")])
def test_samples_of_a_pixel_become_channels(
    tmp_path: Path, planar: str, storage: str, samples: int, names: str
) -> None:
    pixels = random_pixels((2, samples, 33, 40), "uint8")
    stored = pixels if planar == "separate" else np.moveaxis(pixels, 1, -1)
    options = {"extrasamples": ["unassalpha"]} if samples == 4 else {}
    source = write(
        tmp_path / "rgb.tif", stored, photometric="rgb", planarconfig=planar, **options, **STORAGE[storage]
    )
    assert source.description.axes == "czyx"
    assert " ".join(channel.label for channel in source.description.channels) == names
    assert source.description.channels[0].color == "FF0000"
    assert_array_equal(pixels_of(source), pixels.transpose(1, 0, 2, 3))


def test_jpeg_tiles_with_shared_tables_decode_as_tifffile_does(tmp_path: Path) -> None:
    gradient = np.add.outer(np.arange(64), np.arange(96)).astype("uint8")
    source = write(tmp_path / "jpeg.tif", gradient, compression="jpeg", tile=(32, 32))
    assert_array_equal(pixels_of(source), tifffile.imread(tmp_path / "jpeg.tif"))


def test_a_palette_image_keeps_its_indices(tmp_path: Path) -> None:
    pixels = random_pixels((20, 20), "uint8")
    colors = random_pixels((3, 256), "uint16")
    source = write(tmp_path / "palette.tif", pixels, photometric="palette", colormap=colors)
    assert_array_equal(pixels_of(source), pixels)


def test_pages_with_depth_are_z(tmp_path: Path) -> None:
    pixels = random_pixels((6, 32, 48))
    source = write(tmp_path / "depth.tif", pixels, tile=(2, 16, 16), volumetric=True, compression="zlib")
    assert source.description.axes == "zyx"
    assert_array_equal(pixels_of(source), pixels)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("axes", ["CYX", "ZYX", "TCYX", "CZYX"])
def test_planes_that_tifffile_stores_as_samples_keep_their_axis(tmp_path: Path, axes: str) -> None:
    pixels = np.random.default_rng(0).integers(0, 99, (2, 3, 20, 22)[-len(axes) :], "uint16")
    tifffile.imwrite(tmp_path / "a.tif", pixels, metadata={"axes": axes})
    (source,) = open_tiff(tmp_path / "a.tif")
    description = source.description
    assert (description.axes, description.is_rgb) == (axes.lower(), False)
    assert [channel.label for channel in description.channels] == [""] * description.length("c")
    for index in np.ndindex(*pixels.shape[:-2]):
        assert_array_equal(source.read_plane(index), pixels[index])


def test_threads_read_one_source_at_once(tmp_path: Path) -> None:
    pixels = random_pixels((16, 40, 40))
    source = write(tmp_path / "stack.tif", pixels, compression="zlib", photometric="minisblack")
    with ThreadPoolExecutor(8) as pool:
        planes = list(pool.map(source.read_plane, [(index % 16,) for index in range(64)]))
    source.close()
    assert_array_equal(np.stack(planes), np.concatenate([pixels] * 4))


def test_a_source_pickles_and_reads_after_close(tmp_path: Path) -> None:
    pixels = random_pixels((4, 20, 30))
    source = write(tmp_path / "stack.tif", pixels, compression="zlib", photometric="minisblack")
    source.read_plane((0,))
    copy = pickle.loads(pickle.dumps(source))
    source.close()
    assert copy.description == source.description
    assert_array_equal(pixels_of(copy), pixels)
    assert_array_equal(pixels_of(source), pixels)


# -- axes -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", ["".join(p) for p in itertools.permutations("TCZ")])
def test_ome_axes_in_any_order_come_in_legal_order(tmp_path: Path, order: str) -> None:
    pixels = random_pixels((2, 3, 4, 20, 24))
    stored = np.moveaxis(pixels, [0, 1, 2], [order.index(axis) for axis in "TCZ"])
    source = write(
        tmp_path / "image.ome.tif", stored, photometric="minisblack", metadata={"axes": f"{order}YX"}
    )
    assert source.description.axes == "tczyx"
    assert_array_equal(pixels_of(source), pixels)


def test_imagej_hyperstack_is_tczyx(tmp_path: Path) -> None:
    pixels = random_pixels((2, 4, 3, 20, 24))
    source = write(tmp_path / "image.tif", pixels, imagej=True, metadata={"axes": "TZCYX"})
    assert source.description.axes == "tczyx"
    assert_array_equal(pixels_of(source), pixels.transpose(0, 2, 1, 3, 4))


@pytest.mark.parametrize("axes", ["QYX", "IYX"])
def test_one_unknown_axis_is_z(tmp_path: Path, axes: str) -> None:
    source = write(
        tmp_path / "i.tif", random_pixels((5, 20, 24)), photometric="minisblack", metadata={"axes": axes}
    )
    assert source.description.axes == "zyx"


def test_an_unknown_axis_beside_z_is_t(tmp_path: Path) -> None:
    pixels = random_pixels((5, 3, 20, 24))
    source = write(tmp_path / "i.tif", pixels, photometric="minisblack", metadata={"axes": "QZYX"})
    assert source.description.axes == "tzyx"
    assert_array_equal(pixels_of(source), pixels)


def test_more_unknown_axes_than_there_is_room_for_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "i.tif"
    pixels = random_pixels((2, 2, 2, 8, 8))
    tifffile.imwrite(path, pixels, photometric="minisblack", metadata={"axes": "QTZYX"})
    with pytest.raises(SourceError, match=r"i\.tif has the axes QTZYX .* axis Q of length 2"):
        open_tiff(path)


def test_only_the_finest_level_of_a_pyramid_is_an_image(tmp_path: Path) -> None:
    path = tmp_path / "pyramid.ome.tif"
    pixels = random_pixels((64, 80))
    with tifffile.TiffWriter(path) as writer:
        writer.write(pixels, subifds=2, tile=(16, 16), metadata={"axes": "YX"})
        writer.write(pixels[::2, ::2], subfiletype=1, tile=(16, 16))
        writer.write(pixels[::4, ::4], subfiletype=1, tile=(16, 16))
    assert_array_equal(pixels_of(one(path)), pixels)


def test_each_image_of_a_file_is_a_source(tmp_path: Path) -> None:
    path = tmp_path / "two.ome.tif"
    first, second = random_pixels((20, 24)), random_pixels((2, 30, 34), "uint8")
    with tifffile.TiffWriter(path, ome=True) as writer:
        writer.write(first, metadata={"axes": "YX", "Name": "overview", "PhysicalSizeX": 2.0})
        writer.write(second, photometric="minisblack", metadata={"axes": "ZYX", "Name": "stack"})
    overview, stack = open_tiff(path)
    assert (overview.description.title, stack.description.title) == ("overview", "stack")
    assert (overview.description.scale, stack.description.scale) == ({"x": 2.0}, {})
    assert_array_equal(pixels_of(overview), first)
    assert_array_equal(pixels_of(stack), second)


def multi_file_ome(folder: Path, pixels: np.ndarray) -> list[Path]:
    """Write an OME-TIFF of one file per plane, the XML of each describing all."""
    size_z, height, width = pixels.shape
    names = [f"plane{z}.ome.tif" for z in range(size_z)]
    data = "".join(
        f'<TiffData FirstZ="{z}" IFD="0" PlaneCount="1"><UUID FileName="{name}">urn:uuid:{z}</UUID></TiffData>'
        for z, name in enumerate(names)
    )
    for z, name in enumerate(names):
        xml = (
            '<?xml version="1.0" encoding="UTF-8"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" '
            f'UUID="urn:uuid:{z}"><Image ID="Image:0"><Pixels ID="Pixels:0" DimensionOrder="XYZCT" Type="uint16" '
            f'SizeX="{width}" SizeY="{height}" SizeC="1" SizeZ="{size_z}" SizeT="1" PhysicalSizeZ="3">'
            f'<Channel ID="Channel:0:0" SamplesPerPixel="1"/>{data}</Pixels></Image></OME>'
        )
        tifffile.imwrite(folder / name, pixels[z], description=xml, metadata=None)
    return [folder / name for name in names]


def test_the_files_of_a_multi_file_ome_tiff_are_one_image(tmp_path: Path) -> None:
    pixels = random_pixels((4, 20, 24))
    files = multi_file_ome(tmp_path, pixels)
    source = one(files[1])
    assert sorted(source.description.files) == [str(file) for file in files]
    assert source.description.scale == {"z": 3.0}
    assert_array_equal(pixels_of(source), pixels)


@pytest.mark.parametrize(("shape", "dtype"), [((20, 25), "uint16"), ((20, 24), "uint8")])
def test_a_file_of_a_multi_file_ome_tiff_that_was_replaced_is_refused(
    tmp_path: Path, shape: tuple[int, int], dtype: str
) -> None:
    files = multi_file_ome(tmp_path, random_pixels((3, 20, 24)))
    tifffile.imwrite(files[1], np.zeros(shape, dtype), metadata=None)
    with pytest.raises(SourceError, match=rf"{files[1].name} has pages of shape .* {dtype}, but other pages"):
        open_tiff(files[0])


@pytest.mark.usefixtures("tifffile_log")
def test_a_multi_file_ome_tiff_without_one_of_its_files_is_refused(tmp_path: Path) -> None:
    files = multi_file_ome(tmp_path, random_pixels((4, 20, 24)))
    files[2].unlink()
    with pytest.raises(SourceError, match=r"plane0\.ome\.tif is damaged or incomplete: .*plane2\.ome\.tif"):
        open_tiff(files[0])


# -- damage -----------------------------------------------------------------------------------------------------


@pytest.fixture(params=["raw", "zlib", "imagej", "ome", "bigtiff", "pages"])
def intact(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / "intact.tif"
    options: dict[str, Any] = {
        "raw": {"photometric": "minisblack"},
        "zlib": {"photometric": "minisblack", "compression": "zlib"},
        "imagej": {"imagej": True, "metadata": {"axes": "ZYX"}},
        "ome": {"ome": True, "photometric": "minisblack", "metadata": {"axes": "ZYX"}},
        "bigtiff": {"bigtiff": True, "photometric": "minisblack", "compression": "zlib"},
        "pages": {"metadata": None, "photometric": "minisblack", "compression": "zlib"},
    }[request.param]
    tifffile.imwrite(path, random_pixels((6, 64, 64)), **options)
    return path


@pytest.mark.usefixtures("tifffile_log")
@pytest.mark.parametrize("part", [0.001, 0.05, 0.3, 0.5, 0.9, 0.99])
def test_a_truncated_file_is_refused_in_one_line_or_has_all_its_pixels(
    intact: Path, part: float, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    content = intact.read_bytes()
    broken = intact.with_name("broken.tif")
    broken.write_bytes(content[: int(len(content) * part)])
    message = ""
    try:
        # What is cut off may be a list of pages that nobody needs, behind the last pixel.
        assert_array_equal(pixels_of(one(broken)), random_pixels((6, 64, 64)))
        assert part == 0.99
    except SourceError as error:
        message = str(error)
        assert "broken.tif" in message
    assert "\n" not in message
    assert not caplog.records
    assert capfd.readouterr() == ("", "")


def test_damaged_strips_are_refused_in_one_line_that_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "damaged.tif"
    tifffile.imwrite(path, random_pixels((64, 64)), compression="zlib")
    with tifffile.TiffFile(path) as file:
        offset = file.pages[0].dataoffsets[0]
    content = bytearray(path.read_bytes())
    content[offset : offset + 200] = bytes(200)
    path.write_bytes(content)
    with pytest.raises(
        SourceError, match=r"damaged\.tif is damaged: a strip or tile cannot be decoded"
    ) as caught:
        pixels_of(one(path))
    assert caught.value.__cause__ is not None
    assert "\n" not in str(caught.value)


def test_a_file_that_shrinks_after_it_was_described_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "shrunk.tif"
    source = write(path, random_pixels((4, 64, 64)), photometric="minisblack")
    source.read_plane((0,))
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2)
    with pytest.raises(SourceError, match=r"shrunk\.tif is truncated"):
        source.read_plane((3,))
    source.close()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"no\.tif is empty"),
        (b"hello, this is a text", r"no\.tif is not a TIFF file"),
        (b"II*\x00", r"no\.tif"),
        (b"II*\x00\x08\x00\x00\x00", r"no\.tif"),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), r"no\.tif is not a TIFF file"),
    ],
)
def test_what_is_no_tiff_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "no.tif"
    path.write_bytes(content)
    with pytest.raises(SourceError, match=message) as caught:
        open_tiff(path)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"absent\.tif cannot be read: No such file"):
        open_tiff(tmp_path / "absent.tif")


def test_an_impossible_size_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "huge.tif"
    tifffile.imwrite(path, random_pixels((16, 16)), photometric="minisblack")
    with tifffile.TiffFile(path, mode="r+") as file:
        file.pages[0].tags["ImageLength"].overwrite(2**31 - 1)
    with pytest.raises(SourceError, match=r"huge\.tif"):
        pixels_of(one(path))


@pytest.mark.parametrize("dtype", ["complex64", "complex128"])
def test_complex_pixels_are_read(tmp_path: Path, dtype: str) -> None:
    pixels = (random_pixels((8, 8)) * (1 + 2j)).astype(dtype)
    tifffile.imwrite(tmp_path / "c.tif", pixels)
    np.testing.assert_array_equal(np.squeeze(pixels_of(one(tmp_path / "c.tif"))), pixels)


@given(data=st.binary(max_size=400))
@settings(max_examples=30, deadline=None)
def test_bytes_after_a_tiff_header_never_raise_anything_else(
    tmp_path_factory: pytest.TempPathFactory, data: bytes
) -> None:
    path = tmp_path_factory.mktemp("fuzz") / "fuzz.tif"
    path.write_bytes(b"II*\x00\x08\x00\x00\x00" + data)
    message = "fuzz.tif"
    try:
        for source in open_tiff(path):
            pixels_of(source)
    except SourceError as error:
        message = str(error)
    assert "fuzz.tif" in message


# -- surroundings -----------------------------------------------------------------------------------------------


def test_logging_is_as_it_was(tmp_path: Path) -> None:
    logger = logging.getLogger("tifffile")
    before = (list(logger.filters), list(logger.handlers), logger.level, logger.disabled)
    (tmp_path / "x.tif").write_bytes(b"II*\x00\x08\x00\x00\x00\xff\xff")
    with pytest.raises(SourceError):
        open_tiff(tmp_path / "x.tif")
    assert (list(logger.filters), list(logger.handlers), logger.level, logger.disabled) == before


def test_without_tifffile_the_extra_is_named() -> None:
    code = (
        "import sys; sys.modules['tifffile'] = None\n"
        "from lamella.adapters.tiff.reader import open_tiff\n"
        "from lamella.errors import MissingDependencyError\n"
        "try: open_tiff('a.tif')\n"
        "except MissingDependencyError as error: print(error)\n"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 'pip install "lamella[tiff]"' in found.stdout
    assert issubclass(MissingDependencyError, ImportError)


def test_small_files_are_parsed_once_and_again_after_a_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths, planes = [tmp_path / f"{n}.tif" for n in range(3)], random_pixels((3, 20, 30))
    for number, path in enumerate(paths):  # decoded alike, and not
        tifffile.imwrite(path, planes[number], compression=None if number else "zlib", rowsperstrip=7)
    parsed: list[str] = []
    init = tifffile.TiffFile.__init__

    def counted(self: Any, file: Any, *args: Any, **kwargs: Any) -> None:
        parsed.append(str(file))
        init(self, file, *args, **kwargs)

    monkeypatch.setattr(tifffile.TiffFile, "__init__", counted)
    sources = [one(path) for path in paths]
    for _ in range(2):  # `pixels_of` closes them
        for source, plane in zip(sources, planes, strict=True):
            assert_array_equal(pixels_of(source), plane)
    assert parsed == [str(path) for path in paths[:2]]  # the third differs from the second in its pixels only
    tifffile.imwrite(paths[1], planes[0] + 1, description="longer than before, so that pixels lie elsewhere")
    assert_array_equal(pixels_of(sources[1]), planes[0] + 1)
    assert len(parsed) == 3


def test_a_file_that_is_rewritten_in_place_with_the_same_size_and_time_is_parsed_again(
    tmp_path: Path,
) -> None:
    path, planes = tmp_path / "a.tif", random_pixels((2, 20, 30))
    tifffile.imwrite(
        tmp_path / "other.tif", planes[1], description="longer, so that the pixels lie elsewhere"
    )
    other = (tmp_path / "other.tif").read_bytes()
    tifffile.imwrite(path, planes[0], description="short")
    path.write_bytes(path.read_bytes().ljust(len(other), b"\0"))
    source, before = one(path), path.stat()
    while path.stat().st_ctime_ns == before.st_ctime_ns:  # clocks of file systems have coarse ticks
        path.write_bytes(other)
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    after = path.stat()
    assert (after.st_size, after.st_mtime_ns, after.st_ino) == (
        before.st_size,
        before.st_mtime_ns,
        before.st_ino,
    )
    assert_array_equal(pixels_of(source), planes[1])


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"metadata": None, "description": "7.tif", "resolution": (2.0, 4.0), "bigtiff": True},
        {"imagej": True, "metadata": {"axes": "ZYX", "spacing": 0.5, "unit": "um"}},
        {"ome": True, "metadata": {"axes": "TYX"}},
        {"compression": "zlib"},
        {"byteorder": ">", "photometric": "miniswhite", "rowsperstrip": 5},
    ],
    ids=["shaped", "plain", "imagej", "ome", "compressed", "strips"],
)
def test_a_file_is_described_by_its_own_bytes_after_others_of_the_same_kind(
    tmp_path: Path, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    planes = random_pixels((3, 2, 20, 30))
    for number, stack in enumerate(planes):
        tifffile.imwrite(tmp_path / f"{number}.tif", stack, **options)
    bent = bytearray((tmp_path / "2.tif").read_bytes())
    with tifffile.TiffFile(tmp_path / "2.tif") as file:
        bent[file.pages.first.tags["XResolution"].valueoffset] += 1  # the same size, another pixel size
    (tmp_path / "3.tif").write_bytes(bent)
    (tmp_path / "linked.tif").symlink_to("1.tif")
    (tmp_path / "cut.tif").write_bytes(bent[: len(bent) // 2])
    one(tmp_path / "0.tif")
    for name, stack in (("1", planes[1]), ("2", planes[2]), ("3", planes[2]), ("linked", planes[1])):
        source = one(tmp_path / f"{name}.tif")
        assert_array_equal(np.squeeze(pixels_of(source)), stack)
        assert_array_equal(np.squeeze(pixels_of(pickle.loads(pickle.dumps(source)))), stack)
        with monkeypatch.context() as patch:
            patch.setattr(
                "lamella.adapters.tiff.templates.TEMPLATES", LastUsed(8)
            )  # parsed without the others
            assert one(tmp_path / f"{name}.tif").description == source.description
    with pytest.raises(SourceError, match=r"cut\.tif"):
        one(tmp_path / "cut.tif")
    source = one(tmp_path / "3.tif")
    source.read_plane((0,))  # the file is open
    (tmp_path / "3.tif").write_bytes(bent[:20])
    for read in (source.read_plane, lambda index: source.read_into(index, slice(0, 20), planes[0, 0])):
        with pytest.raises(SourceError, match=r"3\.tif"):
            read((0,))


def test_tags_of_a_microscope_that_cannot_be_parsed_are_named_in_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_: object) -> None:
        raise ValueError("the tag is short")

    tifffile.imwrite(tmp_path / "cells.tif", np.zeros((32, 40), "uint16"))
    monkeypatch.setattr(tifffile.TiffFile, "stk_metadata", property(fail), raising=False)
    with caplog.at_level("DEBUG", "lamella"):
        open_tiff(tmp_path / "cells.tif").close()
    assert "cells.tif cannot be read: the tag is short" in caplog.text
