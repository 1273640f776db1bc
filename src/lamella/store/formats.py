"""Name the files of both Zarr formats that describe nodes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lamella.store.array_meta import ZarrFormat


@dataclass(frozen=True)
class Format:
    """The file names of a Zarr format.

    Attributes
    ----------
    group, array
        The file that makes a folder a group or an array.
    attributes
        The file with the user attributes of both.
    consolidated
        The file with copies of the documents below a group.

    >>> FORMATS[2].array, FORMATS[3].array, V2.all
    ('.zarray', 'zarr.json', ('.zgroup', '.zattrs', '.zarray'))
    """

    number: ZarrFormat
    group: str
    array: str
    attributes: str
    consolidated: str

    @property
    def all(self) -> tuple[str, ...]:
        """All files that describe nodes, without consolidated copies."""
        return tuple(dict.fromkeys((self.group, self.attributes, self.array)))


V2 = Format(2, ".zgroup", ".zarray", ".zattrs", ".zmetadata")
V3 = Format(3, "zarr.json", "zarr.json", "zarr.json", "zarr.json")

FORMATS: dict[int, Format] = {2: V2, 3: V3}

DOCUMENTS = (V3.group, V2.attributes, V2.group, V2.array)
"""Files that make a folder of a store a node, in either format."""

METADATA_FILES = (V3.group, *V2.all, V2.consolidated)
"""`DOCUMENTS` and the consolidated file of Zarr v2, in reading order; no other file may have these names."""
