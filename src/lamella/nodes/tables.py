"""Tables of measurements, regions of interest and experimental conditions; :mod:`lamella.ops.tables` does the work."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lamella.arguments import text_of_name
from lamella.errors import LamellaError
from lamella.nodes.node import NGFFNode
from lamella.spec.tables import table_names

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    import pandas as pd

    from lamella.nodes.plate import Plate
    from lamella.spec.tables import TableInfo
    from lamella.store.metadata.documents import Documents
    from lamella.types import JSONObject


class Tables(NGFFNode):
    """The tables of an image or plate: a mapping of name to pandas ``DataFrame``.

    They are stored as ngio and Fractal do, beside the labels, in one of four formats (backends). They belong to no
    specification of OME-NGFF: other readers ignore them.

    Examples
    --------
    >>> import pandas as pd
    >>> position.tables["drugs"] = pd.DataFrame({"drug": ["A", "B"], "dose": [0.5, 2.0]})
    >>> list(position.tables), "drugs" in position.tables
    (['drugs'], True)
    >>> position.tables["drugs"]
      drug  dose
    0    A   0.5
    1    B   2.0
    """

    def _parse_meta(self) -> None:
        self._member_names()

    @property
    def group_attributes(self) -> JSONObject:
        """Attributes of the group, which list its tables; empty without a group."""
        return self.documents.group(self.path) if self.documents.kind(self.path) == "group" else {}

    def _member_names(self) -> list[str]:
        return table_names(self.group_attributes)

    def __contains__(self, key: object) -> bool:
        return (text_of_name(key) or "").strip("/") in self._member_names()

    def __getitem__(self, key: int | str) -> pd.DataFrame:
        """Read a table, with the index that it names, such as "label" of measurements.

        Raises
        ------
        NodeNotFoundError, MetadataError
            If it does not exist (a KeyError), or its files are missing or damaged (a ValueError).
        MissingDependencyError
            If it is stored as Parquet, and pyarrow is not installed (an ImportError).
        """
        from lamella.ops.tables.write import read_table

        return read_table(self, self._checked_key(key))

    def __setitem__(self, key: int | str, value: Any) -> None:
        """Write a table with default settings, or replace the existing one; see :meth:`write`."""
        self.write(self._checked_key(key), value)

    def __delitem__(self, key: int | str) -> None:
        """Delete a table; NodeNotFoundError (a KeyError) if it does not exist."""
        from lamella.ops.tables.write import delete_table

        self.require_writable(f"delete the table {key!r}")
        delete_table(self, self._key_to_delete(key))

    def write(
        self,
        name: str,
        table: Any,
        *,
        type: str | None = None,
        label: str | None = None,
        backend: str | None = None,
        overwrite: bool = True,
    ) -> None:
        """Write a table, or replace the table of this name. After a kill, the old or the new table is complete.

        Parameters
        ----------
        name
            Name of the table.
        table
            A DataFrame of pandas or polars, an Arrow table, an AnnData object, a dict of columns or a list of rows, of
            numbers, booleans, text and categories. An index is stored unless it is 0, 1, 2, ...
        type
            "generic_table"; "feature_table", measurements of labels, with an integer column or index "label";
            "roi_table", regions in micrometers, with columns such as "x_micrometer" and "len_x_micrometer";
            "masking_roi_table", the regions of labels; or "condition_table". By default the type that the replaced
            table has, or that `table` had when lamella read it. Another table is a "feature_table" with `label`, and
            one of regions if it has their columns.
        label
            The label image whose labels the rows describe.
        backend
            "parquet" (the default), "csv", "json" or "anndata". In "anndata", the columns of floats come before all
            others. In "csv", text that looks like numbers becomes numbers.
        overwrite
            Whether a table of this name is replaced.

        Raises
        ------
        InvalidArgumentError, NodeExistsError
            If the table does not fit its type, or its values its backend, or the name is taken and `overwrite` false
            (ValueErrors); nothing is written.

        Examples
        --------
        >>> position.labels["nuclei"] = np.ones((4, 8, 8), "uint8")
        >>> position.tables.write("sizes", {"label": [1], "area": [256]}, label="nuclei", backend="csv")
        >>> position.tables.info("sizes").type, position.tables["sizes"].index.name
        ('feature_table', 'label')
        """
        from lamella.ops.tables.write import write_table

        self.require_writable(f"write the table {name!r}")
        write_table(self, self._checked_key(name), table, type, label, backend, overwrite)

    def write_rois(
        self, name: str, rois: Mapping[str, Mapping[str, Sequence[float]]], *, backend: str | None = None
    ) -> None:
        """Write a table of regions of interest.

        Parameters
        ----------
        name, backend
            As for :meth:`write`.
        rois
            Name of each region to its start and end along axes of space or time, such as ``{"left": {"x": (0, 5.5)}}``,
            in the unit of the axis, from the first edge of the image. Along all other axes it is as long as the image.

        Examples
        --------
        >>> position.tables.write_rois("fields", {"left": {"x": (0, 1)}, "right": {"x": (1, 2)}})
        >>> position.tables["fields"]["len_x_micrometer"].tolist(), position.roi("left").read().shape
        ([1.0, 1.0], (1, 2, 4, 8, 4))
        """
        from lamella.nodes.position import Position
        from lamella.ops.tables.rois import roi_frame

        self.require_writable(f"write the table {name!r}")
        self.write(name, roi_frame(Position(self.node_path.parent), rois), type="roi_table", backend=backend)

    def rename(self, old: str, new: str) -> None:
        """Rename a table.

        Raises
        ------
        NodeNotFoundError, NodeExistsError
            If there is no table `old` (a KeyError), or one named `new` (a ValueError).

        Examples
        --------
        >>> position.tables["cells"] = {"area": [4.0]}
        >>> position.tables.rename("cells", "nuclei")
        >>> list(position.tables)
        ['nuclei']
        """
        from lamella.ops.tables.write import rename_table

        self.require_writable(f"rename the table {old!r}")
        rename_table(self, self._checked_key(old), self._checked_key(new))

    def info(self, name: str) -> TableInfo:
        """Return the type, backend, index and label image of a table, without reading its values.

        Raises NodeNotFoundError (a KeyError) if it does not exist.

        Examples
        --------
        >>> position.tables["cells"] = {"area": [4.0]}
        >>> position.tables.info("cells").backend
        'parquet'
        """
        from lamella.ops.tables.write import info_of

        return info_of(self, self._checked_key(name))

    def label_names(self) -> list[str]:
        """Return the names of the label images that tables here can describe.

        Examples
        --------
        >>> position.tables.label_names()
        []
        """
        from lamella.nodes.labels import Labels

        return list(Labels(self.node_path.parent.child("labels"), False))

    def _summary(self) -> str:
        return f", {len(self)} tables"


class PlateTables(Tables):
    """The tables of a plate: those of the plate itself, and those of its positions, concatenated.

    The positions are read when a table is requested.

    Examples
    --------
    >>> plate["A/1/0"].tables["cells"] = {"area": [4.0, 9.0]}
    >>> plate["B/2/0"].tables["cells"] = {"area": [1.0]}
    >>> plate.tables["cells"]
      well field  area
    0  A/1     0   4.0
    1  A/1     0   9.0
    2  B/2     0   1.0
    >>> plate.tables["layout"] = {"well": ["A/1", "B/2"], "drug": ["none", "X"]}
    >>> list(plate.tables)
    ['layout', 'cells']
    """

    def __init__(self, plate: Plate) -> None:
        super().__init__(plate.node_path.child("tables"), False)
        self._plate = plate

    def stored_names(self) -> list[str]:
        """Return the names of the tables of the plate itself.

        Examples
        --------
        >>> plate.tables.stored_names()
        []
        """
        return super()._member_names()

    def _member_names(self) -> list[str]:
        names = dict.fromkeys(self.stored_names())
        for _, position in self._plate.positions():
            names |= dict.fromkeys(position.tables)
        return list(names)

    def __getitem__(self, key: int | str) -> pd.DataFrame:
        """Read a table of the plate, or those of its positions with this name, concatenated.

        Raises NodeNotFoundError (a KeyError) if it does not exist.
        """
        name = self._checked_key(key)
        return super().__getitem__(name) if name in self.stored_names() else self.concatenate(name)

    def concatenate(
        self, name: str, *, positions: Iterable[str] | None = None, jobs: int | None = None
    ) -> pd.DataFrame:
        """Read the tables of one name of all positions as one table, with the columns "well" and "field" first.

        Parameters
        ----------
        name
            Name of the tables; positions without one are left out. NodeNotFoundError (a KeyError) if none has one.
        positions
            Paths ("row/column/field") of the positions to read; all by default. ``jobs`` are read at a time.

        Examples
        --------
        >>> plate["A/1/1"].tables["cells"] = {"area": [4.0]}
        >>> plate.tables.concatenate("cells")["field"].tolist()
        ['1']
        """
        from lamella.ops.tables.plates import concatenated

        return concatenated(self._plate, self._checked_key(name), positions, jobs)

    def parts(
        self, name: str, *, positions: Iterable[str] | None = None
    ) -> Iterator[tuple[str, pd.DataFrame]]:
        """Iterate over the tables of one name: path of the position, and its table, one in memory at a time.

        Examples
        --------
        >>> plate["A/1/1"].tables["cells"] = {"area": [4.0]}
        >>> [(path, len(table)) for path, table in plate.tables.parts("cells")]
        [('A/1/1', 1)]
        """
        from lamella.ops.tables.plates import parts

        return parts(self._plate, self._checked_key(name), positions)

    def label_names(self) -> list[str]:
        """Return no names: a table of a plate describes no label image.

        Examples
        --------
        >>> plate.tables.label_names()
        []
        """
        return []


def stored_table_names(node: NGFFNode) -> tuple[str, ...]:
    """Return the names of the tables of an image or plate; none if their list is damaged."""
    try:
        return tuple(table_names(Tables(node.node_path.child("tables"), False).group_attributes))
    except LamellaError:
        return ()


def is_in_tables(documents: Documents, path: str) -> bool:
    """Return whether a path is a group that lists tables, or below one: its attributes are not OME metadata.

    A table in the backend "json" has its columns as attributes, and a column may be named "well".
    """
    names = path.split("/")
    above = ("/".join(names[: depth + 1]) for depth, name in enumerate(names) if name == "tables")
    return any(
        documents.kind(group) == "group" and isinstance(documents.group(group).get("tables"), list)
        for group in above
    )
