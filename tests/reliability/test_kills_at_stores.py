"""Law: a work on S3 that is killed at any request leaves old or new, and the same call finishes it."""

from __future__ import annotations

import tempfile

import pytest

from .at_stores import NAMES, StoreKiller, points

#: Requests of each work at which the suite kills; `make torture` kills at all of them.
MOST = 2


@pytest.mark.parametrize("name", NAMES)
def test_a_work_on_s3_that_is_killed_leaves_old_or_new_and_is_finished_by_the_same_call(
    service, name, tmp_path, monkeypatch
):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))  # uploads of other processes have the same URL
    version = ("0.4", "0.5")[NAMES.index(name) % 2]
    killer = StoreKiller(service, name, version, tmp_path)
    for point in [*points(killer.changes, MOST), killer.changes // 2]:
        try:
            killer.kill(point)
        except Exception as error:
            error.add_note(f"killed before request {point} of {killer.changes} that change something")
            raise


@pytest.mark.parametrize("name", ["merge", "subset", "from_positions"])
def test_a_new_store_with_one_of_two_documents_of_its_root_is_finished_by_the_same_call(
    service, name, tmp_path
):
    StoreKiller(service, name, "0.4", tmp_path).kill(1)
