"""The environment of the tests of formats: what is not installed is skipped, but not in ``make test-formats``."""

from __future__ import annotations

import os
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from importlib.util import find_spec
from multiprocessing import get_context
from typing import TYPE_CHECKING

import pytest
from tests.formats.samples import Sample, samples

if TYPE_CHECKING:
    from collections.abc import Iterator
    from concurrent.futures import Executor

ALL_INSTALLED = bool(os.environ.get("LAMELLA_FORMATS"))
"""``make test-formats`` has every library: a sample that cannot be read there is a failure."""


@pytest.fixture(params=samples(), ids=lambda sample: f"{sample.reader}-{sample.file.name}")
def sample(request: pytest.FixtureRequest) -> Sample:
    """One file of one format, whose library is installed."""
    found: Sample = request.param
    missing = [*found.the_reader.missing, *(name for name in found.needs if find_spec(name) is None)]
    if missing and ALL_INSTALLED:
        pytest.fail(f"{found.path} needs {', '.join(missing)}: add it to the extra `formats`")
    if missing:
        pytest.skip(f"needs {', '.join(missing)}: make test-formats")
    return found


@pytest.fixture(scope="session")
def executors() -> Iterator[list[Executor]]:
    """Processes that begin with nothing, and Dask; threads where the suite must be quick."""
    if not ALL_INSTALLED:
        with ThreadPoolExecutor(2) as threads:
            yield [threads]
        return
    from distributed import Client, LocalCluster

    with (
        ProcessPoolExecutor(2, get_context("spawn")) as processes,
        LocalCluster(n_workers=1, threads_per_worker=2, dashboard_address=":0") as cluster,
        Client(cluster) as client,
    ):
        yield [processes, client.get_executor()]


def pytest_sessionstart() -> None:
    """Write the table of formats into the page that ``make formats-docs`` names."""
    if os.environ.get("FORMATS_PAGE") and "PYTEST_XDIST_WORKER" not in os.environ:
        from tests.formats.page import PAGE, with_table

        PAGE.write_text(with_table(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
