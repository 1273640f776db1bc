"""What the examples in docstrings may take for granted: a plate and a position with pixels, made anew for each."""

from __future__ import annotations

import gc
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import lamella

if TYPE_CHECKING:
    from collections.abc import Generator

TESTS = Path(__file__).parent / "tests"
CROSSING = ("tests/ops/", "tests/reliability/")

# The first imports another library, and tests/test_api_page.py runs it with ours; the second is `make test-minimal`.
collect_ignore = ["tests/data/api_script.py", "tests/minimal"]
if find_spec("torch") is None:  # `make test-torch` has it
    collect_ignore.append("src/lamella/torch.py")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``--every``."""
    parser.addoption("--every", type=int, default=1, metavar="N", help="run every Nth case of each test")


def pytest_configure() -> None:
    """Allow many open files: clients of the tested services keep idle connections for a while."""
    with suppress(ImportError, ValueError, OSError):
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        target = 8192 if hard == resource.RLIM_INFINITY else min(8192, hard)
        if soft != resource.RLIM_INFINITY and soft < target:
            resource.setrlimit(resource.RLIMIT_NOFILE, (target, hard))


def pytest_collection() -> None:
    """Collect no garbage while tests are collected: nearly all that is made then stays."""
    gc.disable()


def pytest_collection_finish() -> None:
    """Exempt the tests themselves from garbage collection: thousands of them would be looked through at each."""
    gc.collect()
    gc.freeze()
    gc.enable()


@pytest.hookimpl(wrapper=True)
def pytest_collect_file(file_path: Path) -> Generator[None, list[pytest.Collector], list[pytest.Collector]]:
    """Look for examples in the sources only: no test has any, and each would be imported a second time."""
    collectors = yield
    if TESTS in file_path.parents:
        return [collector for collector in collectors if type(collector) is pytest.Module]
    return collectors


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out cases of tests with many, the same ones each time: interpreters differ by kind, not by case.

    Tests of long jobs and of faults cross the same code again and again, so there a file counts as one test.
    """
    step = config.getoption("--every")
    cases: dict[str, list[pytest.Item]] = {}
    for item in items:
        path, _, test = item.nodeid.partition("[")[0].partition("::")
        cases.setdefault(path if path.startswith(CROSSING) else f"{path}::{test}", []).append(item)
    kept = {
        item
        for name, several in cases.items()
        for item in several[len(name) % min(step, len(several)) :: step]
    }
    if len(kept) < len(items):
        config.hook.pytest_deselected(items=[item for item in items if item not in kept])
        items[:] = [item for item in items if item in kept]


@pytest.fixture
def doctest_namespace(tmp_path: Path) -> dict[str, Any]:
    """Names of every example: ``np``, ``tmp`` (an empty folder), ``plate`` and its ``position``.

    The plate has the channels DAPI and GFP and the positions A/1/0, A/1/1 and B/2/0. Only A/1/0, ``position``, has an
    image: "0" of shape (T, C, Z, Y, X) = (1, 2, 4, 8, 8) that counts from 0, voxels of 0.5 x 0.25 x 0.25 micrometers.
    """
    plate = lamella.open_ome_zarr(
        tmp_path / "fixture" / "plate.zarr",
        layout="hcs",
        mode="w",
        channel_names=["DAPI", "GFP"],
        version="0.5",
    )
    position = plate.create_positions([("A", "1", "0"), ("A", "1", "1"), ("B", "2", "0")])[0]
    voxel = lamella.models.TransformationMeta(type="scale", scale=[1, 1, 0.5, 0.25, 0.25])
    pixels = np.arange(512, dtype="uint16").reshape(1, 2, 4, 8, 8)
    position.create_image("0", pixels, transform=[voxel])
    tmp = tmp_path / "examples"
    tmp.mkdir()
    return {"np": np, "tmp": tmp, "plate": plate, "position": position}
