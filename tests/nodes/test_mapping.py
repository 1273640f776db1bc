"""Laws of the mapping face of all nodes, and of what they show of themselves."""

from __future__ import annotations

import base64
import io
import re
import shutil
from collections.abc import Mapping

import numpy as np
import pytest
import zarr
from PIL import Image

from lamella import NGFFNode, Plate, Position, Row, Well, open_ome_zarr
from lamella.adapters import thumbnail
from lamella.errors import MetadataWarning
from lamella.nodes.html import node_html

from .conftest import edit_attributes, pixels


@pytest.fixture
def nodes(plate_path):
    plate = open_ome_zarr(plate_path, mode="r+")
    position = plate["A/1/0"]
    position.labels["cells"] = np.ones((2, 3, 8, 10), "uint8")
    return {
        "plate": (plate, ["A", "B"]),
        "row": (plate["A"], ["1", "2"]),
        "well": (plate["A/1"], ["0", "1"]),
        "position": (position, ["0"]),
        "labels": (position.labels, ["cells"]),
    }


@pytest.mark.parametrize("kind", ["plate", "row", "well", "position", "labels"])
def test_nodes_are_mappings_of_their_members(nodes, kind):
    node, names = nodes[kind]
    assert isinstance(node, Mapping)
    assert list(node) == list(node.keys()) == names
    assert len(node) == len(names)
    assert [name for name, _ in node.items()] == names
    assert [repr(member) for member in node.values()] == [repr(node[name]) for name in names]
    assert all(name in node for name in names)
    assert node.get("nothing") is None
    assert node.get("nothing", 5) == 5
    assert "nothing" not in node
    assert None not in node
    assert bool(node)
    with pytest.raises(KeyError):
        node["nothing"]


def test_members_are_reached_one_by_one_or_by_a_path(plate_path):
    plate = open_ome_zarr(plate_path)
    one = plate["A"]["1"]["0"]["0"]
    for other in (plate["A/1/0/0"], plate["A/1"]["0/0"], plate["A"]["1/0/0"], plate["/A/1/0/0/"]):
        assert other.path == one.path == "A/1/0/0"
        np.testing.assert_array_equal(other[:], pixels())
    kinds = {"A": Row, "A/1": Well, "A/1/0": Position}
    for path, kind in kinds.items():
        assert type(plate[path]) is kind
        assert path in plate


def test_a_node_without_members_is_false(tmp_path, version, nodes):
    """As any mapping is: ``if position.labels`` asks whether there are label images."""
    with open_ome_zarr(
        tmp_path / "empty.zarr", layout="hcs", mode="w", channel_names=["a"], version=version
    ) as plate:
        assert not plate
        well = plate.create_well("A", "1")
        assert plate
        assert not well
        position = well.create_position("0")
        assert plate["A"]
        assert well
        assert not position
        position["0"] = np.zeros((1, 1, 1, 8, 8), "uint8")
        assert position
        assert not position.labels
        position.labels["cells"] = np.zeros((1, 8, 8), "uint8")
        assert position.labels
        del position.labels["cells"]
        assert not position.labels
        assert not position["0"].attrs
    assert plate


def test_membership_is_exact_in_case(plate_path):
    plate = open_ome_zarr(plate_path)
    assert "A/1" in plate
    assert "a/1" not in plate
    assert "a" not in plate


def test_membership_agrees_with_opening(plate_path):
    plate = open_ome_zarr(plate_path, mode="r+")
    plate["A/1/0"].labels["cells"] = np.ones((3, 8, 10), "uint8")
    positions = {
        "A/",
        "/A",
        "A/1/",
        "A01",
        "A1/0",
        "A/1/0/",
        "A/1/0/0/",
        "A/01",
        "A09",
        "A/1/9",
        "B/",
        "/",
        "",
    }
    for node, keys in (
        (plate, positions),
        (plate["A"], {"1/", "1/0/", "9/"}),
        (plate["A/1"], {"0/", "0/0", "9/"}),
        (plate["A/1/0"], {"0/", "labels/cells/0", "labels/", "labels/no", "1/"}),
        (plate["A/1/0"].labels, {"cells/", "cells/0", "cells/9", "no/0"}),
    ):
        for key in keys:
            assert (key in node) == (node.get(key) is not None), (node, key)


