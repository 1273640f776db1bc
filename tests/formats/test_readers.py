"""What every reader gets from the seam: handles for threads, one line for an error, closing; and how one is found."""

from __future__ import annotations

import logging
import os
import pickle
import re
import shutil
import subprocess
import sys
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile
from click.testing import CliRunner
from tests.formats.conftest import ALL_INSTALLED
from tests.formats.page import PAGE
from tests.formats.samples import DATA, samples

import lamella
from lamella.adapters import formats
from lamella.adapters.bioio import BioioReader
from lamella.adapters.tiff.reader import TiffReader
from lamella.cli import main
from lamella.errors import InvalidArgumentError, MissingDependencyError, SourceError
from lamella.ops.conversion.reader import Formats
from lamella.readers import HandleReader, ImageDescription, list_formats

if TYPE_CHECKING:
    from pathlib import Path

    from lamella.readers import Container

PIXELS = np.arange(3 * 8 * 16 * 20, dtype=np.uint16).reshape(3, 8, 16, 20)


class Handle:
    """An open file that notices two threads in it."""

    opened: list[Handle] = []  # noqa: RUF012

    def __init__(self, path: str) -> None:
        self.pixels = np.load(path)
        self.is_closed = False
        self.turn = threading.Lock()
        self.opened.append(self)

    def close(self) -> None:
        assert not self.is_closed, "closed twice"
        self.is_closed = True


class NumpyReader(HandleReader):
    """A stack of three images in a file of numpy."""

    name, title, endings, handles = "numpy", "NumPy array", (".npy",), 2

    def open_handle(self, path: str) -> Handle:
        return Handle(path)

    def describe(self, handle: Handle, path: str) -> list[ImageDescription]:
        return [
            ImageDescription(f"image {n}", (path,), "zyx", pixels.shape, pixels.dtype)
            for n, pixels in enumerate(handle.pixels)
        ]

    def read_plane(self, handle: Handle, image: int, index: tuple[int, ...], rows: slice) -> Any:
        assert handle.turn.acquire(blocking=False), "two threads in one handle"
        try:
            assert not handle.is_closed
            return handle.pixels[image][index][rows]
        finally:
            handle.turn.release()


@pytest.fixture
def stack(tmp_path: Path) -> Path:
    Handle.opened.clear()
    np.save(tmp_path / "stack.npy", PIXELS)
    return tmp_path / "stack.npy"


def test_the_images_of_a_file_share_at_most_the_stated_number_of_handles(stack: Path) -> None:
    container = NumpyReader().open(str(stack))
    assert [handle.is_closed for handle in Handle.opened] == [True]
    tasks = [(image, z) for image in range(3) for z in range(8)] * 10
    with ThreadPoolExecutor(8) as pool:
        planes = list(pool.map(lambda task: container[task[0]].read_plane((task[1],)), tasks))
    for (image, z), plane in zip(tasks, planes, strict=True):
        np.testing.assert_array_equal(plane, PIXELS[image, z])
    assert sum(not handle.is_closed for handle in Handle.opened) in (1, 2)
    for image in container:
        image.close()
    assert all(handle.is_closed for handle in Handle.opened)
    np.testing.assert_array_equal(container[1].read_plane((2,), slice(3, 5)), PIXELS[1, 2, 3:5])
    container.close()
    assert all(handle.is_closed for handle in Handle.opened)


def test_all_files_of_a_folder_are_of_a_chosen_format_without_endings(stack: Path) -> None:
    class Plain(NumpyReader):
        endings = ()

    (stack.parent / "other.npy").touch()
    found, _ = Formats([Plain()], is_chosen=True).list_folder(str(stack.parent), deep=True)
    assert found == [str(stack.parent / "other.npy"), str(stack)]
    with pytest.raises(
        SourceError, match=r"no image of a known format \(endings: \.npy\): .* --format bioio"
    ):
        Formats([Plain()]).list_folder(str(stack.parent))


def test_a_handle_that_is_closed_while_it_is_read_closes_when_it_is_returned(stack: Path) -> None:
    container = NumpyReader().open(str(stack))
    with container[0]._file.handle(0) as handle:  # type: ignore[attr-defined]
        container[0].close()
        assert not handle.is_closed
    assert handle.is_closed


