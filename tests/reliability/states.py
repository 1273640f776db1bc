"""What a store on disk holds, and what it may hold after a kill: old or new, piece by piece.

Used by tests and by ``torture``.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

import lamella
from lamella.store.metadata.documents import Documents
from lamella.store.pixels.arrays import StoredArray
from lamella.store.storage import open_storage

_DOCUMENTS = (".json", ".zattrs", ".zgroup", ".zarray")

_NOTES = (b"stale_levels", b"replacing", b"replaces")
"""Keys of notes in documents that have the name of a process or a random mark in them."""

_PRIVATE = (".lamella-", ".partial", ".__lock", "partial-")


def settled(name: str, data: bytes) -> bytes:
    """Return a document without the notes on who writes to it now, which name a process; a TIFF without its UUID."""
    if name.endswith(".tif"):
        return re.sub(rb"urn:uuid:[0-9a-f-]{36}", b"urn:uuid", data)
    if not name.endswith(_DOCUMENTS) or not any(note in data for note in _NOTES):
        return data
    document = json.loads(data)
    attributes = document.get("attributes", document)
    for note in _NOTES:
        attributes["lamella"].pop(note.decode(), None)
    if not attributes["lamella"]:
        del attributes["lamella"]
        if not attributes and "node_type" in document and document["node_type"] == "array":
            del document["attributes"]
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()


def digest(name: str, data: bytes) -> str:
    """Tell a document from others."""
    return hashlib.sha256(settled(name, data)).hexdigest()


def stores(folder: Path) -> list[Path]:
    """Stores of a folder that a user sees."""
    return sorted(
        path for path in folder.iterdir() if path.suffix == ".zarr" and not path.name.startswith(".")
    )


def files(folder: Path) -> dict[str, bytes]:
    """All files below a folder."""
    return {
        os.path.relpath(os.path.join(above, name), folder): settled(name, Path(above, name).read_bytes())
        for above, _, names in os.walk(folder)
        for name in names
    }


def files_but_of_libraries(folder: Path) -> dict[str, bytes]:
    """All files below a folder but those that a library was writing when it was killed.

    Their names do not say by which process, so that the next writer leaves them for a day.
    """
    return {name: data for name, data in files(folder).items() if not name.endswith((".partial", ".__lock"))}


def litter(folder: Path) -> list[str]:
    """Names of files and folders that are only there while something is written."""
    return sorted(
        os.path.relpath(os.path.join(above, name), folder)
        for above, folders, names in os.walk(folder)
        for name in [*folders, *names]
        if any(mark in name for mark in _PRIVATE)
    )


def documents(folder: Path) -> dict[str, str]:
    """Digest of each document, and each file for other programs, that a reader of the folder meets."""
    return {
        name: digest(name, data)
        for name, data in files(folder).items()
        if name.endswith((*_DOCUMENTS, ".tif")) and not any(mark in name for mark in _PRIVATE)
    }


def arrays(store: Path) -> dict[str, np.ndarray]:
    """All pixels of all arrays below a store, listed or not, by path."""
    found = Documents.open(open_storage(store, read_only=True))
    assert found is not None, f"{store} is no store"
    pixels: dict[str, np.ndarray] = {}
    pending = [""]
    while pending:
        path = pending.pop()
        for name, kind in found.children(path).items():
            if name == "tables":  # compared as tables
                continue
            below = f"{path}/{name}".strip("/")
            if kind == "group":
                pending.append(below)
            else:
                pixels[below] = StoredArray(found, below).read()
    return pixels


def tables(store: Path) -> dict[str, str]:
    """All tables of a store, as text, by path."""
    node = lamella.open_ome_zarr(store)
    found = {}
    for image in [position for _, position in node.positions()] if hasattr(node, "positions") else [node]:
        for name in image.tables if isinstance(image, lamella.Position) else []:
            found[f"{image.path}/{name}"] = image.tables[name].to_csv()
    return found


def musts(store: Path) -> set[tuple[str, str]]:
    """Rule and node of each finding that makes a store invalid."""
    return {(one.rule, one.node) for one in lamella.validate(store).findings if one.level == "MUST"}


@dataclass
class State:
    """What is in the stores of a folder."""

    documents: dict[str, str]
    arrays: dict[str, np.ndarray] = field(repr=False)
    musts: set[tuple[str, str]]
    tables: dict[str, str]

    @classmethod
    def of(cls, folder: Path) -> State:
        """Look at all stores of a folder."""
        found: dict[str, np.ndarray] = {}
        wrong: set[tuple[str, str]] = set()
        listed: dict[str, str] = {}
        for store in stores(folder):
            found.update({f"{store.name}/{path}": block for path, block in arrays(store).items()})
            wrong |= musts(store)
            listed.update({f"{store.name}/{path}": table for path, table in tables(store).items()})
        return cls(documents(folder), found, wrong, listed)


def pieces(block: np.ndarray, chunks: tuple[int, ...]) -> list[tuple[slice, ...]]:
    """Boxes of the files of an array."""
    grid = [range(0, n, c) for n, c in zip(block.shape, chunks, strict=True)]
    corners = np.stack(np.meshgrid(*grid, indexing="ij"), -1).reshape(-1, block.ndim) if block.ndim else []
    return [
        tuple(slice(o, o + c) for o, c in zip(corner, chunks, strict=True)) for corner in corners.tolist()
    ]
