"""Law: a call on S3 that is refused between two steps of a change is finished by the same call, without leftovers.

`make torture` has the faults at all requests; here are those at which labels and tables change their names.
"""

from __future__ import annotations

import re

import pytest

import lamella
from lamella.errors import AccessError, NodeExistsError

from .operations import OPERATIONS, opened, position, target
from .under_faults import Trials, noted

LIST = r"/%s/([.]zattrs|zarr[.]json)$"

STEPS = {
    "the record of a rename of labels": ("rename labels", "PUT", LIST % "labels", 0),
    "the deletion of renamed labels": ("rename labels", "POST", "", 0),
    "the document of renamed labels": ("rename labels", "PUT", LIST % "nuclei", -1),
    "the list of renamed labels": ("rename labels", "PUT", LIST % "labels", -1),
    "the document of new labels": ("create labels", "PUT", LIST % "nuclei", 0),
    "the deletion of labels": ("delete labels", "POST", "", -1),
    "the deletion of a renamed table": ("rename tables", "POST", "", 0),
    "the deletion of a table": ("delete tables", "POST", "", 0),
    "the record of a new content of a table": ("replace tables", "PUT", LIST % "tables", 0),
}


@pytest.fixture(params=["0.4", "0.5"])
def trials(service, request, monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return Trials(service, request.param)


@pytest.mark.parametrize("step", STEPS)
def test_a_refused_step_is_made_by_the_same_call(trials, step):
    name, method, path, number = STEPS[step]
    requests = trials.clean(name).requests
    found = [n for n, (asked, key) in enumerate(requests) if asked == method and re.search(path, key)]
    for fault in ("reset", 412):
        with noted(f"{fault} at request {found[number]}, {requests[found[number]]}"):
            trials.fail(name, fault, found[number])


RENAMES = {
    "rename labels": lambda: list(position().labels),
    "rename a position": lambda: [path for path, _ in opened().positions()],
    "rename a well": lambda: [path for path, _ in opened().wells()],
}


@pytest.mark.parametrize("name", RENAMES)
def test_a_rename_without_permission_to_delete_shows_the_old_name_and_is_finished_later(trials, name):
    known = trials.clean(name)
    trials.begin()
    before = RENAMES[name]()
    trials.service.fail(403, method="POST")
    trials.service.fail(403, method="DELETE")
    _, error = trials.outcome(OPERATIONS[name], 403)
    assert isinstance(error, AccessError)
    assert RENAMES[name]() == before
    trials.heal()
    trials.check_kept(known)
    trials.finish(OPERATIONS[name], known)


@pytest.mark.parametrize("name", ["delete tables", "delete labels"])
def test_nothing_is_deleted_beside_a_list_that_a_service_does_not_return(trials, name):
    for number, (asked, key) in enumerate(trials.clean(name).requests):
        if asked == "GET" and re.search(LIST % "(tables|labels)", key):
            with noted(f"404 at request {number}"):
                trials.fail(name, 404, number)


def test_labels_whose_deletion_was_refused_after_some_of_their_keys_are_deleted_with_their_group(service):
    """Google Cloud Storage deletes keys one by one."""
    trials = Trials(service, "0.5", "gs")
    requests = trials.clean("delete labels").requests
    for number in [n for n, (asked, _) in enumerate(requests) if asked == "DELETE"]:
        with noted(f"reset at request {number}"):
            trials.fail("delete labels", "reset", number)


@pytest.mark.parametrize("beside", ["", "0/.zarray"])
def test_the_mark_of_a_group_that_a_killed_creation_left_is_no_label_image(service, beside):
    """Documents of Zarr v2 that are written together arrive in any order; anything else may belong to somebody."""
    labels = "/bucket/plate.zarr/A/1/0/labels"
    objects = Trials(service, "0.4").service.objects
    objects[f"{labels}/nuclei/.zgroup"] = objects[f"{labels}/.zgroup"]
    if beside:
        objects[f"{labels}/nuclei/{beside}"] = b"{}"
        with pytest.raises(NodeExistsError, match="If none runs, del labels"):
            OPERATIONS["create labels"].run(None)
    else:
        OPERATIONS["create labels"].run(None)
        assert list(position().labels) == ["cells", "nuclei"]


def test_what_a_killed_change_of_a_table_left_is_no_damage(trials):
    """It was killed on another machine, so that nobody knows whether it still runs."""
    trials.begin()
    valid, status = lamella.validate(target()), str(lamella.status(target()))
    table = "/bucket/plate.zarr/A/1/0/tables/"
    for key, data in list(trials.service.objects.items()):
        if key.startswith(f"{table}drugs/"):
            other = key.replace("/drugs/", "/.lamella-00000000-1-0.tmp/")
            trials.service.objects[other] = data
    assert lamella.validate(target()).findings == valid.findings
    assert str(lamella.status(target())) == status
    with opened() as plate:
        assert list(plate["A/1/0"].tables) == ["drugs"]


def test_validate_finds_nothing_wrong_with_a_group_that_a_web_server_does_not_answer_for(service):
    """Documents of the other Zarr format are requested beside those of a node."""
    trials = Trials(service, "0.5", "http")
    requests = trials.clean("validate").requests
    numbers = [number for number, (_, key) in enumerate(requests) if key.endswith("/labels/.zgroup")]
    assert numbers
    for number in numbers:
        with noted(f"412 at request {number}"):
            trials.fail("validate", 412, number)