def test_a_pickled_source_opens_handles_of_its_own(stack: Path) -> None:
    source = NumpyReader().open(str(stack))[2]
    source.read_plane((0,))
    copy = pickle.loads(pickle.dumps(source))
    np.testing.assert_array_equal(copy.read_plane((7,)), PIXELS[2, 7])
    copy.close()
    source.close()
    assert len(Handle.opened) == 3
    assert all(handle.is_closed for handle in Handle.opened)


@pytest.mark.parametrize("error", [KeyError("x"), ValueError("many\nlines"), OSError("short read")])
def test_any_error_of_a_library_is_one_line_that_names_the_file(
    stack: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    source = NumpyReader().open(str(stack))[0]

    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(NumpyReader, "read_plane", fail)
    with pytest.raises(SourceError, match=r"^[^\n]*stack.npy cannot be read as NumPy array[^\n]*$"):
        source.read_plane((0,))
    assert all(handle.is_closed for handle in Handle.opened)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"axes": "zcx"}, "an image needs y and x"),
        ({"axes": "czyx"}, "axes must be letters"),
        ({"shape": (0, 16, 20)}, "no pixels"),
        ({"dtype": np.dtype("U4")}, "neither intensities nor labels"),
    ],
)
def test_an_image_that_cannot_be_stored_is_refused_by_its_description(
    stack: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], words: str
) -> None:
    values = {"axes": "zyx", "shape": (8, 16, 20), "dtype": np.dtype("uint16"), **changes}
    description = ImageDescription("odd", (str(stack),), **values)
    monkeypatch.setattr(NumpyReader, "describe", lambda *_: [description])
    with pytest.raises(SourceError, match=words):
        lamella.convert(stack, tmp_path / "a.zarr", format=NumpyReader())
    assert not (tmp_path / "a.zarr").exists()


def _forget_readers() -> None:
    for cached in (formats.readers, formats._entry_points, formats._reader):
        cached.cache_clear()


class _Point:
    name = "numpy"

    def load(self) -> type[NumpyReader]:
        return NumpyReader


def test_a_reader_of_another_package_is_found_and_named(
    stack: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "importlib.metadata.entry_points", lambda group: [_Point()] if group == "lamella.readers" else []
    )
    _forget_readers()
    try:
        assert "numpy" in [each.name for each in list_formats()]
        shown = CliRunner().invoke(main, ["convert", "--list-formats"])
        assert shown.exit_code == 0
        assert "NumPy array .npy" in shown.output
        with pytest.raises(SourceError, match="3 images"):
            lamella.convert(stack, tmp_path / "a.zarr")
        lamella.convert(stack, tmp_path / "a.zarr", series=1)
        with lamella.open(tmp_path / "a.zarr") as position:
            np.testing.assert_array_equal(position.data[0, :], PIXELS[1])
        assert all(handle.is_closed for handle in Handle.opened)
    finally:
        _forget_readers()


def test_readers_that_are_loaded_alone_are_those_that_all_readers_would_find(tmp_path: Path) -> None:
    one_by_one, all_at_once = formats.choose_formats(), Formats(list(formats.readers().values()))
    for ending in (*chain(*formats.ENDINGS.values()), ".xml", ".npy", ".TIF"):
        file = tmp_path / f"cells{ending}"
        file.write_bytes(b"II*\0")
        assert one_by_one.find(str(file)) is all_at_once.find(str(file)), ending
        file.unlink()  # a folder with a slide of DICOM is a slide
    for sample in samples():
        if not sample.is_chosen:
            assert one_by_one.find(str(sample.file)) is all_at_once.find(str(sample.file)), sample.path
    assert one_by_one.find(str(tmp_path)) is all_at_once.find(str(tmp_path)) is None


