"""Manners of nodes at a prompt and in an editor: completion of names, types of members, the nearest name."""

from __future__ import annotations

import builtins
import inspect
import typing

import numpy as np
import pytest
import xarray as xr
from click.testing import CliRunner

import lamella
from lamella.cli import main
from lamella.errors import InvalidNameError, LamellaError
from lamella.models import TransformationMeta


@pytest.fixture
def plate(tmp_path):
    with lamella.open(
        tmp_path / "screen.zarr", "w-", layout="hcs", channel_names=["DAPI", "GFP"], axes="cyx"
    ) as node:
        for position in node.create_positions([("A", "1", "0"), ("A", "12", "0"), ("B", "2", "site3")]):
            position["0"] = np.ones((2, 16, 16), "uint8")
        node["A/1/0"].labels["nuclei"] = np.ones((16, 16), "uint8")
        yield node


def test_names_are_completed_after_a_bracket(plate):
    assert plate._ipython_key_completions_() == ["A", "B", "A/1", "A/12", "B/2"]
    assert plate["A"]._ipython_key_completions_() == ["1", "12"]
    assert plate["B/2"]._ipython_key_completions_() == ["site3"]
    assert plate["A/1/0"]._ipython_key_completions_() == ["0", "labels/nuclei"]
    assert plate["A/1/0"].labels._ipython_key_completions_() == ["nuclei"]


def test_every_unknown_name_is_answered_with_the_nearest(plate, tmp_path):
    position = plate["A/1/0"]
    for ask, near in (
        (lambda: plate["A/11"], "A/12"),
        (lambda: plate["B/2/site4"], "B/2/site3"),
        (lambda: plate["a"], "A"),
        (lambda: position["1"], "0"),
        (lambda: position.labels["nucleus"], "nuclei"),
        (lambda: position.get_channel_index("dapi"), "DAPI"),
        (lambda: position.rename_channel("Gfp", "x"), "GFP"),
        (lambda: position.set_scale({"X1": 1}), "x"),
        (lambda: plate.rename_position("B/2/site4", "7"), "site3"),
        (lambda: plate.rename_well("B/22", "C/1"), "B/2"),
        (lambda: lamella.open(tmp_path / "scren.zarr"), "screen.zarr"),
        (lambda: lamella.open(tmp_path / "screen.zarr", stric=True), "strict"),
    ):
        with pytest.raises(LamellaError, match=f"Did you mean '{near}'"):
            ask()


def test_members_have_a_type_that_checkers_know(plate):
    assert plate.position("B/2/site3") == plate["B/2/site3"]
    assert plate.well("A/1") == plate["A/1"]
    for wrong in (lambda: plate.position("A/1"), lambda: plate.well("A"), lambda: plate.position("A/1/0/0")):
        with pytest.raises(InvalidNameError, match="is not the path of a"):
            wrong()
    # What a type checker reads; `plate[path]` is one of several nodes for it.
    assert inspect.signature(lamella.Plate.position).return_annotation == "Position"
    assert inspect.signature(lamella.Plate.well).return_annotation == "Well"
    returned = {str(inspect.signature(one).return_annotation) for one in typing.get_overloads(lamella.open)}
    assert returned == {"Position", "Plate", "Any"}


