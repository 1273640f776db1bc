"""Law: what makes a new store makes it at a URL too, whole or not at all, or refuses before it does anything."""

from __future__ import annotations

import tempfile
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from click.testing import CliRunner

import lamella
from lamella.cli import main
from lamella.errors import InvalidArgumentError, ReadOnlyError, StorageError, StoreExistsError

tifffile = pytest.importorskip("tifffile")

PIXELS = np.random.default_rng(0).integers(0, 999, (4, 32, 32)).astype("uint16")


@pytest.fixture(autouse=True)
def temporary(tmp_path, monkeypatch):
    """A folder for temporary files of this test alone."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.fixture
def tiff(tmp_path):
    tifffile.imwrite(tmp_path / "cells.tif", PIXELS, photometric="minisblack", metadata={"axes": "ZYX"})
    return tmp_path / "cells.tif"


def plate(path, version):
    with lamella.open_ome_zarr(path, "hcs", "w-", ["a"], version=version) as made:
        for n, position in enumerate(made.create_positions([("A", "1", "0"), ("B", "2", "0")])):
            position["0"] = PIXELS[None, None] + n
    return path


def same(url, version):
    made = lamella.open_ome_zarr(url)
    assert made.version == version
    for n, name in enumerate(("A/1/0", "B/2/0")):
        assert np.array_equal(made[name]["0"][0, 0], PIXELS + n)
    assert lamella.validate(url)


def test_convert_upgrade_and_rechunk_write_to_urls(service, tmp_path, temporary, tiff):
    report = lamella.convert(tiff, "s3://bucket/cells.zarr", levels=1)
    assert report.destination == "s3://bucket/cells.zarr"
    image = lamella.open_ome_zarr("s3://bucket/cells.zarr")
    assert np.array_equal(np.squeeze(image["0"][...]), PIXELS)
    old = plate(tmp_path / "plate.zarr", "0.4")
    assert lamella.upgrade(old, "0.5", "s3://bucket/new.zarr").destination == "s3://bucket/new.zarr"
    same("s3://bucket/new.zarr", "0.5")
    lamella.rechunk("s3://bucket/new.zarr", "memory://new-stores/cut.zarr", chunks=(16, 16), shards="none")
    same("memory://new-stores/cut.zarr", "0.5")
    lamella.upgrade("memory://new-stores/cut.zarr", "0.4", "s3://bucket/new.zarr", overwrite=True)
    same("s3://bucket/new.zarr", "0.4")
    assert "/bucket/new.zarr/zarr.json" not in service.objects
    assert list(temporary.iterdir()) == []


def test_what_cannot_be_written_at_a_url_is_refused_before_anything_is_done(
    service, tmp_path, temporary, tiff
):
    old = plate(tmp_path / "plate.zarr", "0.4")
    service.objects["/bucket/there.zarr/zarr.json"] = b"{}"
    service.objects["/bucket/mine/notes.txt"] = b"mine"
    before = dict(service.objects)
    for url, overwrite, error in (
        (f"{service.endpoint}/bucket/new.zarr", False, ReadOnlyError),
        ("s3://bucket/there.zarr", False, StoreExistsError),
        ("s3://bucket/mine", True, StoreExistsError),
        ("s3://bucket/new.ozx", False, InvalidArgumentError),
    ):
        for call in (
            *([lambda: lamella.convert(tiff, url, overwrite=overwrite)] if ".ozx" not in url else []),  # noqa: B023
            lambda: lamella.upgrade(old, "0.5", url, overwrite=overwrite),  # noqa: B023
            lambda: lamella.rechunk(old, url, chunks=(8, 8), overwrite=overwrite),  # noqa: B023
        ):
            with pytest.raises(error):
                call()
    assert service.objects == before
    assert list(temporary.iterdir()) == []


WRITERS = {
    "convert": lambda tiff, url, **options: lamella.convert(tiff, url, levels=1, **options),
    "write_image": lambda _, url, **options: lamella.write_image(
        url, PIXELS, axes="zyx", levels=1, chunks=(1, 32, 32), **options
    ),
    "mosaic": lambda _, url, **options: (
        lamella.open_ome_zarr("s3://bucket/one.zarr").mosaic().write(url, **options)
    ),
}


@pytest.mark.parametrize("writer", WRITERS)
def test_a_new_archive_is_uploaded_when_it_is_complete(service, temporary, tiff, writer):
    """It was refused: a folder had to be written, and packed."""
    url, write = "s3://bucket/new.ozx", WRITERS[writer]
    with lamella.open_ome_zarr("s3://bucket/one.zarr", "fov", "w", ["a"], version="0.5") as image:
        image["0"] = PIXELS[None, None]
    before = dict(service.objects)
    service.fail(503, method="PUT", path=r"new\.ozx")
    with pytest.raises(StorageError, match="503"):
        write(tiff, url, storage_options={"retries": 0})
    assert service.objects == before
    assert len(list(temporary.iterdir())) == 1  # it resumes
    service.heal()
    write(tiff, url)
    assert np.array_equal(np.squeeze(lamella.open_ome_zarr(url)["0"][...]), PIXELS)
    assert lamella.validate(url)
    assert service.objects.keys() - before.keys() == {"/bucket/new.ozx"}
    assert list(temporary.iterdir()) == []
    service.requests.clear()
    with pytest.raises(StoreExistsError, match=r"s3://bucket/new\.ozx exists already"):
        write(tiff, url)
    assert not service.counts()["PUT"]
    write(tiff, url, overwrite=True)
    service.heal()
    service.before = lambda method, path: (
        (lambda: service.objects.update({"/bucket/else.ozx": b"theirs"}))
        if method == "PUT" and path.endswith("else.ozx")
        else None
    )
    with pytest.raises(StoreExistsError, match=r"else\.ozx"):
        write(tiff, "s3://bucket/else.ozx")
    assert service.objects["/bucket/else.ozx"] == b"theirs"
    assert list(temporary.iterdir()) == []


def test_an_archive_at_a_url_is_refused_before_anything_is_done(service, temporary, tiff):
    with lamella.open_ome_zarr("s3://bucket/one.zarr", "fov", "w", ["a"], version="0.5") as image:
        image["0"] = PIXELS[None, None]
    lamella.pack("s3://bucket/one.zarr", "s3://bucket/one.ozx")
    before = dict(service.objects)
    one = lamella.open_ome_zarr("s3://bucket/one.ozx")
    alias = lamella.open_ome_zarr(f"{service.endpoint}/bucket/one.ozx")
    for error, call in (
        (InvalidArgumentError, lambda: lamella.convert(tiff, "s3://bucket/a.ozx", version="0.4")),
        (InvalidArgumentError, lambda: one.mosaic().write("s3://bucket/one.ozx", overwrite=True)),
        (InvalidArgumentError, lambda: alias.mosaic().write("s3://bucket/one.ozx", overwrite=True)),
        (ReadOnlyError, lambda: lamella.convert(tiff, f"{service.endpoint}/bucket/a.ozx")),
        (ReadOnlyError, lambda: lamella.convert(tiff, "s3://bucket/one.ozx/0")),
        (InvalidArgumentError, lambda: lamella.convert(tiff, "memory://archives/a.ozx")),
        (ReadOnlyError, lambda: lamella.watch(tiff.parent, "s3://bucket/one.ozx", idle=0)),
    ):
        with pytest.raises(error):
            call()
    assert service.objects == before
    assert list(temporary.iterdir()) == []


def test_a_new_store_at_a_url_is_looked_for_once(service, tmp_path, tiff):
    """What reads another store asked once more whether the destination exists."""
    old = plate(tmp_path / "plate.zarr", "0.4")
    for name, write in {
        "copy": lambda url: lamella.copy_store(old, url),
        "convert": lambda url: lamella.convert(tiff, url),
        "mosaic": lambda url: lamella.open_ome_zarr(old)["A/1/0"].mosaic().write(url),
        "upgrade": lambda url: lamella.upgrade(old, "0.5", url),
        "rechunk": lambda url: lamella.rechunk(old, url, chunks=(16, 16)),
    }.items():
        service.requests.clear()
        write(f"s3://bucket/{name}.zarr")
        assert service.counts()["LIST"] == (3 if name == "copy" else 4), name


def test_a_store_at_a_url_is_replaced_by_a_call_that_says_so_and_by_no_other(
    service, version, temporary, tiff
):
    url = plate("s3://bucket/plate.zarr", version)
    refused = service.fail(403, method="POST")  # nothing of the old store can be deleted
    with pytest.raises(StorageError):
        lamella.convert(tiff, url, overwrite=True)
    assert refused.seen
    same(url, version)
    service.heal()
    with pytest.raises(StoreExistsError):
        lamella.convert(tiff, url)
    same(url, version)
    service.fail(500, method="PUT", path=r"/0/.*[0-9]$")  # no pixel of the new one can be written
    with pytest.raises(StorageError):
        lamella.convert(tiff, url, overwrite=True)
    service.heal()
    for read in (
        lambda: lamella.open_ome_zarr(url),
        lambda: lamella.open_ome_zarr(url, mode="r+"),
        lambda: lamella.open_ome_zarr(url, "fov", "a", channel_names=["a"]),
        lambda: lamella.copy_store(url, temporary / "copy.zarr"),
        lambda: lamella.status(url),
        lambda: lamella.validate(url),
        lambda: lamella.verify(url),
    ):
        with pytest.raises(StorageError, match=f"{url}: a new store is being written there"):
            read()
    lamella.convert(tiff, url)
    assert np.array_equal(np.squeeze(lamella.open_ome_zarr(url)["0"][...]), PIXELS)


def test_a_new_store_inside_of_its_source_is_refused_at_a_url_too(service):
    url = plate("s3://bucket/plate.zarr", "0.5")
    inside, before = f"{url}/new.zarr", dict(service.objects)
    source = lamella.open_ome_zarr(url, mode="r+")
    source.set_positions([{"path": "A/1/0", "x": 0}])
    before = dict(service.objects)
    for call in (
        lambda: lamella.copy_store(url, inside),
        lambda: lamella.rechunk(url, inside, chunks=(16, 16)),
        lambda: lamella.upgrade(url, "0.4", inside),
        lambda: source.map(lambda position: position["0"][:], output=inside),
        lambda: lamella.Plate.from_positions(inside, dict(source.positions())),
        lambda: source.subset(inside, wells=["A1"]),
        lambda: source.mosaic("A1").write(inside),
    ):
        with pytest.raises(InvalidArgumentError, match="would lie inside of its source"):
            call()
        assert service.objects == before


def test_a_conversion_whose_upload_fails_is_finished_by_the_same_call(service, temporary, tiff):
    url = "s3://bucket/cells.zarr"
    service.fail("reset", method="PUT", path="/c/")
    with pytest.raises(StorageError):
        lamella.convert(tiff, url)
    assert "/bucket/cells.zarr/zarr.json" not in service.objects
    service.heal()
    lamella.convert(tiff, url)
    assert np.array_equal(np.squeeze(lamella.open_ome_zarr(url)["0"][...]), PIXELS)
    assert not [key for key in service.objects if ".lamella-" in key]
    assert list(temporary.iterdir()) == []


def test_the_command_line_converts_into_a_private_bucket(service, monkeypatch, tiff):
    options = {"endpoint_url": service.endpoint, "key": "me", "secret": "secret"}
    for name in ("AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    storage = [f"--storage={name}={value}" for name, value in options.items()]
    for words in (
        ["convert", str(tiff), "s3://bucket/cells.zarr"],
        ["upgrade", "s3://bucket/cells.zarr", "s3://bucket/new.zarr", "--to", "0.6"],
        ["rechunk", "s3://bucket/new.zarr", "s3://bucket/cut.zarr", "--chunks", "8,8"],
    ):
        done = CliRunner().invoke(main, [*words, *storage])
        assert done.exit_code == 0, done.output
    assert lamella.open_ome_zarr("s3://bucket/cut.zarr", storage_options=options)["0"].chunks[-2:] == (8, 8)


def test_a_stream_writes_to_a_url(service):
    with (
        lamella.open_ome_zarr("s3://bucket/film.zarr", "fov", "w-", ["a"], version="0.5") as image,
        image.stream("0", (32, 32), "uint16", order="z", lengths={"z": 4}) as frames,
    ):
        for plane in PIXELS:
            frames.append(plane)
    assert np.array_equal(np.squeeze(lamella.open_ome_zarr("s3://bucket/film.zarr")["0"][...]), PIXELS)


def test_a_download_is_a_copy_to_this_machine(service, tmp_path, monkeypatch):
    plate("s3://bucket/lab/plate.zarr", "0.5")
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(main, ["download", "s3://bucket/lab/plate.zarr"])
    assert done.exit_code == 0, done.output
    same(tmp_path / "plate.zarr", "0.5")
    done = CliRunner().invoke(
        main, ["download", "s3://bucket/lab/plate.zarr", "part.zarr", "--fields", "A/1/0"]
    )
    assert done.exit_code == 0, done.output
    assert [path for path, _ in lamella.open_ome_zarr("part.zarr").positions()] == ["A/1/0"]
    done = CliRunner().invoke(main, ["download", "s3://bucket/lab/plate.zarr", "s3://bucket/other.zarr"])
    assert done.exit_code != 0
    assert "is a URL" in done.output


def test_the_plate_of_many_positions_is_read_as_often_as_that_of_a_few(service, tmp_path):
    url = "s3://bucket/plate.zarr"
    with lamella.open_ome_zarr(url, "hcs", "w-", ["a"], version="0.5") as source:
        for position in source.create_positions([("A", "1", str(n)) for n in range(4)]):
            position["0"] = PIXELS[None, None]
    counts = []
    for n in (1, 4):
        positions = dict([*lamella.open_ome_zarr(url, mode="r+").positions()][:n])
        service.requests.clear()
        lamella.Plate.from_positions(tmp_path / f"{n}.zarr", positions)
        counts.append(service.requests.count(("GET", "/bucket/plate.zarr/zarr.json")))
    assert counts[0] == counts[1] > 0


@pytest.mark.parametrize("place", ["s3://bucket/new.ozx", "s3://bucket/new.zarr", "new.ozx"])
def test_a_second_call_for_the_same_destination_waits_for_the_first(
    service, temporary, tmp_path, monkeypatch, place
):
    """Both wrote in one folder for temporary files, which the first deleted: the second failed, or both."""
    monkeypatch.chdir(tmp_path)
    for n in range(2):
        tifffile.imwrite(f"{n}.tif", PIXELS + n, photometric="minisblack", metadata={"axes": "ZYX"})
    with ThreadPoolExecutor(2) as threads:
        calls = [threads.submit(lamella.convert, f"{n}.tif", place, levels=1, overwrite=True) for n in (0, 1)]
        for call in calls:
            call.result()
    pixels = np.squeeze(lamella.open_ome_zarr(place)["0"][...])
    assert [np.array_equal(pixels, PIXELS + n) for n in (0, 1)].count(True) == 1
    assert list(temporary.iterdir()) == []


def test_a_store_that_another_call_wrote_meanwhile_is_kept(service):
    """The call that came too late deleted it."""
    url = "s3://bucket/new.zarr"
    lamella.write_image(url, PIXELS, axes="zyx", levels=1).close()
    theirs = dict(service.objects)
    service.objects.clear()
    service.before = lambda method, _: (
        (lambda: service.objects.update(theirs)) if method == "PUT" and not service.objects else None
    )
    with pytest.raises(StoreExistsError):
        lamella.write_image(url, PIXELS + 1, axes="zyx", levels=1)
    assert service.objects == theirs


def test_no_report_and_no_message_has_the_signature_of_a_url(service, tmp_path, tiff):
    old = plate(tmp_path / "plate.zarr", "0.4")
    options = {"account_name": "mine", "endpoint_url": service.endpoint}
    query = "?sv=1&sig=secret"
    reports = [
        lamella.convert(tiff, f"az://bucket/a.zip{query}", levels=1, storage_options=options),
        lamella.convert(tiff, f"az://bucket/b.zarr{query}", dry_run=True, storage_options=options),
        lamella.upgrade(old, "0.5", f"az://bucket/c.zarr{query}", storage_options=options),
    ]
    names = ["az://bucket/a.zip", "az://bucket/b.zarr", "az://bucket/c.zarr"]
    assert [report.destination for report in reports] == names
    for call in (
        lambda url: lamella.pack(old, url, storage_options=options),
        lambda url: lamella.checksum(old, output=url),
    ):
        with pytest.raises(InvalidArgumentError, match=r"^az://bucket/d\.zarr is"):
            call(f"az://bucket/d.zarr{query}")