def test_a_file_is_converted_without_loading_the_readers_of_other_formats(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "cells.tif", np.zeros((32, 32), np.uint16))
    code = (
        "import sys, lamella\n"
        "lamella.convert('cells.tif', 'cells.zarr')\n"
        "print(*(name for name in sys.modules if name.startswith('lamella.adapters.')))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    loaded = {name.rpartition(".")[2] for name in done.stdout.split()}
    assert "tiff" in loaded
    assert not loaded & {"nd2", "czi", "lif", "oif", "dicom", "bdv", "imaris", "mrc", "bioio", "readers"}


PACKAGE = """
import numpy as np
import lamella.readers

class NumbersReader(lamella.readers.HandleReader):
    name, title, endings = "numbers", "Numbers in a text", (".numbers",)

    def open_handle(self, path):
        return open(path)

    def describe(self, handle, path):
        shape = np.loadtxt(handle, dtype=np.uint16).shape
        return [lamella.readers.ImageDescription("numbers", (path,), "yx", shape, np.dtype("uint16"))]

    def read_plane(self, handle, image, index, rows):
        handle.seek(0)
        return np.loadtxt(handle, dtype=np.uint16)[rows]
"""

USE = """
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
import lamella
from lamella.cli import main

if __name__ == "__main__":
    with ProcessPoolExecutor(1, get_context("spawn")) as processes:
        lamella.convert(sys.argv[1], sys.argv[2], executor=processes)
    print(lamella.open(sys.argv[2])["0"][...].sum())
    main(["convert", "--list-formats"])
"""


@pytest.mark.skipif(not ALL_INSTALLED, reason="make test-formats")
def test_an_installed_package_adds_a_format_and_a_broken_one_is_left_out_with_a_warning(
    tmp_path: Path,
) -> None:
    site = tmp_path / "site"
    for name, code, target in (
        ("numbers", PACKAGE, "lamella_numbers:NumbersReader"),
        ("broken", "import nowhere_to_be_found", "lamella_broken:Reader"),
        ("other", "Reader = dict", "lamella_other:Reader"),
    ):
        info = site / f"lamella_{name}-1.0.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: lamella-{name}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[lamella.readers]\n{name} = {target}\n")
        (site / f"lamella_{name}.py").write_text(code)
    (tmp_path / "use.py").write_text(USE)
    np.savetxt(tmp_path / "a.numbers", np.full((16, 20), 3), fmt="%d")
    ran = subprocess.run(
        [sys.executable, tmp_path / "use.py", tmp_path / "a.numbers", tmp_path / "a.zarr"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(site), *sys.path])},
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.startswith("960\n")
    assert re.search(r"^numbers +Numbers in a text \.numbers$", ran.stdout, re.MULTILINE)
    assert re.search(r"^tiff ", ran.stdout, re.MULTILINE)
    for words in ("'broken' of the package lamella-broken", "nowhere_to_be_found", "'other' of the package"):
        assert words in ran.stderr


def test_files_of_another_format_in_a_folder_are_noted(tmp_path: Path) -> None:
    for name in ("a.mrc", "b.mrc"):
        pytest.importorskip("mrcfile").new(tmp_path / name, PIXELS[0, 0].astype("float32")).close()
    for name in ("c.tif", "notes.txt"):
        tifffile.imwrite(tmp_path / name, PIXELS[0, 0])
    notes = lamella.convert(tmp_path, tmp_path / "a.zarr").notes
    assert notes[-2] == "1 file was left out: a folder is converted as one format, without c.tif"


def test_bytes_of_imod_are_unsigned_unless_a_flag_states_signs(tmp_path: Path) -> None:
    mrcfile = pytest.importorskip("mrcfile")
    pixels = np.arange(-128, 128, dtype="int8").reshape(2, 8, 16)
    mrcfile.new(tmp_path / "a.mrc", pixels).close()
    content = bytearray((tmp_path / "a.mrc").read_bytes())
    for flags, dtype in ((None, "int8"), (1, "int8"), (0, "uint8"), (4, "uint8")):
        if flags is not None:
            content[152:160] = np.array([1146047817, flags], "<i4").tobytes()
        (tmp_path / "a.mrc").write_bytes(content)
        lamella.convert(tmp_path / "a.mrc", tmp_path / "a.zarr", overwrite=True)
        with lamella.open(tmp_path / "a.zarr") as image:
            np.testing.assert_array_equal(image.data[0], pixels.view(dtype), strict=True)


