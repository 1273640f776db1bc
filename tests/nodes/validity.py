"""Validity of a whole store at MUST level: by our rules and by two other libraries."""

from __future__ import annotations

import json
import warnings

import lamella
from lamella.spec.rules import check_attributes

from .conftest import _KINDS, attributes


def check_valid(root, version):
    """Check every document of a store; what only should be there is another test's matter."""
    import ome_zarr_models
    import yaozarrs
    import zarr

    marks = root.rglob(".zgroup" if version == "0.4" else "zarr.json")
    for folder in sorted(mark.parent for mark in marks):
        if version != "0.4" and json.loads((folder / "zarr.json").read_text())["node_type"] == "array":
            continue
        found = attributes(folder, version)
        for key, kind in _KINDS.items():
            if key in (found if version == "0.4" else found.get("ome", {})):
                findings = check_attributes(kind, found, version)
                assert [str(finding) for finding in findings if finding.level == "MUST"] == [], folder
    if version == "0.6":  # the others do not know it yet: our rules, with those that take the arrays
        found = lamella.validate(root).findings
        assert [str(finding) for finding in found if finding.level == "MUST"] == []
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # theirs
        yaozarrs.validate_zarr_store(str(root))
        ome_zarr_models.open_ome_zarr(zarr.open_group(str(root), mode="r"))
