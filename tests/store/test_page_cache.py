"""Loading files ahead is help that a reader can do without."""

from __future__ import annotations

import threading

from lamella import open_ome_zarr
from lamella.store.files import page_cache


def test_plates_are_walked_where_the_system_allows_no_more_threads(tmp_path, monkeypatch):
    with open_ome_zarr(tmp_path / "plate.zarr", layout="hcs", mode="w-", channel_names=["DAPI"]) as plate:
        plate.create_positions([("A", str(number), "0") for number in range(1, 6)])
    refused = []

    def start(thread):
        refused.append(thread.name)
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(page_cache, "is_cached", lambda *_: False)
    monkeypatch.setattr(threading.Thread, "start", start)
    assert len(list(open_ome_zarr(tmp_path / "plate.zarr").positions())) == 5
    assert refused
