"""Encode tables as the documents and files of a group, in CSV, JSON, Parquet or AnnData (``anndata``); decode them."""

from __future__ import annotations

import csv
import io
import re
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from lamella.errors import LamellaError, MetadataError, clause, importing
from lamella.ops.tables import anndata
from lamella.ops.tables.frames import check_values, pandas
from lamella.spec.tables import BACKENDS
from lamella.store.keys import join

if TYPE_CHECKING:
    import pandas as pd

    from lamella.spec.tables import TableInfo
    from lamella.store.metadata.array_meta import ArrayMeta, ZarrFormat
    from lamella.store.metadata.documents import Documents
    from lamella.types import JSONObject


class TableContent(NamedTuple):
    """The content of a stored table."""

    attributes: JSONObject
    """Attributes of the table's group."""
    nodes: dict[str, JSONObject | ArrayMeta]
    """Attributes of groups, and arrays, by their path below the table."""
    files: dict[str, bytes]
    """Other files, by their key below the table."""


def encode_table(
    columns: pd.DataFrame, backend: str, index_key: str | None, zarr_format: ZarrFormat, name: str
) -> TableContent:
    """Return the documents and files of a table; ``columns`` includes the index."""
    check_values(columns, backend, name)
    if backend == "anndata":
        return TableContent(anndata.ATTRIBUTES, *anndata.encode(columns, index_key, zarr_format))
    if backend == "json":
        return TableContent(
            {}, {"table": {str(key): json_values(columns[key]) for key in columns.columns}}, {}
        )
    if backend == "csv":
        return TableContent({}, {}, {"table.csv": csv_text(columns).encode("utf-8")})
    arrow, parquet = _arrow()
    sink = io.BytesIO()
    parquet.write_table(arrow.Table.from_pandas(columns, preserve_index=False), sink)
    return TableContent({}, {}, {"table.parquet": sink.getvalue()})


def decode_table(documents: Documents, path: str, info: TableInfo) -> pd.DataFrame:
    """Read the columns of a table; raise MetadataError for an unknown backend, and for a missing or damaged file."""
    backend = info.backend
    if backend not in BACKENDS:
        raise MetadataError(
            f"The table {documents.storage.where(path)} has the backend {backend!r}, which is none of "
            f"{', '.join(BACKENDS)}."
        )
    try:
        if backend == "anndata":
            return anndata.decode(documents, path, info.index_key)
        if backend == "json":
            return pandas().DataFrame(documents.group(join(path, "table")))
        data = documents.storage.read(join(path, f"table.{backend}"))
        if data is None:
            raise MetadataError(f"The table {documents.storage.where(path)} has no file table.{backend}.")
        if backend == "csv":
            return _from_csv(data, info.index_key if info.index_type == "str" else None)
        arrow, parquet = _arrow()
        # Not `read_table`: its threads may abort the process at its end (https://github.com/apache/arrow/issues/34314).
        file = parquet.ParquetFile(arrow.BufferReader(data), pre_buffer=False)
        return file.read(use_threads=False).to_pandas(use_threads=False)
    except LamellaError:
        raise
    except (TypeError, LookupError) as error:
        raise MetadataError(
            f"The table {documents.storage.where(path)} cannot be read as {backend}: its documents are not those "
            "of such a table. Write it again, or restore it from a copy."
        ) from error
    except (ValueError, OSError) as error:
        raise MetadataError(
            f"The table {documents.storage.where(path)} cannot be read as {backend}: {clause(error)} "
            f"({type(error).__name__})."
        ) from error


def csv_text(columns: pd.DataFrame) -> str:
    """Return a table as CSV; all text has quotes if readers would otherwise see a line break or an empty line."""
    columns = _widened(columns)
    text: str = columns.to_csv(index=False, lineterminator="\n")
    if re.search(r"\r|^[ \t]*\n", text, re.MULTILINE):
        text = columns.to_csv(index=False, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
    return text


def _widened(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a table with floats of 64 bits: the shortest text of a narrower 65504, 65500, is another number."""
    widened = frame.copy(deep=False)
    for index, dtype in enumerate(frame.dtypes):
        values = frame.iloc[:, index]
        if isinstance(dtype, pandas().CategoricalDtype):
            categories = dtype.categories
            if categories.dtype.kind == "f":
                widened.isetitem(index, values.cat.rename_categories(categories.astype("float64")))
        elif dtype.kind == "f" and dtype.itemsize < 8:
            widened.isetitem(index, values.astype("float64" if isinstance(dtype, np.dtype) else "Float64"))
    return widened


def _from_csv(data: bytes, text_column: str | None) -> Any:
    """Read a CSV; the text column keeps names such as "007" and "nan", which pandas would read as numbers."""
    if not data.strip():
        return pandas().DataFrame()
    pd = pandas()
    columns = pd.read_csv(io.BytesIO(data), nrows=0).columns
    missing = {name: ["", "nan", "NaN"] for name in columns if name != text_column}
    options: dict[str, Any] = {"dtype": {text_column: str}} if text_column in columns else {}
    # From pandas 3.1 on round_trip is the default, and the argument is deprecated.
    if tuple(int(part) for part in pd.__version__.split(".")[:2]) < (3, 1):
        options["float_precision"] = "round_trip"
    return pd.read_csv(io.BytesIO(data), keep_default_na=False, na_values=missing, **options)


def json_values(values: pd.Series) -> list[Any]:
    """Return the values of a column as JSON; missing values are null."""
    missing = values.isna()
    plain = values.astype(object).where(~missing, None)
    return [value.item() if hasattr(value, "item") else value for value in plain.tolist()]


def _arrow() -> tuple[Any, Any]:
    with importing(
        "Tables with backend='parquet' need pyarrow: pip install 'lamella[tables]'; the backends csv, json and "
        "anndata do without."
    ):
        import pyarrow
        import pyarrow.parquet
    return pyarrow, pyarrow.parquet
