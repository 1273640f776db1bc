"""Check an archive by the rules of RFC-9 for archives, LM-15 to LM-20."""

from __future__ import annotations

import json
from math import prod
from typing import TYPE_CHECKING, Any

from lamella.errors import counted
from lamella.store.keys import V3
from lamella.store.zip_storage import ZipStorage

if TYPE_CHECKING:
    from lamella.ops.validation.walk import CheckedGroup, Inspection
    from lamella.spec.rules import Level

_PACK = "pack it again with `lamella pack`"


class ArchiveCheck:
    """Checks the archive that contains the inspected store; does nothing for other stores."""

    def __init__(self, inspection: Inspection) -> None:
        self._inspection = inspection
        self._unsharded: list[str] = []

    def add(self, checked: CheckedGroup) -> None:
        """Check the arrays of a group."""
        for array in checked.arrays.values():
            if array.meta is not None and array.meta.shards is None and prod(array.meta.grid) > 1:
                self._unsharded.append(array.path)

    def finish(self) -> None:
        """Check the archive, if all of it is the store."""
        storage = self._inspection.reader.storage
        if not isinstance(storage, ZipStorage) or storage.path or not self._inspection.group_count:
            return
        ome = _ome_of(storage.directory.comment)
        is_ozx = storage.name.lower().endswith(".ozx")
        level: Level = "MUST" if is_ozx or ome is not None else "SHOULD"
        names = storage.directory.entries
        if storage.folder:
            self._report(
                "LM-15", f"the store lies in the folder {storage.folder!r} of the archive", _PACK, level=level
            )
        elif V3.group not in names:
            self._report(
                "LM-15",
                "the store is of Zarr v2, and archives need OME-NGFF 0.5 or newer",
                "convert it with `lamella upgrade`, and pack that",
                level=level,
            )
        inner = next((name for name in names if name.lower().endswith(".ozx")), None)
        if inner is not None:
            self._report(
                "LM-15",
                f"the archive contains another one, {inner!r}",
                "move it out of the store",
                level=level,
            )
        if not is_ozx:
            self._report("LM-16", "the name of the archive does not end with .ozx", "rename it")
        self._check_form(storage)
        if not storage.folder and V3.group in names:
            self._check_order(storage)
            self._check_comment(ome)
        if self._unsharded:
            self._report(
                "LM-20",
                f"{counted(len(self._unsharded), 'array')} of several chunks without shards, such as "
                f"{self._unsharded[0]!r}",
                "write it with shards (`lamella rechunk --shards`), and pack that",
            )

    def _check_form(self, storage: ZipStorage) -> None:
        deflated = sum(entry.deflated for entry in storage.directory.entries.values())
        if deflated:
            self._report("LM-17", f"{counted(deflated, 'entry', 'entries')} compressed", _PACK)
        if not storage.directory.is_zip64:
            self._report("LM-17", "the archive does not end as ZIP64", _PACK)

    def _check_order(self, storage: ZipStorage) -> None:
        names = list(storage.directory.entries)
        in_file = sorted(names, key=lambda name: storage.directory.entries[name].header)
        for order, place_in_archive in ((in_file, "file"), (names, "directory")):
            documents = [name for name in order if name.rpartition("/")[2] == V3.group]
            depths = [name.count("/") for name in documents]
            if order[: len(documents)] != documents or depths != sorted(depths):
                self._report(
                    "LM-18",
                    f"in the {place_in_archive} of the archive zarr.json documents are not first, breadth first",
                    _PACK,
                )

    def _check_comment(self, ome: dict[str, Any] | None) -> None:
        version = self._inspection.version
        if ome is None:
            self._report("LM-19", "the archive has no comment that names the version", _PACK)
        elif ome.get("version") != version:
            self._report(
                "LM-19",
                f"the comment of the archive names version {ome.get('version')!r}, and the store is {version!r}",
                _PACK,
            )

    def _report(self, rule: str, found: str, remedy: str, *, level: Level | None = None) -> None:
        self._inspection.report_own(rule, "", found, remedy, level=level)


def _ome_of(comment: bytes) -> dict[str, Any] | None:
    """Return the OME metadata in the comment of an archive; None without any."""
    try:
        value = json.loads(comment.rstrip(b"\0"))  # drafts of the RFC asked for a NUL at the end
    except (ValueError, RecursionError):
        return None
    ome = value.get("ome") if isinstance(value, dict) else None
    return ome if isinstance(ome, dict) else None
