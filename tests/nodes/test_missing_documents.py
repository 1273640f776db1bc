"""A node whose metadata document is missing while its pixels are stored is named as that, never as missing itself."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from click.testing import CliRunner

import lamella
from lamella.cli import main

DOCUMENTS = ("zarr.json", ".zattrs", ".zgroup", ".zarray")


def without_documents(folder, names=DOCUMENTS):
    for name in names:
        (folder / name).unlink(missing_ok=True)


def run(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture(params=["0.4", "0.5", "0.6"])
def plate(request, tmp_path):
    path = tmp_path / "plate.zarr"
    with lamella.open(
        path, "w-", layout="hcs", version=request.param, channel_names=["w1"], axes="cyx"
    ) as node:
        for position in node.create_positions([("A", "2", "0"), ("A", "2", "1")]):
            position["0"] = np.ones((1, 8, 8), "uint16")
            position.labels["nuclei"] = np.ones((8, 8), "uint8")
    return path


def test_a_field_without_its_document_is_there_and_its_document_is_to_be_restored(plate):
    is_v2 = (plate / ".zattrs").exists()
    files = ".zgroup and .zattrs are missing" if is_v2 else "zarr.json is missing"
    without_documents(plate / "A/2/0")
    node = lamella.open(plate)
    text = f"The folder {plate}/A/2/0 has content (0, labels), but {files}: restore"
    with pytest.raises(lamella.errors.NodeNotFoundError) as opened:
        node["A/2/0"]
    assert text in str(opened.value)
    assert "Did you mean" not in str(opened.value)
    assert text in str(dict(node.positions(on_error="report"))["A/2/0"])
    assert lamella.errors.clause(text) in run("status", plate).stdout
    found = next(finding for finding in lamella.validate(plate).findings if finding.rule == "PL-12")
    assert '"A/2/0" has content (0, labels), but no ' in found.found
    assert "from a backup" in found.remedy
    assert "list" not in found.remedy
    alone = run("info", plate / "A/2/0")
    assert alone.exit_code == 2
    assert "its members (0, labels) are those of a Zarr group" in alone.stderr
    assert "Zarr nodes are below (0, labels)" in run("validate", plate / "A/2/0").stdout
    shutil.rmtree(plate / "A/2/0")
    assert "nothing is stored at" in str(dict(lamella.open(plate).positions(on_error="report"))["A/2/0"])
    assert any('there is no image "0"' in finding.found for finding in lamella.validate(plate).findings)


def test_a_level_and_labels_without_their_documents_are_to_be_restored(plate):
    is_v2 = (plate / ".zattrs").exists()
    first, second = plate / "A/2/0", plate / "A/2/1"
    without_documents(first / "0")
    without_documents(first / "labels/nuclei")
    without_documents(second / "labels")
    node = lamella.open(plate)
    array = ".zarray" if is_v2 else "zarr.json"
    with pytest.raises(lamella.errors.NodeNotFoundError, match=f"{array} is missing: restore .* same shape"):
        node["A/2/0/0"]
    with pytest.raises(lamella.errors.NodeNotFoundError, match=r"labels has content \(nuclei\)"):
        node["A/2/1/labels"]
    assert "nothing is stored" not in run("status", plate).stdout
    remedies = {(f.rule, f.node): f.remedy for f in lamella.validate(plate).findings if f.level == "MUST"}
    assert f"restore {array} from a backup" in remedies["MS-04", "A/2/0"]
    assert "from a backup" in remedies["LB-01", "A/2/0/labels"]
    folder = remedies["ST-01" if is_v2 else "ST-02", "A/2/1/labels"]
    assert "from a backup, or list the label images with repair" in folder
    assert run("repair", second, "-q").exit_code == 0
    assert list(lamella.open(second).labels) == ["nuclei"]


def test_an_image_of_0_4_without_its_attributes_names_the_missing_file(tmp_path):
    path = tmp_path / "plate.zarr"
    with lamella.open(path, "w-", layout="hcs", version="0.4", channel_names=["w1"], axes="cyx") as plate:
        plate.create_position("A", "2", "0")["0"] = np.ones((1, 8, 8), "uint16")
    without_documents(path / "A/2/0", [".zattrs"])
    for opened in (lambda: lamella.open(path / "A/2/0"), lambda: lamella.open(path)["A/2/0"]):
        with pytest.raises(lamella.errors.MetadataError, match=r"\.zattrs is missing: .*restore \.zattrs"):
            opened()
    found = next(finding for finding in lamella.validate(path).findings if finding.rule == "MS-01")
    assert (found.found, found.remedy[:26]) == (
        "no .zattrs: there are no multiscales",
        "restore .zattrs from a bac",
    )


def test_a_folder_in_a_store_in_memory_is_described_alike(request):
    path = f"memory://{request.node.name}/p.zarr"
    with lamella.open(path, "w-", layout="hcs", channel_names=["w1"], axes="cyx") as plate:
        plate.create_position("A", "2", "0")["0"] = np.ones((1, 8, 8), "uint16")
        plate.documents.storage.delete("A/2/0/zarr.json")
    with pytest.raises(
        lamella.errors.NodeNotFoundError, match=r"A/2/0 has content \(0\), but zarr.json is missing"
    ):
        lamella.open(path)["A/2/0"]
