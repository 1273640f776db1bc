"""Stores to test nodes on, and what is asked of every store and of every refusal."""

from __future__ import annotations

import json
import shutil
import warnings
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from jsonschema import Draft202012Validator
from referencing import Registry, Resource

import lamella
from lamella.errors import LamellaError
from lamella.models import TransformationMeta, axes
from lamella.spec.rules import check_attributes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

DATA = Path(__file__).parents[1] / "data"
SCHEMAS = DATA / "ngff" / "schemas"

SHAPES = {"t": 2, "c": 2, "z": 3, "y": 8, "x": 10}
AXES = ("yx", "zyx", "cyx", "tyx", "tzyx", "czyx", "tcyx", "tczyx")


@pytest.fixture(params=["0.4", "0.5"])
def version(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(params=AXES)
def names(request: pytest.FixtureRequest) -> str:
    """Axes of an image, lower case, in axis order."""
    return request.param


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where to make a store; nothing is there."""
    return tmp_path / "store.zarr"


def pixels(names: str = "tczyx", dtype: str = "uint16") -> np.ndarray[Any, Any]:
    shape = tuple(SHAPES[name] for name in names)
    return np.random.default_rng(0).integers(0, 200, shape).astype(dtype)


def channels(names: str) -> list[str]:
    return ["DAPI", "GFP"] if "c" in names else []


@pytest.fixture
def image(path: Path, version: str) -> Iterator[lamella.Position]:
    """An image tczyx of two levels, open for writing."""
    with lamella.open_ome_zarr(
        path, layout="fov", mode="w", channel_names=["DAPI", "GFP"], axes=axes("tczyx"), version=version
    ) as position:
        position["0"] = pixels()
        half = [
            TransformationMeta(type="scale", scale=[1, 1, 1, 2, 2]),
            TransformationMeta(type="translation", translation=[0, 0, 0, 0.5, 0.5]),
        ]
        position.create_image("1", pixels()[..., ::2, ::2], transform=half)
        yield position


@pytest.fixture
def plate_path(path: Path, version: str) -> Path:
    """A plate of the wells A/1, A/2 and B/1 with two fields each."""
    with lamella.open_ome_zarr(
        path, layout="hcs", mode="w", channel_names=["DAPI", "GFP"], axes=axes("tczyx"), version=version
    ) as plate:
        wells = [("A", "1"), ("A", "2"), ("B", "1")]
        for position in plate.create_positions([(*well, field) for well in wells for field in "01"]):
            position["0"] = pixels()
    return path


@pytest.fixture
def foreign(tmp_path: Path) -> Callable[[str], Path]:
    """Copy a store of another writer, by its name."""

    def copy(name: str) -> Path:
        source = next(path for path in (DATA / "stores" / name).iterdir() if path.is_dir())
        return Path(shutil.copytree(source, tmp_path / source.name))

    return copy


def document_file(folder: Path, version: str) -> Path:
    return folder / (".zattrs" if version == "0.4" else "zarr.json")


def attributes(folder: Path, version: str) -> dict[str, Any]:
    """Read the attributes of a group or array from disk."""
    document = json.loads(document_file(folder, version).read_text())
    return document if version == "0.4" else document.get("attributes", {})


def ome(folder: Path, version: str) -> dict[str, Any]:
    """Read the OME part of a group's attributes from disk."""
    found = attributes(folder, version)
    return found if version == "0.4" else found["ome"]


def edit_attributes(folder: Path, version: str, change: Callable[[dict[str, Any]], object]) -> None:
    """Change a document behind the library's back, as another program would: a new file in the old one's place."""
    file = document_file(folder, version)
    document = json.loads(file.read_text())
    change(document if version == "0.4" else document["attributes"])
    new = file.with_name("new")
    new.write_text(json.dumps(document))
    new.replace(file)


def snapshot(root: Path) -> dict[str, bytes | str | None]:
    """Everything below a folder: bytes of files, targets of links, None for folders."""

    def content(path: Path) -> bytes | str | None:
        if path.is_symlink():
            return f"-> {path.readlink()}"
        return path.read_bytes() if path.is_file() else None

    return {str(path.relative_to(root)): content(path) for path in sorted(root.rglob("*"))}


@pytest.fixture
def refused(tmp_path: Path) -> Callable[..., Any]:
    """Expect one clear error of a builtin family, and every byte on disk as it was."""

    @contextmanager
    def check(family: type[Exception], match: str | None = None) -> Iterator[None]:
        before = snapshot(tmp_path)
        with pytest.raises(family, match=match) as caught:
            yield
        assert isinstance(caught.value, LamellaError), caught.value
        text = str(caught.value)
        assert text
        assert "pydantic" not in text
        assert "Traceback" not in text
        assert snapshot(tmp_path) == before

    return check


def _registry() -> Registry[Any]:
    files = [json.loads(path.read_text()) for path in SCHEMAS.glob("0.[45]/*.schema")]
    return Registry().with_resources((file["$id"], Resource.opaque(file)) for file in files)


REGISTRY = _registry()

# How levels were made is written by the pyramid operations; of levels that a user makes, nobody knows it.
NO_METHOD = {"MS-09", "MS-10"}

_KINDS = {
    "multiscales": "image",
    "plate": "plate",
    "well": "well",
    "image-label": "label",
    "labels": "labels",
}


def check_valid(root: Path, version: str) -> None:
    """Check every document of a store: official schemas in their strict form, our rules, and two other libraries."""
    marks = root.rglob(".zgroup" if version == "0.4" else "zarr.json")
    for folder in sorted(mark.parent for mark in marks):
        if version == "0.5" and json.loads((folder / "zarr.json").read_text())["node_type"] == "array":
            continue
        found = attributes(folder, version)
        for key, kind in _KINDS.items():
            if key not in (found if version == "0.4" else found.get("ome", {})):
                continue
            findings = [
                finding for finding in check_attributes(kind, found, version) if finding.rule not in NO_METHOD
            ]
            assert [str(finding) for finding in findings] == [], folder
            if kind != "labels":
                strict = (
                    "" if kind == "image" else "strict_"
                )  # the strict one asks for a downscaling method, too
                rules = json.loads((SCHEMAS / version / f"{strict}{kind}.schema").read_text())
                Draft202012Validator(rules, registry=REGISTRY).validate(found)
    _check_elsewhere(root)


def _check_elsewhere(root: Path) -> None:
    import ome_zarr_models
    import yaozarrs
    import zarr

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # theirs
        yaozarrs.validate_zarr_store(str(root))
        ome_zarr_models.open_ome_zarr(zarr.open_group(str(root), mode="r"))