def test_every_call_that_asks_for_a_well_understands_its_name_on_the_plate(plate, tmp_path):
    """An exact name wins, and `in`, iteration and what is stored keep the exact names."""

    def written(*arguments, name):
        result = CliRunner().invoke(main, [*map(str, arguments), "-q"])
        assert result.exit_code == 0, result.stderr
        return [path for path, _ in lamella.open(tmp_path / name).positions()]

    store = plate.node_path.store_handle.documents.storage.root
    one, two = tmp_path / "one.zarr", tmp_path / "two.zarr"
    assert (plate["A01"].path, plate.well("A1").path, plate.position("B02/site3").path) == (
        "A/1",
        "A/1",
        "B/2/site3",
    )
    assert plate.map(len, positions=["B02/site3"]).values == {"B/2/site3": 1}
    assert [path for path, _ in plate.subset(one, wells=["B02"]).positions()] == ["B/2/site3"]
    assert plate.mosaic("A12").shape == (2, 16, 16)
    plate.set_positions([{"path": "A012/0", "x": 5}])
    plate["A/1/0"].tables["sizes"] = {"area": [3]}
    assert list(plate.tables.concatenate("sizes", positions=["A01/0"])["well"]) == ["A/1"]
    assert [position.path for position in plate.add({"A01/7": plate["B2/site3"]})] == ["A/1/7"]
    plate.rename_position("A01/7", "B2")  # the new name of a field is never that of a well
    plate.rename_position("A01/B2", "A001/8")
    plate.rename_well("B02", "B12")
    plate.stream(["A012/0"], "1", (16, 16), "uint8", order="pc").close()
    assert plate["A/12/0/1"].shape == (2, 16, 16)
    assert [path for path, _ in plate.positions()] == ["A/1/0", "A/1/8", "A/12/0", "B/12/site3"]
    assert ("A01" in plate, "A01/0" in plate, "A/1/0" in plate) == (True, True, True)

    assert written("copy", store, two, "--fields", "A01/0,B12/site3", name="two.zarr") == [
        "A/1/0",
        "B/12/site3",
    ]
    assert written("pack", store, tmp_path / "two.ozx", "--fields", "A01/0", name="two.ozx") == ["A/1/0"]
    assert (
        written("subset", store, tmp_path / "3.zarr", "--wells", "A01,B/12", name="3.zarr")[-1]
        == "B/12/site3"
    )
    assert written("rename-well", store, "B12", "B01", name="screen.zarr")[-1] == "B/1/site3"
    result = CliRunner().invoke(main, ["rename-well", str(store), "B01", "B03"])  # no column 3, nor 03
    assert (result.exit_code, "columns 1, 12" in result.stderr) == (1, True), result.stderr


def test_integers_of_numpy_name_members_as_those_of_python_do(plate):
    position, zero, one = plate["A/1/0"], np.arange(2)[0], np.uint8(1)
    position.labels["1"] = position.labels["nuclei"]["0"][...]
    position.tables["1"] = {"size": [1]}
    assert zero in position
    assert one in plate["A"]
    assert one in position.labels
    assert one in position.tables
    assert position[zero].shape == position["0"].shape
    assert plate["A"][one].zgroup.name == plate["A/1"].zgroup.name
    assert position.labels[one]["0"][...].all()
    assert position.tables[one]["size"].tolist() == [1]
    assert position.to_xarray(level=zero).shape == position["0"].shape
    assert list(position.labels["nuclei"].measure(["intensity_mean"], channels=[one])) == list(
        position.labels["nuclei"].measure(["intensity_mean"], channels=[1])
    )
    assert len(list(plate.positions(acquisition=zero))) == len(list(plate.positions()))


def test_a_call_that_is_refused_warns_of_nothing(plate, tmp_path):
    """A warning would be an error here, and the error that is expected would not come."""
    position, new = plate["A/1/0"], plate.create_position("A", "3", "0")
    position.compute_pyramid(levels=2)
    first, second = (
        lamella.write_image(
            tmp_path / f"{name}.zarr", np.ones((1, 8, 8), "u1"), "cyx", channels=[name], scale=scale
        )
        for name, scale in (("a", {"x": 1}), ("b", {"x": 2}))
    )
    labelled = xr.DataArray(
        np.ones((2, 8, 8), "u1"),
        dims=["c", "y", "x"],
        coords={"c": ["DAPI", "GFP"], "x": np.arange(8) * 1e-320, "gain": 3},
    )
    (tmp_path / "c.zarr").mkdir()
    wrong = [TransformationMeta(type="scale", scale=[1, 1])]
    for call, words in (
        (lambda: lamella.concatenate_channels([first, second], tmp_path / "c.zarr"), "exists"),
        (lambda: position.compute_pyramid(levels=20), "has a pyramid of 2 levels"),
        (lambda: position.initialize_pyramid(levels=20), "has a pyramid of 2 levels"),
        (lambda: new.create_zeros("0", (1, 8, 8), "u1", transform=wrong), "2 numbers"),
        (lambda: new.write_xarray(labelled), "factors from"),
        (lambda: plate.create_positions([("A", "4", "0", 5, 9), ("A", "1", "0")]), "A/1/0'. already"),
    ):
        with pytest.raises(LamellaError, match=words):
            call()


