"""Metadata of tables, as Fractal and ngio store them (version 1 of their specification).

A group ``tables`` in an image or a plate lists the names of its tables in the attribute ``tables``; each table is a
group with the attributes of `TableInfo`. Pure functions on attributes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lamella.spec.own_key import own_record, with_own_record

if TYPE_CHECKING:
    from lamella.types import JSON, JSONObject

GENERIC, FEATURE, ROI, MASKING, CONDITION = (
    "generic_table",
    "feature_table",
    "roi_table",
    "masking_roi_table",
    "condition_table",
)
TABLE_TYPES = (GENERIC, FEATURE, ROI, MASKING, CONDITION)
"""Types of tables that are written."""

ROI_TYPES = (ROI, MASKING, "generic_roi_table")
LABEL_TYPES = (FEATURE, MASKING)
"""Types whose rows belong to the labels of a label image."""

BACKENDS = ("anndata", "csv", "json", "parquet")
VERSION = "1"

WELL_COLUMNS = ("well", "well_id", "wellid", "well_name", "wellname")
"""Names, in lower case, of a column that names the well."""

ROI_COLUMNS = tuple(f"{prefix}{axis}_micrometer" for prefix in ("", "len_") for axis in "xyz")
"""Columns that a table of regions has: the corner nearest the origin, and the lengths."""

ROI_TIME_COLUMNS = ("t_second", "len_t_second")
"""Columns that a table of regions may have: the first time, and the duration."""

_INDEX_KEYS = {FEATURE: "label", MASKING: "label", ROI: "FieldIndex"}
_INDEX_TYPES = {FEATURE: "int", MASKING: "int", ROI: "str"}
_INFO_KEYS = frozenset({"type", "table_version", "region", "backend", "index_key", "index_type"})


@dataclass(frozen=True)
class TableInfo:
    """The attributes of a table.

    Attributes
    ----------
    type
        ``"generic_table"``, ``"feature_table"``, ``"roi_table"``, ``"masking_roi_table"``, ``"condition_table"``, or
        another one as it is stored.
    backend
        Format of the values: ``"anndata"``, ``"csv"``, ``"json"``, ``"parquet"``, or another one as it is stored.
    index_key
        Name of the column that identifies the rows; None if missing.
    index_type
        ``"int"`` or ``"str"``; None where it is not known.
    label
        Name of the label image whose labels the rows describe; None if missing.
    version
        Version of the specification of tables.

    >>> TableInfo("feature_table", "csv", "label", "int", "nuclei").to_attributes()["region"]
    {'path': '../labels/nuclei'}
    """

    type: str = GENERIC
    backend: str = "parquet"
    index_key: str | None = None
    index_type: str | None = None
    label: str | None = None
    version: str = VERSION

    def to_attributes(self) -> JSONObject:
        """Return the attributes that store this description."""
        attributes: JSONObject = {"type": self.type, "table_version": self.version, "backend": self.backend}
        if self.label is not None:
            attributes["region"] = {"path": f"../labels/{self.label}"}
        if self.index_key is not None:
            attributes["index_key"] = self.index_key
        if self.type in LABEL_TYPES and self.index_key is not None:
            attributes["instance_key"] = self.index_key  # what readers of older tables look for
        if self.index_type is not None:
            attributes["index_type"] = self.index_type
        return attributes


def with_label(attributes: JSONObject, label: str) -> JSONObject:
    """Return the attributes of a table that describes another label image.

    >>> with_label({"type": "feature_table", "region": {"path": "../labels/a"}}, "b")
    {'type': 'feature_table', 'region': {'path': '../labels/b'}}
    """
    region = attributes.get("region")
    old_region = region if isinstance(region, dict) else {}
    return {**attributes, "region": {**old_region, "path": f"../labels/{label}"}}


def default_index(table_type: str) -> tuple[str | None, str | None]:
    """Return the name and the type of the index column that tables of a type have; None for a type without one.

    >>> default_index("roi_table"), default_index("generic_table")
    (('FieldIndex', 'str'), (None, None))
    """
    return _INDEX_KEYS.get(table_type), _INDEX_TYPES.get(table_type)


def table_info(attributes: JSONObject) -> TableInfo:
    """Read the attributes of a table. An older one without backend and index is AnnData, with `default_index`.

    >>> table_info({"type": "masking_roi_table", "region": {"path": "../labels/nuclei"}, "instance_key": "label"})
    TableInfo(type='masking_roi_table', backend='anndata', index_key='label', index_type='int', label='nuclei', ...
    """
    table_type = _text(attributes, "type") or GENERIC
    index_key, index_type = default_index(table_type)
    region = attributes.get("region")
    path = _text(region, "path") if isinstance(region, dict) else None
    backend = _text(attributes, "backend") or "anndata"
    return TableInfo(
        table_type,
        backend.removeprefix("experimental_").removesuffix("_v1"),
        _text(attributes, "index_key") or _text(attributes, "instance_key") or index_key,
        _text(attributes, "index_type") or index_type,
        path.rstrip("/").rpartition("/")[2] if path else None,
        _text(attributes, "table_version") or _text(attributes, "fractal_table_version") or VERSION,
    )


def other_attributes(attributes: JSONObject) -> JSONObject:
    """Return the attributes of other programs in a table, which stay when its content is replaced.

    >>> other_attributes({"type": "feature_table", "encoding-type": "anndata", "measurement_columns": ["area"]})
    {'measurement_columns': ['area']}
    """
    own_keys = _INFO_KEYS | {"encoding-type", "encoding-version", "fractal_table_version", "instance_key"}
    return {key: value for key, value in attributes.items() if key not in own_keys}


def table_names(attributes: JSONObject) -> list[str]:
    """Return the names that a group of tables lists.

    >>> table_names({"tables": ["nuclei", "FOV_ROI_table", "nuclei", 3]})
    ['nuclei', 'FOV_ROI_table']
    """
    names = attributes.get("tables")
    listed = names if isinstance(names, list) else []
    return list(dict.fromkeys(name for name in listed if isinstance(name, str) and name.strip("/")))


_REPLACING_TABLE = "replacing_table"

_ANNDATA = ("X", "obs", "var", "layers", "obsm", "obsp", "uns", "varm", "varp")
_MEMBERS_OF_ENCODING = {
    "anndata": _ANNDATA,
    "categorical": ("codes", "categories"),
    "csr_matrix": ("data", "indices", "indptr"),
    "csc_matrix": ("data", "indices", "indptr"),
}


def member_names(attributes: JSONObject) -> list[str]:
    """Return the names of the nodes and files that may be in a group of tables, a table, or a group in a table.

    >>> member_names({"tables": ["nuclei"]}), member_names({"type": "roi_table", "backend": "csv"})
    (['nuclei'], ['table.csv'])
    >>> member_names({"encoding-type": "dataframe", "_index": "label", "column-order": ["area"]})
    ['label', 'area']
    """
    if "tables" in attributes:
        record = read_replacing_table(attributes)
        return [*table_names(attributes), *([] if record is None else [record[1]])]
    encoding = _text(attributes, "encoding-type") or ""
    if encoding == "dataframe":
        columns = attributes.get("column-order")
        names = [attributes.get("_index"), *(columns if isinstance(columns, list) else [])]
        return [name for name in names if isinstance(name, str) and name]
    if encoding.startswith("nullable-"):
        return ["values", "mask"]
    if encoding in _MEMBERS_OF_ENCODING:
        return list(_MEMBERS_OF_ENCODING[encoding])
    if _text(attributes, "backend") is None:
        return []
    backend = table_info(attributes).backend
    return {"anndata": list(_ANNDATA), "json": ["table"]}.get(backend, [f"table.{backend}"])


def read_replacing_table(attributes: JSONObject) -> tuple[str, str] | None:
    """Return which table is being replaced, and the temporary name of its new content.

    >>> read_replacing_table({"tables": [], "lamella": {"replacing_table": {"name": "nuclei", "by": ".x"}}})
    ('nuclei', '.x')
    """
    record = own_record(attributes, _REPLACING_TABLE)
    if not isinstance(record, dict):
        return None
    name, temporary_name = _text(record, "name"), _text(record, "by")
    return None if name is None or temporary_name is None else (name, temporary_name)


def with_replacing_table(attributes: JSONObject, record: tuple[str, str] | None) -> JSONObject:
    """Record which table is being replaced, or remove the record.

    >>> with_replacing_table({"tables": ["a"], "lamella": {"replacing_table": {}}}, None)
    {'tables': ['a']}
    """
    replacing = None if record is None else {"name": record[0], "by": record[1]}
    return with_own_record(attributes, _REPLACING_TABLE, replacing)


def _text(values: JSON, key: str) -> str | None:
    value = values.get(key) if isinstance(values, dict) else None
    return value if isinstance(value, str) and value else None
