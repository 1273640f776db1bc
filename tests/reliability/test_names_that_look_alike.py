"""Laws: a name is what the folder lists, also where the file system takes other names for the same."""

from __future__ import annotations

import re
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from torture.specimens import specimen, write_files

import lamella
from lamella.errors import InvalidNameError, LamellaError, NodeNotFoundError
from lamella.store.files.local import LocalStorage

from .merging import merge, merges

COMPOSED, DECOMPOSED = (unicodedata.normalize(form, "zellkörper") for form in ("NFC", "NFD"))


@pytest.fixture
def plate(tmp_path, monkeypatch, version):
    """A plate with A/1/0, A/b2/0 and A/b2/f, and labels with a letter of two forms, where case does not count."""
    merge(monkeypatch, tmp_path)
    path = tmp_path / "p.zarr"
    with lamella.open_ome_zarr(path, layout="hcs", mode="w", channel_names=["GFP"], version=version) as plate:
        for name in ("A/1/0", "A/b2/0", "A/b2/f"):
            position = plate.create_position(*name.split("/"))
            position.create_image("img", np.ones((1, 1, 1, 4, 4), "u2"))
        plate["A/1/0"].labels.create(COMPOSED, np.ones((1, 1, 4, 4), "u2"))
    return path


def contents(path):
    return {str(file.relative_to(path)): file.read_bytes() for file in path.rglob("*") if file.is_file()}


def calls():
    """What names nothing: each a path, and what is done with it."""
    paths = ["a", "a/1", "a/1/0", "A/B2", "A/B2/0", "A/b2/F", "A/1/0/IMG"]
    for path in paths:
        yield f"get {path}", lambda plate, path=path: plate[path]
        yield f"delete {path}", lambda plate, path=path: plate.__delitem__(path)
    for old, new in (("a/1", "B/1"), ("A/B2", "A/3"), ("a/b2", "A/B2")):
        yield f"rename {old} to {new}", lambda plate, old=old, new=new: plate.rename_well(old, new)
    yield "get of a row", lambda plate: plate["A"]["B2"]
    yield "delete from a row", lambda plate: plate["A"].__delitem__("B2")
    yield "delete from a well", lambda plate: plate["A/b2"].__delitem__("F")
    yield "delete of an array", lambda plate: plate["A/1/0"].__delitem__("IMG")
    for name in (COMPOSED.upper(), DECOMPOSED):
        yield f"labels {name!a}", lambda plate, name=name: plate["A/1/0"].labels[name]
        yield f"delete labels {name!a}", lambda plate, name=name: plate["A/1/0"].labels.__delitem__(name)
        yield f"rename labels {name!a}", lambda plate, name=name: plate["A/1/0"].labels.rename(name, "other")


@pytest.mark.parametrize(("call"), [call for _, call in calls()], ids=[name for name, _ in calls()])
def test_a_name_in_other_letters_names_nothing(plate, call):
    before = contents(plate)
    with pytest.raises(NodeNotFoundError):
        call(lamella.open_ome_zarr(plate, mode="r+"))
    assert contents(plate) == before


@pytest.mark.parametrize(
    "call",
    [
        lambda plate: plate.create_well("a", "3"),
        lambda plate: plate.create_well("A", "B2"),
        lambda plate: plate.create_position("a", "1", "0"),
        lambda plate: plate.create_position("a", "3", "0"),
        lambda plate: plate.create_position("A", "b2", "F"),
        lambda plate: plate.create_positions([("C", "1", "0"), ("A", "B2", "0")]),
        lambda plate: plate.create_positions([("C", "1", "0"), ("c", "2", "0")]),
        lambda plate: plate.create_positions([("C", "1", "f"), ("C", "1", "F")]),
        lambda plate: plate["A/b2"].create_position("F"),
        lambda plate: plate.rename_well("A/1", "a/1"),
        lambda plate: plate.rename_well("A/1", "a/3"),
        lambda plate: plate.rename_well("A/1", "A/B2"),
        lambda plate: plate["A/1/0"].create_image("IMG", np.ones((1, 1, 1, 4, 4), "u2")),
        lambda plate: plate["A/1/0"].create_zeros("Img", (1, 1, 1, 4, 4), "u2"),
        lambda plate: plate["A/1/0"].labels.create(COMPOSED.upper(), np.ones((1, 1, 4, 4), "u2")),
        lambda plate: plate["A/1/0"].labels.create(DECOMPOSED, np.ones((1, 1, 4, 4), "u2")),
    ],
)
@pytest.mark.filterwarnings("ignore:The plate")
def test_what_would_be_one_folder_with_another_is_not_made(plate, call):
    before = contents(plate)
    with pytest.raises(LamellaError) as caught:
        call(lamella.open_ome_zarr(plate, mode="r+"))
    assert not isinstance(caught.value, NodeNotFoundError)
    assert contents(plate) == before


