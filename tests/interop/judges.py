"""Those that say whether a store is valid: the official JSON schemas at SHOULD level, ome-zarr-models and yaozarrs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator
from referencing import Registry
from referencing.jsonschema import DRAFT202012

SCHEMAS = Path(__file__).parent.parent / "data" / "ngff" / "schemas"
PARTS = {"plate": "plate", "well": "well", "image-label": "label", "multiscales": "image"}


def schemas(path: Path, version: str) -> None:
    """Check the document of every group by the strict schema of its part; one that has none is a fault of the test."""
    validators: dict[str, Draft202012Validator] = {}
    checked = 0
    for name in ("zarr.json", ".zattrs"):
        for file in sorted(path.rglob(name)):
            document = json.loads(file.read_text())
            attributes = document.get("attributes", {}) if name == "zarr.json" else document
            ome = attributes.get("ome", attributes)
            for part in [PARTS[key] for key in PARTS if key in ome]:
                if part not in validators:
                    validators[part] = _validator(SCHEMAS / version, f"strict_{part}.schema")
                validators[part].validate(attributes)
                checked += 1
    assert checked, f"no document of {path} was judged"


def _validator(folder: Path, name: str) -> Draft202012Validator:
    loaded: dict[str, Any] = {file.name: json.loads(file.read_text()) for file in folder.glob("*.schema")}
    # The strict schemas do not say which JSON Schema they are written in; the others say 2020-12.
    resources = [(schema["$id"], DRAFT202012.create_resource(schema)) for schema in loaded.values()]
    return Draft202012Validator(loaded[name], registry=Registry().with_resources(resources))


def ome_zarr_models(path: Path, version: str) -> None:
    """Open a store, its label images and its fields as models of its version."""
    import ome_zarr_models as models
    import zarr

    for node in [path, *path.glob("labels/*/"), *path.glob("*/*/*/")]:
        if any((node / "0" / name).exists() for name in (".zarray", "zarr.json")) or node == path:
            model = models.open_ome_zarr(zarr.open_group(str(node), mode="r"))
            assert version.replace(".", "") in type(model).__module__, type(model)


def yaozarrs(path: Path, version: str) -> None:
    """Check documents and arrays."""
    import yaozarrs as judge

    judge.validate_zarr_store(str(path))


JUDGES = {"official schemas": schemas, "ome-zarr-models": ome_zarr_models, "yaozarrs": yaozarrs}
