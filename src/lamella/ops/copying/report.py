"""The report of a copy."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lamella.types import JSONObject


@dataclass(frozen=True)
class CopyReport:
    """The result of a copy. True if no file can be missing.

    Attributes
    ----------
    destination : str
        Path or URL of the copy.
    documents, files : int
        Number of metadata documents, and of all other files.
    nbytes : int
        Size of all of them.
    resumed : int
        Number of the files that an earlier run of the same call had copied.
    unseen : str or None
        Why files may be missing: the source cannot be listed, and files that its metadata do not name were not copied.

    Examples
    --------
    >>> import lamella
    >>> report = lamella.copy_store(plate.zgroup.store.root, tmp / "copy.zarr")
    >>> report.documents, bool(report)
    (9, True)
    """

    destination: str
    documents: int = 0
    files: int = 0
    nbytes: int = 0
    resumed: int = 0
    unseen: str | None = None

    def __bool__(self) -> bool:
        return self.unseen is None

    def to_dict(self) -> JSONObject:
        """Return the report as JSON values.

        Examples
        --------
        >>> CopyReport("cells.zarr", documents=1, files=2).to_dict()["files"]
        2
        """
        return {**asdict(self), "complete": bool(self)}