def test_a_well_is_renamed_to_another_case(plate):
    with lamella.open_ome_zarr(plate, mode="r+") as opened:
        opened.rename_well("A/b2", "A/B2")
    assert (plate / "A" / "B2").name in [path.name for path in (plate / "A").iterdir()]
    opened = lamella.open_ome_zarr(plate)
    assert [path for path, position in opened.positions() if position["img"][...].all()] == [
        "A/1/0",
        "A/B2/0",
        "A/B2/f",
    ]


def test_rows_of_another_system_that_became_one_folder_are_told_and_neither_is_lost(tmp_path, monkeypatch):
    path = tmp_path / "p.zarr"
    write_files(path, specimen("plate 0.5"))  # A/1/0, A/1/1, B/2/0
    document = path / "zarr.json"
    document.write_text(document.read_text().replace('"B/2"', '"a/2"').replace('"name":"B"', '"name":"a"'))
    assert {'"a/2"', '"name":"a"'} <= set(re.findall(r'"a/2"|"name":"a"', document.read_text()))
    (path / "B" / "2").rename(path / "A" / "2")
    merge(monkeypatch, tmp_path)
    plate = lamella.open_ome_zarr(path, mode="r+")
    found = dict(plate.positions(on_error="report"))
    assert all(found[name]["0"][...].any() for name in ("A/1/0", "A/1/1"))
    assert [str(fault) for fault in found.values() if isinstance(fault, LamellaError)] == [
        f"{path} lists the well 'a/2', but nothing is stored at {path}/a/2."
    ]
    before = {name: data for name, data in contents(path).items() if name != "zarr.json"}
    del plate["a"]
    assert {name: data for name, data in contents(path).items() if name != "zarr.json"} == before
    assert [name for name, _ in lamella.open_ome_zarr(path).positions()] == ["A/1/0", "A/1/1"]


def test_names_are_as_the_system_has_them_where_path_checking_is_disabled(plate):
    opened = lamella.open_ome_zarr(plate, disable_path_checking=True)
    assert (opened["a/1/0"].channel_names, list(opened["A/B2"])) == (["GFP"], ["0", "f"])


@pytest.mark.parametrize(
    ("stored", "asked", "there"),
    [("NFD", "NFC", True), ("NFC", "NFD", False), ("NFD", "NFD", True), ("NFC", "NFC", True)],
)
def test_a_system_that_decomposes_names_is_no_other_system(tmp_path, monkeypatch, stored, asked, there):
    merge(monkeypatch, tmp_path)
    folder = Path(tmp_path, unicodedata.normalize(stored, "zellkörper"))
    folder.mkdir()
    (folder / "zarr.json").write_text("{}")
    storage = LocalStorage(tmp_path)
    key = f"{unicodedata.normalize(asked, 'zellkörper')}/zarr.json"
    assert (storage.read(key) is not None) is there


def test_case_counts_where_it_counts(tmp_path):
    if merges(tmp_path):
        pytest.skip("it does not count here")
    path = tmp_path / "p.zarr"
    with lamella.open_ome_zarr(path, layout="hcs", mode="w", channel_names=["GFP"]) as plate:
        plate.create_position("A", "1", "0")
        with pytest.warns(UserWarning, match="differ only by case"):
            plate.create_position("a", "1", "0")
        assert list(plate) == ["A", "a"]
        del plate["a"]
        assert list(plate) == ["A"]
        with pytest.raises(NodeNotFoundError):
            plate["a"]


def test_a_folder_in_other_letters_is_not_written_into(tmp_path, monkeypatch):
    merge(monkeypatch, tmp_path)
    storage = LocalStorage(tmp_path)
    storage.write("zarr.json", b"{}")
    storage.write("A/zarr.json", b"{}")
    assert storage.ignores_case
    with pytest.raises(InvalidNameError, match=r"make the folder 'a' .*'A' is there, which this file system"):
        storage.write("a/zarr.json", b"[]")
    assert storage.read("A/zarr.json") == b"{}"
    for there in (storage.read("a/zarr.json"), storage.size("a/zarr.json"), storage.stamp("a/zarr.json")):
        assert there is None
    assert (storage.exists("a"), storage.list("a")) == (False, [])
    storage.delete("a")
    assert storage.exists("A")
    with pytest.raises(NodeNotFoundError):
        storage.move("a", "B")
