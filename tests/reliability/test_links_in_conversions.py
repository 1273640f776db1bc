"""Laws: a conversion reads what it was given, and files beside it; it replaces nothing that a link leads to."""

from __future__ import annotations

import os
import struct
from types import SimpleNamespace

import numpy as np
import pytest
import tifffile

import lamella
from lamella.adapters.tiff.completeness import check_names
from lamella.errors import LamellaError, SourceError, StoreExistsError

MINE, OTHER = "urn:uuid:00000000-0000-0000-0000-000000000001", "urn:uuid:00000000-0000-0000-0000-000000000002"
NAMESPACE = 'xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"'


def two_files(folder, name, secret=777):
    """Write an OME-TIFF of two channels, of which the second is said to lie in the file of that name."""
    planes = "".join(
        f'<TiffData IFD="0" FirstC="{c}" PlaneCount="1"><UUID FileName="{file}">{uuid}</UUID></TiffData>'
        for c, (file, uuid) in enumerate([("a.ome.tif", MINE), (name, OTHER)])
    )
    text = (
        f'<?xml version="1.0" encoding="UTF-8"?><OME {NAMESPACE} UUID="{MINE}"><Image ID="Image:0" Name="x"><Pixels '
        'ID="Pixels:0" DimensionOrder="XYZCT" Type="uint16" SizeX="8" SizeY="8" SizeZ="1" SizeC="2" SizeT="1">'
        '<Channel ID="Channel:0:0" SamplesPerPixel="1"/><Channel ID="Channel:0:1" SamplesPerPixel="1"/>'
        f"{planes}</Pixels></Image></OME>"
    )
    folder.mkdir(exist_ok=True)
    tifffile.imwrite(folder / "a.ome.tif", np.full((8, 8), 5, "u2"), description=text, metadata=None)
    return folder / "a.ome.tif"


