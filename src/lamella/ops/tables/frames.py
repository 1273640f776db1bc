"""Convert data frames to the stored form of tables: the index column, the columns of each type, the allowed values."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from lamella.errors import InvalidArgumentError, WrongTypeError, clause, did_you_mean, importing
from lamella.spec.tables import (
    BACKENDS,
    LABEL_TYPES,
    ROI,
    ROI_COLUMNS,
    ROI_TIME_COLUMNS,
    ROI_TYPES,
    TABLE_TYPES,
    default_index,
)

if TYPE_CHECKING:
    import pandas as pd

    from lamella.spec.tables import TableInfo

DESCRIPTION = "lamella_table"
"""Key of ``DataFrame.attrs`` with the type and the label image of a table that was read or measured."""


def pandas() -> Any:
    """Import pandas, or raise MissingDependencyError."""
    with importing("Tables need pandas (pip install 'lamella[tables]')."):
        import pandas as module
    return module


def as_frame(table: Any, name: str) -> pd.DataFrame:
    """Convert a pandas or polars DataFrame, Arrow table, AnnData, or mapping of columns to a DataFrame; else raise."""
    pd = pandas()
    expected = f"The table {name!r} is a DataFrame, a dict of columns or a list of rows"
    if isinstance(table, pd.DataFrame):
        frame = table.copy(deep=False)
    elif hasattr(table, "obs") and hasattr(table, "to_df"):  # AnnData
        frame = table.to_df().join(table.obs)
    elif hasattr(table, "to_pandas"):
        frame = table.to_pandas()
    elif not isinstance(table, Iterable) or isinstance(table, str | bytes):
        raise WrongTypeError(f"{expected}, not {table!r}.")
    else:
        try:
            frame = pd.DataFrame(table)
        except (TypeError, ValueError) as error:
            raise InvalidArgumentError(
                f"{expected}, not this {type(table).__name__}: {clause(error)}."
            ) from error
    if isinstance(frame.index, pd.MultiIndex):
        frame = frame.reset_index()
    invalid = [column for column in frame.columns if not isinstance(column, str) or not column]
    if invalid or not frame.columns.is_unique:
        invalid = invalid or sorted(set(frame.columns[frame.columns.duplicated()]))
        raise InvalidArgumentError(
            f"The columns of the table {name!r} have different names that are text; found {invalid[:5]}."
        )
    sparse = {key: dtype.subtype for key, dtype in frame.dtypes.items() if isinstance(dtype, pd.SparseDtype)}
    return frame.astype(sparse) if sparse else frame


def checked_choice(value: str, choices: tuple[str, ...], subject: str) -> str:
    """Return a value that is one of some choices; else raise an error that suggests the nearest one."""
    if value not in choices:
        raise InvalidArgumentError(
            f"{subject}={value!r} is not one of {', '.join(choices)}.{did_you_mean(str(value), choices)}"
        )
    return value


def stored_form(frame: pd.DataFrame, info: TableInfo, name: str) -> tuple[pd.DataFrame, TableInfo]:
    """Return the columns to store, the index first, and the description with the index; raise for missing columns."""
    if info.type not in ROI_TYPES:  # other programs have further types of regions, which stay
        checked_choice(info.type, TABLE_TYPES, "type")
    checked_choice(info.backend, BACKENDS, "backend")
    problem = region_problem(frame) if info.type in ROI_TYPES else None
    if problem is not None:
        raise InvalidArgumentError(
            f"The table {name!r} of type {info.type} {problem}. Pass "
            'type="generic_table" for a table that does not list regions.'
        )
    key, index_type = default_index(info.type)
    key = info.index_key if key is None and info.index_key in (*frame.columns, frame.index.name) else key
    frame, key = _indexed(frame, key, info.type, name)
    if key is None:
        return frame.reset_index(drop=True), replace(info, index_key=None, index_type=None)
    pd = pandas()
    index_type = index_type or ("int" if pd.api.types.is_integer_dtype(frame.index) else "str")
    if index_type == "str":
        frame.index = frame.index.astype(str)
    if info.type == ROI and not frame.index.is_unique:
        raise InvalidArgumentError(f"The table {name!r} has two regions of one name: each name is used once.")
    frame.index.name = key
    return frame.reset_index(), replace(info, index_key=key, index_type=index_type)


def region_problem(frame: pd.DataFrame) -> str | None:
    """Return why the rows of a table are not regions; None if they are. A missing number stands for the whole axis."""
    missing = [column for column in ROI_COLUMNS if column not in frame.columns]
    if missing:
        return f"has no columns {', '.join(missing)}"
    types = pandas().api.types
    for column in (*ROI_COLUMNS, *(name for name in ROI_TIME_COLUMNS if name in frame.columns)):
        dtype = frame[column].dtype
        if not types.is_numeric_dtype(dtype) or types.is_bool_dtype(dtype) or types.is_complex_dtype(dtype):
            return f"has a column {column} of {dtype}, and regions are numbers"
        if column.startswith("len_") and bool((frame[column] <= 0).any()):
            return f"has a {column} that is not above 0"
        if bool((frame[column].abs() == float("inf")).any()):
            return f"has a {column} that is not finite"
    return None


def _indexed(frame: pd.DataFrame, key: str | None, kind: str, name: str) -> tuple[pd.DataFrame, str | None]:
    """Return a frame with the index to store, and its name; None if the index only counts rows."""
    pd = pandas()
    only_counts = isinstance(frame.index, pd.RangeIndex) and frame.index.name is None
    if key is None:
        if only_counts:
            return frame, None
        key = str(frame.index.name or "index")
        if key in frame.columns:
            raise InvalidArgumentError(
                f"The table {name!r} has a column and an index {key!r}: rename one of them."
            )
        return frame, key
    if key in frame.columns:
        frame = (
            frame.set_index(key) if only_counts or frame.index.name in (None, key) else frame.reset_index()
        )
        frame = frame if frame.index.name == key else frame.set_index(key)
    elif frame.index.name not in (None, key) or (only_counts and kind in LABEL_TYPES):
        raise InvalidArgumentError(
            f"The table {name!r} of type {kind} has no column or index {key!r}. Name it so, or pass "
            'type="generic_table".'
        )
    if kind in LABEL_TYPES and len(frame) and not pd.api.types.is_integer_dtype(frame.index):
        raise InvalidArgumentError(
            f"The {key!r} of the table {name!r} of type {kind} are labels, which are integers, not "
            f"{frame.index.dtype}."
        )
    return frame.copy(deep=False), key


def check_values(frame: pd.DataFrame, backend: str, name: str) -> None:
    """Raise for columns with values that a backend cannot store."""
    types = pandas().api.types
    for column in frame.columns:
        values = frame[column]
        if backend == "anndata" and ("/" in column or column in ("_index", ".", "..", "")):
            raise InvalidArgumentError(
                f"The column {column!r} of the table {name!r} cannot be stored by backend='anndata', which makes "
                "a folder of each: rename it, or use backend='parquet'."
            )
        dtype = values.dtype
        _check_exact(values, backend, name)
        if backend == "json" and types.is_float_dtype(dtype) and bool((values.abs() == float("inf")).any()):
            raise InvalidArgumentError(
                f"The column {column!r} of the table {name!r} contains infinite numbers, which JSON does not have: "
                "use backend='parquet', or replace them by missing values."
            )
        if types.is_bool_dtype(dtype) or types.is_numeric_dtype(dtype):
            if not types.is_complex_dtype(dtype) and dtype.itemsize <= 8:
                continue
        elif isinstance(dtype, pandas().CategoricalDtype):
            values = values.cat.categories.to_series()
            if types.is_numeric_dtype(values.dtype) or types.is_bool_dtype(values.dtype):
                continue
        elif backend == "parquet" and not types.is_object_dtype(dtype):
            continue
        if types.infer_dtype(values, skipna=True) in ("string", "empty"):
            continue
        kinds = types.infer_dtype(values, skipna=True)
        raise InvalidArgumentError(
            f"The column {column!r} of the table {name!r} contains {kinds} values, dtype {dtype}, which "
            f"backend={backend!r} does not keep. Tables contain numbers, booleans and text: convert it"
            f"{'' if backend == 'parquet' else ', or use parquet for times'}."
        )


def _check_exact(values: pd.Series[Any], backend: str, name: str) -> None:
    """Raise for integers beside missing values that are read as float64, which has 53 bits."""
    is_category = isinstance(values.dtype, pandas().CategoricalDtype)
    if backend not in (("csv", "json", "parquet") if is_category else ("csv", "json")):
        return
    numbers = values.cat.categories.to_series() if is_category else values.dropna()
    if not pandas().api.types.is_integer_dtype(numbers.dtype) or not values.isna().any():
        return
    if any(abs(int(extreme)) > 2**53 for extreme in (numbers.min(), numbers.max()) if len(numbers)):
        raise InvalidArgumentError(
            f"The column {values.name!r} of the table {name!r} has missing values and integers above 2**53, which "
            f"backend={backend!r} rounds: use {'anndata' if is_category else 'parquet'}, or fill the missing values."
        )


def as_ids(values: Any) -> Any:
    """Return ids as an index of int64, or of uint64 where one of them is above the largest int64."""
    ids = pandas().Index(values)
    try:
        is_large = ids.dtype == "uint64" and len(ids) > 0 and int(ids.max()) >= 2**63
        return ids if is_large else ids.astype("int64")
    except OverflowError:  # text of such an id
        return ids.astype("uint64")


def with_index(frame: pd.DataFrame, info: TableInfo) -> pd.DataFrame:
    """Set the index of a table that was read, according to the type of table."""
    key = info.index_key
    if key is not None:
        if key in frame.columns:
            frame = frame.set_index(key)
        elif frame.index.name is None:
            frame.index.name = key
        if info.index_type == "int":
            with suppress(TypeError, ValueError):  # other text is returned as it is stored
                frame.index = as_ids(frame.index)
        elif info.index_type == "str":
            frame.index = frame.index.astype(str)
    frame.attrs[DESCRIPTION] = {"type": info.type, "label": info.label}
    return frame