def test_roots_and_leaves(plate_path):
    plate = open_ome_zarr(plate_path)
    position = plate["A/1/0"]
    assert (plate.is_root(), plate.is_leaf()) == (True, False)
    assert (position.is_root(), position.is_leaf()) == (False, True)
    assert open_ome_zarr(plate_path / "A/1/0").is_root()
    assert plate.group_keys() == ["A", "B"]
    assert plate.array_keys() == []
    assert position.group_keys() == []
    assert position.array_keys() == ["0"]


def test_a_position_with_labels_is_no_leaf(nodes):
    position, _ = nodes["position"]
    assert position.group_keys() == ["labels"]
    assert not position.is_leaf()


def test_nodes_are_equal_by_place(plate_path):
    plate = open_ome_zarr(plate_path)
    again = open_ome_zarr(plate_path)
    assert plate == again
    assert plate["A/1/0"] == again["A"]["1"]["0"]
    assert plate["A/1/0"] != plate["A/1/1"]
    assert plate["A/1"] != plate["A"]
    assert plate != {}
    assert len({plate, again}) == 1


@pytest.mark.parametrize("kind", ["plate", "row", "well", "position", "labels"])
def test_repr_says_class_path_version_and_state(nodes, kind, version):
    node, _ = nodes[kind]
    text = repr(node)
    for part in (type(node).__name__, node.path, f"OME-NGFF {version}", "open"):
        assert part in text
    node.close()
    assert "closed" in repr(node)


def test_repr_says_shape_or_counts(nodes):
    assert "(2, 2, 3, 8, 10) uint16" in repr(nodes["position"][0])
    assert "3 wells" in repr(nodes["plate"][0])
    assert "2 positions" in repr(nodes["well"][0])
    assert "1 label image" in repr(nodes["labels"][0])


def test_a_with_statement_closes(plate_path):
    with open_ome_zarr(plate_path, mode="r+") as plate:
        position = plate["A/1/0"]
    with pytest.raises(ValueError, match="closed"):
        position.dump_meta()
    plate.close()  # again is no error
    assert position.data.shape == pixels().shape


def test_print_tree_shows_the_levels_asked_for(plate_path, capsys):
    plate = open_ome_zarr(plate_path)
    plate.print_tree()
    text = capsys.readouterr().out
    assert text.splitlines()[:4] == ["/", "├── A", "│   ├── 1", "│   │   ├── 0"]
    assert text.count("(2, 2, 3, 8, 10) uint16") == 6
    plate.print_tree(level=2)
    assert len(capsys.readouterr().out.splitlines()) == 1 + 2 + 3
    plate.print_tree(level=0)
    assert capsys.readouterr().out == "/\n"
    plate["A/2"].print_tree(1)
    assert capsys.readouterr().out == "/A/2\n├── 0\n└── 1\n"


def damage_document(folder, version):
    for name in (".zattrs", ".zarray") if version == "0.4" else ("zarr.json",):
        if (folder / name).exists():
            (folder / name).write_text("{")


@pytest.mark.parametrize("below", ["A/1/0/0", "A/1/0", "A/1", "A", ""])
@pytest.mark.parametrize("how", ["damaged", "gone"])
def test_showing_never_raises(plate_path, version, below, how, capsys):
    plate = open_ome_zarr(plate_path)
    shown = [plate, plate["A"], plate["A/1"], plate["A/1/0"], plate["A/1/0"].labels]
    if how == "gone":
        shutil.rmtree(plate_path / below)
    else:
        damage_document(plate_path / below, version)
    for node in shown:
        assert type(node).__name__ in repr(node)
        assert type(node).__name__ in node_html(node)
        node.print_tree()
    assert capsys.readouterr().out


@pytest.mark.parametrize("kind", ["plate", "row", "well", "position", "labels"])
def test_notebooks_show_every_node(nodes, kind):
    html = nodes[kind][0]._repr_html_()
    assert html.startswith("<div>")
    assert html.count("<") == html.count(">")


def test_the_plate_map_counts_fields_per_well(plate_path):
    html = open_ome_zarr(plate_path)._repr_html_()
    assert html.count(">2</td>") == 3  # two fields in each of A/1, A/2, B/1
    assert html.count("></td>") == 1  # there is no B/2