def secret(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    text = f'<?xml version="1.0" encoding="UTF-8"?><OME {NAMESPACE} UUID="{OTHER}"></OME>'
    tifffile.imwrite(path, np.full((8, 8), 777, "u2"), description=text, metadata=None)


def values(store):
    return sorted(np.unique(lamella.open_ome_zarr(store)["0"][...]).tolist())


@pytest.mark.parametrize("kind", ["above", "absolute", "through a folder", "of Windows", "drive"])
def test_files_that_metadata_name_outside_of_the_folder_are_not_opened(tmp_path, monkeypatch, kind):
    outside = tmp_path / "secret" / "b.ome.tif"
    secret(outside)
    name = {
        "above": "../secret/b.ome.tif",
        "absolute": str(outside),
        "through a folder": "sub/../../secret/b.ome.tif",
        "of Windows": "..\\secret\\b.ome.tif",
        "drive": "C:/secret/b.ome.tif",
    }[kind]
    path = two_files(tmp_path / "in", name)
    (tmp_path / "in" / "sub").mkdir()
    opened = []
    kept = tifffile.TiffFile.__init__

    def watch(self, file, *rest, **options):
        opened.append(os.fspath(file))
        kept(self, file, *rest, **options)

    monkeypatch.setattr(tifffile.TiffFile, "__init__", watch)
    with pytest.raises(
        SourceError, match=r"a\.ome\.tif is not read: its OME-XML names .*not in the same folder"
    ):
        lamella.convert(path, tmp_path / "o.zarr")
    assert opened == [str(path)]
    assert not (tmp_path / "o.zarr").exists()


@pytest.mark.parametrize("name", ["b.ome.tif", "sub/b.ome.tif"])
def test_files_that_metadata_name_in_the_folder_are_read(tmp_path, name):
    path = two_files(tmp_path / "in", name)
    secret(tmp_path / "in" / name)
    lamella.convert(path, tmp_path / "o.zarr")
    assert values(tmp_path / "o.zarr") == [5, 777]


def test_a_link_in_the_folder_is_the_users_own_and_followed(tmp_path):
    path = two_files(tmp_path / "in", "b.ome.tif")
    secret(tmp_path / "lake" / "123.tif")
    (tmp_path / "in" / "b.ome.tif").symlink_to(tmp_path / "lake" / "123.tif")
    lamella.convert(path, tmp_path / "o.zarr")
    assert values(tmp_path / "o.zarr") == [5, 777]


def test_an_own_name_of_another_time_is_no_place_to_look_at(tmp_path):
    path = two_files(tmp_path / "in", "b.ome.tif")
    path.write_bytes(path.read_bytes().replace(b'FileName="a.ome.tif"', b'FileName="/x.om.tif"'))
    secret(tmp_path / "in" / "b.ome.tif")
    lamella.convert(path, tmp_path / "o.zarr")
    assert values(tmp_path / "o.zarr") == [5, 777]


def test_an_index_of_micro_manager_names_files_of_its_folder_only(tmp_path):
    def entry(name):
        axes = b'{"z": 0}'
        return struct.pack(
            f"<I{len(axes)}sI{len(name)}s8I", len(axes), axes, len(name), name, 0, 8, 8, 1, 0, 0, 0, 0
        )

    file = SimpleNamespace(is_ome=False, is_ndtiff=True, filehandle=SimpleNamespace(dirname=str(tmp_path)))
    index = tmp_path / "NDTiff.index"
    index.write_bytes(entry(b"a_NDTiffStack.tif"))
    check_names("a.tif", file)
    index.write_bytes(entry(b"a_NDTiffStack.tif") + entry(b"../b.tif"))
    with pytest.raises(SourceError, match=r"NDTiff\.index names '\.\./b\.tif'"):
        check_names("a.tif", file)


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.full((8, 8), 5, "u2"))
    return path


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_link_as_input_or_in_the_path_of_the_output_is_followed(tmp_path, source, overwrite):
    (tmp_path / "link.tif").symlink_to(source)
    (tmp_path / "real").mkdir()
    (tmp_path / "disk").symlink_to(tmp_path / "real", target_is_directory=True)
    lamella.convert(tmp_path / "link.tif", tmp_path / "disk" / "o.zarr", overwrite=overwrite)
    if overwrite:
        lamella.convert(tmp_path / "link.tif", tmp_path / "disk" / "o.zarr", overwrite=True)
    assert values(tmp_path / "real" / "o.zarr") == [5]
    assert [path.name for path in (tmp_path / "real").iterdir()] == ["o.zarr"]
    assert source.is_file()
    assert (tmp_path / "link.tif").is_symlink()


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("leads", ["to a store", "nowhere", "to an empty folder"])
def test_a_link_is_never_the_place_of_the_output(tmp_path, source, overwrite, leads):
    target, link = tmp_path / "precious.zarr", tmp_path / "o.zarr"
    if leads == "to a store":
        lamella.convert(source, target)
    elif leads != "nowhere":
        target.mkdir()
    link.symlink_to(target)
    before = {str(path): path.is_file() and path.read_bytes() for path in tmp_path.rglob("*")}
    with pytest.raises(
        StoreExistsError, match="symbolic link: use the folder" if overwrite else "exists already"
    ):
        lamella.convert(source, link, overwrite=overwrite)
    assert {str(path): path.is_file() and path.read_bytes() for path in tmp_path.rglob("*")} == before


@pytest.mark.parametrize("leads", ["to a document", "nowhere"])
def test_a_store_whose_document_is_a_link_is_replaced_and_what_the_link_leads_to_stays(
    tmp_path, source, leads
):
    store, kept = tmp_path / "o.zarr", tmp_path / "kept.json"
    lamella.convert(source, store)
    os.rename(store / "zarr.json", kept)  # as data sets of git-annex have it
    (store / "zarr.json").symlink_to(kept if leads == "to a document" else tmp_path / "missing")
    before = kept.read_bytes()
    if leads == "nowhere":
        with pytest.raises(StoreExistsError, match="is not a Zarr store"):
            lamella.convert(source, store, overwrite=True)
    else:
        lamella.convert(source, store, overwrite=True)
        assert not (store / "zarr.json").is_symlink()
        assert values(store) == [5]
    assert kept.read_bytes() == before


def test_an_output_is_not_written_over_its_input_by_way_of_a_link(tmp_path, source):
    store = tmp_path / "a.zarr"
    lamella.convert(source, store)
    (tmp_path / "disk").symlink_to(tmp_path, target_is_directory=True)
    before = {str(path): path.read_bytes() for path in store.rglob("*") if path.is_file()}
    with pytest.raises(LamellaError):
        lamella.rechunk(store, tmp_path / "disk" / "a.zarr", chunks=(1, 1, 1, 4, 4))
    assert {str(path): path.read_bytes() for path in store.rglob("*") if path.is_file()} == before
