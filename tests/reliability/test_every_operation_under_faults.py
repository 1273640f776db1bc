"""Law: whatever a service does to any request of any operation, nothing is lost, nothing is reported that is not so."""

from __future__ import annotations

import tempfile
import warnings

import pytest

from lamella.adapters.thumbnail import thumbnail
from lamella.errors import AccessError
from lamella.ops.display.preview import PreviewOptions
from lamella.ops.display.preview_plate import known_channels, with_windows
from lamella.ops.view.scene import view_scene

from .operations import OPERATIONS, opened
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


@pytest.mark.parametrize("at", [1, 5])
def test_a_folder_that_could_not_be_looked_at_is_no_empty_file_of_a_manifest(service, at):
    trials = Trials(service, "0.5")
    expected = trials.clean("checksum").result
    trials.begin()
    met = service.fail(500, method="HEAD", after=at, times=1)
    result, error = trials.outcome(OPERATIONS["checksum"], 500)
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
            with_windows([*known_channels([plate["A/1/0"]]).values()], PreviewOptions(), 64)  # as for napari


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
