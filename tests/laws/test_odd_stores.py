"""Stores that are unusual and real: each is read, edited, written, validated and upgraded, with the same pixels."""

from __future__ import annotations

import contextlib
import json
import warnings
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import zarr

import lamella
from lamella import open_ome_zarr
from lamella.errors import MetadataWarning

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

USUAL = (
    ("c", "channel", None),
    ("z", "space", "micrometer"),
    ("y", "space", "micrometer"),
    ("x", "space", "micrometer"),
)


@dataclass
class Odd:
    """What is unusual about a store; by default nothing is but that there is no omero block."""

    versions: tuple[str, ...] = ("0.4", "0.5", "0.6")
    axes: tuple[tuple[str, str | None, str | None], ...] = USUAL
    paths: tuple[Any, ...] = ("0", "1")
    keys: dict[str, str] | None = None
    endian: str = "little"
    omero: bool = False
    more: int = 0
    says: str | None = None
    broken: set[str] = field(default_factory=set)
    choice: set[str] = field(default_factory=set)

    def reporting(self) -> contextlib.AbstractContextManager[Any]:
        """Expect a warning of each rule that is broken, where there is one."""
        return reported(self.broken | self.choice)


@contextlib.contextmanager
def reported(rules: set[str]) -> Iterator[None]:
    """Collect warnings of assumptions: each is of one of these rules, and of each rule is one."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    assert {warning.category for warning in caught} <= {MetadataWarning}
    assert {str(warning.message).split(" break ")[1][:5] for warning in caught} == rules


ODD = {
    "no omero block": Odd(),
    "levels named s0, s1": Odd(paths=("s0", "s1"), omero=True),
    "levels in groups": Odd(paths=("scale0/image", "scale1/image"), omero=True),
    "integers as paths": Odd(paths=(0, 1), broken={"MS-04"}),
    "keys with dots": Odd(versions=("0.4",), keys={"name": "v2", "separator": "."}, broken={"ST-04"}),
    "default keys with dots": Odd(versions=("0.5", "0.6"), keys={"name": "default", "separator": "."}),
    "keys of v2 with dots": Odd(versions=("0.5", "0.6"), keys={"name": "v2", "separator": "."}),
    "keys of v2 with slashes": Odd(versions=("0.5", "0.6"), keys={"name": "v2", "separator": "/"}),
    "big-endian": Odd(endian="big"),
    "several multiscales": Odd(more=2, choice={"LM-12"}),
    "a unit outside the list": Odd(axes=(*USUAL[:3], ("x", "space", "furlong"))),
    "untyped axes": Odd(
        axes=(("c", None, None), ("z", None, None), ("y", None, None), ("x", None, None)),
        broken={"AX-07", "AX-09"},
    ),
    "a custom axis": Odd(axes=(("angle", "angle", "degree"), *USUAL[1:])),
}
#: What may be in three versions is in two of them, in turn.
CASES = [
    pytest.param(odd, version, id=f"{name} in {version}")
    for number, (name, odd) in enumerate(ODD.items())
    for place, version in enumerate(odd.versions)
    if len(odd.versions) < 3 or place != number % 3
]
WINDOW = {"start": 0, "end": 9, "min": 0, "max": 99}
PIXELS = np.arange(2 * 3 * 8 * 10, dtype="uint16").reshape(2, 3, 8, 10)


def make(path: Path, odd: Odd, version: str) -> Path:
    """Write the store with zarr-python and json alone."""
    zarr_format = 2 if version == "0.4" else 3
    root = zarr.create_group(path, zarr_format=zarr_format)
    levels = []
    keys = odd.keys or ({"name": "v2", "separator": "/"} if zarr_format == 2 else None)
    for index, name in enumerate(odd.paths):
        data = PIXELS[:, :, :: 2**index, :: 2**index]
        options: dict[str, Any] = {"dtype": "<u2" if odd.endian == "little" else ">u2"}
        if zarr_format == 3:
            options = {
                "dtype": "uint16",
                "serializer": zarr.codecs.BytesCodec(endian=odd.endian),
                "dimension_names": [name for name, _, _ in odd.axes],
            }
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            array = root.create_array(
                str(name), shape=data.shape, chunks=(1, 2, 4, 4), chunk_key_encoding=keys, **options
            )
        array[...] = data
        scale: dict[str, Any] = {"type": "scale", "scale": [1, 1, 2**index, 2**index]}
        if version == "0.6":
            scale |= {"input": {"path": str(name)}, "output": {"name": "physical"}}
        levels.append({"path": name, "coordinateTransformations": [scale]})
    axes = [{"name": n} | ({"type": t} if t else {}) | ({"unit": u} if u else {}) for n, t, u in odd.axes]
    described = (
        {"coordinateSystems": [{"name": "physical", "axes": axes}]} if version == "0.6" else {"axes": axes}
    )
    image = (
        described | {"datasets": levels, "name": "cells"} | ({"version": "0.4"} if zarr_format == 2 else {})
    )
    images = [image | {"name": f"cells {number}"} for number in range(odd.more)] or [image]
    ome: dict[str, Any] = {"multiscales": images, "ours": {"kept": True}}
    if odd.omero:
        ome["omero"] = {
            "channels": [{"label": label, "color": "FF0000", "window": WINDOW} for label in ("a", "b")]
        }
    root.attrs.update(ome if zarr_format == 2 else {"ome": {"version": version, **ome}})
    return path


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        yield


def stored(path: Path) -> dict[str, Any]:
    file = path / "zarr.json"
    if file.exists():
        return json.loads(file.read_bytes())["attributes"]["ome"]
    return json.loads((path / ".zattrs").read_bytes())


def levels_of(path: Path, odd: Odd) -> list[Any]:
    return [zarr.open_array(path / str(name), mode="r")[...] for name in odd.paths]


@pytest.mark.parametrize(("odd", "version"), CASES)
def test_an_odd_store_is_read(tmp_path, odd, version):
    path = make(tmp_path / "odd.zarr", odd, version)
    with odd.reporting():
        image = open_ome_zarr(path)
        image.data
    assert type(image) is lamella.Position
    assert image.dataset_paths == [str(name) for name in odd.paths]
    assert [(axis.name, axis.type, axis.unit) for axis in image.axes] == list(odd.axes)
    assert image.data.dtype == np.uint16
    np.testing.assert_array_equal(image.data[...], PIXELS)
    np.testing.assert_array_equal(image[odd.paths[1]][1, 1:, 1:3], PIXELS[1, 1:, 2:6:2, ::2])
    assert image.get_effective_scale(str(odd.paths[1])) == [1, 1, 2, 2]
    expected = [] if odd.axes[0][0] == "angle" else ["a", "b"] if odd.omero else ["channel_0", "channel_1"]
    assert image.channel_names == expected


@pytest.mark.parametrize(("odd", "version"), CASES)
def test_an_odd_store_is_edited_and_written(tmp_path, odd, version):
    path = make(tmp_path / "odd.zarr", odd, version)
    before = stored(path)
    with odd.reporting():
        image = open_ome_zarr(path, mode="r+")
        image.data
    with image:
        image.data[1, 2, 1:7, 3:] = 7
        image.set_scale(str(odd.paths[0]), "z", 0.5)
        if image.channel_names:
            image.rename_channel(image.channel_names[1], "Actin")
        image.labels["cells"] = (
            np.ones(PIXELS.shape[1:], "uint8") if image.channel_names else np.ones_like(PIXELS)
        )
        image.compute_pyramid()
    expected = PIXELS.copy()
    expected[1, 2, 1:7, 3:] = 7
    finest, coarse = levels_of(path, odd)
    np.testing.assert_array_equal(finest, expected)
    blocks = expected.reshape(2, 3, 4, 2, 5, 2).astype(float).mean((3, 5))
    np.testing.assert_array_equal(coarse, np.rint(blocks))
    with quietly():
        again = open_ome_zarr(path)
        assert again.scale == [1, 0.5, 1, 1]
    assert again.get_effective_scale(str(odd.paths[1])) == [1, 0.5, 2, 2]
    assert again.labels["cells"].dataset_paths == [str(name) for name in odd.paths]
    after = stored(path)
    assert after["ours"] == {"kept": True}
    for key in ("axes", "coordinateSystems"):
        assert after["multiscales"][0].get(key) == before["multiscales"][0].get(key)
    assert after["multiscales"][1:] == before["multiscales"][1:]


@pytest.mark.parametrize(("odd", "version"), CASES)
def test_an_odd_store_is_judged(tmp_path, odd, version):
    report = lamella.validate(make(tmp_path / "odd.zarr", odd, version))
    assert {finding.rule for finding in report.findings if finding.level == "MUST"} == odd.broken


@pytest.mark.parametrize(("odd", "version"), CASES)
def test_an_odd_store_is_upgraded(tmp_path, odd, version):
    path = make(tmp_path / "odd.zarr", odd, version)
    for target in ("0.4", "0.5", "0.6"):
        new = tmp_path / f"{target}.zarr"
        with reported(odd.broken - {"ST-04"} | odd.choice):  # which is of the arrays
            lamella.upgrade(path, target, new)
        with quietly():
            image = open_ome_zarr(new)
            image.data
        assert image.version == target
        assert image.dataset_paths == [str(name) for name in odd.paths]
        assert [(axis.name, axis.unit) for axis in image.axes] == [(name, unit) for name, _, unit in odd.axes]
        for ours, theirs in zip(levels_of(new, odd), levels_of(path, odd), strict=True):
            np.testing.assert_array_equal(ours, theirs)
        np.testing.assert_array_equal(image.data[...], PIXELS)
        assert image.get_effective_scale(str(odd.paths[1])) == [1, 1, 2, 2]


# -- labels without metadata, as iohub writes them -------------------------------------------------------------------


@pytest.fixture
def bare_labels(tmp_path: Path, version: str) -> Path:
    """An image with the label image "cells", that no list names and no image-label describes."""
    path = make(tmp_path / "odd.zarr", Odd(omero=True), version)
    with open_ome_zarr(path, mode="r+") as image:
        image.labels.create("cells", np.ones(PIXELS.shape[1:], "uint8"))
    for folder, key in (("labels", "labels"), ("labels/cells", "image-label")):
        file = next(
            file for file in ((path / folder / "zarr.json"), (path / folder / ".zattrs")) if file.exists()
        )
        document = json.loads(file.read_bytes())
        ome = document["attributes"]["ome"] if file.name == "zarr.json" else document
        del ome[key]
        file.write_text(json.dumps(document))
    return path


def test_labels_without_metadata_are_found_opened_edited_and_upgraded(bare_labels, tmp_path, version):
    image = open_ome_zarr(bare_labels, mode="r+")
    assert list(image.labels) == ["cells"]
    assert type(image["labels/cells"]) is lamella.Position
    assert type(image.labels["cells"]) is lamella.LabelImage
    for cells in (
        image["labels/cells"],
        image.labels["cells"],
        open_ome_zarr(bare_labels / "labels" / "cells"),
    ):
        assert cells.data.shape == PIXELS.shape[1:]
        assert int(cells.data[...].min()) == 1
    assert image.labels["cells"].colors == {}
    lamella.upgrade(bare_labels, "0.6", tmp_path / "new.zarr")
    assert list(open_ome_zarr(tmp_path / "new.zarr").labels) == ["cells"]
    image.labels["cells"].set_colors({1: (255, 0, 0)})
    image.labels["cells"].data[0, 0, 0] = 2
    image["labels/cells"].compute_pyramid(method="mode")
    colors = open_ome_zarr(bare_labels).labels["cells"].colors
    assert colors[1] == (255, 0, 0, 255)
    assert set(colors) == {1, 2}  # a stored table is extended by what is written
    assert type(open_ome_zarr(bare_labels)["labels/cells"]) is lamella.LabelImage


def test_labels_without_metadata_are_judged_and_mended(bare_labels):
    assert lamella.validate(bare_labels).findings
    lamella.repair(bare_labels)
    found = {finding.rule for finding in lamella.validate(bare_labels).findings if finding.level == "MUST"}
    assert found == set()
    assert list(open_ome_zarr(bare_labels).labels) == ["cells"]


# -- a scene -----------------------------------------------------------------------------------------------------------


def test_a_scene_opens_and_its_images_with_it(tmp_path):
    path = tmp_path / "scene.zarr"
    transform = {
        "type": "translation",
        "translation": [0, 5],
        "input": {"path": "one", "name": "physical"},
        "output": {"path": "two", "name": "physical"},
    }
    scene = {"ome": {"version": "0.6", "scene": {"coordinateTransformations": [transform]}}}
    zarr.create_group(path, zarr_format=3, attributes=scene)
    for name in ("one", "two"):
        with open_ome_zarr(
            path / name, layout="fov", mode="w", axes=lamella.models.axes("yx"), channel_names=[], version="0.6",
            disable_path_checking=True,
        ) as image:  # fmt: skip
            image["0"] = np.full((4, 4), 3, "uint8")
    node = open_ome_zarr(path)
    assert type(node) is lamella.Scene
    assert sorted(node) == ["one", "two"]
    assert [(name, image.data.shape) for name, image in node.images()] == [("one", (4, 4)), ("two", (4, 4))]
    assert [image.path for image in lamella.status(path).images] == ["one", "two"]
    assert node.metadata.coordinate_transformations[0].translation == [0, 5]
    assert int(node["two"].data[...].max()) == 3
    assert node.maybe_wrapped_ome_attrs["scene"]["coordinateTransformations"] == [transform]
    with open_ome_zarr(path, mode="r+") as node:
        node["one"].set_scale("0", "x", 2)
        node.zattrs["ours"] = 1
        node.metadata.coordinate_transformations[0].translation = [0, 6]
        node.dump_meta()
        assert node.zattrs["ours"] == 1
    transform["translation"] = [0, 6]
    assert open_ome_zarr(path).maybe_wrapped_ome_attrs["scene"]["coordinateTransformations"] == [transform]
    lamella.validate(path)


# -- versions that are guessed -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "read"),
    [("0.5-dev-spec", "0.5"), ("0.5.2", "0.5"), ("0.6.dev1", "0.6"), ("0.6-rc1", "0.6"), ("0.9.dev3", "0.6")],
)
def test_a_tag_before_a_release_is_read_as_the_nearest_version_and_said(tmp_path, said, read):
    path = make(tmp_path / "odd.zarr", Odd(omero=True), "0.5")
    if read == "0.6":
        lamella.upgrade(path, "0.6", path2 := tmp_path / "six.zarr")
        path = path2
    file = path / "zarr.json"
    document = json.loads(file.read_bytes())
    document["attributes"]["ome"]["version"] = said
    file.write_text(json.dumps(document))
    with pytest.warns(MetadataWarning, match=f'"{said}".* read as {read}'):
        image = open_ome_zarr(path, mode="r+")
    assert image.version == read
    np.testing.assert_array_equal(image.data[...], PIXELS)
    with quietly():
        image.set_scale("0", "z", 0.5)
        assert open_ome_zarr(path).scale == [1, 0.5, 1, 1]
        lamella.validate(path)
        lamella.upgrade(path, "0.4", tmp_path / "new.zarr")
    assert open_ome_zarr(tmp_path / "new.zarr").scale == [1, 0.5, 1, 1]


@pytest.mark.parametrize(("version", "axes"), [("0.1", None), ("0.2", None), ("0.3", ["z", "y", "x"])])
def test_what_is_guessed_of_older_versions_is_said(tmp_path, version, axes):
    root = zarr.create_group(tmp_path / "old.zarr", zarr_format=2)
    shape = (1, 2, 3, 8, 10) if axes is None else (3, 8, 10)
    for level in range(2):
        root.create_array(str(level), data=np.ones((*shape[:-2], 8 >> level, 10 >> level), "uint8"))
    image: dict[str, Any] = {"version": version, "datasets": [{"path": "0"}, {"path": "1"}]}
    root.attrs["multiscales"] = [image | ({"axes": axes} if axes else {})]
    with pytest.warns(UserWarning, match=rf"OME-NGFF {version} states no .*pixel sizes") as said:
        opened = open_ome_zarr(tmp_path / "old.zarr")
    assert ("axes: lamella assumes" in str(said[0].message)) == (axes is None)
    with quietly():
        assert opened.get_effective_scale("1")[-2:] == [2, 2]
        assert opened.axis_names == (axes or list("tczyx"))
        lamella.validate(tmp_path / "old.zarr")
        lamella.upgrade(tmp_path / "old.zarr", "0.5", tmp_path / "new.zarr")
    assert open_ome_zarr(tmp_path / "new.zarr").data.shape == shape
