"""What other libraries write, lamella reads: the same pixels, the same physical sizes."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from lamella import Plate, Position, open_ome_zarr
from peers import AXES, PEERS, SCALE

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module", params=["0.4", "0.5"])
def version(request):
    return request.param


@pytest.fixture(scope="module", params=PEERS)
def image(request, tmp_path_factory, pixels, version):
    path = tmp_path_factory.mktemp("theirs") / f"{request.param}.zarr"
    PEERS[request.param].write_image(path, pixels, SCALE, version)
    return path


@pytest.fixture(scope="module", params=PEERS)
def plate(request, tmp_path_factory, fields, version):
    path = tmp_path_factory.mktemp("theirs") / f"{request.param}.zarr"
    PEERS[request.param].write_plate(path, fields, version)
    return path


def test_image_opens_as_a_position_of_the_version_it_was_written_in(image, version):
    with open_ome_zarr(image) as position:
        assert isinstance(position, Position)
        assert position.version == version


def test_pixels_of_the_finest_level_are_what_was_written(image, pixels):
    with open_ome_zarr(image) as position:
        np.testing.assert_array_equal(position.data.numpy(), pixels)
        np.testing.assert_array_equal(position.data[1, 0, 2:5, 10:30, ::3], pixels[1, 0, 2:5, 10:30, ::3])


def test_every_level_that_is_listed_opens_by_its_path(image):
    # The names differ by writer: "0", "s0", "scale0/image".
    with open_ome_zarr(image) as position:
        paths = position.metadata.multiscales[0].get_dataset_paths()
        shapes = [position[path].shape for path in paths]
    assert len(shapes) == 2
    assert all(lower <= upper for lower, upper in zip(shapes[1], shapes[0], strict=True))


def test_physical_size_is_what_was_written(image):
    with open_ome_zarr(image) as position:
        assert position.axis_names == list(AXES)
        assert position.scale == pytest.approx(list(SCALE.values()))


def test_plate_lists_rows_wells_and_fields(plate, fields):
    with open_ome_zarr(plate) as opened:
        assert isinstance(opened, Plate)
        assert [name for name, _ in opened.rows()] == ["A", "B"]
        assert sorted(path for path, _ in opened.wells()) == ["A/01", "A/02", "B/01", "B/02"]
        assert sorted(path for path, _ in opened.positions()) == sorted(fields)


def test_pixels_of_every_field_are_what_was_written(plate, fields):
    with open_ome_zarr(plate) as opened:
        for path, expected in fields.items():
            np.testing.assert_array_equal(opened[path].data.numpy(), expected)


def test_an_image_written_by_a_peer_can_be_extended(image, pixels, tmp_path, version):
    path = tmp_path / image.name
    shutil.copytree(image, path)
    with open_ome_zarr(path, mode="r+") as position:
        finest = position.metadata.multiscales[0].get_dataset_paths()[0]
        position[finest][0, 0, 0] = pixels[1, 1, 1]
    with open_ome_zarr(path) as position:
        np.testing.assert_array_equal(position.data[0, 0, 0], pixels[1, 1, 1])
        np.testing.assert_array_equal(position.data[1], pixels[1])
        assert position.version == version
