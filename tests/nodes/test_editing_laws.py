"""Any legal sequence of edits of a plate keeps its metadata equal to the tree on disk, and valid everywhere."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from lamella import open_ome_zarr
from lamella.models import TransformationMeta

from .conftest import ome
from .validity import check_valid

rows, columns, fields = st.sampled_from("ABC"), st.sampled_from(["1", "2", "10"]), st.sampled_from("01")


def folders(path):
    """Names of the groups and arrays directly below a folder."""
    marks = (".zgroup", ".zarray", "zarr.json")
    return {
        name
        for name in os.listdir(path)
        if any(os.path.exists(os.path.join(path, name, mark)) for mark in marks)
    }


class PlateEdits(RuleBasedStateMachine):
    """The model: well -> field -> channels, levels, label names and pixel size along X."""

    version = "0.5"

    def __init__(self):
        super().__init__()
        self.folder = tempfile.mkdtemp()
        self.path = Path(self.folder) / "plate.zarr"
        self.model = {}

    def teardown(self):
        # Once for each sequence: sequences end everywhere, and the other libraries take their time.
        try:
            if self.model:
                check_valid(self.path, self.version)
        finally:
            shutil.rmtree(self.folder)

    @initialize()
    def create(self):
        self.plate = open_ome_zarr(
            self.path, layout="hcs", mode="w", channel_names=["DAPI"], version=self.version
        )
        self.make([("A", "1", "0")])

    def make(self, specs):
        first = next(((f["channels"]) for w in self.order() for f in self.model[w].values()), ["DAPI"])
        self.plate.create_positions(specs)
        for row, column, field in specs:
            self.model.setdefault(f"{row}/{column}", {})[field] = {
                "channels": list(first),
                "levels": [],
                "labels": [],
                "x": None,
            }
            position = self.plate[f"{row}/{column}/{field}"]
            position["0"] = np.ones((1, len(first), 2, 5, 6), "uint8")
            self.entry(f"{row}/{column}/{field}").update(levels=["0"], x=1.0)

    def order(self):
        return [
            w.path for w in sorted(self.plate.metadata.wells, key=lambda w: (w.row_index, w.column_index))
        ]

    def entry(self, path):
        well, _, field = path.rpartition("/")
        return self.model[well][field]

    def pick(self, data):
        paths = [f"{well}/{field}" for well, found in self.model.items() for field in found]
        return data.draw(st.sampled_from(sorted(paths)))

    # -- edits ----------------------------------------------------------------------------------------------------

    @rule(specs=st.lists(st.tuples(rows, columns, fields), min_size=1, max_size=3, unique=True))
    def create_positions(self, specs):
        self.make([s for s in specs if s[2] not in self.model.get(f"{s[0]}/{s[1]}", {})])

    @precondition(lambda self: self.model)
    @rule(data=st.data(), row=rows, column=columns)
    def rename_well(self, data, row, column):
        old, new = data.draw(st.sampled_from(sorted(self.model))), f"{row}/{column}"
        if old == new or new not in self.model:
            self.plate.rename_well(old, new)
            self.model[new] = self.model.pop(old)
        else:
            with pytest.raises(FileExistsError):
                self.plate.rename_well(old, new)

    @precondition(lambda self: self.model)
    @rule(data=st.data(), depth=st.integers(1, 3))
    def delete(self, data, depth):
        path = "/".join(self.pick(data).split("/")[:depth])
        del self.plate[path]
        for well in list(self.model):
            kept = {f: e for f, e in self.model[well].items() if not f"{well}/{f}/".startswith(f"{path}/")}
            self.model[well] = kept
            if not kept:
                del self.model[well]

    @precondition(lambda self: self.model)
    @rule(data=st.data(), name=st.sampled_from(["GFP", "RFP"]))
    def append_channel(self, data, name):
        path = self.pick(data)
        if name not in self.entry(path)["channels"]:
            self.plate[path].append_channel(name)
            self.entry(path)["channels"].append(name)

    @precondition(lambda self: self.model)
    @rule(data=st.data(), new=st.sampled_from(["Cy5", "TXR"]))
    def rename_channel(self, data, new):
        path = self.pick(data)
        channels = self.entry(path)["channels"]
        old = data.draw(st.sampled_from(channels))
        if new not in channels:
            self.plate[path].rename_channel(old, new)
            channels[channels.index(old)] = new

    @precondition(lambda self: self.model)
    @rule(data=st.data(), value=st.sampled_from([0.25, 3.0]), whole=st.booleans())
    def set_scale_or_transform(self, data, value, whole):
        path = self.pick(data)
        if whole:
            self.plate[path].set_scale("0", "x", value)
        else:
            scale = TransformationMeta(type="scale", scale=[1, 1, 1, 1, value])
            self.plate[path].set_transform("0", [scale])
        self.entry(path)["x"] = value

    @precondition(lambda self: self.model)
    @rule(data=st.data(), method=st.sampled_from(["mean", "stride"]))
    def compute_pyramid(self, data, method):
        path = self.pick(data)
        self.plate[path].compute_pyramid(2, method)
        self.entry(path)["levels"] = ["0", "1"]

    @precondition(lambda self: self.model)
    @rule(data=st.data())
    def delete_pyramid(self, data):
        path = self.pick(data)
        self.plate[path].delete_pyramid()
        self.entry(path)["levels"] = ["0"]

    @precondition(lambda self: self.model)
    @rule(
        data=st.data(), name=st.sampled_from(["cells", "nuclei"]), other=st.sampled_from(["cells", "nuclei"])
    )
    def edit_labels(self, data, name, other):
        path = self.pick(data)
        labels, known = self.plate[path].labels, self.entry(path)["labels"]
        if name not in known:
            labels.create(name, np.ones((1, 2, 5, 6), "uint16"), colors={1: (255, 0, 0)})
            known.append(name)
        elif other in known:
            del labels[name]
            known.remove(name)
        else:
            labels.rename(name, other)
            known[known.index(name)] = other

    @rule()
    def reopen(self):
        self.plate.close()
        self.plate = open_ome_zarr(self.path, mode="r+", channel_names=["DAPI"])

    # -- laws -----------------------------------------------------------------------------------------------------

    @invariant()
    def metadata_are_the_tree(self):
        stored = ome(self.path, self.version)["plate"]
        assert {well["path"] for well in stored["wells"]} == set(self.model)
        for well in stored["wells"]:
            named = (
                f"{stored['rows'][well['rowIndex']]['name']}/{stored['columns'][well['columnIndex']]['name']}"
            )
            assert named == well["path"]
        used = [{well.split("/")[place] for well in self.model} for place in (0, 1)]
        for key, names in zip(("rows", "columns"), used, strict=True):
            assert {line["name"] for line in stored[key]} == names
        assert folders(self.path) == used[0]
        assert stored.get("field_count") == (max(map(len, self.model.values())) if self.model else None)
        for well, found in self.model.items():
            listed = [image["path"] for image in ome(self.path / well, self.version)["well"]["images"]]
            assert set(listed) == folders(self.path / well) == set(found)
            for field, entry in found.items():
                self.position_is(self.path / well / field, entry)

    def position_is(self, folder, entry):
        image = ome(folder, self.version)
        levels = [dataset["path"] for dataset in image["multiscales"][0]["datasets"]]
        assert levels == entry["levels"]
        assert folders(folder) - {"labels"} == set(levels)
        assert [channel["label"] for channel in image["omero"]["channels"]] == entry["channels"]
        position = open_ome_zarr(folder)
        assert position["0"].shape[1] == len(entry["channels"])
        assert position.scale[-1] == entry["x"]
        assert list(position.labels) == entry["labels"]
        for label in position.labels.values():
            assert label.dataset_paths == levels
            assert label.metadata.multiscales[0].name == label.name


class PlateEdits06(PlateEdits):
    """The same laws in 0.6."""

    version = "0.6"


class PlateEdits04(PlateEdits):
    """The same laws in 0.4."""

    version = "0.4"


moderate = settings(max_examples=18, stateful_step_count=15)
TestPlateEdits = PlateEdits.TestCase
TestPlateEdits.settings = moderate
TestPlateEdits04 = PlateEdits04.TestCase
TestPlateEdits04.settings = moderate
TestPlateEdits06 = PlateEdits06.TestCase
TestPlateEdits06.settings = settings(max_examples=6, stateful_step_count=15)


def test_a_refused_change_names_the_image_it_was_asked_of(tmp_path):
    calls = [
        lambda position: position.rename_channel("X", "Y"),
        lambda position: position.append_channel("DAPI"),
        lambda position: position.set_contrast_limits("X", {"min": 0, "max": 1, "start": 0, "end": 1}),
        lambda position: position.set_scale("0", "q", 1),
        lambda position: position.set_scale("0", "x", -1),
        lambda position: position.set_transform("0", [TransformationMeta(type="scale", scale=[1, 1])]),
        lambda position: position.compute_pyramid(factors={"q": 2}),
        lambda position: position["0"].append(np.zeros((1, 9, 1, 4, 4), "uint16")),
        lambda position: position["0"].append(np.zeros((1, 9), "uint16")),
        lambda position: position["0"].resize(1, 1, 1, 1, 1 << 62),
    ]
    with open_ome_zarr(tmp_path / "plate.zarr", layout="hcs", mode="w-", channel_names=["DAPI"]) as plate:
        position = plate.create_position("B", "3", "2")
        position["0"] = np.zeros((1, 1, 1, 4, 4), "uint16")
        for call in calls:
            with pytest.raises(ValueError, match="B/3/2") as error:
                call(position)
            assert str(tmp_path / "plate.zarr") in str(error.value)
