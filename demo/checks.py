"""Check a store with other programs: the official schemas at SHOULD level, yaozarrs and ome-zarr-models."""

from __future__ import annotations

import importlib
import json
import warnings
from typing import TYPE_CHECKING, Any

from jsonschema import Draft202012Validator
from referencing import Registry
from referencing.jsonschema import DRAFT202012

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

KINDS = {"multiscales": "image", "plate": "plate", "well": "well"}


def check_with_schemas(store: Path, schemas: Path) -> str:
    """Check the document of every group of a store; raise ValueError with the first error."""
    checked = 0
    for node, attributes in documents(store):
        ome = attributes.get("ome")
        version = "0.5" if isinstance(ome, dict) else "0.4"
        for key in KINDS.keys() & (ome or attributes).keys():
            validator = schema_validator(schemas / version, f"strict_{KINDS[key]}.schema")
            for error in validator.iter_errors(attributes):
                raise ValueError(f"{node}: {error.json_path}: {error.message}")
            checked += 1
    if not checked:
        raise ValueError(f"{store} has no OME-Zarr document")
    return f"{checked} documents"


def documents(store: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield path and attributes of every group of a store in Zarr v2 or v3."""
    for name in (".zattrs", "zarr.json"):
        for file in sorted(store.rglob(name)):
            document = json.loads(file.read_text(encoding="utf-8"))
            if document.get("node_type", "group") == "group":
                node = file.parent.relative_to(store).as_posix()
                yield node, document.get("attributes", {}) if name == "zarr.json" else document


def schema_validator(folder: Path, name: str) -> Draft202012Validator:
    """Return the validator of one schema; it knows the other schemas of the version, to which that one refers."""
    loaded = {file.name: json.loads(file.read_text(encoding="utf-8")) for file in folder.glob("*.schema")}
    # The strict schemas do not state their version of JSON Schema; the others state 2020-12.
    resources = [(schema["$id"], DRAFT202012.create_resource(schema)) for schema in loaded.values()]
    return Draft202012Validator(loaded[name], registry=Registry().with_resources(resources))


def check_with_yaozarrs(store: Path) -> str:
    """Check documents and arrays with yaozarrs."""
    importlib.import_module("yaozarrs").validate_zarr_store(str(store))
    return "documents and arrays"


def check_with_ome_zarr_models(store: Path) -> str:
    """Open the root of a store with ome-zarr-models."""
    zarr, models = importlib.import_module("zarr"), importlib.import_module("ome_zarr_models")
    return type(models.open_ome_zarr(zarr.open_group(str(store), mode="r"))).__name__


def results(store: Path, schemas: Path) -> Iterator[tuple[str, bool, str]]:
    """Yield the name of each checker, whether the store passed, and its message; one that is not installed passes."""
    checkers: dict[str, Callable[[], str]] = {
        "official schemas": lambda: check_with_schemas(store, schemas),
        "yaozarrs": lambda: check_with_yaozarrs(store),
        "ome-zarr-models": lambda: check_with_ome_zarr_models(store),
    }
    for name, check in checkers.items():
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                yield name, True, check()
        except ModuleNotFoundError as error:
            yield name, True, f"not installed ({error.name})"
        except Exception as error:  # any error of a checker means that the store did not pass
            yield name, False, str(error)
