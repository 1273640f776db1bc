"""The other libraries, and what they refuse or break: each is expected, so that a release that mends it is noticed."""

from __future__ import annotations

from array_readers import TensorStore, ZarrPython
from judges import JUDGES
from peer_iohub import Iohub
from peer_ngff_zarr import NgffZarr
from peer_ngio import Ngio
from peer_ome_zarr import OmeZarr

PEERS = {peer.name: peer for peer in (Iohub(), OmeZarr(), NgffZarr(), Ngio())}
READERS = {**PEERS, **{reader.name: reader for reader in (ZarrPython(), TensorStore())}}
LIBRARIES = {**dict.fromkeys([*PEERS, *JUDGES]), "zarr-python": "zarr", "TensorStore": "tensorstore"}
"""Columns, and the distributions behind those that are called otherwise."""

CANNOT_READ: dict[tuple[str, str, str], str] = {
    ("iohub", "image", "0.6"): "'Position' object has no attribute 'metadata'",
    ("iohub", "tiled", "0.6"): "'Position' object has no attribute 'metadata'",
    # It takes opacities from 0 to 1 where the specification has 0 to 255, and drops metadata that it cannot take.
    **{
        ("iohub", "labels", v): "'PositionLabel' object has no attribute 'metadata'"
        for v in ("0.4", "0.5", "0.6")
    },
    ("iohub", "plate", "0.6"): "Input should be '0.1', '0.2', '0.3', '0.4' or '0.5'",
    **{
        ("ngio", kind, "0.6"): "Failed to decode NGIO NgioImageMeta metadata"
        for kind in ("image", "tiled", "labels")
    },
    ("ngio", "plate", "0.6"): "Failed to decode NGIO NgioPlateMeta metadata",
    **{
        ("yaozarrs", kind, "0.6"): "Structural validation for OME-Zarr version 0.6 is not implemented"
        for kind in ("image", "tiled", "labels", "plate")
    },
}
"""By library, kind of store and version: what it says when it is given one of ours."""

CANNOT_WRITE: dict[tuple[str, str, str], str] = {
    **{
        ("iohub", kind, "0.6"): "Cannot open Zarr root group"
        for kind in ("image", "tiled", "labels", "plate")
    },
    ("ome-zarr", "plate", "0.6"): "cannot import name 'FormatV06' from 'ome_zarr.format'",
    **{
        ("ngff-zarr", "labels", v): "nothing in ngff_zarr has label in its name"
        for v in ("0.4", "0.5", "0.6")
    },
    **{("ngio", kind, "0.6"): "Unsupported NGFF version: 0.6" for kind in ("image", "labels")},
    ("ngio", "plate", "0.6"): "Input should be '0.4' or '0.5'",
    **{
        (name, "tiled", v): f"nothing in {name.replace('-', '_')} has tile in its name"
        for name in ("ome-zarr", "ngff-zarr", "ngio")
        for v in ("0.4", "0.5", "0.6")
    },
    ("iohub", "tiled", "0.5, sharded"): "make_tiles has no parameter for shards",
    ("iohub", "tiled", "0.6, sharded"): "make_tiles has no parameter for shards",
}
"""By library, kind of store, and version or form: what it says when it is asked for one."""

_LEVELS = "MS-09 (SHOULD), MS-10 (SHOULD)"
BREAKS: dict[tuple[str, str, str], str] = {
    ("iohub", "image", ""): _LEVELS,
    ("iohub", "tiled", ""): _LEVELS,
    # Its label images are listed in the image's document, as an object; they have one level, and empty lists.
    (
        "iohub",
        "labels",
        "0.4",
    ): f"LB-01 (MUST), LB-04 (MUST), LB-08 (MUST), LB-12 (MUST), {_LEVELS}, VE-02 (SHOULD)",
    (
        "iohub",
        "labels",
        "0.5",
    ): f"LB-02 (SHOULD), LB-04 (MUST), LB-08 (MUST), LB-12 (MUST), {_LEVELS}, ST-03 (MUST)",
    ("iohub", "plate", ""): f"{_LEVELS}, PL-09 (SHOULD), PL-10 (SHOULD)",
    ("ome-zarr", "image", ""): _LEVELS,
    ("ome-zarr", "labels", ""): _LEVELS,
    ("ome-zarr", "plate", ""): f"AX-04 (SHOULD), {_LEVELS}, PL-10 (SHOULD)",
    ("ngff-zarr", "image", ""): "AX-04 (SHOULD)",
    ("ngff-zarr", "plate", ""): "AX-04 (SHOULD)",
    ("ngio", "image", ""): f"MS-08 (SHOULD), {_LEVELS}",
    ("ngio", "labels", ""): f"LB-08 (SHOULD), MS-08 (SHOULD), {_LEVELS}",
    ("ngio", "plate", ""): f"MS-08 (SHOULD), {_LEVELS}, PL-10 (SHOULD)",
}
"""By library, kind of store and version, "" for every one: the rules that what it writes breaks."""
