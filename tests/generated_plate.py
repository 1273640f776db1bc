"""A plate of any number of fields whose documents are made when they are read, and that counts what is read."""

from __future__ import annotations

import json
import re
from typing import Any

import numpy as np
from zarr.core.buffer import default_buffer_prototype
from zarr.storage import MemoryStore, WrapperStore

import lamella

FIELDS = 250
"""Fields of a well."""


class GeneratedPlate(WrapperStore[Any]):
    """A store of zarr-python, open for reading, with a plate of so many wells and 250 fields in each.

    Attributes
    ----------
    read
        Number of documents that were read, and of those that were looked for and do not exist.
    """

    def __init__(self, wells: int) -> None:
        super().__init__(MemoryStore(read_only=True))
        self.read = 0
        self._wells = [("ABCDEFGHIJKLMNOPQRSTUVWXYZ"[n // 48], str(n % 48 + 1)) for n in range(wells)]
        self._documents = _documents(self._wells)

    async def get(self, key: str, prototype: Any = None, byte_range: Any = None) -> Any:
        """Return a document."""
        self.read += 1
        data = self._documents.get(re.sub(r"\d+", "0", re.sub(r"^[A-Z]/", "A/", key)))
        return None if data is None else (prototype or default_buffer_prototype()).buffer.from_bytes(data)

    async def exists(self, key: str) -> bool:
        """Whether there is a document."""
        return await self.get(key) is not None


def _documents(wells: list[tuple[str, str]]) -> dict[str, bytes]:
    """Write a plate of one field, and return its documents by key, with those of plate and well for all."""
    store = MemoryStore()
    with lamella.open_ome_zarr(store, layout="hcs", mode="w", channel_names=["a"], version="0.5") as plate:
        plate.create_position("A", "0", "0")["0"] = np.ones((1, 1, 1, 8, 8), "uint16")
    found = {key: buffer.to_bytes() for key, buffer in store._store_dict.items() if key.endswith("zarr.json")}
    root, well = json.loads(found["zarr.json"]), json.loads(found["A/0/zarr.json"])
    rows, columns = (list(dict.fromkeys(names)) for names in zip(*wells, strict=True))
    root["attributes"]["ome"]["plate"] |= {
        "rows": [{"name": name} for name in rows],
        "columns": [{"name": name} for name in columns],
        "wells": [
            {"path": f"{row}/{column}", "rowIndex": rows.index(row), "columnIndex": columns.index(column)}
            for row, column in wells
        ],
        "field_count": FIELDS,
    }
    well["attributes"]["ome"]["well"]["images"] = [{"path": str(n)} for n in range(FIELDS)]
    return found | {"zarr.json": json.dumps(root).encode(), "A/0/zarr.json": json.dumps(well).encode()}
