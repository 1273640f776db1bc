"""Law: whatever a service does to any request of any operation, nothing is lost, nothing is reported that is not so."""

from __future__ import annotations

import logging
import tempfile
import traceback
import warnings

import pytest

import lamella
from lamella.adapters.thumbnail import thumbnail
from lamella.errors import AccessError, LamellaError, StorageError, StoreNotFoundError
from lamella.ops.display.preview import PreviewOptions
from lamella.ops.display.preview_plate import channels_of_fields, with_windows
from lamella.ops.view.scene import view_scene

from .operations import OPERATIONS, READS, WRITES, opened, options, target
from .protocols import SECRET
from .under_faults import FAULTS, Trials, noted, points


@pytest.fixture(autouse=True)
def own_temporary_folder(monkeypatch, tmp_path):
    """Keep unfinished uploads apart from those of other processes to the same URL."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


@pytest.mark.parametrize("name", OPERATIONS)
def test_whatever_a_service_does_nothing_is_lost_and_the_same_call_finishes(service, name):
    """Each fault begins at another request of the operation, as far as they go round: see `points`."""
    place = list(OPERATIONS).index(name)
    trials = Trials(service, "0.4" if place % 3 == 1 else "0.5")
    begins = points(trials.clean(name).requests)
    left_out = (500, 503)[place % 2]  # they are one row: `make torture` has both
    for number, fault in enumerate(FAULTS):
        if fault != left_out:
            at = begins[(number + place) % len(begins)]
            with noted(f"{fault} at request {at}, {trials.clean(name).requests[at]}"):
                trials.fail(name, fault, at)
    trials.begin()
    trials.finish(OPERATIONS[name], trials.clean(name))


def meet(service, protocol, name, faults):
    """Make an operation meet faults by a protocol, each at another request."""
    place = list(OPERATIONS).index(name)
    trials = Trials(service, "0.4" if place % 3 == 1 else "0.5", protocol)
    begins = points(trials.clean(name).requests)
    for number, fault in enumerate(faults):
        at = begins[(number + place) % len(begins)]
        with noted(f"{fault} at request {at}, {trials.clean(name).requests[at]}"):
            trials.fail(name, fault, at)


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize(("protocol", "turn"), [("gs", 0), ("az", 5)])
def test_it_holds_by_every_protocol_that_writes(service, protocol, turn, name):
    """Each operation meets one fault, and each fault some operations; `make torture` has all pairs."""
    meet(service, protocol, name, [FAULTS[(list(OPERATIONS).index(name) + turn) % len(FAULTS)]])


@pytest.mark.parametrize(
    ("protocol", "name"),
    [("http", name) for name in READS]
    + [
        ("obstore", name)
        for name in ("read", "status", "edit", "create", "pyramid", "add", "mosaic", "delete")
    ]
    + [("fsspec", name) for name in ("read", "edit", "create", "delete")],
)
def test_it_holds_on_the_web_and_in_stores_of_zarr_python(service, protocol, name):
    place = list(OPERATIONS).index(name)
    meet(service, protocol, name, [FAULTS[(place + turn) % len(FAULTS)] for turn in (0, 6)])


@pytest.mark.parametrize("name", WRITES)
def test_the_web_is_not_written_to(service, name):
    """What writes is refused, before any request that could change something."""
    trials = Trials(service, "0.5", "http")
    with pytest.raises(LamellaError) as caught:
        trials.run(OPERATIONS[name])
    assert SECRET not in "".join(traceback.format_exception(caught.value))
    assert service.objects == trials.base
    assert {method for method, _ in service.requests} <= {"GET", "HEAD"}


CHUNKS = "/(plate|small).zarr/A/./0/(labels/cells/)?0/(c/)?0/.*[0-9]$"


@pytest.mark.parametrize("protocol", ["s3", "http"])
@pytest.mark.parametrize("name", ["from positions", "add", "upgrade", "merge", "copy", "download"])
def test_a_chunk_of_which_less_came_is_not_copied(service, protocol, name):
    """Nothing but the chunk itself says how long it is."""
    trials = Trials(service, "0.5", protocol)
    if not OPERATIONS[name].works_by(trials.protocol):
        return
    known = trials.clean(name)
    trials.begin()
    met = service.fail("less", method="GET", path=CHUNKS, times=1)
    try:
        result = trials.run(OPERATIONS[name])
    except StorageError:
        pass
    else:
        assert result == known.result
        assert trials.stored() == known.objects
    assert met.seen


@pytest.mark.parametrize(
    ("name", "path", "fault"),
    [
        ("status", "/A/2/0/0/c/0/0/0/0/0$", "less"),  # of a HEAD
        ("validate", "/A/2/0/labels/.zmetadata$", "reset"),
    ],
)
def test_what_could_not_be_asked_on_the_web_is_no_finding(service, name, path, fault):
    trials = Trials(service, "0.5", "http")
    known = trials.clean(name)
    trials.begin()
    met = service.fail(fault, method="*", path=path, times=1)
    result, _ = trials.outcome(OPERATIONS[name], fault)
    assert met.seen
    assert trials.is_said(OPERATIONS[name], known, result), result


@pytest.mark.parametrize(("protocol", "status"), [("az", 404), ("az", 403), ("gs", 403)])
def test_who_may_read_and_not_list_sees_no_empty_store(service, protocol, status):
    """Azure answers 404 to lists of those who may read blobs only."""
    trials = Trials(service, "0.5", protocol)
    for name in ("status", "verify", "checksum", "download", "add"):
        known = trials.clean(name)
        trials.begin()
        service.fail(status, method="LIST")
        if name in ("status", "verify"):
            result = trials.run(OPERATIONS[name])
            assert result != known.result
            assert trials.is_said(OPERATIONS[name], known, result), result
        else:
            with pytest.raises(AccessError, match="permission to list"):
                trials.run(OPERATIONS[name])


@pytest.mark.parametrize("protocol", ["gs", "az"])
def test_a_bucket_that_is_not_there_is_named(service, protocol):
    Trials(service, "0.5", protocol)
    service.fail(404, method="*")
    with pytest.raises(StoreNotFoundError):
        opened()
    with pytest.raises(StorageError, match=rf"{protocol}://bucket/new.zarr.*no such bucket or container"):
        OPERATIONS["write an image"].run(tempfile.gettempdir())


@pytest.mark.parametrize("protocol", ["gs", "az", "http"])
def test_no_secret_is_logged_shown_or_stored(service, protocol, tmp_path, caplog):
    trials = Trials(service, "0.5", protocol)
    shown, files = [], {}
    caplog.set_level(logging.DEBUG)
    for name in ("download", "upgrade", "mosaic", "map"):
        half = len(trials.clean(name).requests) // 2 if trials.protocol.writes or name in READS else 0
        for fault in ("reset", None):
            trials.begin()
            if fault is not None:
                service.fail(fault, method="*", after=half)
            (folder := tmp_path / f"{name} {fault}").mkdir()
            try:
                shown.append(repr(OPERATIONS[name].run(folder)))
            except LamellaError as error:
                shown.append("".join(traceback.format_exception(error)))
            service.heal()
            files |= {str(file): file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}
            files |= service.objects
    with opened() as plate:
        shown += [
            repr(plate),
            repr(plate.documents.storage),
            repr(plate["A/1/0"]["0"]),
            str(plate.store_handle),
        ]
    shown.append(caplog.text)
    assert "Download" in caplog.text or "Copy" in caplog.text
    assert not [text for text in shown if SECRET in text]
    assert not [name for name, data in files.items() if SECRET.encode() in data]


def test_a_document_that_could_not_be_read_is_not_to_be_deleted(service):
    Trials(service, "0.5", "http")
    service.fail(503, path="/A/2/0/zarr.json$")
    report = lamella.validate(target(), storage_options=options())
    text = str(report)
    assert "validate again when it can be read" in text
    assert "delete the node" not in text


def test_a_mosaic_that_failed_in_a_store_of_zarr_python_is_written_by_the_same_call(service):
    trials = Trials(service, "0.4", "obstore")
    trials.fail("mosaic", 500, len(trials.clean("mosaic").requests) - 8)


def test_azure_answers_409_for_what_exists_and_that_is_no_passing_conflict(service):
    trials = Trials(service, "0.5", "az")
    for at in points(trials.clean("create zeros").requests)[2:]:
        trials.fail("create zeros", 412, at)


@pytest.mark.parametrize(("name", "fault"), [("status", "less"), ("checksum", 404)])
def test_what_one_answer_says_is_no_verdict(service, name, fault):
    """Part of an index or a header makes no damaged chunk, and a document that is gone meanwhile no raw error."""
    trials = Trials(service, "0.5")
    for at in points(trials.clean(name).requests):
        with noted(f"{fault} at request {at}"):
            trials.fail(name, fault, at)


def test_credentials_that_have_expired_are_no_empty_image(service):
    trials = Trials(service, "0.5")
    trials.begin()
    service.absent, service.lists = 403, False
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # 403 is read as absent
        with opened() as plate:
            del service.objects["/bucket/plate.zarr/A/2/0/0/c/0/0/0/0/0"]
            assert not plate["A/2/0"]["0"][0, 0].any()  # never written, as far as anybody can see
            service.fail(403)  # the credentials have expired
            with pytest.raises(AccessError):
                plate["A/1/0"]["0"][...]


@pytest.mark.parametrize("status", [500, 403])
def test_a_folder_that_could_not_be_looked_at_is_no_empty_file_of_a_manifest(service, status):
    trials = Trials(service, "0.5")
    expected = trials.clean("checksum").result
    trials.begin()
    met = service.fail(status, method="LIST", times=1)
    result, error = trials.outcome(OPERATIONS["checksum"], status)
    assert met.seen
    assert error is not None or result == expected


def test_a_field_that_could_not_be_read_for_the_contrast_is_named(service, tmp_path):
    """The fault is over when the field itself is drawn, so nothing else shows it."""
    trials = Trials(service, "0.5")
    _, picture = trials.clean("preview").result
    trials.begin()
    chunk = "A/1/0/0/c/0/0/"
    met = service.fail(403, path=chunk, times=2)
    problems, other = OPERATIONS["preview"].run(tmp_path)
    assert met.seen == 2
    assert problems == ["A/1/0"]
    assert other != picture
    trials.begin()
    met = service.fail(403, path=chunk, times=2)
    with opened() as plate:
        assert thumbnail(plate) is None
        assert met.seen == 2
        met = service.fail(403, path=chunk, times=2)
        with pytest.warns(
            UserWarning, match=r"s3://bucket/plate.zarr/A/1/0 could not be read for the contrast"
        ):
            view_scene(plate)
        service.fail(403, path=chunk, times=2)
        with pytest.raises(AccessError):
            with_windows(
                [*channels_of_fields([plate["A/1/0"]]).values()], PreviewOptions(), 64
            )  # as for napari


@pytest.mark.parametrize("version", ["0.4", "0.5"])
@pytest.mark.parametrize("method", ["PUT", "GET"])
def test_an_array_that_was_to_replace_another_is_deleted_after_a_failure(service, version, method):
    """Its documents could not be written, or not be read when it was complete."""
    trials = Trials(service, version)
    known = trials.clean("delete a channel")
    trials.begin()
    met = service.fail(412, method=method, path=r"[.]tmp/([.]zattrs|[.]zarray|zarr[.]json)$", times=1)
    _, error = trials.outcome(OPERATIONS["delete a channel"], 412)
    assert met.seen == 1
    assert error is not None
    assert not [key for key in service.objects if "/.lamella-" in key]
    trials.finish(OPERATIONS["delete a channel"], known)


def test_a_wrong_404_leaves_no_token_in_an_array_that_was_replaced(service):
    trials = Trials(service, "0.5")
    known = trials.clean("delete a channel")
    document = "/bucket/plate.zarr/A/1/0/0/zarr.json"
    trials.begin()
    met = service.fail(404, path=f"^{document}$", after=known.requests.count(("GET", document)) - 1, times=1)
    _, error = trials.outcome(OPERATIONS["delete a channel"], 404)
    assert met.seen == 1
    assert "Make the same call again" in str(error)
    trials.finish(OPERATIONS["delete a channel"], known)


DOCUMENTS_THAT_LIST = [
    ("obstore", "0.4", "edit", "plate.zarr/A/1/0/.zattrs"),
    ("obstore", "0.4", "create", "plate.zarr/.zattrs"),
    ("obstore", "0.4", "stream", "plate.zarr/A/1/.zattrs"),
    ("obstore", "0.4", "delete a channel", "plate.zarr/A/1/0/.zattrs"),
    ("obstore", "0.4", "rename labels", "plate.zarr/A/1/0/labels/nuclei/.zattrs"),
    ("obstore", "0.5", "create labels", "plate.zarr/A/1/0/labels/zarr.json"),
    ("obstore", "0.5", "create tables", "plate.zarr/A/1/0/tables/zarr.json"),
    ("obstore", "0.4", "rechunk", "plate.zarr/A/1/0/labels/cells/.zattrs"),
    ("obstore", "0.5", "upgrade", "plate.zarr/A/1/0/zarr.json"),
    ("obstore", "0.5", "merge", "small.zarr/zarr.json"),
    ("s3", "0.4", "create", "plate.zarr/.zattrs"),
    ("s3", "0.4", "add", "plate.zarr/.zattrs"),
    ("s3", "0.4", "stream", "plate.zarr/A/1/1/.zattrs"),
    ("s3", "0.4", "delete", "plate.zarr/.zattrs"),
    ("s3", "0.4", "rechunk", "plate.zarr/A/1/0/0/.zarray"),
    ("s3", "0.5", "map to labels", "plate.zarr/A/1/0/labels/zarr.json"),
    ("s3", "0.5", "measure into a table", "plate.zarr/A/1/0/tables/zarr.json"),
    ("s3", "0.5", "reindex", "unlisted.zarr/zarr.json"),
    ("s3", "0.5", "from positions", "plate.zarr/zarr.json"),
]


@pytest.mark.parametrize(("protocol", "version", "name", "document"), DOCUMENTS_THAT_LIST)
def test_one_wrong_404_makes_no_document_without_what_it_lists(service, protocol, version, name, document):
    """It is answered to each request of the document, one after the other."""
    trials = Trials(service, version, protocol)
    asked = trials.clean(name).requests
    times = [at for at, request in enumerate(asked) if request == ("GET", f"/bucket/{document}")]
    assert times
    for at in times[:1] + times[-2:]:
        with noted(f"404 at request {at}"):
            trials.fail(name, 404, at)


@pytest.mark.parametrize(
    ("protocol", "version", "name", "document"),
    [
        ("obstore", "0.4", "stream", "plate.zarr/A/1/.zattrs"),
        ("obstore", "0.4", "create", "plate.zarr/.zattrs"),
        ("obstore", "0.4", "edit", "plate.zarr/A/1/0/.zattrs"),
        ("obstore", "0.5", "create labels", "plate.zarr/A/1/0/labels/zarr.json"),
        ("obstore", "0.5", "create tables", "plate.zarr/A/1/0/tables/zarr.json"),
        ("s3", "0.4", "stream", "plate.zarr/A/1/.zattrs"),
        ("s3", "0.5", "create tables", "plate.zarr/A/1/0/tables/zarr.json"),
    ],
)
def test_a_document_that_is_listed_and_not_returned_is_not_written(
    service, protocol, version, name, document
):
    """As by a cache before a service, which remembers for some time that it was not there."""
    trials = Trials(service, version, protocol)
    known = trials.clean(name)
    trials.begin()
    service.fail(404, method="GET", path=f"/bucket/{document}$")
    _, error = trials.outcome(OPERATIONS[name], 404)
    assert service.objects == trials.base
    assert f"s3://bucket/{document}" in str(error)
    assert "the list of its folder names it" in str(error)
    trials.heal()
    trials.finish(OPERATIONS[name], known)
