"""Stores made by lamella for the other libraries. Collected only where these are installed."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from interop_matrix import Matrix
from lamella import open_ome_zarr
from lamella.models import TransformationMeta, axes
from peer import AXES, CHANNELS, CHUNKS, SCALE, SHARDS, Fields, Form, Pixels, random_pixels

if TYPE_CHECKING:
    from collections.abc import Generator

ROOT = Path(__file__).parent.parent.parent
collect_ignore_glob = [] if importlib.util.find_spec("iohub") else ["*.py"]

# `make interop-docs` names the page that the table goes to; without it, it is printed.
PAGE = os.environ.get("INTEROP_PAGE")
MATRIX = Matrix()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Note what came out of a test: its call, or the setup that kept it from being called."""
    report = yield
    if isinstance(item, pytest.Function) and (report.failed or (report.when == "call" and report.passed)):
        params = item.callspec.params if hasattr(item, "callspec") else {}
        MATRIX.add(item.path.stem, params, report.passed, dict(item.user_properties))
    return report


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Write the table to the page, or show it."""
    if not MATRIX.outcomes:
        return
    if PAGE:
        MATRIX.write(ROOT / PAGE)
        terminalreporter.write_line(f"the table is in {PAGE}")
    else:
        terminalreporter.write_line(MATRIX.markdown())


@dataclass(frozen=True)
class Made:
    """One store of each kind made by lamella, and what must be read from them."""

    paths: dict[str, Path]
    levels: dict[str, list[Pixels]]
    fields: Fields


@pytest.fixture(scope="session")
def pixels() -> Pixels:
    """TCZYX with lengths that no chunk divides."""
    return random_pixels((2, 2, 9, 37, 41), 0)


@pytest.fixture(scope="session")
def tiles() -> Pixels:
    """TCZYX of 2 x 2 tiles."""
    return random_pixels((2, 2, 5, 36, 40), 8)


@pytest.fixture(scope="session")
def labels(pixels: Pixels) -> Pixels:
    """Labels TZYX of the pixels."""
    return random_pixels((2, 9, 37, 41), 6)


@pytest.fixture(scope="session")
def fields() -> Fields:
    """Fields of a plate. Columns have two digits because ngio writes them so whatever it is given."""
    names = [f"{row}/{column}/{field}" for row in "AB" for column in ("01", "02") for field in "01"]
    return {name: random_pixels((1, 2, 3, 16, 20), seed) for seed, name in enumerate(names, 1)}


FORMS = [
    Form("0.4", False),
    *(Form(version, sharded) for version in ("0.5", "0.6") for sharded in (False, True)),
]


@pytest.fixture(scope="session", params=FORMS, ids=str)
def form(request: pytest.FixtureRequest) -> Form:
    """Every version that lamella writes, without shards and with them."""
    form: Form = request.param
    return form


@pytest.fixture(scope="session")
def made(form: Form, tmp_path_factory, pixels, tiles, labels, fields) -> Made:
    """Stores with lower-case axes, as the command line makes them: ngio and ngff-zarr refuse capitals."""
    folder = tmp_path_factory.mktemp("made")
    paths = {kind: folder / f"{kind}.zarr" for kind in ("image", "tiled", "labels", "plate")}
    ratio = tuple(s // c for s, c in zip(SHARDS, CHUNKS, strict=True))
    layout: dict[str, Any] = {"chunks": CHUNKS} | ({"shards_ratio": ratio} if form.sharded else {})
    settings: dict[str, Any] = {
        "mode": "w",
        "channel_names": CHANNELS,
        "axes": axes(AXES),
        "version": form.version,
    }
    scale = [TransformationMeta(type="scale", scale=list(SCALE.values()))]
    levels = {}
    for kind in ("image", "labels"):
        with open_ome_zarr(paths[kind], layout="fov", **settings) as position:
            position.create_image("0", pixels, transform=scale, **layout)
            position.compute_pyramid(levels=3, method="mean")
            node = position
            if kind == "labels":
                node = position.labels.create("cells", labels, colors={1: (255, 0, 0)})
            levels[kind] = [array.numpy() for _, array in node.images()]
            assert (node.data.shards is not None) == form.sharded
    with open_ome_zarr(paths["tiled"], layout="tiled", **settings) as image:
        if form.sharded:  # tiles are chunks; shards are asked for as of any image
            image.create_image("0", tiles, (1, 1, 1, 18, 20), (1, 1, 5, 2, 2), scale)
        else:
            image.make_tiles("0", (2, 2), (2, 2, 5, 18, 20), "uint16", scale)[...] = tiles
        levels["tiled"] = [tiles]
    with open_ome_zarr(paths["plate"], layout="hcs", **settings) as plate:
        for name, field in fields.items():
            plate.create_position(*name.split("/")).create_image("0", field, transform=scale, **layout)
    return Made(paths, levels, fields)


@pytest.fixture(scope="session")
def samples() -> Path:
    """The real images that the demo converts."""
    return ROOT / "tests" / "data" / "samples"


@pytest.fixture(scope="session")
def demo_stores(tmp_path_factory) -> dict[str, Path]:
    """The stores of the demo, made afresh by the command line."""
    folder = tmp_path_factory.mktemp("demo")
    command = [sys.executable, str(ROOT / "demo" / "make_demo.py"), "--out", str(folder), "--stores-only"]
    subprocess.run(command, check=True)
    return {path.stem: path for path in sorted(folder.glob("*.zarr"))}
