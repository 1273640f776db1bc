"""Stores made from files of microscopes open in the other libraries, with the same pixels, levels and sizes."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from tests.formats.samples import Sample, samples

import lamella
from peer import Form, ReadImage
from peers import PEERS

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.filterwarnings("ignore")

ELSEWHERE = {"bioio"}
"""Readers whose libraries `make test-interop` does not install; bioio would bring plugins for the other formats."""

FORMS = [Form("0.4", False), Form("0.5", True)]


def files() -> list[Sample]:
    """One sample of each file: a sample describes one image of it."""
    found = {(sample.reader, sample.path): sample for sample in samples() if sample.reader not in ELSEWHERE}
    missing = {
        name: sample.the_reader.missing for (name, _), sample in found.items() if sample.the_reader.missing
    }
    assert not missing, "the group `interop` has the extra `formats`"
    return list(found.values())


@pytest.fixture(scope="module", params=FORMS, ids=str)
def converted(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A store of each file: an image, a collection of all its images, or a plate."""
    folder = tmp_path_factory.mktemp("converted")
    stores = {}
    for number, sample in enumerate(files()):
        options: dict[str, Any] = {"format": sample.reader} if sample.is_chosen else {}
        with closing(sample.the_reader.open(str(sample.file))) as container:
            is_plate = all(source.description.well for source in container)
            if not is_plate and len(container) > 1:
                options["series"] = "all"
        stores[f"{number} {sample.file.name}"] = folder / f"{number}.zarr"
        lamella.convert(sample.file, folder / f"{number}.zarr", version=request.param.version, **options)
    return stores


def images_of(library: str, store: Path, node: Any) -> dict[str, ReadImage]:
    """The images of a store, as another library reads them."""
    peer = PEERS[library]
    if isinstance(node, lamella.Plate):
        return dict(peer.read_plate(store))
    return {path: peer.read_image(store / path) for path, _ in positions_of(node)}


def positions_of(node: Any) -> list[tuple[str, Any]]:
    return [("", node)] if isinstance(node, lamella.Position) else list(node.positions())


@pytest.mark.parametrize("library", PEERS)
def test_a_store_of_every_format_opens_with_the_same_pixels_and_sizes(
    converted: dict[str, Path], library: str
) -> None:
    problems = []
    for name, store in converted.items():
        try:
            check(library, store)
        except Exception as error:  # all formats are compared
            problems.append(f"{name}: {type(error).__name__} {error}")
    assert problems == []


def check(library: str, store: Path) -> None:
    with lamella.open_ome_zarr(store) as node:
        found, expected = images_of(library, store, node), dict(positions_of(node))
        assert sorted(found) == sorted(expected)
        for path, position in expected.items():
            names = [axis.name.lower() for axis in position.axes]
            image = found[path]
            # Some read the first level of the fields of a plate only.
            paths = position.dataset_paths[: len(image.levels)]
            assert isinstance(node, lamella.Plate) or len(image.levels) == len(position.dataset_paths)
            for level, pixels in zip(paths, image.levels, strict=True):
                np.testing.assert_array_equal(pixels, position[level][...])
            assert image.scale is not None
            assert set(names) - {"c"} <= set(image.scale)
            sizes = dict(zip(names, position.get_effective_scale("0"), strict=True))
            assert {axis: image.scale[axis] for axis in names if axis in image.scale} == pytest.approx(
                {axis: sizes[axis] for axis in names if axis in image.scale}
            )
