"""Laws of positions whose documents are the same byte for byte: what they share for speed is never seen."""

from __future__ import annotations

import pickle

import pytest

from lamella import open_ome_zarr
from lamella.errors import InvalidArgumentError, MetadataError

from .conftest import attributes, edit_attributes, ome
from .validity import check_valid

IMAGE = {"shape": (1, 2, 1, 4, 4), "dtype": "uint16"}


@pytest.fixture
def twins(path, version):
    """Two positions of one content in different wells, just created."""
    plate = open_ome_zarr(path, layout="hcs", mode="w", channel_names=["DAPI", "GFP"], version=version)
    return plate.create_positions([("A", "1", "0"), ("B", "1", "0")])


def test_twins_are_created_as_singles_are(twins, path, version, tmp_path):
    for twin in twins:
        twin.create_zeros("0", **IMAGE)
    single = tmp_path / "single.zarr"
    with open_ome_zarr(
        single, layout="hcs", mode="w", channel_names=["DAPI", "GFP"], version=version
    ) as plate:
        plate.create_position("A", "1", "0").create_zeros("0", **IMAGE)
    expected = attributes(single / "A/1/0", version)
    assert attributes(path / "A/1/0", version) == attributes(path / "B/1/0", version) == expected
    check_valid(path, version)


def test_what_a_user_changes_in_one_is_not_in_the_other(twins, path, version):
    one, other = twins
    for twin in twins:
        twin.create_zeros("0", **IMAGE)
    one.metadata.multiscales[0].name = "changed"
    one.metadata.multiscales[0].axes[-1].unit = "meter"
    one.axes[-1].unit = one.data.axes[-1].unit = "foot"  # copies
    one.dump_meta()
    assert ome(path / "A/1/0", version)["multiscales"][0]["axes"][-1]["unit"] == "meter"
    assert other.metadata.multiscales[0].name == "0"
    assert other.axes[-1].unit == other.data.axes[-1].unit == "micrometer"
    assert other.axes is not one.axes
    again = open_ome_zarr(path / "B/1/0")
    assert (again.axes[-1].unit, again.data.axes[-1].unit) == ("micrometer", "micrometer")


def test_axes_are_copies(twins, path, version):
    one, other = twins
    one.axes[-1].unit = "meter"
    one.axes.reverse()
    assert one.axes[-1].unit == other.axes[-1].unit == "micrometer"
    one.metadata.multiscales[0].name = "changed"
    one.axes[0].name = "q"
    one.create_zeros("0", **IMAGE)
    one.dump_meta()
    assert [axis["name"] for axis in ome(path / "A/1/0", version)["multiscales"][0]["axes"]] == list("TCZYX")


def test_an_axis_of_an_array_is_a_copy(twins):
    image = twins[0].create_zeros("0", **IMAGE)
    image.axes[-1].unit = "foot"
    assert image.axes[-1].unit == twins[0].axes[-1].unit == twins[1].axes[-1].unit == "micrometer"


def test_the_first_array_keeps_what_another_process_wrote_meanwhile(twins, path, version):
    edit_attributes(path / "A/1/0", version, lambda stored: stored.update(lab={"note": "theirs"}))
    open_ome_zarr(path / "B/1/0", mode="r+").rename_channel("GFP", "Actin")
    for twin in twins:
        twin.create_zeros("0", **IMAGE)
    assert attributes(path / "A/1/0", version)["lab"] == {"note": "theirs"}
    assert [c["label"] for c in ome(path / "B/1/0", version)["omero"]["channels"]] == ["DAPI", "Actin"]
    assert twins[1].channel_names == ["DAPI", "Actin"]
    assert [twin.dataset_paths for twin in twins] == [["0"], ["0"]]


def test_an_edit_between_look_and_write_is_kept(twins, path, version, monkeypatch):
    """The other process comes after everything was checked: only the swap under the lock can notice it."""
    documents = type(twins[0].documents)
    swap = documents.swap_group

    def late(self, *args, **kwargs):
        monkeypatch.undo()  # once: what is tried again finds the edit
        open_ome_zarr(path / "A/1/0", mode="r+").rename_channel("GFP", "Actin")
        return swap(self, *args, **kwargs)

    monkeypatch.setattr(documents, "swap_group", late)
    twins[0].create_zeros("0", **IMAGE)
    assert [c["label"] for c in ome(path / "A/1/0", version)["omero"]["channels"]] == ["DAPI", "Actin"]
    assert ome(path / "A/1/0", version)["multiscales"][0]["datasets"][0]["path"] == "0"


def test_a_shape_is_checked_against_the_channels_that_are_there_now(twins, path):
    open_ome_zarr(path / "A/1/0", mode="r+").append_channel("Cy5")
    twins[0].create_zeros("0", (1, 3, 1, 4, 4), "uint16")
    with pytest.raises(InvalidArgumentError, match="3 channels"):
        twins[1].create_zeros("0", (1, 3, 1, 4, 4), "uint16")


def test_a_strict_store_checks_a_document_again_before_an_array_is_added(twins, path, version):
    twins[0].create_zeros("0", **IMAGE)
    with open_ome_zarr(path / "A/1/0", mode="r+", strict=True) as position:
        assert position.metadata.multiscales[0].name == "0"

        def scale_channels(document):
            step = (document if version == "0.4" else document["ome"])["multiscales"][0]["datasets"][0]
            step["coordinateTransformations"][0]["scale"] = [1, 2, 1, 1, 1]

        edit_attributes(path / "A/1/0", version, scale_channels)
        with pytest.raises(MetadataError, match="CT-06"):
            position.create_zeros("1", shape=(1, 2, 1, 2, 2), dtype="uint16")
    assert not (path / "A/1/0/1").exists()


def test_a_pickled_position_goes_on_where_it_was(twins, version, path):
    copy = pickle.loads(pickle.dumps(twins[0]))
    copy.create_zeros("0", **IMAGE)
    twins[0].create_zeros("1", **IMAGE)
    assert copy.dataset_paths == twins[0].dataset_paths == ["0", "1"]
    assert [level["path"] for level in ome(path / "A/1/0", version)["multiscales"][0]["datasets"]] == [
        "0",
        "1",
    ]


def test_a_position_that_moves_to_another_acquisition_leaves_wells_with_an_equal_document(twins, path):
    with open_ome_zarr(path, mode="r+", overwriting_creation=True) as plate:
        wells = plate["A/1"], plate["B/1"]
        assert [well.metadata.images[0].acquisition for well in wells] == [0, 0]
    with open_ome_zarr(path, mode="r+", overwriting_creation=True) as plate:
        plate.create_position("A", "1", "0", acq_index=1)
        assert [plate[well].metadata.images[0].acquisition for well in ("A/1", "B/1")] == [1, 0]