def test_wrong_arguments_of_calls_are_refused_with_what_they_are_to_be(plate, tmp_path, files):
    position = plate["A/1/0"]
    nuclei, mosaic = position.labels["nuclei"], plate.mosaic("A/1")
    before = files(tmp_path)
    for call, text in (
        (lambda: position.set_scale({5: 1}), "no axis 5"),
        (lambda: position.set_scale({"x": np.array([2, 2])}), "a finite number above 0"),
        (lambda: position.set_scale({"x": 10**400}), "a finite number above 0"),
        (lambda: position.set_scale({"x": np.str_("a")}), "a finite number above 0"),
        (lambda: position[np.array([0, 0])], "named by text or an integer"),
        (lambda: position[True], "named by text or an integer"),
        (lambda: position.set_channel("DAPI", window={"low": 1}), "start, end, min and max"),
        (lambda: plate.rename_position("A/1/0", None), "named by text"),
        (lambda: plate.rename_well(None, "A/3"), "named by text"),
        (lambda: position.crop(c=[]), "names no channel"),
        (lambda: plate.map(len, over="regions", name="n", axes=5), "axes is text"),
        (
            lambda: plate.map(lambda block: block, over="regions", name="n", kwargs={"sigma": 1}),
            "no option 'sigma'",
        ),
        (lambda: plate.map(lambda node, sigma: 1, kwargs={"sgima": 1}), "Did you mean 'sigma'"),
        (
            lambda: position.tables.write("t", None),
            "is a DataFrame, a dict of columns or a list of rows, not None",
        ),
        (lambda: position.tables.write_rois("r", "FOV_1"), "maps names of regions to bounds"),
        (lambda: position.tables.write_rois("r", {"FOV_1": 5}), "the bounds of 'FOV_1'"),
        (lambda: position.tables.write_rois("r", {"FOV_1": {5: (0, 1)}}), "bounds along 5"),
        (lambda: nuclei.measure(["area"], channels=["dapi"]), "Did you mean 'DAPI'"),
        (lambda: mosaic["x"], "is not an index"),
        (lambda: mosaic[1.5], "is not an index"),
        (lambda: mosaic[99], "index 99 is out of bounds for axis 0"),
        (lambda: plate.subset(tmp_path / "screen.zarr" / "part.zarr"), "choose another destination"),
        (lambda: position.subset(tmp_path / "screen.zarr" / "A" / "part.zarr"), "choose another destination"),
    ):
        with pytest.raises(LamellaError, match=text):
            call()
    assert files(tmp_path) == before


def test_a_notebook_shows_a_bar_for_progress(plate, monkeypatch):
    pytest.importorskip("ipywidgets")
    ipython = pytest.importorskip("IPython.display")
    shown = []
    shell = type("ZMQInteractiveShell", (), {})  # what rich recognises a notebook by
    monkeypatch.setattr(builtins, "get_ipython", shell, raising=False)
    monkeypatch.setattr(ipython, "display", lambda *things, **_: shown.extend(things))
    assert plate.map(len, progress=True)
    assert {type(one).__name__ for one in shown} >= {"Output", "JupyterRenderable"}
    assert any("positions" in getattr(one, "html", "") for one in shown)
