"""Law: of two programs that create one store on S3 at once, one succeeds; what a killed one left is finished."""

from __future__ import annotations

import pytest

import lamella
from lamella.errors import StoreExistsError
from lamella.store.documents import Documents


def create(url, names, version, mode="w-"):
    return lamella.open_ome_zarr(url, layout="hcs", mode=mode, channel_names=names, version=version)


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_of_two_that_create_a_store_on_s3_at_once_one_succeeds(s3, monkeypatch, version):
    url, look, others = s3.url("plate.zarr"), Documents.open, []
    create(s3.url("other.zarr"), ["a"], version)

    def looks_before_the_other_writes(storage):
        seen = look(storage)
        if seen is None and not others:
            others.append(dict(s3.objects("other.zarr")))
            for key, data in others[0].items():  # as another computer does, right after our look
                s3.put(f"plate.zarr/{key.removeprefix('other.zarr/')}", data)
        return seen

    with monkeypatch.context() as patched:
        patched.setattr(Documents, "open", looks_before_the_other_writes)
        with pytest.raises(StoreExistsError):
            create(url, ["b"], version)
    assert others
    assert lamella.open_ome_zarr(url).version == version
    assert list(s3.objects("plate.zarr").values()) == list(others[0].values())


def test_a_creation_on_s3_that_was_killed_between_its_documents_is_finished_by_the_same_call(s3):
    url = s3.url("plate.zarr")
    create(s3.url("whole.zarr"), ["a"], "0.4")
    s3.put("plate.zarr/.zattrs", s3.objects("whole.zarr")["whole.zarr/.zattrs"].replace(b"whole", b"plate"))
    create(url, ["a"], "0.4", mode="a").create_position("A", "1", "0")
    assert [path for path, _ in lamella.open_ome_zarr(url).positions()] == ["A/1/0"]
