"""Laws of making a plate from positions: everything comes along, and bytes are the same where they can be."""

from __future__ import annotations

import json
import shutil
import warnings
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
import zarr

from lamella import Plate, open_ome_zarr, validate
from lamella.errors import InvalidArgumentError
from lamella.models import AcquisitionMeta, axes


def position_at(path, version="0.5", names="tczyx", channels=("DAPI", "GFP"), **layout):
    lengths = {"t": 2, "c": len(channels), "z": 3, "y": 20, "x": 21}
    shape = tuple(lengths[name] for name in names)
    position = open_ome_zarr(
        path,
        layout="fov",
        mode="w",
        channel_names=list(channels) if "c" in names else None,
        axes=axes(names),
        version=version,
    )
    position.create_image("0", np.random.default_rng(1).integers(0, 99, shape).astype("u2"), **layout)
    position.compute_pyramid(2)
    without = tuple(n for n, name in zip(shape, names, strict=True) if name != "c")
    position.labels.create("cells", np.ones(without, "u1"), colors={1: (1, 2, 3)})
    position.zattrs["ours"] = {"kept": True}
    position.set_scale("0", "x", 0.25)
    return position


def same_pixels(one, other):
    for source, target in [(one, other), (one.labels["cells"], other.labels["cells"])]:
        assert source.dataset_paths == target.dataset_paths
        for path in source.dataset_paths:
            np.testing.assert_array_equal(source[path][...], target[path][...])
            assert source.get_effective_scale(path) == target.get_effective_scale(path)
            assert source.get_effective_translation(path) == target.get_effective_translation(path)


@pytest.mark.parametrize("layout", [{}, {"chunks": (1, 1, 2, 8, 8)}], ids=["whole", "chunked"])
def test_files_are_the_same_bytes_when_the_version_is_shared(tmp_path, files, version, layout):
    source = position_at(tmp_path / "a.zarr", version, **layout)
    source.close()
    plate = Plate.from_positions(tmp_path / "new.zarr", {"B/3/5": source})
    assert files(tmp_path / "new.zarr/B/3/5") == files(tmp_path / "a.zarr")
    same_pixels(source, plate["B/3/5"])


@pytest.mark.parametrize(("old", "new"), [("0.4", "0.5"), ("0.5", "0.4")])
def test_positions_of_the_other_version_are_rewritten(tmp_path, files, old, new):
    first = position_at(tmp_path / "first.zarr", new)
    layout = {"shards_ratio": (1, 1, 1, 2, 2)} if old == "0.5" else {}
    source = position_at(tmp_path / "other.zarr", old, chunks=(1, 1, 3, 8, 8), **layout)
    plate = Plate.from_positions(tmp_path / "new.zarr", {"A/1/0": first, "A/1/1": source})
    assert plate.version == new
    copied = open_ome_zarr(tmp_path / "new.zarr")["A/1/1"]
    same_pixels(source, copied)
    assert copied.channel_names == ["DAPI", "GFP"]
    assert copied.zattrs["ours"] == {"kept": True}
    assert "stale_levels" not in str(files(tmp_path / "new.zarr"))  # all levels were copied
    assert copied.labels["cells"].colors == {1: (1, 2, 3, 255)}
    if new == "0.5":
        assert copied["1"].zarr().metadata.dimension_names == ("t", "c", "z", "y", "x")
        assert copied.labels["cells"]["0"].zarr().metadata.dimension_names == ("t", "z", "y", "x")


def test_each_position_keeps_its_own_channels_and_axes(tmp_path, version):
    one = position_at(tmp_path / "one.zarr", version)
    two = position_at(tmp_path / "two.zarr", version, "cyx", ("Cy5",))
    plate = Plate.from_positions(tmp_path / "new.zarr", {"A/1/0": one, "B/2/0": two})
    assert plate["A/1/0"].channel_names == ["DAPI", "GFP"]
    assert plate["B/2/0"].channel_names == ["Cy5"]
    assert plate["B/2/0"].axis_names == ["c", "y", "x"]
    same_pixels(two, plate["B/2/0"])