def picture_in(html):
    """The picture of a notebook's HTML, or None."""
    encoded = re.search('<img [^>]*src="data:image/png;base64,([^"]*)"', html)
    return None if encoded is None else Image.open(io.BytesIO(base64.b64decode(encoded[1])))


def test_notebooks_show_a_small_picture_where_reading_is_quick(tmp_path, monkeypatch):
    plate = open_ome_zarr(tmp_path / "p.zarr", layout="hcs", mode="w", channel_names=["a"], axes="cyx")
    for well in ("1", "2"):
        plate.create_position("A", well, "0")["0"] = np.full((1, 32, 32), 200, "uint8")
    position = plate["A/1/0"]
    position.labels["cells"] = np.ones((32, 32), "uint8")
    for node in (plate, position, position.labels["cells"], position.labels):
        picture = picture_in(node._repr_html_())
        assert picture is not None, node
        assert max(picture.size) < 800
    chunk = next(
        file for file in (tmp_path / "p.zarr/A/1/0/0").rglob("*") if file.is_file() and file.name == "0"
    )
    chunk.write_bytes(b"no chunk")
    html = position._repr_html_()
    assert picture_in(html) is None
    assert "uint8" in html
    assert picture_in(plate._repr_html_()) is not None
    monkeypatch.setattr(thumbnail, "_NEAR_BYTES", 100)
    assert picture_in(plate._repr_html_()) is None


def test_notebooks_show_no_picture_of_a_large_image_in_an_object_store():
    store = zarr.storage.MemoryStore()
    position = open_ome_zarr(store, layout="fov", mode="w", channel_names=["a"], axes="cyx")
    image = position.create_zeros("0", (1, 1024, 1024), "uint16", chunks=(1, 64, 64))
    assert image.shape == (1, 1024, 1024)
    assert picture_in(position._repr_html_()) is None
    position.compute_pyramid(3)
    assert picture_in(position._repr_html_()) is not None


def test_an_image_shows_levels_axes_scale_and_channels(image):
    image.set_scale("0", "x", 0.325)
    html = image._repr_html_()
    for part in ("(2, 2, 3, 8, 10)", "uint16", "micrometer", "0.325", "0.65", "DAPI", "#0000FF", "#00FF00"):
        assert part in html


def test_text_of_a_store_is_escaped(image, path, version):
    def paint(stored):
        part = stored if version == "0.4" else stored["ome"]
        part["omero"]["channels"][1]["color"] = 'red;"><script>'

    image.rename_channel("DAPI", "<script>alert(1)</script>")
    image.metadata.multiscales[0].axes[0].unit = "<b>"
    image.dump_meta()
    edit_attributes(path, version, paint)
    with pytest.warns(MetadataWarning, match="OM-02"):
        html = open_ome_zarr(path)._repr_html_()
    assert "<script>" not in html
    assert "<b>" not in html
    assert "&lt;script&gt;" in html


def test_a_generic_group_is_a_plain_node(plate_path):
    plate = open_ome_zarr(plate_path, mode="r+")
    plate.zgroup.create_group("extra/inner")
    node = plate["extra"]
    assert type(node) is NGFFNode
    assert list(node) == ["inner"]
    del node["inner"]
    assert list(node) == []
    assert isinstance(plate, Plate)


def test_html_shows_chunks_and_shards_and_names_the_labels(tmp_path):
    with open_ome_zarr(
        tmp_path / "p.zarr", layout="fov", mode="w", channel_names=["a"], version="0.5"
    ) as position:
        position.create_image("0", np.zeros((1, 1, 6, 64, 64), "u2"), (1, 1, 3, 16, 16), (1, 1, 2, 4, 2))
        position.labels.create("nu<clei", np.zeros((1, 6, 64, 64), "u1"))
        position.labels.create("cells", np.zeros((1, 6, 64, 64), "u1"))
        html = position._repr_html_()
        label = position.labels["cells"]._repr_html_()
    assert ">chunks</th>" in html
    assert ">shards</th>" in html
    assert ">(1, 1, 3, 16, 16)</td>" in html
    assert ">(1, 1, 6, 64, 32)</td>" in html
    assert "labels: nu&lt;clei, cells" in html
    assert "labels:" not in label
