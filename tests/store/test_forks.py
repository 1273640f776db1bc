"""Law: a handle of an object store works in spawned processes; in a forked one it raises at once, whoever made it."""

from __future__ import annotations

import multiprocessing
import pickle
import warnings

import numpy as np
import pytest

import lamella
from lamella.errors import StorageError
from lamella.store.pixels import arrays

PIXELS = np.arange(64, dtype="u2").reshape(1, 1, 1, 8, 8)


def store_of_obstore(endpoint):
    from obstore.store import S3Store
    from zarr.storage import ObjectStore

    keys = {"access_key_id": "testing", "secret_access_key": "testing", "region": "us-east-1"}
    store = S3Store("bucket", prefix="a.zarr", endpoint=endpoint, client_options={"allow_http": True}, **keys)
    return ObjectStore(store)


def read(pickled, answers):
    """Read a handle or compute an array of Dask that came from the parent."""
    try:
        sent = pickle.loads(pickled)
        read = sent.compute(scheduler="sync") if hasattr(sent, "compute") else sent["0"][...]
        answers.put(read.tolist())
    except StorageError as error:
        answers.put(str(error))


def read_array(array, answers):
    """Read an array that a forked child has from its parent."""
    try:
        answers.put(array[...].tolist())
    except StorageError as error:
        answers.put(str(error))


@pytest.fixture
def handles(service):
    """Handles of one image, which were used."""
    with lamella.open_ome_zarr("s3://bucket/a.zarr", "fov", "w-", ["a"], version="0.5") as image:
        image["0"] = PIXELS
    targets = ["s3://bucket/a.zarr", f"{service.endpoint}/bucket/a.zarr", store_of_obstore(service.endpoint)]
    found = [lamella.open_ome_zarr(target) for target in targets]
    for handle in found:
        assert np.array_equal(handle["0"][...], PIXELS)
    return found


def in_child(start, handle):
    context = multiprocessing.get_context(start)
    answers = context.Queue()
    child = context.Process(target=read, args=(pickle.dumps(handle), answers), daemon=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # that this process has threads
        child.start()
    try:
        return answers.get(timeout=60)
    finally:
        child.kill()
        child.join()


def test_a_forked_child_is_refused_at_once_through_every_store_of_obstore(handles):
    for handle in handles:
        answer = in_child("fork", handle)
        assert "spawn" in answer, handle
        assert "forkserver" in answer


@pytest.mark.parametrize("start", ["spawn", "forkserver"])
def test_handles_of_object_stores_read_in_processes_that_begin_anew(handles, start):
    for handle in handles[::2]:
        assert in_child(start, handle) == PIXELS.tolist()


def test_an_array_of_dask_is_computed_from_an_object_store_in_a_process_that_begins_anew(handles):
    assert in_child("spawn", handles[0]["0"].dask_array()) == PIXELS.tolist()


def test_a_forked_child_is_refused_where_zarr_python_decodes(handles, monkeypatch):
    """The engine of other codecs requests chunks in another way."""
    array, open_engine = handles[0]["0"], arrays.open_engine
    monkeypatch.setattr(arrays, "open_engine", lambda *rest: open_engine(*rest[:3], "zarr"))
    assert np.array_equal(array[...], PIXELS)
    answers = multiprocessing.get_context("fork").Queue()
    child = multiprocessing.get_context("fork").Process(target=read_array, args=(array, answers), daemon=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # that this process has threads
        child.start()
    try:
        assert "spawn" in answers.get(timeout=20)
    finally:
        child.kill()
        child.join()
