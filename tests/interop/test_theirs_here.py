"""What other libraries write, lamella reads: the same pixels, the same physical sizes, and only true findings."""

from __future__ import annotations

import itertools
import re
import shutil
import warnings

import numpy as np
import pytest

import lamella
from lamella import Plate, Position, open_ome_zarr
from peer import AXES, SCALE
from peers import BREAKS, CANNOT_WRITE, PEERS

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def kinds(pixels, labels, tiles, fields):
    """How a library is asked for each kind of store."""
    return {
        "image": lambda peer, path, form: peer.write_image(path, pixels, SCALE, form),
        "tiled": lambda peer, path, form: peer.write_tiled(path, tiles, SCALE, form),
        "labels": lambda peer, path, form: peer.write_labels(path, pixels, SCALE, labels, form),
        "plate": lambda peer, path, form: peer.write_plate(path, fields, form),
    }


@pytest.fixture(scope="module")
def theirs(kinds, tmp_path_factory):
    """Return a function that gives the store of a library, made once; or its refusal."""
    made = {}

    def make(library, kind, form):
        key = library, kind, form
        if key not in made:
            path = tmp_path_factory.mktemp("theirs") / f"{library}.zarr"
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    kinds[kind](PEERS[library], path, form)
                made[key] = path
            except Exception as error:  # whatever a library says when it refuses
                made[key] = error
        return made[key]

    return make


def refusal_of(library, kind, form):
    return CANNOT_WRITE.get((library, kind, str(form))) or CANNOT_WRITE.get((library, kind, form.version))


@pytest.mark.parametrize("library", PEERS)
@pytest.mark.parametrize("kind", ["image", "tiled", "labels", "plate"])
def test_lamella_reads_pixels_and_physical_sizes(
    record_property, theirs, pixels, labels, tiles, fields, form, kind, library
):
    path, words = theirs(library, kind, form), refusal_of(library, kind, form)
    if words is not None:
        assert isinstance(path, Exception), f"{library} writes this now: {kind} {form}"
        assert re.search(re.escape(words), str(path)), str(path)
        record_property("cannot", words)
        return
    if isinstance(path, Exception):
        raise path
    with open_ome_zarr(path) as node:
        assert node.version == form.version
        if kind == "plate":
            check_plate(node, fields)
        else:
            check_image(node, tiles if kind == "tiled" else pixels, form)
        if kind == "labels":
            check_labels(node, labels, PEERS[library].label_scale, form)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        findings = lamella.validate(path, pixels=True).findings
    broken = {f"{finding.rule} ({finding.level})" for finding in findings}
    expected = BREAKS.get((library, kind, form.version), BREAKS.get((library, kind, ""), ""))
    assert ", ".join(sorted(broken)) == expected
    record_property("breaks", expected)


def check_image(node, pixels, form):
    assert isinstance(node, Position)
    np.testing.assert_array_equal(node.data.numpy(), pixels)
    np.testing.assert_array_equal(node.data[1, 0, 2:5, 10:30, ::3], pixels[1, 0, 2:5, 10:30, ::3])
    assert node.axis_names == list(AXES) or node.axis_names == list(AXES.upper())
    assert node.scale == pytest.approx(list(SCALE.values()))
    # The names differ by writer: "0", "s0", "scale0/image".
    shapes = [node[path].shape for path in node.metadata.multiscales[0].get_dataset_paths()]
    assert all(
        all(a <= b for a, b in zip(low, high, strict=True)) for high, low in itertools.pairwise(shapes)
    )


def check_labels(node, labels, scale, form):
    assert list(node.labels) == ["cells"]
    image = node.labels["cells"]
    np.testing.assert_array_equal(image.data.numpy(), labels)
    assert image.scale == pytest.approx(list(scale.values()))
    assert (image.data.shards is not None) == form.sharded


def check_plate(node, fields):
    assert isinstance(node, Plate)
    assert [name for name, _ in node.rows()] == ["A", "B"]
    assert sorted(path for path, _ in node.wells()) == ["A/01", "A/02", "B/01", "B/02"]
    assert sorted(path for path, _ in node.positions()) == sorted(fields)
    for path, expected in fields.items():
        np.testing.assert_array_equal(node[path].data.numpy(), expected)
        assert node[path].scale == [1.0] * 5


@pytest.mark.parametrize("library", PEERS)
def test_an_image_written_by_a_peer_can_be_extended(theirs, pixels, tmp_path, form, library):
    made = theirs(library, "image", form)
    if refusal_of(library, "image", form):
        return  # held by the test above
    path = tmp_path / made.name
    shutil.copytree(made, path)
    with open_ome_zarr(path, mode="r+") as position:
        position.data[0, 0, 0] = pixels[1, 1, 1]
        levels = len(position.dataset_paths)
    with open_ome_zarr(path) as position:
        np.testing.assert_array_equal(position.data[0, 0, 0], pixels[1, 1, 1])
        np.testing.assert_array_equal(position.data[1], pixels[1])
        assert (position.version, len(position.dataset_paths)) == (form.version, levels)
