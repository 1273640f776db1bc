"""Stores on web servers, which list nothing: what is there is found by metadata, pages are nobody's pixels."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import zarr
from click.testing import CliRunner

import lamella
from lamella import errors
from lamella.cli import main

KINDS = ["image", "plate", "collection"]
SERVERS = ["bare", "pages", "a page for all"]


def _pixels(number):
    return np.random.default_rng(number).integers(0, 4000, (1, 1, 1, 24, 24)).astype("uint16")


def _fill(position, number):
    position.create_image("0", _pixels(number), chunks=(1, 1, 1, 16, 16))
    position.compute_pyramid(levels=2)
    position.labels.create("nuclei", (_pixels(number)[:, 0] % 7).astype("uint16"))


def _make(path, kind, version):
    if kind == "image":
        with lamella.open_ome_zarr(
            path, layout="fov", mode="w", channel_names=["GFP"], version=version
        ) as position:
            _fill(position, 0)
    elif kind == "plate":
        with lamella.open_ome_zarr(
            path, layout="hcs", mode="w", channel_names=["GFP"], version=version
        ) as plate:
            names = [("A", "1", "0"), ("A", "1", "1"), ("B", "3", "0")]
            for number, position in enumerate(plate.create_positions(names)):
                _fill(position, number)
    else:
        attributes = {"bioformats2raw.layout": 3}
        form = 2 if version == "0.4" else 3
        given = attributes if form == 2 else {"ome": {"version": version, **attributes}}
        zarr.create_group(str(path), zarr_format=form, attributes=given)
        for number in range(2):
            _make(path / str(number), "image", version)
    return path


def _served(service, path):
    service.put_folder(path, "/web/a.zarr")
    return f"{service.endpoint}/web/a.zarr"


def _images(node):
    """Return all pixels of a node, by path."""
    if isinstance(node, lamella.Position):
        found = {level: np.asarray(node[level]) for level in node.dataset_paths}
        return found | {f"labels/{name}": np.asarray(label["0"]) for name, label in node.labels.items()}
    below = node.positions() if isinstance(node, lamella.Plate) else node.items()
    return {f"{path}/{level}": data for path, member in below for level, data in _images(member).items()}


def _same(one, other):
    assert one.keys() == other.keys()
    assert one
    for key, data in one.items():
        np.testing.assert_array_equal(data, other[key], err_msg=key)


@pytest.fixture(params=SERVERS)
def server(service, request):
    """A web server that answers 404, pages with links for folders, or a page for all that it has not."""
    return _odd(service, request.param)


def _odd(service, how):
    service.lists = False
    service.pages = how == "pages"
    service.unknown_page = how == "a page for all"
    return service


@pytest.fixture
def any_server(service, version, kind):
    """One of these servers, another one for each kind of store and version."""
    return _odd(service, SERVERS[(KINDS.index(kind) + (version == "0.5")) % 3])


@pytest.fixture(params=["0.4", "0.5"])
def version(request):
    return request.param


@pytest.mark.parametrize(
    ("server", "version", "kind"),
    [
        (server, ("0.4", "0.5")[(turn + number) % 2], kind)
        for turn, server in enumerate(SERVERS)
        for number, kind in enumerate(KINDS)
    ],
    indirect=["server", "version"],
)
def test_what_the_web_holds_is_read_whole(tmp_path, server, version, kind):
    path = _make(tmp_path / "a.zarr", kind, version)
    url = _served(server, path)
    _same(_images(lamella.open_ome_zarr(url)), _images(lamella.open_ome_zarr(path)))


@pytest.mark.parametrize(
    ("kind", "version", "consolidated"),
    [
        ("image", "0.4", False),
        ("plate", "0.4", False),
        ("plate", "0.5", False),
        ("plate", "0.5", True),
        ("collection", "0.5", False),
    ],
    indirect=["version"],
)
def test_upgrade_and_rechunk_write_what_the_web_holds(tmp_path, any_server, version, kind, consolidated):
    path = _make(tmp_path / "a.zarr", kind, version)
    if consolidated:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            zarr.consolidate_metadata(str(path))
    url = _served(any_server, path)
    before = _images(lamella.open_ome_zarr(path))
    report = lamella.upgrade(url, {"0.4": "0.5", "0.5": "0.4"}[version], tmp_path / "up.zarr")
    assert any("cannot be listed" in note for note in report.notes)
    _same(_images(lamella.open_ome_zarr(tmp_path / "up.zarr")), before)
    lamella.rechunk(url, tmp_path / "cut.zarr", chunks=(32, 32))
    _same(_images(lamella.open_ome_zarr(tmp_path / "cut.zarr")), before)
    assert lamella.validate(tmp_path / "up.zarr", pixels=True)
    assert lamella.validate(tmp_path / "cut.zarr", pixels=True)
    written = sum(1 for file in (tmp_path / "cut.zarr").rglob("*") if file.is_file())
    assert written < len(any_server.objects) + 10  # no pages, no chunks of zeros


def test_a_web_server_may_refuse_folders(service, tmp_path):
    """As nginx does, which lists no folders: it redirects to them, and then answers 403."""
    path = _make(tmp_path / "a.zarr", "plate", "0.5")
    url = _served(_odd(service, "bare"), path)
    service.fail(403, method="*", path=r"/(A|B|A/1|B/3|A/1/0|labels|nuclei)/?$")
    lamella.rechunk(url, tmp_path / "cut.zarr", chunks=(32, 32))
    _same(_images(lamella.open_ome_zarr(tmp_path / "cut.zarr")), _images(lamella.open_ome_zarr(path)))


@pytest.mark.parametrize(
    ("server", "version", "form"),
    [
        ("bare", "0.4", "0.4"),
        ("pages", "0.4", "0.5"),
        ("a page for all", "0.5", "0.4"),
        ("bare", "0.5", "0.5"),
        ("a page for all", "0.4", "0.5"),
    ],
    indirect=["server", "version"],
)
def test_a_plate_is_made_from_positions_of_the_web(tmp_path, server, version, form):
    path = _make(tmp_path / "a.zarr", "plate", version)
    other = _make(tmp_path / "b.zarr", "image", form)
    plate = lamella.open_ome_zarr(_served(server, path))
    sources = {"X/1/0": lamella.open_ome_zarr(other), "A/1/0": plate["A/1/1"], "B/1/0": plate["B/3/0"]}
    with pytest.warns(UserWarning, match="cannot be listed"):
        made = lamella.Plate.from_positions(tmp_path / "new.zarr", sources)
    whole = lamella.open_ome_zarr(path)
    _same(_images(made["A/1/0"]), _images(whole["A/1/1"]))
    _same(_images(made["B/1/0"]), _images(whole["B/3/0"]))


@pytest.mark.parametrize(
    ("kind", "version"),
    [("image", "0.5"), ("plate", "0.4"), ("plate", "0.5"), ("collection", "0.4")],
    indirect=["version"],
)
def test_checks_look_at_every_file_of_the_web(tmp_path, any_server, version, kind):
    path = _make(tmp_path / "a.zarr", kind, version)
    url = _served(any_server, path)
    here, there = lamella.verify(path), lamella.verify(url)
    assert there
    assert (there.files, there.nbytes, there.arrays) == (here.files, here.nbytes, here.arrays)
    assert there.files > 0
    sums = lamella.checksum(path)
    assert lamella.checksum(url, tmp_path / "sums") == sums
    assert lamella.verify(url, manifest=tmp_path / "sums")
    states = [image.state for image in lamella.status(url).images]
    assert states == ["written"] * len(states)
    assert len(states) == len(lamella.status(path).images)


@pytest.mark.parametrize(
    ("server", "version"),
    [("bare", "0.4"), ("pages", "0.5"), ("a page for all", "0.4")],
    indirect=True,
)
def test_checks_find_what_is_wrong_on_the_web(tmp_path, server, version):
    path = _make(tmp_path / "a.zarr", "image", version)
    url = _served(server, path)
    lamella.checksum(url, tmp_path / "sums")
    chunk = "/web/a.zarr/0/0/0/0/1/0" if version == "0.4" else "/web/a.zarr/0/c/0/0/0/1/0"
    server.fail("less", path=chunk)
    with pytest.raises(errors.StorageError, match=r"a.zarr/0.*listed with .* bytes, and only .* can be read"):
        lamella.checksum(url)
    server.heal()
    server.objects[chunk] = server.objects[chunk][:20]
    assert not lamella.verify(url)
    assert not lamella.verify(url, manifest=tmp_path / "sums")
    assert lamella.status(url).images[0].state == "damaged"
    del server.objects[chunk]
    assert lamella.status(url).images[0].state == "partly"
    report = lamella.verify(url, manifest=tmp_path / "sums")
    assert [one.found for one in report.damage] == ["is missing"]


@pytest.mark.parametrize(
    ("server", "command", "place"),
    [
        (server, command, ("web/nothing.zarr", "web")[(turn + number) % 2])
        for turn, server in enumerate(SERVERS)
        for number, command in enumerate(["verify", "checksum", "status", "upgrade", "rechunk"])
    ],
    indirect=["server"],
)
def test_nothing_is_never_all_whole(tmp_path, server, command, place):
    _served(server, _make(tmp_path / "a.zarr", "image", "0.5"))
    url = f"{server.endpoint}/{place}"
    words = {
        "upgrade": [str(tmp_path / "new.zarr"), "--to", "0.4"],
        "rechunk": [str(tmp_path / "new.zarr"), "--chunks", "8,8"],
    }
    done = CliRunner().invoke(main, [command, url, *words.get(command, [])])
    assert done.exit_code in (1, 2)
    assert "whole" not in done.output
    assert not (tmp_path / "new.zarr").exists()


def test_zero_files_are_never_all_whole(tmp_path):
    lamella.open_ome_zarr(tmp_path / "a.zarr", layout="fov", mode="w", channel_names=["GFP"], version="0.5")
    assert "all whole" not in str(lamella.verify(tmp_path / "a.zarr"))
    (tmp_path / "sums").write_text("")
    with pytest.raises(errors.InvalidArgumentError, match="nothing was compared"):
        lamella.verify(tmp_path / "a.zarr", manifest=tmp_path / "sums")


def _sharded(path):
    with lamella.open_ome_zarr(
        path, layout="fov", mode="w", channel_names=["GFP"], version="0.5"
    ) as position:
        position.create_image("0", _pixels(0), chunks=(1, 1, 1, 8, 8), shards_ratio=(1, 1, 1, 3, 3))
    return path


def test_a_server_without_ranges_is_named_and_is_no_damage(tmp_path, service):
    service.ranges = False
    url = _served(service, _sharded(tmp_path / "a.zarr"))
    image = lamella.open_ome_zarr(url)["0"]
    with pytest.raises(errors.StorageError, match="Range header"):
        image[0, 0, 0, :8, :8]
    assert "Range header" in str(lamella.status(url))
    lamella.upgrade(url, "0.4", tmp_path / "b.zarr")  # which reads shards whole
    np.testing.assert_array_equal(lamella.open_ome_zarr(tmp_path / "b.zarr")["0"], _pixels(0))


def test_a_chunk_of_which_a_web_server_sends_less_is_packed_whole(tmp_path, service):
    """The answer stated the length of the part, so nothing else shows that bytes are missing."""
    path = tmp_path / "image.zarr"
    lamella.write_image(path, np.arange(64, dtype="u2").reshape(8, 8), axes="yx")
    url = _served(service, path)
    service.fail("less", path="/c/", times=1)
    lamella.pack(url, tmp_path / "image.ozx")
    assert lamella.checksum(tmp_path / "image.ozx") == lamella.checksum(path)


def test_whole_files_need_no_ranges(tmp_path, service, version):
    service.ranges = False
    path = _make(tmp_path / "a.zarr", "image", version)
    _same(_images(lamella.open_ome_zarr(_served(service, path))), _images(lamella.open_ome_zarr(path)))


def test_a_store_of_fsspec_on_the_web_is_the_same(tmp_path, server, version):
    path = _make(tmp_path / "a.zarr", "image", version)
    store = zarr.storage.FsspecStore.from_url(_served(server, path), read_only=True)
    assert lamella.verify(store).files == lamella.verify(path).files
    _same(_images(lamella.open_ome_zarr(store)), _images(lamella.open_ome_zarr(path)))


def test_a_document_that_cannot_be_read_now_stops_the_walk(tmp_path, service):
    """It is not passed over: what lies below it would be missing from the copy in silence."""
    url = _served(service, _make(tmp_path / "a.zarr", "plate", "0.5"))
    service.fail(503, path="A/1/1/zarr.json")
    for work in (
        lamella.verify,
        lamella.checksum,
        lambda url: lamella.upgrade(url, "0.4", tmp_path / "b.zarr"),
    ):
        with pytest.raises(errors.StorageError, match="503"):
            work(url)
    assert not (tmp_path / "b.zarr").exists()


def test_chunks_under_other_keys_are_found_on_the_web(tmp_path, server, version):
    """The document declares one separator and the chunks have the other: that is not an image never written."""
    path = _make(tmp_path / "a.zarr", "image", version)
    url = _served(server, path)
    prefix = "/web/a.zarr/0/" if version == "0.4" else "/web/a.zarr/0/c/"
    for key in [key for key in server.objects if key.startswith(prefix) and key[-1].isdigit()]:
        server.objects[prefix + key.removeprefix(prefix).replace("/", ".")] = server.objects.pop(key)
    if version == "0.5":
        for key in [key for key in server.objects if key.startswith(prefix)]:
            server.objects["/web/a.zarr/0/c." + key.removeprefix(prefix)] = server.objects.pop(key)
    assert not lamella.verify(url)
    assert lamella.status(url).images[0].state == "damaged"
    assert not lamella.validate(url, pixels=True)


def test_a_row_of_a_web_server_is_no_empty_store(service, tmp_path, version):
    """No document names the wells of a row alone: `verify` found nothing wrong, having read nothing."""
    path = _make(tmp_path / "a.zarr", "plate", version)
    zarr.open_group(path / "A").attrs["dose"] = 3  # attributes of a user
    url = _served(service, path)
    for call in (
        lamella.verify,
        lamella.checksum,
        lambda row: lamella.copy_store(row, tmp_path / "copy.zarr"),
        lambda row: lamella.rechunk(row, tmp_path / "copy.zarr", chunks=(8, 8)),
    ):
        with pytest.raises(errors.MetadataError, match=r"/A is a group whose metadata name no members"):
            call(f"{url}/A")
    assert not (tmp_path / "copy.zarr").exists()
    assert lamella.verify(f"{url}/A/1").nbytes > 0


@pytest.mark.parametrize("node", ["", "/0"])
def test_a_damaged_document_of_a_web_server_is_reported(service, tmp_path, version, node):
    """It was refused as a group without members, as a row of a plate is."""
    path = _make(tmp_path / "a.zarr", "image", version)
    name = {"": ".zattrs", "/0": ".zarray"}[node] if version == "0.4" else "zarr.json"
    (path / node.strip("/") / name).write_bytes(b'{"cut')
    report = lamella.verify(_served(service, path) + node)
    assert name in [finding.key for finding in report.damage]
    assert name in lamella.checksum(_served(service, path) + node)


def test_the_web_is_refused_as_such_by_what_writes(service, tmp_path):
    """The advice was to open it with another mode, which is refused too."""
    url = _served(service, _make(tmp_path / "a.zarr", "image", "0.5"))
    tifffile = pytest.importorskip("tifffile")
    tifffile.imwrite(tmp_path / "a.tif", _pixels(0)[0, 0, 0])
    for call in (
        lambda: lamella.repair(url),
        lambda: lamella.convert(tmp_path / "a.tif", f"{service.endpoint}/web/b.zarr"),
        lambda: lamella.pack(url, f"{service.endpoint}/web/b.ozx"),
    ):
        with pytest.raises(errors.ReadOnlyError, match=r"web servers are only read\. Use a path, or s3://"):
            call()


def _wrapped(service):
    from fsspec.implementations.dirfs import DirFileSystem
    from fsspec.implementations.http import HTTPFileSystem
    from zarr.storage import FsspecStore

    web = HTTPFileSystem(asynchronous=True)
    return FsspecStore(DirFileSystem(f"{service.endpoint}/web", web, asynchronous=True), path="a.zarr")


def _brightest(position):
    return position["0"][:].max(axis=(-1, -2), keepdims=True)


@pytest.mark.parametrize("over", ["positions", "regions"])
def test_a_map_of_a_web_server_below_another_file_system_sees_changed_sources(service, tmp_path, over):
    """Its list was empty, which stood for an unchanged source: the second map returned the first result."""
    url = _served(service, _make(tmp_path / "a.zarr", "plate", "0.5"))
    function = {"positions": _brightest, "regions": np.negative}[over]
    for _ in range(2):
        plate = lamella.open_ome_zarr(_wrapped(service))
        plate.map(function, output=tmp_path / "out.zarr", name="0", over=over)
        made = lamella.open_ome_zarr(tmp_path / "out.zarr")
        expected = lamella.open_ome_zarr(url)["A/1/0"]
        expected = _brightest(expected) if over == "positions" else np.negative(expected["0"][:])
        np.testing.assert_array_equal(made["A/1/0/0"][:], expected)
        chunks = sorted(key for key in service.objects if "/A/1/0/0/c/" in key)
        others = sorted(key for key in service.objects if "/B/3/0/0/c/" in key)
        service.objects.update(
            {key: service.objects[other] for key, other in zip(chunks, others, strict=True)}
        )
