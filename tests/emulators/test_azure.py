"""Law: stores in Azure (az://) are created, edited, copied and checked as those of S3, by all kinds of credentials.

Each test meets the server of the suite, and in `make test-emulators` azurite too, so that the first is known to behave
as the second.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from click.testing import CliRunner
from tests.clouds import PIXELS, create_edit_rename_check_and_delete

import lamella
from lamella.cli import main
from lamella.errors import AccessError, StoreExistsError
from lamella.store.storage import ChangedError, open_storage

from .conftest import ACCOUNT, KEY


def image(container, name="image.zarr", version="0.5"):
    url = container.url(name)
    with lamella.open_ome_zarr(
        url, "fov", "w-", ["a"], version=version, storage_options=container.options
    ) as made:
        made.create_image("0", PIXELS, chunks=(1, 1, 1, 16, 16))
    return url


def test_a_plate_is_created_edited_renamed_checked_and_deleted(container):
    create_edit_rename_check_and_delete(container.url("a/plate.zarr"), container.options)


def test_of_two_that_create_a_store_one_succeeds_and_edits_of_two_are_both_there(container):
    url, options = container.url("image.zarr"), {"storage_options": container.options}

    def create(_):
        try:
            return lamella.open_ome_zarr(url, "fov", "w-", ["a"], version="0.5", **options)
        except StoreExistsError:
            return None

    with ThreadPoolExecutor(2) as pool:
        made = list(pool.map(create, range(2)))
    assert sorted(handle is None for handle in made) == [False, True]
    first, second = (lamella.open_ome_zarr(url, mode="r+", **options) for _ in range(2))
    for n in range(4):
        first.zattrs[f"first {n}"] = n
        second.zattrs[f"second {n}"] = n
    assert len([key for key in lamella.open_ome_zarr(url, **options).zattrs if key[-1].isdigit()]) == 8


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_a_store_goes_there_and_comes_back_whole(container, tmp_path, version):
    url = image(container, version=version)
    assert lamella.copy_store(url, tmp_path / "copy.zarr", storage_options=container.options)
    assert np.array_equal(lamella.open_ome_zarr(tmp_path / "copy.zarr")["0"][...], PIXELS)
    words = [f"--storage={name}={value}" for name, value in container.options.items()]
    for command in (
        ["copy", str(tmp_path / "copy.zarr"), container.url("back.zarr")],
        ["upgrade", container.url("back.zarr"), container.url("new.zarr"), "--to", "0.6"],
        ["rechunk", container.url("new.zarr"), container.url("cut.zarr"), "--chunks", "8,8"],
        ["validate", container.url("cut.zarr")],
    ):
        done = CliRunner().invoke(main, [*command, *words])
        assert done.exit_code == 0, done.output
    cut = lamella.open_ome_zarr(container.url("cut.zarr"), storage_options=container.options)
    assert np.array_equal(cut["0"][...], PIXELS)


def test_a_signature_reads_and_its_lack_of_permissions_is_said(container):
    url = image(container)
    options = {"account_name": ACCOUNT, "endpoint_url": container.endpoint}
    reads = {**options, "sas_token": container.signature("rl")}
    opened = lamella.open_ome_zarr(url, storage_options=reads)
    assert np.array_equal(opened["0"][...], PIXELS)
    assert lamella.status(url, storage_options=reads).counts["written"] == 1
    with pytest.raises(AccessError, match="sas_token"):
        lamella.open_ome_zarr(url, mode="r+", storage_options=reads).zattrs["key"] = 1
    writes = {**options, "sas_token": container.signature("rcwdl")}
    lamella.open_ome_zarr(url, mode="r+", storage_options=writes).zattrs["key"] = 1


def test_a_key_is_refused_at_once_where_it_is_there_or_has_changed(container):
    """Azure answers 409 for the first, which is a passing conflict elsewhere."""
    storage = open_storage(container.url("a.zarr"), storage_options={**container.options, "timeout": 20})
    storage.write_if("a/zarr.json", b"old", None)
    stamp = storage.stamp("a/zarr.json")
    for key, expected in (("a/zarr.json", None), ("a/zarr.json", ('"0x1"',)), ("b/zarr.json", ('"0x1"',))):
        with pytest.raises(ChangedError):
            storage.write_if(key, b"new", expected)
    assert storage.read_stamped("a/zarr.json") == (b"old", stamp)
    storage.write("a/zarr.json", b"old")
    with pytest.raises(ChangedError):  # the same bytes are another content
        storage.write_if("a/zarr.json", b"new", stamp)


def test_many_keys_are_deleted_with_few_requests_and_missing_ones_are_no_error(container, rounds):
    storage = open_storage(container.url("a.zarr"), storage_options=container.options)
    keys = [f"a/c/{n}" for n in range(300)]
    storage.write_many((key, b"1") for key in [*keys, "a/b"])
    rounds.clear()
    storage.delete("a/c")
    assert rounds.requests <= 6  # two lists, two looks at a key, and the deletions
    storage.write_many((key, b"1") for key in keys[:2])
    storage._delete_keys([keys[0], "a/missing", keys[1]])
    assert list(storage.sizes_below("")) == ["a/b"]


def test_what_a_list_says_is_what_each_answer_says(container):
    storage = open_storage(container.url("a.zarr"), storage_options=container.options)
    storage.write_many([("a/b c/zarr.json", b"{}"), ("a/d+ü", b"12"), ("a&<b", b"")])
    listed = storage._run(storage.service.entries_below(""))
    assert listed == {key: (storage.size(key), storage.stamp(key)) for key in listed}
    assert storage.list("a") == ["b c", "d+ü"]
    storage.move("a", "e")
    storage.delete("e/b c")
    assert list(storage.sizes_below("")) == ["a&<b", "e/d+ü"]
    storage.write("large", bytes(65 << 20))  # by blocks
    assert storage.size("large") == 65 << 20


def test_keys_are_checked_and_public_containers_are_read_with_anon_alone(public_container, private_container):
    public, private = image(public_container), image(private_container)
    options = {"account_name": ACCOUNT, "endpoint_url": private_container.endpoint}
    with pytest.raises(AccessError, match="credentials"):
        lamella.open_ome_zarr(
            private, storage_options={**options, "account_key": KEY[::-1].strip("=") + "=="}
        )
    with pytest.raises(AccessError, match="anon=True"):
        lamella.open_ome_zarr(public, storage_options=options)
    opened = lamella.open_ome_zarr(public, storage_options={**options, "anon": True})
    assert np.array_equal(opened["0"][...], PIXELS)
    with pytest.raises(AccessError):
        lamella.open_ome_zarr(private, storage_options={**options, "anon": True})
