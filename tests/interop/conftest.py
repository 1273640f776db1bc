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
from peers import AXES, CHANNELS, SCALE, Fields, Pixels, random_pixels

if TYPE_CHECKING:
    from collections.abc import Generator

    from lamella.types import VersionName

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
        MATRIX.add(item.name, params, report.passed)
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
    """An image and a plate made by lamella, and what must be read from them."""

    image: Path
    levels: list[Pixels]
    plate: Path
    fields: Fields


@pytest.fixture(scope="session")
def pixels() -> Pixels:
    """TCZYX with lengths that no chunk divides."""
    return random_pixels((2, 2, 9, 37, 41), 0)


@pytest.fixture(scope="session")
def fields() -> Fields:
    """Fields of a plate. Columns have two digits because ngio writes them so whatever it is given."""
    names = [f"{row}/{column}/{field}" for row in "AB" for column in ("01", "02") for field in "01"]
    return {name: random_pixels((1, 2, 3, 16, 20), seed) for seed, name in enumerate(names, 1)}


@pytest.fixture(scope="session", params=[("0.4", False), ("0.5", False), ("0.5", True)], ids=str)
def made(request, tmp_path_factory, pixels, fields) -> Made:
    """Stores with lower-case axes, as the command line makes them: ngio and ngff-zarr refuse capitals."""
    version: VersionName
    version, sharded = request.param
    folder = tmp_path_factory.mktemp("made")
    layout: dict[str, Any] = {"chunks": (1, 1, 4, 16, 16), "shards_ratio": (1, 1, 2, 2, 2)}
    if not sharded:
        del layout["shards_ratio"]
    settings: dict[str, Any] = {
        "mode": "w",
        "channel_names": CHANNELS,
        "axes": axes(AXES),
        "version": version,
    }
    scale = [TransformationMeta(type="scale", scale=list(SCALE.values()))]
    with open_ome_zarr(folder / "image.zarr", layout="fov", **settings) as position:
        position.create_image("0", pixels, transform=scale, **layout)
        position.compute_pyramid(levels=3, method="mean")
        levels = [position[str(level)].numpy() for level in range(3)]
    with open_ome_zarr(folder / "plate.zarr", layout="hcs", **settings) as plate:
        for name, field in fields.items():
            plate.create_position(*name.split("/")).create_image("0", field, **layout)
    return Made(folder / "image.zarr", levels, folder / "plate.zarr", fields)


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