def test_times_that_an_imaris_file_states_and_lacks_are_noted(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    shutil.copy(DATA / "generated_h5py.ims", tmp_path / "a.ims")
    with h5py.File(tmp_path / "a.ims", "r+") as file:
        times = len(file["DataSet/ResolutionLevel 0"])
        file["DataSetInfo/TimeInfo"].attrs["DatasetTimePoints"] = np.array(list("10"), "S1")
    (note,) = lamella.convert(tmp_path / "a.ims", tmp_path / "a.zarr").notes
    assert note == f"{tmp_path / 'a.ims'}: it states 10 time points and contains {times}"


def test_a_tiff_of_another_ending_is_recognised_and_a_file_of_no_format_is_refused(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "image.dat", PIXELS[0, 0])
    assert lamella.convert(tmp_path / "image.dat", tmp_path / "a.zarr").planes == 1
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(SourceError, match=r"notes\.txt is of no known format"):
        lamella.convert(tmp_path / "notes.txt", tmp_path / "b.zarr")
    with pytest.raises(SourceError, match="is not a TIFF file"):
        lamella.convert(tmp_path / "notes.txt", tmp_path / "b.zarr", format="tiff")
    with pytest.raises(InvalidArgumentError, match="no format 'dng'"):
        lamella.convert(tmp_path / "notes.txt", tmp_path / "b.zarr", format="dng")


@pytest.mark.parametrize(
    ("name", "format"),
    [
        ("cluster.nd2", "nd2"),
        ("generated_pylibCZIrw_2scenes.czi", "czi"),
        ("generated.lif", "lif"),
        ("generated_mrc.dv", "dv"),
        ("EMD-3197.map", "mrc"),
        ("sm_image.dcm", "dicom"),
        ("mmstack/onepos/exp_1_MMStack_Pos0.ome.tif", "tiff"),
        ("test.oib", "oif"),
        ("generated_h5py.ims", "ims"),
    ],
)
def test_a_file_by_the_name_of_another_format_is_read_as_what_it_is_or_its_format_is_named(
    tmp_path: Path, name: str, format: str
) -> None:
    reader = formats.readers()[format]
    if reader.missing or sys.version_info < reader.python:
        pytest.skip(f"needs {', '.join(reader.missing)}: make test-formats")
    same = {*reader.endings, ".svs", ".companion.ome"} if format == "tiff" else {*reader.endings}
    endings = {ending for info in list_formats() for ending in info.endings} - same
    expected = lamella.convert(DATA / name, tmp_path / "a", series="all", dry_run=True).positions
    for ending in sorted({*endings, ".dat"}):
        file = tmp_path / f"image{ending}"
        shutil.copy(DATA / name, file)
        others = [each for each in formats.readers().values() if each is not reader]
        is_claimed = any(each.claims(str(file)) for each in others)
        notes: list[str] = []
        if format in ("oif", "ims"):  # other formats begin as theirs do
            with pytest.raises(SourceError, match=rf"may be of the format {format} \(--format\)"):
                lamella.convert(file, tmp_path / "a", dry_run=True)
        else:
            read = lamella.convert(file, tmp_path / "a", series="all", dry_run=True, on_note=notes.append)
            assert [image.shape for image in read.positions] == [image.shape for image in expected]
            assert is_claimed == any(f"it is read as {reader.title}" in note for note in notes), ending
        file.unlink()


def test_planes_of_an_oib_beyond_its_sizes_are_noted(tmp_path: Path) -> None:
    if formats.readers()["oif"].missing:
        pytest.skip("needs oiffile: make test-formats")
    three, two = (f"MaxSize={number}\r".encode("utf-16-le") for number in (3, 2))
    (tmp_path / "a.oib").write_bytes((DATA / "test.oib").read_bytes().replace(three, two))
    report = lamella.convert(tmp_path / "a.oib", tmp_path / "a.zarr", dry_run=True)
    assert report.positions[0].shape == (1, 2, 1, 256, 256)
    assert [note.rpartition(": ")[2] for note in report.notes] == [
        "1 plane beyond the sizes in its settings not converted"
    ]


def test_a_file_that_no_plugin_of_bioio_reads_is_refused_without_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "empty.png").touch()
    with pytest.raises(SourceError, match=r"/empty\.png is of no known format"):
        lamella.convert(tmp_path / "empty.png", tmp_path / "a.zarr")
    assert caplog.records == []


def test_the_logger_of_bioio_stays_on_while_plugins_are_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plugin = pytest.importorskip("bioio_imageio").Reader
    states: list[bool] = []

    def refuse(*_: object, **__: object) -> bool:
        states.append(logging.getLogger("bioio.bio_image").disabled)
        return False

    monkeypatch.setattr(plugin, "is_supported_image", refuse)
    (tmp_path / "empty.png").touch()
    assert not BioioReader().claims(str(tmp_path / "empty.png"))
    assert states
    assert not any(states)


