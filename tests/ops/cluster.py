"""A cluster of two processes of Dask."""

from __future__ import annotations

from contextlib import contextmanager

import dask
import pytest


@contextmanager
def cluster_client():
    """Yield a client of a new cluster."""
    distributed = pytest.importorskip("distributed")
    # After 15 s the cluster gives up a worker that restarts, and tasks wait for ever: a busy machine needs more.
    with (
        dask.config.set({"distributed.deploy.lost-worker-timeout": "10 minutes"}),
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0", silence_logs="CRITICAL"
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client
