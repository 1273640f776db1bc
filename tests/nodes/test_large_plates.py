"""Law: one field of a large plate costs what one of a small plate does, and a walk reads each document once."""

from __future__ import annotations

import pytest
from tests.generated_plate import FIELDS, GeneratedPlate

from lamella import open_ome_zarr


@pytest.fixture(scope="module")
def plates():
    return [GeneratedPlate(4), GeneratedPlate(400)]


def test_one_field_of_100000_reads_as_many_documents_as_one_of_1000(plates):
    counts = []
    for store in plates:
        store.read = 0
        assert open_ome_zarr(store)["A/4/249"]["0"].shape == (1, 1, 1, 8, 8)
        counts.append(store.read)
    assert counts[0] == counts[1] <= 10


def test_a_walk_over_1000_fields_reads_each_document_once(plates):
    store = plates[0]
    store.read = 0
    assert sum(position["0"].shape[-1] for _, position in open_ome_zarr(store).positions()) == 8 * 4 * FIELDS
    assert store.read <= 10 + 4 * (1 + 2 * FIELDS)
    store.read = 0
    assert len(open_ome_zarr(store).table()) == 4 * FIELDS
    assert store.read <= 10 + 4 * (1 + 2 * FIELDS)