def test_the_tiles_of_a_bigdataviewer_are_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    setups = "".join(
        f"<ViewSetup><id>{number}</id><size>4 3 2</size><attributes><tile>{number}</tile></attributes></ViewSetup>"
        for number in range(11)
    )
    (tmp_path / "tiles.xml").write_text(
        '<SpimData><SequenceDescription><ImageLoader format="bdv.hdf5"><hdf5>tiles.h5</hdf5></ImageLoader>'
        f"<ViewSetups>{setups}</ViewSetups><Timepoints type='range'><first>0</first><last>0</last></Timepoints>"
        "</SequenceDescription></SpimData>"
    )
    with h5py.File(tmp_path / "tiles.h5", "w") as file:
        for number in range(11):
            file[f"t00000/s{number:02}/0/cells"] = np.zeros((2, 3, 4), "int16")
    reader = formats.choose_formats("bdv")
    titles = [source.description.title for source in reader.open(str(tmp_path / "tiles.xml"))]
    assert titles == [f"tile {number}" for number in range(11)]
    (tmp_path / "tiles.h5").unlink()
    with pytest.raises(SourceError, match=r"tiles\.xml names the file .*tiles\.h5, which does not exist"):
        reader.open(str(tmp_path / "tiles.xml"))


def test_the_folder_of_a_bigdataviewer_is_a_data_set_and_other_folders_are_refused(tmp_path: Path) -> None:
    reader = formats.choose_formats().find(str(DATA / "bdv"))
    assert reader is not None
    assert reader.name == "bdv"
    (tmp_path / "notes.xml").write_text("<notes/>")
    with pytest.raises(
        SourceError, match=r"no image of a known format \(endings: \.xml\): lamella convert --list-formats"
    ):
        lamella.convert(tmp_path, tmp_path / "a.zarr")


def test_a_missing_library_names_the_extra_or_the_python_it_needs(stack: Path) -> None:
    class Absent(NumpyReader):
        libraries, extra = ("no_such_library",), "absent"

    with pytest.raises(MissingDependencyError, match=r"no_such_library.*lamella\[absent\]"):
        Absent().open(str(stack))

    class Later(Absent):
        python = (9, 1)

    with pytest.raises(MissingDependencyError, match=r"needs Python 9\.1 or newer"):
        Later().open(str(stack))


@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        (ValueError("bad\nheader"), SourceError, r"is damaged or incomplete \(bad header\)"),
        (NotImplementedError("JPEG XR"), SourceError, r"does not support what it has \(JPEG XR\)"),
        (ImportError("No module named 'liblzw'"), MissingDependencyError, r"stack\.npy .*'liblzw'\. Install"),
        (MemoryError("8 GiB"), MemoryError, "8 GiB"),
    ],
)
def test_only_a_file_that_cannot_be_decoded_is_called_damaged(
    stack: Path, error: Exception, kind: type[Exception], message: str
) -> None:
    class Failing(NumpyReader):
        def open_handle(self, path: str) -> Handle:
            raise error

    with pytest.raises(kind, match=message):
        Failing().open(str(stack))


def test_the_page_lists_every_format() -> None:
    page = PAGE.read_text(encoding="utf-8")
    names = [form.name for form in list_formats()]
    assert [name for name in names if f"`{name}`" not in page] == [], "make formats-docs writes the table"


def test_the_command_prints_no_warning_about_the_code_of_a_library(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tifffile.imwrite(tmp_path / "a.tif", PIXELS[0, 0])
    opened = TiffReader.open

    def warn(self: TiffReader, path: str) -> Container:
        warnings.warn("numpy 2.5 wants another call", DeprecationWarning, stacklevel=2)
        return opened(self, path)

    monkeypatch.setattr(TiffReader, "open", warn)
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("ignore", DeprecationWarning)  # as Python does outside of pytest
        run = CliRunner().invoke(main, ["convert", str(tmp_path / "a.tif"), str(tmp_path / "a.zarr")])
    assert run.exit_code == 0
    assert [str(each.message) for each in seen] == []


@pytest.mark.parametrize(
    ("index", "words"),
    [
        ("bdv/bdv.xml", r"an index of BigDataViewer .*, whose name must be \*\.xml: rename it"),
        ("companion/plate.companion.ome", r"whose name must be \*\.companion\.ome: rename it"),
        (
            "screens/**/Index.idx.xml",
            r"an index of Opera Phenix, .* whose name must be Index\.idx\.xml: rename it",
        ),
        ("screens/**/*.mlf", r"an index of CellVoyager \(\.mlf\), whose name must be \*\.mlf: rename it"),
    ],
)
def test_an_index_under_an_unknown_name_is_named(index: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "plate.txt").write_bytes(next(DATA.glob(index)).read_bytes())
    with pytest.raises(SourceError, match=words):
        lamella.convert(tmp_path / "plate.txt", tmp_path / "plate.zarr")
