"""Law: what is exported as OME-TIFF comes back as it was: pixels, axes, sizes, names, colours, positions and times."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
import tifffile
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.array_source import ArraySource

import lamella
from lamella.adapters.export import tiff_files
from lamella.adapters.export.selection import Selection
from lamella.cli import main
from lamella.models import AcquisitionMeta, AxisMeta, TransformationMeta
from lamella.ops.conversion.source import SAMPLE_COLORS, SourceChannel

AXES = ["yx", "zyx", "cyx", "tyx", "czyx", "tcyx", "tzyx", "tczyx"]
DTYPES = [
    "uint8",
    "int8",
    "uint16",
    "int16",
    "uint32",
    "int32",
    "float32",
    "float64",
    "complex64",
    "complex128",
]
NAMES = [
    "DAPI",
    "Alexa 488/GFP_1",
    "a&b<c>\"d'",
    "µ 細胞 😀",
    "GFP (2)",
    "tab\there\nline",
    "x" * 100,
    "a,b;c",
]
SPACE = [None, "micrometer", "nanometer", "millimeter", "angstrom", "inch", "parsec"]
TIME = ["second", "millisecond", "minute", "hour", "day"]
SIZES = st.sampled_from([0.5, 0.1, 0.325, 1e-9, 123456.789, 1 / 3])
SHIFTS = st.sampled_from([0.0, -7.25, 1e9, -1e-6, 123456.789])


def check_schema(file: str) -> None:
    """The OME-XML of a file is that of the schema of 2016-06."""
    ome_types = pytest.importorskip("ome_types")
    schema = (Path(ome_types.__file__).parent / "ome-2016-06.xsd").read_bytes()
    with tifffile.TiffFile(file) as tiff:
        assert tifffile.OmeXml.validate(tiff.ome_metadata, omexsd=schema, assert_=True)


@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_an_image_comes_back(data: st.DataObject) -> None:
    axes, version = data.draw(st.sampled_from(AXES)), data.draw(st.sampled_from(["0.4", "0.5", "0.6"]))
    shape = tuple(data.draw(st.integers(1, 3 if axis in "tcz" else 40)) for axis in axes)
    units = dict.fromkeys("zyx", data.draw(st.sampled_from(SPACE))) | {"t": data.draw(st.sampled_from(TIME))}
    count = dict(zip(axes, shape, strict=True)).get("c", 1)
    names = data.draw(st.lists(st.sampled_from(NAMES), min_size=count, max_size=count, unique=True))
    scale = [1.0 if axis == "c" else data.draw(SIZES) for axis in axes]
    shift = [data.draw(SHIFTS) if axis in "zyx" else 0.0 for axis in axes]
    numbers = np.random.default_rng(0).integers(0, 120, shape)
    pixels = numbers.astype(data.draw(st.sampled_from(DTYPES)))
    with tempfile.TemporaryDirectory() as folder:
        image = lamella.open(
            f"{folder}/a.zarr", "w", layout="fov", channel_names=names, version=version,
            axes=[AxisMeta(name=axis, type=kind(axis), unit=units.get(axis)) for axis in axes],
        )  # fmt: skip
        transforms = [
            TransformationMeta(type="scale", scale=scale),
            TransformationMeta(type="translation", translation=shift),
        ]
        image.create_image("0", pixels, transform=transforms)
        for name in names:
            color = data.draw(st.sampled_from(["FF0000", "00FF00", "FFFFFF", "80FF01"]))
            image.set_channel(name, color=color)
        image.set_name(data.draw(st.sampled_from(["my cells", "a&b <µ>", "x.y.z", "0"])))
        (file,) = lamella.export(image, f"{folder}/a.ome.tif")
        check_schema(file)
        lamella.convert(file, f"{folder}/b.zarr", version=version)
        with lamella.open(f"{folder}/b.zarr") as again:
            check_same(again, image)


@pytest.mark.parametrize("origin", [0.0, 12.5])
def test_a_stage_position_comes_back_at_the_origin_and_along_z_of_a_plane(tmp_path, origin):
    plane = {f"Position{axis}": [value] for axis, value in zip("XYZ", (origin, 0.0, 9.5), strict=True)}
    units = {f"Position{axis}Unit": ["µm"] for axis in "XYZ"}
    metadata = {"axes": "YX", "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5, "Plane": plane | units}
    tifffile.imwrite(tmp_path / "a.ome.tif", np.ones((20, 30), "uint16"), metadata=metadata)
    lamella.convert(tmp_path / "a.ome.tif", tmp_path / "a.zarr")
    stage = lamella.open(tmp_path / "a.zarr").stage_position
    assert stage == {"x": origin, "y": 0.0, "z": 9.5}
    (file,) = lamella.export(tmp_path / "a.zarr", tmp_path / "b.ome.tif")
    check_schema(file)
    lamella.convert(file, tmp_path / "b.zarr")
    assert lamella.open(tmp_path / "b.zarr").stage_position == stage


def kind(axis: str) -> str:
    return {"t": "time", "c": "channel"}.get(axis, "space")


def check_same(again: lamella.Position, image: lamella.Position) -> None:
    """Two images are the same; axes of length 1 may be missing in one of them."""
    (ours, theirs) = ({a: n for n, a in enumerate(each.axis_names)} for each in (image, again))
    assert [a for a in theirs if again.data.shape[theirs[a]] > 1] == [
        a for a in ours if image.data.shape[ours[a]] > 1
    ]
    assert again.data.dtype == image.data.dtype
    np.testing.assert_array_equal(np.squeeze(again.data[...]), np.squeeze(image.data[...]))
    for axis in (axis for axis in ours if axis in theirs and axis != "c"):
        pairs = [
            (again.scale, image.scale),
            (again.get_effective_translation("0"), image.get_effective_translation("0")),
        ]
        for found, expected in pairs:
            assert found[theirs[axis]] == pytest.approx(expected[ours[axis]], rel=1e-12), axis
        assert again.axes[theirs[axis]].unit == image.axes[ours[axis]].unit
    assert again.channel_names == image.channel_names
    assert colors(again) == colors(image)
    contrast = Selection.of(image).windows()
    assert not contrast or Selection.of(again).windows() == contrast
    assert again.metadata.multiscales[0].name == image.metadata.multiscales[0].name


def colors(image: lamella.Position) -> list[str | None]:
    omero = image.metadata.omero
    return [] if omero is None else [channel.color for channel in omero.channels]


FIELDS = ["A/1/0", "A/01/0", "AB/12/1", "row1/2/0", "b/col3/f7", "C/3/x", "7/8/9"]


@settings(max_examples=10, deadline=None)
@given(data=st.data())
def test_a_plate_comes_back(data: st.DataObject) -> None:
    version = data.draw(st.sampled_from(["0.4", "0.5", "0.6"]))
    fields = data.draw(st.lists(st.sampled_from(FIELDS), min_size=1, max_size=3, unique=True))
    names = data.draw(st.lists(st.sampled_from(NAMES), min_size=1, max_size=3, unique=True))
    title = data.draw(st.sampled_from(["screen 7", "a&b <µ>", "x/y"]))
    window = data.draw(st.sampled_from([(3, 90.5), (0, 65535)]))
    days = [AcquisitionMeta(id=0, name="day 1"), AcquisitionMeta(id=3, name="a&b <µ>")]
    with tempfile.TemporaryDirectory() as folder:
        plate = lamella.open(
            f"{folder}/a.zarr", "w", layout="hcs", channel_names=names, version=version, acquisitions=days
        )
        plate.set_name(title)
        used = set()
        for number, path in enumerate(fields):
            row, column, field = path.split("/")
            day = data.draw(st.sampled_from([0, 3]))
            used.add(day)
            position = plate.create_position(row, column, field, acq_index=day)
            pixels = np.full((1, len(names), 1, 12, 16), number, "uint16")
            pixels += np.arange(len(names), dtype="uint16")[:, None, None, None]
            shift = [0.0, 0.0, 0.0, data.draw(SHIFTS), data.draw(SHIFTS)]
            position.create_image(
                "0", pixels,
                transform=[
                    TransformationMeta(type="scale", scale=[1, 1, 1, 0.5, 0.25]),
                    TransformationMeta(type="translation", translation=shift),
                ],
            )  # fmt: skip
            position.set_unit({"y": "micrometer", "x": "micrometer"})
            for name, color in zip(names, ["0000FF", "00FF00", "FF0000"], strict=False):
                position.set_channel(name, color=color, window=window)
            position.labels.create("cells", (pixels[:, 0] > 0).astype("uint8"))
            if data.draw(st.booleans()):
                position.set_name(f"field {number}")
        files = lamella.export(plate, f"{folder}/tiffs", labels=True)
        for file in files:
            check_schema(file)
        layout = "lamella" if len(files) == 2 else None  # one file has nothing to be recognised by
        lamella.convert(f"{folder}/tiffs", f"{folder}/b.zarr", version=version, layout=layout)
        with lamella.open(f"{folder}/b.zarr") as again:
            assert sorted(path for path, _ in again.positions()) == sorted(fields)
            assert again.metadata.name == title
            assert again.channel_names == names
            stated = {each.id: each.name for each in again.metadata.acquisitions}
            assert stated == {each.id: each.name for each in days if each.id in used}
            for path, position in plate.positions():
                well, _, field = path.rpartition("/")
                numbers = [
                    next(each.acquisition for each in node[well].metadata.images if each.path == field)
                    for node in (again, plate)
                ]
                assert numbers[0] == numbers[1]
                check_same(again[path], position)


XML = """<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Instrument ID="Instrument:0">
<Objective ID="Objective:0:0" Model="Plan Apo λ" NominalMagnification="60.0" LensNA="1.4"/></Instrument>
<Image ID="Image:0" Name="film"><AcquisitionDate>2024-05-31T12:00:00</AcquisitionDate>
<InstrumentRef ID="Instrument:0"/><ObjectiveSettings ID="Objective:0:0"/><Pixels ID="Pixels:0" DimensionOrder="XYZCT"
Type="uint8" SizeX="9" SizeY="8" SizeZ="1" SizeC="2" SizeT="3" TimeIncrement="5" TimeIncrementUnit="min">
<Channel ID="Channel:0:0" SamplesPerPixel="1" Name="DAPI" ExcitationWavelength="405.5" EmissionWavelength="461"/>
<Channel ID="Channel:0:1" SamplesPerPixel="1" Name="GFP" ExcitationWavelength="488"/>
<TiffData IFD="0" PlaneCount="6"/>{}</Pixels></Image></OME>"""


def test_times_wavelengths_exposures_date_and_objective_come_back(tmp_path: Path) -> None:
    planes = "".join(
        f'<Plane TheZ="0" TheC="{c}" TheT="{t}" DeltaT="{time}" ExposureTime="{20 + c}" ExposureTimeUnit="ms"/>'
        for t, time in enumerate((2.5, 301.25, 640))
        for c in (0, 1)
    )
    pixels = np.arange(6 * 8 * 9, dtype="uint8").reshape(3, 2, 8, 9)
    description = XML.format(planes).encode()
    tifffile.imwrite(tmp_path / "film.ome.tif", pixels, description=description, metadata=None)
    lamella.convert(tmp_path / "film.ome.tif", tmp_path / "a.zarr")
    image = lamella.open(tmp_path / "a.zarr")
    np.testing.assert_allclose(image.to_xarray()["t"], [2.5 / 60, 301.25 / 60, 640 / 60])
    (file,) = lamella.export(image, tmp_path / "b.ome.tif")
    check_schema(file)
    lamella.convert(file, tmp_path / "b.zarr")
    again = lamella.open(tmp_path / "b.zarr")
    np.testing.assert_allclose(again.to_xarray()["t"], image.to_xarray()["t"])
    facts = [{**each.zattrs["lamella"], "times": None, "source": None} for each in (image, again)]
    assert facts[0] == facts[1]
    assert facts[0]["channels"][0] == {"excitation": 405.5, "emission": 461, "exposure": 0.02}
    lamella.export(image, tmp_path / "part.ome.tif", region={"t": (1, 3)}, channels=["GFP"])
    lamella.convert(tmp_path / "part.ome.tif", tmp_path / "part.zarr")
    part = lamella.open(tmp_path / "part.zarr")
    np.testing.assert_allclose(part.to_xarray()["t"], [301.25 / 60, 640 / 60])
    assert part.zattrs["lamella"]["channels"] == [{"excitation": 488, "exposure": 0.021}]


def test_characters_that_xml_lacks_are_replaced(tmp_path: Path) -> None:
    image = lamella.write_image(
        tmp_path / "a.zarr", np.zeros((2, 8, 9), "uint8"), "cyx", channels=["a\0b", "c"]
    )
    image.set_name("bell \a")
    (file,) = lamella.export(image, tmp_path / "a.ome.tif")
    check_schema(file)
    lamella.convert(file, tmp_path / "b.zarr")
    assert lamella.open(tmp_path / "b.zarr").channel_names == ["a\ufffdb", "c"]


def test_an_imagej_tiff_is_a_hyperstack_with_unit_ranges_and_any_width(tmp_path: Path) -> None:
    pixels = np.arange(2 * 2 * 3 * 8, dtype="uint16").reshape(2, 2, 3, 8, 1)
    image = lamella.write_image(
        tmp_path / "a.zarr", pixels, "tczyx", channels=["DAPI", "GFP"], scale=[5, 1, 2, 500, 250], units="nanometer",
    )  # fmt: skip
    for name, window in (("DAPI", (3, 90)), ("GFP", (0, 40))):
        image.set_channel(name, window=window)
    (file,) = lamella.export(image, tmp_path / "a.tif")
    with tifffile.TiffFile(file) as tiff:
        stated = tiff.imagej_metadata
        np.testing.assert_array_equal(tiff.asarray().reshape(2, 3, 2, 8, 1), pixels.swapaxes(1, 2))
        page = tiff.pages[0]
        assert (page.imagewidth, page.imagelength) == (1, 8)
        assert page.tags["XResolution"].value[0] / page.tags["XResolution"].value[1] == 4
    assert [stated[key] for key in ("images", "channels", "slices", "frames")] == [12, 2, 3, 2]
    assert (stated["hyperstack"], stated["mode"], stated["unit"]) == (True, "composite", "um")
    assert list(stated["Ranges"]) == [3, 90, 0, 40]
    (file,) = lamella.export(image, tmp_path / "b.tif", channels=["GFP"])
    with tifffile.TiffFile(file) as tiff:
        assert (tiff.imagej_metadata["min"], tiff.imagej_metadata["max"]) == (0, 40)
    tiny = lamella.write_image(
        tmp_path / "b.zarr", pixels[0, 0, 0], "yx", scale=[1e-9, 1e-9], units="nanometer"
    )
    with pytest.raises(lamella.errors.InvalidArgumentError, match="export an OME-TIFF"):
        lamella.export(tiny, tmp_path / "c.tif")


def test_an_ome_tiff_that_may_need_more_than_4_gb_is_a_bigtiff(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels = np.arange(2 * 40 * 50, dtype="uint16").reshape(2, 40, 50)
    image = lamella.write_image(tmp_path / "a.zarr", pixels, "cyx", levels=2)
    for limit, is_big in ((20_000, False), (7_999, True)):
        monkeypatch.setattr(tiff_files, "_CLASSIC_BYTES", limit)
        (file,) = lamella.export(image, tmp_path / "a.ome.tif", overwrite=True)
        with tifffile.TiffFile(file) as tiff:
            assert tiff.is_bigtiff == is_big
            assert [level.shape for level in tiff.series[0].levels] == [(2, 40, 50), (2, 20, 25)]
            np.testing.assert_array_equal(tiff.asarray(), pixels)


@pytest.fixture(scope="module")
def pyramid(tmp_path_factory: pytest.TempPathFactory) -> lamella.Position:
    """Three levels of TCZYX whose lengths divide by 4, with labels; the levels keep z."""
    pixels = np.random.default_rng(0).integers(0, 60000, (2, 3, 4, 48, 64), "uint16")
    image: lamella.Position = lamella.write_image(
        tmp_path_factory.mktemp("pyramid") / "a.zarr", pixels, "tczyx", scale=[2, 1, 3, 0.5, 0.25], levels=3,
        channels=["a", "b", "c"],
    )  # fmt: skip
    image.labels.create("cells", (pixels[:, 0] > 30000).astype("uint8"))
    return image


@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_the_command_exports_the_level_channels_planes_and_region_that_are_named(
    pyramid: lamella.Position, data: st.DataObject
) -> None:
    level = data.draw(st.integers(0, 2))
    channels = data.draw(st.one_of(st.none(), st.permutations("abc").map(lambda names: names[:2])))
    z = data.draw(st.one_of(st.none(), st.just("max"), st.integers(0, 3)))
    t = data.draw(st.one_of(st.none(), st.integers(0, 1)))
    top, left = data.draw(st.integers(0, 5)), data.draw(st.integers(0, 5))
    ending = data.draw(st.sampled_from([".ome.tif", ".tif"]))
    words = ["--level", str(level), "--region", f"y={4 * top}:40,x={4 * left}:64", "--labels", "cells"]
    for name, value in (("channels", channels and ",".join(channels)), ("z", z), ("t", t)):
        words += [] if value is None else [f"--{name}", str(value)]
    array, labels = pyramid[str(level)][...], pyramid.labels["cells"][str(level)][...]
    zoom = [full // own for full, own in zip(pyramid["0"].shape, array.shape, strict=True)]
    region = slice(4 * top // zoom[-2], 40 // zoom[-2]), slice(4 * left // zoom[-1], 64 // zoom[-1])
    expected = array[..., region[0], region[1]], labels[:, None, ..., region[0], region[1]]
    with tempfile.TemporaryDirectory() as folder:
        ran = CliRunner().invoke(main, ["export", str(pyramid.node_path), f"{folder}/o{ending}", *words])
        assert ran.exit_code == 0, ran.output
        for name, pixels in zip(("o", "o_cells_labels"), expected, strict=True):
            part = pixels if t is None else pixels[[t]]
            if name == "o" and channels:
                part = part[:, ["abc".index(channel) for channel in channels]]
            if z == "max":
                part = part.max(axis=2)
            elif z is not None:
                part = part[:, :, [z // zoom[2]]]
            found = tifffile.imread(f"{folder}/{name}{ending}")
            part = part.swapaxes(1, 2) if ending == ".tif" and z != "max" else part
            np.testing.assert_array_equal(np.squeeze(found), np.squeeze(part))


@pytest.mark.parametrize(("name", "dtype"), [("", "uint8"), ("camera", "uint16")])
def test_a_colour_image_is_one_in_other_programs_and_comes_back(
    tmp_path: Path, name: str, dtype: str
) -> None:
    pixels = np.random.default_rng(0).integers(
        0, np.iinfo(dtype).max, (2, 3, 2, 530, 40), dtype, endpoint=True
    )
    window = (0.0, float(np.iinfo(dtype).max))
    colours = tuple(
        SourceChannel(f"{name} {label}".strip(), color, window) for label, color in SAMPLE_COLORS[:3]
    )
    source = ArraySource(pixels, "tczyx", channels=colours, is_rgb=True, units={"t": "second"})
    lamella.convert(source, tmp_path / "a.zarr", levels=1)
    with lamella.open(tmp_path / "a.zarr", "r+") as image:
        image.compute_pyramid(levels=2, dims="yx")
        (file,) = lamella.export(image, tmp_path / "a.ome.tif")
        (green,) = lamella.export(image, tmp_path / "green.ome.tif", channels=[colours[1].label])
        lamella.export(image, tmp_path / "imagej.tif")
    check_schema(file)
    with tifffile.TiffFile(file) as tiff:
        (series,) = tiff.series
        assert series.axes == "TZYXS"
        assert series.keyframe.photometric == tifffile.PHOTOMETRIC.RGB
        assert [level.shape[-3:] for level in series.levels] == [(530, 40, 3), (265, 20, 3)]
        np.testing.assert_array_equal(series.asarray(), np.moveaxis(pixels, 1, -1))
    np.testing.assert_array_equal(tifffile.imread(green), pixels[:, 1])
    with tifffile.TiffFile(tmp_path / "imagej.tif") as tiff:  # ImageJ's RGB has 8 bits
        assert tiff.series[0].axes == ("TZYXS" if dtype == "uint8" else "TZCYX")
        found = tiff.series[0].asarray()
        np.testing.assert_array_equal(found, np.moveaxis(pixels, 1, -1 if dtype == "uint8" else 2))
    lamella.convert(tmp_path / "imagej.tif", tmp_path / "c.zarr")
    np.testing.assert_array_equal(lamella.open(tmp_path / "c.zarr")["0"][...], pixels)
    report = lamella.convert(file, tmp_path / "b.zarr")
    assert report.dropped == ()
    with lamella.open(tmp_path / "a.zarr") as before, lamella.open(tmp_path / "b.zarr") as after:
        np.testing.assert_array_equal(after["0"][...], pixels)
        assert after.channel_names == before.channel_names
        shown = [[(c.color, c.window) for c in image.metadata.omero.channels] for image in (before, after)]
        assert shown[0] == shown[1]


def test_colour_images_of_a_plate_are_one_file_each_and_come_back(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (2, 30, 40, 3), "uint8")
    (tmp_path / "in").mkdir()
    for well, image in zip(("A1", "B2"), pixels, strict=True):
        tifffile.imwrite(tmp_path / "in" / f"{well}.tif", image, photometric="rgb")
    lamella.convert(tmp_path / "in", tmp_path / "a.zarr", well_regex=r"(?P<well>[A-Z]\d)")
    files = lamella.export(tmp_path / "a.zarr", tmp_path / "imagej", format="imagej")
    assert [Path(file).name for file in files] == ["A1_f0.tif", "B2_f0.tif"]
    files = lamella.export(tmp_path / "a.zarr", tmp_path / "out")
    assert [Path(file).name for file in files] == ["A1_f0.ome.tif", "B2_f0.ome.tif"]
    np.testing.assert_array_equal(tifffile.imread(files), pixels)
    lamella.convert(tmp_path / "out", tmp_path / "b.zarr")
    with lamella.open(tmp_path / "a.zarr") as before, lamella.open(tmp_path / "b.zarr") as after:
        for path, position in after.positions():
            np.testing.assert_array_equal(position["0"][...], before[path]["0"][...])
            assert position.channel_names == ["Red", "Green", "Blue"]
            assert position.zattrs["lamella"]["samples"] == "rgb"


def test_the_time_of_a_single_frame_is_no_lost_times_of_frames(tmp_path: Path) -> None:
    lamella.write_image(tmp_path / "a.zarr", np.ones((1, 2, 8, 8), "uint8"), axes="tcyx").close()
    (file,) = lamella.export(tmp_path / "a.zarr", tmp_path / "a.ome.tif")
    assert lamella.convert(file, tmp_path / "b.zarr").dropped == ()
