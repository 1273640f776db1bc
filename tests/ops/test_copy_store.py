"""Law: a copy has the bytes of its source, or of the part that was asked for, and is no store before it is complete."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import zarr
from click.testing import CliRunner

import lamella
from lamella.cli import main
from lamella.errors import InvalidArgumentError, LamellaError, StorageError, StoreExistsError
from lamella.ops.copying import copy_store as module
from lamella.store.storage import open_storage


@pytest.fixture(scope="module", params=["0.5", "0.4"])
def made(request, tmp_path_factory):
    """A plate with labels, a table and a file of a user; nobody changes it."""
    path = tmp_path_factory.mktemp("made") / "screen.zarr"
    pixels = np.arange(2 * 2 * 32 * 32, dtype="u2").reshape(1, 2, 2, 32, 32)
    with lamella.open_ome_zarr(
        path, layout="hcs", mode="w", channel_names=["a", "b"], version=request.param
    ) as plate:
        for field in ("A/1/0", "A/1/1", "B/2/0", "B/3/0"):
            position = plate.create_position(*field.split("/"))
            position.create_zeros("0", pixels.shape, "u2", chunks=(1, 1, 1, 16, 16))
            position["0"][:, :, :, :16] = pixels[:, :, :, :16] + len(field)  # the other chunks stay unwritten
            position.compute_pyramid(levels=2)
            position.labels.create("cells", (pixels[:, 0] > 99).astype("u1"))
    table = (
        zarr.open_group(path / "A" / "1" / "0")
        .create_group("tables")
        .create_array("t", shape=(3,), dtype="f8")
    )
    table[:] = 1
    (path / "notes.txt").write_text("of ours")
    return path


def stored(target):
    """Return the bytes of all files of a store."""
    storage = open_storage(target, read_only=True)
    return {key: storage.read(key) for key in storage.keys_below("")}


def test_a_copy_has_every_byte_wherever_it_goes(made, tmp_path, service):
    expected = stored(made)
    places = [
        tmp_path / "a.zarr",
        f"memory://{tmp_path}/b.zarr",
        "s3://bucket/c.zarr",
        zarr.storage.MemoryStore(),
    ]
    if "zarr.json" in expected:
        places.append(tmp_path / "d.ozx")
    places.append(tmp_path / "back.zarr")
    source = made
    for place in places:
        report = lamella.copy_store(source, place)
        assert stored(place) == expected
        assert (report.documents + report.files, report.nbytes) == (
            len(expected),
            sum(map(len, expected.values())),
        )
        assert report
        source = place
    writes = [path for method, path in service.requests if method == "PUT" and ".lamella-" not in path]
    root = "/bucket/c.zarr/" + ("zarr.json" if "zarr.json" in expected else ".zgroup")
    assert root in writes[-2:]
    assert not [path for path in service.objects if ".lamella-" in path]
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".lamella-")]


def test_over_http_what_metadata_name_is_copied_and_the_rest_is_said(made, tmp_path, service):
    service.put_folder(made, "/bucket/screen.zarr")
    url = f"{service.endpoint}/bucket/screen.zarr"
    report = lamella.copy_store(url, tmp_path / "copy.zarr")
    assert "cannot be listed" in report.unseen
    assert not report
    missing = stored(made).keys() - stored(tmp_path / "copy.zarr").keys()
    assert all(key == "notes.txt" or "tables" in key or ".zgroup" in key for key in missing), missing
    with lamella.open_ome_zarr(tmp_path / "copy.zarr") as copied, lamella.open_ome_zarr(made) as plate:
        for path, position in plate.positions():
            assert np.array_equal(copied[path]["0"][...], position["0"][...])
            assert np.array_equal(copied[path].labels["cells"]["1"][...], position.labels["cells"]["1"][...])
    assert service.counts()["LIST"] == 0
    ran = CliRunner().invoke(
        main,
        ["copy", url, str(tmp_path / "part.zarr"), "--fields", "B/2/0,A/1/1", "--levels", "1", "-j", "2"],
    )
    assert ran.exit_code == 1
    assert "only what its metadata name" in ran.stderr
    assert [path for path, _ in lamella.open_ome_zarr(tmp_path / "part.zarr").positions()] == [
        "A/1/1",
        "B/2/0",
    ]


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_over_http_tables_are_copied(tmp_path, service, version):
    path = tmp_path / "screen.zarr"
    frame = pd.DataFrame({"area": [1.5, 2.5], "kind": pd.Categorical(["a", "b"]), "text": ["x", "y"]})
    frame["count"] = pd.array([1, None], dtype="Int64")
    with lamella.open_ome_zarr(path, layout="hcs", mode="w", channel_names=["a"], version=version) as plate:
        position = plate.create_position("A", "1", "0")
        position["0"] = np.ones((1, 1, 1, 8, 8), "u2")
        for backend in ("anndata", "csv", "json", "parquet"):
            position.tables.write(backend, frame, backend=backend)
        plate.tables.write("layout", {"well": ["A/1"]}, backend="csv")
    service.put_folder(path, f"/bucket/tables{version}.zarr")
    report = lamella.copy_store(f"{service.endpoint}/bucket/tables{version}.zarr", tmp_path / "copy.zarr")
    assert not report  # files that nothing names may be missing
    assert stored(tmp_path / "copy.zarr") == stored(path)


def test_of_a_part_the_documents_name_what_was_copied(made, tmp_path):
    lamella.copy_store(made, tmp_path / "a.zarr", fields=["A/1/0", "B/3/0"], levels=[1])
    with lamella.open_ome_zarr(tmp_path / "a.zarr") as plate, lamella.open_ome_zarr(made) as expected:
        assert [path for path, _ in plate.positions()] == ["A/1/0", "B/3/0"]
        assert [row.name for row in plate.metadata.rows] == ["A", "B"]
        assert [column.name for column in plate.metadata.columns] == ["1", "3"]
        for path, position in plate.positions():
            assert position.dataset_paths == position.labels["cells"].dataset_paths == ["1"]
            assert np.array_equal(position["1"][...], expected[path]["1"][...])
            assert position.get_effective_scale("1") == expected[path].get_effective_scale("1")
    found = lamella.validate(tmp_path / "a.zarr", pixels=True)
    assert found
    assert set(found.rules) <= set(lamella.validate(made).rules), found
    assert (tmp_path / "a.zarr" / "A/1/0/tables/t").is_dir()
    assert (tmp_path / "a.zarr" / "notes.txt").is_file()
    keys = stored(tmp_path / "a.zarr")
    assert not [key for key in keys if key.startswith(("A/1/1", "B/2", "A/1/0/0/"))]
    lamella.copy_store(made / "A" / "1", tmp_path / "well.zarr", fields=["1"])
    assert list(lamella.open_ome_zarr(tmp_path / "well.zarr")) == ["1"]
    with pytest.raises(InvalidArgumentError, match="has no fields"):
        lamella.copy_store(made / "A" / "1" / "0", tmp_path / "b.zarr", fields=["0"])


def failing_after(monkeypatch, files):
    """Let a copy fail after some files; returns the keys that were copied."""
    copied = []
    copy_file = module.copy_file

    def fail(source, key, *arguments):
        if len(copied) == files:
            raise StorageError("The network is gone.")
        copied.append(key)
        return copy_file(source, key, *arguments)

    monkeypatch.setattr(module, "copy_file", fail)
    return copied


@pytest.mark.parametrize("kind", ["folder", "s3"])
def test_a_copy_that_was_cut_short_is_no_store_and_is_resumed(made, tmp_path, monkeypatch, service, kind):
    place = tmp_path / "copy.zarr" if kind == "folder" else "s3://bucket/copy.zarr"
    copied = failing_after(monkeypatch, 5)
    with pytest.raises(StorageError, match="network is gone"):
        lamella.copy_store(made, place, jobs=1)
    with pytest.raises(LamellaError):
        lamella.open_ome_zarr(place)
    first = list(copied)
    changed = made / first[0]
    data = changed.read_bytes()
    try:
        changed.write_bytes(data[::-1])  # the size is the same
        copied.clear()
        copied.extend([None] * 6)
        report = lamella.copy_store(made, place, jobs=1)
        assert report.resumed == 4
        assert first[0] in copied
        assert not set(first[1:]) & set(copied)
        assert stored(place) == stored(made)
    finally:
        changed.write_bytes(data)


def test_a_copy_that_was_begun_of_another_store_is_not_resumed(made, tmp_path, monkeypatch):
    place = zarr.storage.MemoryStore()
    failing_after(monkeypatch, 5)
    with pytest.raises(StorageError):
        lamella.copy_store(made, place, jobs=1)
    monkeypatch.undo()
    with pytest.raises(StoreExistsError, match="exists already"):
        lamella.copy_store(made / "A" / "1", place)
    lamella.copy_store(made / "A" / "1", place, overwrite=True)
    assert stored(place) == stored(made / "A" / "1")


def test_what_cannot_be_copied_is_refused_and_nothing_is_touched(made, tmp_path, files):
    (tmp_path / "there.zarr").mkdir()
    (tmp_path / "there.zarr" / "mine.txt").write_text("x")
    before = files(tmp_path)
    memory = zarr.storage.MemoryStore()
    lamella.copy_store(made / "A" / "1" / "0", memory)
    refused = [
        (made, "is the source"),
        (made / "inside.zarr", "would lie inside of its source"),
        (made.parent, "lies inside of"),
        (tmp_path / "there.zarr", "exists already"),
        ("https://host/a.zarr", "read"),
        (memory, "exists already"),
    ]
    for destination, text in refused:
        with pytest.raises(LamellaError, match=text):
            lamella.copy_store(made, destination)
    with pytest.raises(StoreExistsError, match="is not a Zarr store"):
        lamella.copy_store(made, tmp_path / "there.zarr", overwrite=True)
    with pytest.raises(FileNotFoundError, match="There is no store"):
        lamella.copy_store(tmp_path / "none.zarr", tmp_path / "new.zarr")
    for options, text in (
        ({"fields": ["C/1/0"]}, "no well"),
        ({"fields": ["A/1/7"]}, "no field"),
        ({"levels": [7]}, "none of the levels"),
    ):
        with pytest.raises(LamellaError, match=text):
            lamella.copy_store(made, tmp_path / "new.zarr", **options)
    assert files(tmp_path) == before
    ran = CliRunner().invoke(main, ["copy", str(made), str(tmp_path / "x.zarr"), "--levels", "one"])
    assert (ran.exit_code, "list of numbers" in ran.stderr) == (2, True)


def test_a_file_that_changes_its_size_meanwhile_fails_the_copy(made, tmp_path, monkeypatch):
    copy_file = module.copy_file
    monkeypatch.setattr(module, "copy_file", lambda *arguments: copy_file(*arguments) + 1)
    with pytest.raises(StorageError, match="while it was copied: another program writes there"):
        lamella.copy_store(made, tmp_path / "a.zarr")
    assert not (tmp_path / "a.zarr").exists()


def test_options_are_for_the_ends_that_know_them(tmp_path, service, monkeypatch):
    source = tmp_path / "screen.zarr"
    with lamella.open_ome_zarr(source, layout="hcs", mode="w", channel_names=["a"]) as plate:
        plate.create_position("A", "1", "0")["0"] = np.ones((1, 1, 1, 8, 8), "u2")
    service.put_folder(source, "/bucket/screen.zarr")
    options = {"key": "testing", "secret": "testing", "endpoint_url": service.endpoint}
    monkeypatch.delenv("AWS_ENDPOINT_URL")  # without the options nothing is reached
    url, web, memory = (
        "s3://bucket/screen.zarr",
        f"{service.endpoint}/bucket/screen.zarr",
        f"memory://{tmp_path}",
    )
    for place in (f"{memory}/a.zarr", zarr.storage.MemoryStore(), tmp_path / "a.zarr", "s3://bucket/a.zarr"):
        assert lamella.copy_store(url, place, storage_options=options)
    assert lamella.copy_store(f"{memory}/a.zarr", "s3://bucket/b.zarr", storage_options=options)
    lamella.copy_store(web, "s3://bucket/c.zarr", storage_options=options)
    lamella.rechunk(url, f"{memory}/d.zarr", chunks=(4, 4), jobs=1, storage_options=options)
    for local in (source, f"{memory}/a.zarr"):
        lamella.upgrade(local, "0.6", "s3://bucket/g.zarr", overwrite=True, jobs=1, storage_options=options)
    for place in (f"{memory}/e.zarr", tmp_path / "e.zarr"):
        with lamella.merge([url], place, jobs=1, storage_options=options) as plate:
            assert plate["A/1/0"]["0"][...].all()
    for call, first, second in (
        (lamella.copy_store, source, tmp_path / "f.zarr"),
        (lamella.merge, [source], tmp_path / "f.zarr"),
        (lamella.copy_store, f"{memory}/a.zarr", f"{memory}/f.zarr"),
    ):
        with pytest.raises(InvalidArgumentError, match="without storage_options"):
            call(first, second, storage_options=options)
    with pytest.raises(InvalidArgumentError, match="unknown option, keys"):
        lamella.copy_store(url, f"{memory}/f.zarr", storage_options={"keys": "testing"})