def test_a_plate_and_an_image_are_combined_as_the_page_shows(tmp_path, version):
    with open_ome_zarr(
        tmp_path / "hcs.zarr", layout="hcs", mode="w", channel_names=["a"], version=version
    ) as old:
        for field in "01":
            old.create_position("A", "1", field)["0"] = np.full((1, 1, 1, 4, 4), 3, "u1")
    with open_ome_zarr(tmp_path / "hcs.zarr") as old:
        fovs = dict(old.positions())
    position_at(tmp_path / "fov.zarr", version).close()
    with open_ome_zarr(tmp_path / "fov.zarr") as position:
        fovs["Z/1/0"] = position
    plate = Plate.from_positions(tmp_path / "combined.zarr", fovs)
    assert [path for path, _ in plate.positions()] == ["A/1/0", "A/1/1", "Z/1/0"]
    assert plate.metadata.field_count == 2
    assert plate.metadata.acquisitions[0].maximum_field_count == 2
    plate.create_position("Z", "2", "0")  # open for writing


WRONG = {
    "nothing": lambda s: {},
    "no position": lambda s: {"A/1/0": 3},
    "two parts": lambda s: {"A/1": s},
    "bad name": lambda s: {"A/1/a_b": s},
    "dots": lambda s: {"../1/0": s},
    "twice": lambda s: {"A/1/0": s, "/A/1/0/": s},
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_mapping_is_a_ValueError_and_makes_nothing(tmp_path, files, wrong):
    source = position_at(tmp_path / "a.zarr")
    before = files(tmp_path)
    with pytest.raises(ValueError, match=r"position|name"):
        Plate.from_positions(tmp_path / "new.zarr", WRONG[wrong](source))
    assert files(tmp_path) == before
    assert not (tmp_path / "new.zarr").exists()


def test_the_source_or_anything_else_that_is_there_is_not_replaced(tmp_path, files):
    source = position_at(tmp_path / "a.zarr")
    before = files(tmp_path)
    with pytest.raises((FileExistsError, ValueError)):
        Plate.from_positions(tmp_path / "a.zarr", {"A/1/0": source})
    with pytest.raises(ValueError, match="inside"):
        Plate.from_positions(tmp_path / "a.zarr/new.zarr", {"A/1/0": source})
    assert files(tmp_path) == before


def test_a_copy_that_fails_leaves_nothing(tmp_path):
    good, gone = position_at(tmp_path / "a.zarr"), position_at(tmp_path / "b.zarr")
    gone.documents.storage.delete("")
    with pytest.raises(FileNotFoundError, match=r"b\.zarr"):
        Plate.from_positions(tmp_path / "new.zarr", {"A/1/0": good, "A/2/0": gone})
    assert not (tmp_path / "new.zarr").exists()


def test_into_a_store_of_zarr_python(counting_store, tmp_path):
    source = position_at(tmp_path / "a.zarr")
    plate = Plate.from_positions(counting_store, {"A/1/0": source})
    same_pixels(source, plate["A/1/0"])


def plate_of(path, acquisitions, version="0.5"):
    """A plate with one position of each acquisition, A/1/0, A/1/1, ..."""
    with open_ome_zarr(
        path, layout="hcs", mode="w", channel_names=["DAPI"], version=version, acquisitions=acquisitions
    ) as plate:
        for number, entry in enumerate(acquisitions):
            position = plate.create_position("A", "1", str(number), acq_index=entry.id)
            position["0"] = np.zeros((1, 1, 1, 8, 8), "uint8")
    return open_ome_zarr(path)


def acquisition_names(plate):
    """Name of the acquisition of each position."""
    names = {entry.id: entry.name for entry in plate.metadata.acquisitions}
    return {
        f"{path}/{image.path}": names[image.acquisition]
        for path, well in plate.wells()
        for image in well.metadata.images
    }


@pytest.mark.parametrize("alone", [False, True], ids=["in the plate", "opened by itself"])
def test_acquisitions_come_along_and_are_merged_without_clashes(tmp_path, version, alone):
    day = {"start_time": 100, "description": "dry"}
    one = [AcquisitionMeta(id=0, name="day 1"), AcquisitionMeta(id=3, name="day 2", **day)]
    two = [AcquisitionMeta(id=0, name="night 1"), AcquisitionMeta(id=1, name="day 2", **day)]
    sources = {}
    for row, acquisitions in (("A", one), ("B", two)):
        plate = plate_of(tmp_path / f"{row}.zarr", acquisitions, version)
        for number in ("0", "1"):
            path = tmp_path / f"{row}.zarr" / "A" / "1" / number
            sources[f"{row}/1/{number}"] = open_ome_zarr(path) if alone else plate[f"A/1/{number}"]
    merged = Plate.from_positions(tmp_path / "new.zarr", sources)
    assert acquisition_names(merged) == {
        "A/1/0": "day 1",
        "A/1/1": "day 2",
        "B/1/0": "night 1",
        "B/1/1": "day 2",
    }
    assert [entry.id for entry in merged.metadata.acquisitions] == [0, 3, 4]
    assert [entry.maximum_field_count for entry in merged.metadata.acquisitions] == [1, 1, 1]
    kept = merged.metadata.acquisitions[1]
    assert (kept.start_time, kept.description) == (100, "dry")
    assert [finding for finding in validate(tmp_path / "new.zarr").findings if finding.level == "MUST"] == []


def test_positions_without_an_acquisition_share_the_default_one(tmp_path):
    plain = position_at(tmp_path / "a.zarr")
    plate = plate_of(tmp_path / "b.zarr", [AcquisitionMeta(id=0, name="day 1")])
    merged = Plate.from_positions(
        tmp_path / "new.zarr", {"A/1/0": plate["A/1/0"], "A/1/1": plain, "A/2/0": plain}
    )
    names = acquisition_names(merged)
    assert names["A/1/0"] == "day 1"
    assert names["A/1/1"] == names["A/2/0"] == "Acquisition 0"
    only = Plate.from_positions(tmp_path / "only.zarr", {"A/1/0": plain})
    assert [entry.id for entry in only.metadata.acquisitions] == [0]


def test_a_copy_on_an_executor_is_the_same(tmp_path, executor, files):
    sources = {
        "A/1/0": position_at(tmp_path / "first.zarr", "0.5"),
        "A/1/1": position_at(tmp_path / "other.zarr", "0.4", chunks=(1, 1, 3, 8, 8)),
        "C/2/0": position_at(tmp_path / "third.zarr", "0.5", chunks=(1, 1, 2, 8, 8)),
    }
    Plate.from_positions(tmp_path / "there" / "new.zarr", sources, executor=executor).close()
    Plate.from_positions(tmp_path / "here" / "new.zarr", sources).close()
    assert files(tmp_path / "there" / "new.zarr") == files(tmp_path / "here" / "new.zarr")


def test_a_store_in_memory_is_not_copied_by_other_processes(tmp_path):
    position = position_at(zarr.storage.MemoryStore(), "0.5")
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:  # noqa: SIM117 (its process is never begun)
        with pytest.raises(InvalidArgumentError, match="belongs to this process alone"):
            Plate.from_positions(tmp_path / "new.zarr", {"A/1/0": position}, executor=pool)
    assert list(tmp_path.iterdir()) == []


def screen(path, version, rows=8, columns=12):
    """A plate of which two wells are used."""
    with open_ome_zarr(
        path, layout="hcs", mode="w", channel_names=["a"], version=version, plate_name="screen 7"
    ) as plate:
        plate.create_positions([("C", "5", "0", 2, 4), ("H", "12", "0", 7, 11), ("H", "12", "1")])
        for _, position in plate.positions():
            position.create_image("0", np.ones((1, 1, 1, 8, 8), "u1"))
        plate.metadata.description_of_ours = {"medium": "DMEM"}
        plate.dump_meta()
        plate.zattrs["operator"] = "Ada"
        plate["H/12"].zattrs["drug"] = "X"
    return open_ome_zarr(path)


@pytest.mark.parametrize("new", ["0.4", "0.5", "0.6"])
def test_name_rows_columns_and_attributes_of_a_plate_come_along(tmp_path, version, new):
    old = screen(tmp_path / "old.zarr", version)
    sources = dict(old.positions())
    if new != version:  # the version is that of the first position
        with open_ome_zarr(
            tmp_path / "x.zarr", layout="hcs", mode="w", channel_names=["a"], version=new
        ) as plate:
            plate.create_position("C", "5", "0").create_image("0", np.ones((1, 1, 1, 8, 8), "u1"))
        sources = {"C/5/0": open_ome_zarr(tmp_path / "x.zarr")["C/5/0"], "H/12/0": sources["H/12/0"]}
    copied = Plate.from_positions(tmp_path / "new.ome.zarr", sources)
    assert copied.version == new
    assert copied.metadata.rows == old.metadata.rows
    assert copied.metadata.columns == old.metadata.columns
    assert [(w.path, w.row_index, w.column_index) for w in copied.metadata.wells] == [
        ("C/5", 2, 4),
        ("H/12", 7, 11),
    ]
    assert copied["H/12"].zattrs["drug"] == "X"
    if new == version:
        assert copied.metadata == old.metadata
        assert copied.zattrs["operator"] == "Ada"
    else:
        assert copied.metadata.name == "new"  # two plates, two names
    assert validate(tmp_path / "new.ome.zarr")


def test_some_positions_keep_the_geometry_and_new_rows_come_last(tmp_path, version):
    old = screen(tmp_path / "old.zarr", version)
    copied = Plate.from_positions(tmp_path / "new.zarr", {"H/12/1": old["H/12/1"], "Q/1/0": old["C/5/0"]})
    assert copied.metadata.name == "screen 7"
    assert [row.name for row in copied.metadata.rows] == [*"ABCDEFGH", "Q"]
    assert len(copied.metadata.columns) == 12
    assert validate(tmp_path / "new.zarr")


@pytest.mark.parametrize("positions", [1, 2, 4, 7])
def test_as_many_workers_copy_as_were_asked_for(tmp_path, positions):
    import asyncio

    from zarr.storage import LocalStore, WrapperStore

    class Counting(WrapperStore):
        busy = most = 0
        enough = None

        async def get(self, key, *args, **kwargs):
            if "/c/" in key and kwargs.get("byte_range") is None:
                kind = type(self)
                kind.enough = kind.enough or asyncio.Event()
                kind.busy += 1
                kind.most = max(kind.most, kind.busy)
                for _ in range(2000):  # others may begin meanwhile
                    if kind.busy >= 6:
                        break
                    await asyncio.sleep(0)
                for _ in range(50):
                    await asyncio.sleep(0)
                kind.busy -= 1
            return await super().get(key, *args, **kwargs)

    with open_ome_zarr(
        tmp_path / "old.zarr", layout="hcs", mode="w", channel_names=["a"], version="0.5"
    ) as plate:
        for position in plate.create_positions([("A", "1", str(n)) for n in range(positions)]):
            position.create_image("0", np.ones((4, 1, 1, 32, 32), "u1"), chunks=(1, 1, 1, 16, 16))
    old = open_ome_zarr(Counting(LocalStore(tmp_path / "old.zarr")), mode="r+")
    copied = Plate.from_positions(tmp_path / "new.zarr", dict(old.positions()), jobs=6)
    assert all((position["0"][:] == 1).all() for _, position in copied.positions())
    assert 2 <= Counting.most <= 6


@pytest.mark.parametrize("how", ["from_positions", "map"])
def test_custom_attributes_of_rows_come_along(tmp_path, version, how):
    old = screen(tmp_path / "old.zarr", version)
    with open_ome_zarr(tmp_path / "old.zarr", mode="r+") as plate:
        plate["H"].zattrs["antibody"] = "anti-GFP"
    if how == "map":
        new = old.map(lambda position: position["0"][:], output=tmp_path / "new.zarr").output
    else:
        new = Plate.from_positions(tmp_path / "new.zarr", dict(old.positions()))
    assert new["H"].zattrs["antibody"] == "anti-GFP"
    assert "antibody" not in new["C"].zattrs.asdict()
    assert validate(tmp_path / "new.zarr")


def test_a_row_out_of_two_rows_has_the_attributes_of_neither(tmp_path, version):
    screen(tmp_path / "old.zarr", version)
    with open_ome_zarr(tmp_path / "old.zarr", mode="r+") as plate:
        plate["H"].zattrs["antibody"] = "anti-GFP"
    old = open_ome_zarr(tmp_path / "old.zarr")
    new = Plate.from_positions(tmp_path / "new.zarr", {"A/1/0": old["C/5/0"], "A/2/0": old["H/12/0"]})
    assert "antibody" not in new["A"].zattrs.asdict()


def test_what_images_take_from_an_ome_xml_is_in_the_metadata_of_their_copies(tmp_path):
    store = tmp_path / "old.zarr"
    source = Path(__file__).parent.parent / "data" / "stores" / "v04_bioformats2raw_plate" / "hcs.zarr"
    shutil.copytree(source, store)
    for document in store.rglob(".zattrs"):
        attributes = json.loads(document.read_text())
        if "multiscales" in attributes:
            attributes.pop("omero", None)
            for axis in attributes["multiscales"][0]["axes"]:
                axis.pop("unit", None)
            for dataset in attributes["multiscales"][0]["datasets"]:
                dataset["coordinateTransformations"] = [{"type": "scale", "scale": [1, 1, 1, 1, 1]}]
            document.write_text(json.dumps(attributes))
    xml = store / "OME" / "METADATA.ome.xml"
    text = xml.read_text(encoding="utf-8")
    xml.write_text(text.replace('PhysicalSizeX="1"', 'PhysicalSizeX="0.5"'), encoding="utf-8")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        old = open_ome_zarr(store)
        said = {path: (old[path].scale, old[path].channel_names) for path, _ in old.positions()}
        assert {scale[-1] for scale, _ in said.values()} == {0.5}
    with pytest.warns(UserWarning, match=r"METADATA\.ome\.xml was not copied"):
        new = Plate.from_positions(tmp_path / "new.zarr", dict(old.positions()))
    assert not (tmp_path / "new.zarr" / "OME").exists()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert {path: (new[path].scale, new[path].channel_names) for path in said} == said


def interrupted_copy(tmp_path, sources, part=0.5):
    """Copy a part of the positions; return the time of each file that was copied, by its path in the plate."""

    def interrupt(done, total, what):
        if done >= part * total:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Plate.from_positions(tmp_path / "new.zarr", sources, jobs=1, progress=interrupt)
    assert not (tmp_path / "new.zarr").exists()
    begun = next(tmp_path.glob(".*new.zarr/store"))
    return {file.relative_to(begun): file.stat().st_mtime_ns for file in begun.rglob("*") if file.is_file()}


@pytest.mark.parametrize("old", ["0.4", "0.5"])
def test_the_same_call_resumes_a_copy_that_was_interrupted(tmp_path, files, old):
    layout = {"chunks": (1, 1, 1, 8, 8)}
    sources = {
        "A/1/0": position_at(tmp_path / "first.zarr", "0.5", **layout),
        "A/1/1": position_at(tmp_path / "other.zarr", old, **layout),
    }
    before = interrupted_copy(tmp_path, sources)
    copied = {name for name in before if name.parts[:3] == ("A", "1", "0") and "c" in name.parts}
    chunk = min(copied)
    original = tmp_path / "first.zarr" / chunk.relative_to("A/1/0")
    original.unlink()  # as zarr-python does with a chunk that is overwritten with the fill value
    sources["A/1/1"]["0"][0, 0, 0] = 7
    resumed = Plate.from_positions(tmp_path / "new.zarr", sources)
    new = tmp_path / "new.zarr"
    assert not (new / chunk).exists()
    assert {
        name for name in copied if (new / name).exists() and (new / name).stat().st_mtime_ns == before[name]
    } == (copied - {chunk})
    Plate.from_positions(tmp_path / "whole" / "new.zarr", sources).close()
    assert files(tmp_path / "new.zarr") == files(tmp_path / "whole" / "new.zarr")
    assert (resumed["A/1/1"]["0"][0, 0, 0] == 7).all()
    assert [path.name for path in tmp_path.iterdir() if "rewrite" in path.name and path.is_dir()] == []


def test_a_copy_that_was_killed_before_its_plate_was_whole_is_whole_in_the_end(tmp_path):
    sources = {
        "A/1/0": position_at(tmp_path / "a.zarr", "0.4"),
        "A/2/0": position_at(tmp_path / "b.zarr", "0.4"),
    }
    interrupted_copy(tmp_path, sources)
    workspace = next(tmp_path.glob(".*new.zarr/store")).parent
    (workspace / "journal").unlink()  # it is begun after the plate
    (workspace / "store" / ".zgroup").unlink()
    Plate.from_positions(tmp_path / "new.zarr", sources).close()
    assert zarr.open_group(tmp_path / "new.zarr", mode="r", zarr_format=2)["A/1/0/0"].shape == (
        2,
        2,
        3,
        20,
        21,
    )


def test_another_copy_than_the_one_that_was_interrupted_begins_with_nothing(tmp_path, files):
    one, other = position_at(tmp_path / "a.zarr"), position_at(tmp_path / "b.zarr", channels=("Cy5",))
    interrupted_copy(tmp_path, {"A/1/0": one, "A/2/0": one})
    plate = Plate.from_positions(tmp_path / "new.zarr", {"B/1/0": other})
    assert [path for path, _ in plate.positions()] == ["B/1/0"]
    assert not (tmp_path / "new.zarr" / "A").exists()


def test_the_progress_of_a_copy_ends_with_all_positions(tmp_path):
    told = []
    sources = {"A/1/0": position_at(tmp_path / "a.zarr"), "A/2/0": position_at(tmp_path / "b.zarr", "0.4")}
    Plate.from_positions(tmp_path / "new.zarr", sources, progress=lambda *now: told.append(now), jobs=1)
    done = [now[0] for now in told]
    assert done == sorted(done)
    assert told[-1] == (2, 2, "positions")
    assert any(0 < number < 1 for number in done)
