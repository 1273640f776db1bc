"""What a file does not say is never guessed without a word: axes, sizes and left out pages are notes or refusals."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import numpy as np
import pytest
import tifffile
from numpy.testing import assert_array_equal

from lamella.errors import SourceError
from lamella.nodes.open import open_ome_zarr
from lamella.ops.conversion.convert import convert

if TYPE_CHECKING:
    from pathlib import Path


def random_pixels(shape: tuple[int, ...], dtype: Any = "uint16") -> np.ndarray:
    return np.random.default_rng(11).integers(0, 100, size=shape).astype(dtype)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "image.zarr"


@pytest.fixture(params=["0.4", "0.5", "0.6"])
def version(request: pytest.FixtureRequest) -> Any:
    return request.param


# -- axes without a name ----------------------------------------------------------------------------------------


def test_a_plain_tiff_of_four_axes_is_not_transposed(tmp_path: Path, store: Path, version: Any) -> None:
    path = tmp_path / "timelapse.tif"
    pixels = random_pixels((5, 3, 16, 20))
    tifffile.imwrite(path, pixels, photometric="minisblack")
    report = convert(path, store, version=version)
    with open_ome_zarr(store) as position:
        assert position.data.shape == (5, 1, 3, 16, 20)
        assert_array_equal(position.data[:, 0], tifffile.imread(path))
    (note,) = report.notes
    assert note == f"{path}: the axes of length 5 and 3 have no name in the file and were read as t and z"


@pytest.mark.parametrize(
    ("axes", "shape", "order", "guess"),
    [
        ("QYX", (4, 8, 9), (None, None, 0, 1, 2), "the axis of length 4 has no name in the file and was read as z"),
        ("QCYX", (4, 2, 8, 9), (None, 1, 0, 2, 3), "the axis of length 4 has no name in the file and was read as z"),
        ("QZYX", (4, 2, 8, 9), (0, None, 1, 2, 3), "the axis of length 4 has no name in the file and was read as t"),
        (
            "CQQYX",
            (2, 3, 4, 8, 9),
            (1, 0, 2, 3, 4),
            "the axes of length 3 and 4 have no name in the file and were read as t and z",
        ),
        ("EYX", (6, 8, 9), (0, 1, 2), "the axis 'lambda' of length 6 was read as channels"),
    ],
)  # fmt: skip
def test_axes_without_a_name_are_filled_from_the_last_one_on_and_noted(
    tmp_path: Path, store: Path, axes: str, shape: tuple[int, ...], order: tuple[int | None, ...], guess: str
) -> None:
    path = tmp_path / "image.tif"
    pixels = random_pixels(shape)
    tifffile.imwrite(path, pixels, photometric="minisblack", metadata={"axes": axes})
    report = convert(path, store)
    expected = pixels.transpose([axis for axis in order if axis is not None])
    with open_ome_zarr(store) as position:
        assert_array_equal(position.data[:].reshape(expected.shape), expected)
        kept = [
            n
            for n, axis in zip(position.data.shape, order[-position.data.ndim :], strict=True)
            if axis is not None
        ]
        assert kept == list(expected.shape)
    assert any(guess in note for note in report.notes)


def test_three_axes_without_a_name_are_refused_with_what_to_do(tmp_path: Path, store: Path) -> None:
    path = tmp_path / "image.tif"
    tifffile.imwrite(path, random_pixels((2, 3, 4, 8, 9)), photometric="minisblack")
    with pytest.raises(
        SourceError, match=r"image\.tif has the axes .*no name.*ImageJ hyperstack or OME-TIFF"
    ):
        convert(path, store)
    assert not store.exists()


@pytest.mark.parametrize(
    ("letter", "name"),
    [
        ("R", "tile or position"), ("M", "mosaic"), ("A", "angle"), ("P", "phase"), ("H", "lifetime"),
        ("L", "exposure"), ("V", "event"), ("J", "tile column"), ("K", "tile row"),
    ],
)  # fmt: skip
def test_axes_that_mean_something_else_are_never_time_or_depth(
    tmp_path: Path, store: Path, letter: str, name: str
) -> None:
    path = tmp_path / "image.tif"
    tifffile.imwrite(
        path, random_pixels((3, 8, 9)), photometric="minisblack", metadata={"axes": f"{letter}YX"}
    )
    with pytest.raises(SourceError, match=rf"image\.tif has an axis {name} of length 3 \({letter}YX"):
        convert(path, store)
    tifffile.imwrite(
        path, random_pixels((1, 8, 9)), photometric="minisblack", metadata={"axes": f"{letter}YX"}
    )
    assert convert(path, store).planes == 1


def test_the_note_of_a_folder_of_files_is_one_line(tmp_path: Path, store: Path) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    for t in range(4):
        tifffile.imwrite(
            folder / f"frame_{t}.tif", random_pixels((3, 8, 9)), photometric="minisblack", metadata=None
        )
    report = convert(folder, store)
    with open_ome_zarr(store) as position:
        assert position.data.shape == (4, 1, 3, 8, 9)
    (guess, stacked) = report.notes
    assert guess == (
        f"{folder / 'frame_0.tif'} and 3 more: the axis of length 3 has no name in the file and was read as z"
    )
    assert stacked == f"{folder}: its 4 files were stacked along t, in natural order of their names"


def test_files_of_one_image_that_state_different_sizes_are_noted(tmp_path: Path, store: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for z, resolution in enumerate([(2, 4), (2, 5)]):
        tifffile.imwrite(
            folder / f"z{z}.tif",
            random_pixels((8, 9)),
            imagej=True,
            resolution=resolution,
            metadata={"unit": "um"},
        )
    note, _ = convert(folder, store).notes
    assert note.endswith(
        "z0.tif: its size along y, 0.25, is used for the whole image, whose files state 0.2 to 0.25"
    )


_NAMES_THE_IMAGE = "its channels, DAPI, GFP, name those of the whole image, although {} has"


@pytest.mark.parametrize(
    ("first", "second", "note"),
    [
        (["DAPI", "GFP"], ["GFP", "DAPI"], f"{_NAMES_THE_IMAGE} GFP, DAPI"),
        (["DAPI", "GFP"], ["DAPI", ""], f"{_NAMES_THE_IMAGE} DAPI, one without a name"),
        (
            ["", ""],
            ["DAPI", "GFP"],
            "it does not name its channels, so the names in {}, DAPI, GFP, were not used",
        ),
        (["DAPI", "GFP"], ["", ""], None),
    ],
)
def test_files_of_one_image_that_name_their_channels_otherwise_are_noted(
    tmp_path: Path, store: Path, first: list[str], second: list[str], note: str | None
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for t, names in enumerate((first, second)):
        metadata = {"axes": "CYX", "Channel": {"Name": names}}
        tifffile.imwrite(folder / f"t{t}.ome.tif", random_pixels((2, 8, 9)), metadata=metadata)
    *notes, _ = convert(folder, store).notes
    expected = [] if note is None else [f"{folder / 't0.ome.tif'}: {note.format(folder / 't1.ome.tif')}"]
    assert notes == expected


# -- the resolution of printers ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "shown"),
    [
        ({"resolution": (72, 72), "resolutionunit": "INCH"}, "72 pixels per inch"),
        ({"resolution": (25400, 50800), "resolutionunit": "INCH"}, "50800 x 25400 pixels per inch"),
        ({"resolution": (300, 300), "resolutionunit": 2}, "300 pixels per inch"),
        ({"resolution": (28.35, 28.35), "resolutionunit": "CENTIMETER"}, "28.35 pixels per centimeter"),
        ({"resolution": (100, 100), "resolutionunit": "CENTIMETER"}, "100 pixels per centimeter"),
        ({"resolution": (118, 118), "resolutionunit": "CENTIMETER"}, "118 pixels per centimeter"),
        ({"resolution": (5000, 28), "resolutionunit": "CENTIMETER"}, "28 x 5000 pixels per centimeter"),
        ({"resolution": (2.8, 2.8), "resolutionunit": "MILLIMETER"}, "2.8 pixels per millimeter"),
        ({"imagej": True, "resolution": (72, 72), "metadata": {"unit": "inch"}}, "72 pixels per inch"),
        ({"imagej": True, "resolution": (28, 28), "metadata": {"unit": "cm"}}, "28 pixels per centimeter"),
    ],
)
def test_a_resolution_for_printing_is_no_pixel_size_and_is_noted(
    tmp_path: Path, store: Path, options: dict[str, Any], shown: str, version: Any
) -> None:
    path = tmp_path / "image.tif"
    tifffile.imwrite(path, random_pixels((16, 20)), **options)
    report = convert(path, store, version=version)
    with open_ome_zarr(store) as position:
        assert position.scale == [1.0, 1.0, 1.0]
        assert [axis.unit for axis in position.axes] == [None, None, None]
    (note,) = report.notes
    assert note == f"{path}: its resolution of {shown} is one for printing and was not used as a pixel size"


@pytest.mark.parametrize(
    "options",
    [
        {"resolution": (300, 300), "resolutionunit": "NONE"},
        {"imagej": True, "resolution": (72, 72), "metadata": {"unit": "none"}},
        {"imagej": True, "resolution": (72, 72)},
        {},
    ],
)
def test_a_resolution_without_a_unit_is_no_size_and_nothing_was_dropped(
    tmp_path: Path, store: Path, options: dict[str, Any]
) -> None:
    path = tmp_path / "image.tif"
    tifffile.imwrite(path, random_pixels((16, 20)), **options)
    report = convert(path, store)
    with open_ome_zarr(store) as position:
        assert position.scale == [1.0, 1.0, 1.0]
        assert [axis.unit for axis in position.axes] == [None, None, None]
    assert report.notes == ()


# -- OME-TIFF ---------------------------------------------------------------------------------------------------


def write_many_images(path: Path, count: int) -> list[np.ndarray]:
    """Write an OME-TIFF whose XML puts each of its images into a well of its own."""
    images = [random_pixels((2, 16, 20)) + number for number in range(count)]
    with tifffile.TiffWriter(path, ome=True) as writer:
        for number, image in enumerate(images):
            writer.write(
                image,
                photometric="minisblack",
                compression="zlib",
                metadata={"axes": "CYX", "Name": str(number)},
            )
    with tifffile.TiffFile(path) as file:
        xml = file.ome_metadata
    wells = "".join(
        f'<Well ID="Well:{n}" Row="{n // 12}" Column="{n % 12}"><WellSample ID="WellSample:{n}" Index="0">'
        f'<ImageRef ID="Image:{n}"/></WellSample></Well>'
        for n in range(count)
    )
    plate = (
        f'<Plate ID="Plate:0" RowNamingConvention="letter" ColumnNamingConvention="number">{wells}</Plate>'
    )
    tifffile.tiffcomment(path, xml.replace("</OME>", f"{plate}</OME>").encode())
    return images


def test_an_ome_tiff_of_many_images_is_parsed_once(
    tmp_path: Path, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "plate.ome.tif"
    images = write_many_images(path, 30)
    opened: list[str] = []
    plain = tifffile.TiffFile.__init__

    def counted(file: tifffile.TiffFile, *arguments: Any, **options: Any) -> None:
        opened.append(str(arguments[0]))
        plain(file, *arguments, **options)

    monkeypatch.setattr(tifffile.TiffFile, "__init__", counted)
    parsed: list[int] = []
    parse = ElementTree.fromstring
    monkeypatch.setattr(
        ElementTree, "fromstring", lambda text, *rest: (parsed.append(len(text)), parse(text, *rest))[1]
    )
    convert(path, store, jobs=2)
    assert opened == [str(path)]
    assert len(parsed) <= 2  # by tifffile, and by us
    with open_ome_zarr(store) as plate:
        found = [position.data[:] for _, position in plate.positions()]
    assert len(found) == 30
    for image, pixels in zip(images, found, strict=True):
        assert_array_equal(pixels, image)


def test_a_file_that_changed_is_parsed_again(tmp_path: Path, store: Path) -> None:
    path = tmp_path / "plate.ome.tif"
    write_many_images(path, 3)
    convert(path, store)
    images = write_many_images(path, 4)
    convert(path, store, overwrite=True)
    with open_ome_zarr(store) as plate:
        for image, (_, position) in zip(images, plate.positions(), strict=True):
            assert_array_equal(position.data[:], image)


@pytest.mark.parametrize("kind", ["OME-XML describes", "ImageJ metadata describe"])
def test_pages_beyond_the_metadata_are_noted(tmp_path: Path, store: Path, kind: str) -> None:
    path = tmp_path / "more.ome.tif"
    with tifffile.TiffWriter(path, ome=True) as writer:
        writer.write(random_pixels((3, 16, 20)), photometric="minisblack", metadata={"axes": "ZYX"})
    with tifffile.TiffFile(path) as file:
        xml = file.ome_metadata if "OME" in kind else "ImageJ=1.53\nimages=3\nslices=3\n"
    with tifffile.TiffWriter(path) as writer:
        for number in range(5):
            description = xml.encode() if number == 0 else None
            writer.write(
                random_pixels((16, 20)), description=description, photometric="minisblack", metadata=None
            )
    report = convert(path, store)
    assert report.planes == 3
    assert report.notes == (
        f"{path}: 2 pages were left out, which come in addition to those that its {kind}",
    )
