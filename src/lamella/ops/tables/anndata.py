"""Store tables in the layout of AnnData: floats in the matrix ``X``, other columns in ``obs``, the index as text.

Layout and versions follow the AnnData on-disk format 0.1.0 with data frames 0.2.0; the package anndata is not needed.
Arrays have one chunk; the matrix has chunks of at most 64 MiB.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from lamella.errors import DamagedDataError, LamellaError, MetadataError, clause
from lamella.ops.regions import grid_index, regions
from lamella.ops.tables.frames import pandas
from lamella.store.keys import join
from lamella.store.metadata.array_creation import new_array
from lamella.store.metadata.text_arrays import text_array
from lamella.store.pixels.coding import coding_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pandas as pd
    from numpy.typing import NDArray

    from lamella.store.metadata.array_meta import ArrayMeta, ZarrFormat
    from lamella.store.metadata.documents import Documents
    from lamella.types import JSONObject

_CHUNK_BYTES = 64 << 20
_MAPPINGS = ("layers", "obsm", "obsp", "uns", "varm", "varp")


def _attributes(encoding: str, version: str = "0.2.0") -> JSONObject:
    """Return the attributes that every node of an encoding has."""
    return {"encoding-type": encoding, "encoding-version": version}


ATTRIBUTES = _attributes("anndata", "0.1.0")
"""Attributes of the group of a table."""


class _Writer:
    """Collects the nodes and files of a table by their path below its group."""

    def __init__(self, zarr_format: ZarrFormat) -> None:
        self.format = zarr_format
        self.nodes: dict[str, JSONObject | ArrayMeta] = {}
        self.files: dict[str, bytes] = {}

    def array(self, path: str, values: NDArray[Any]) -> None:
        """Add an array of numbers or booleans."""
        rows = max(1, _CHUNK_BYTES // max(1, values.itemsize * int(np.prod(values.shape[1:]))))
        chunks = [max(1, length) for length in (min(rows, values.shape[0]), *values.shape[1:])]
        meta = new_array(
            values.shape,
            values.dtype,
            zarr_format=self.format,
            chunks=chunks,
            compressor="zstd",
            attributes=_attributes("array"),
        )
        self.nodes[path] = meta
        coding = coding_of(meta)
        assert coding is not None  # new arrays have supported codecs
        for region in regions(values.shape, chunks) if values.size else ():
            self.files[join(path, meta.chunk_key(grid_index(region, chunks)))] = coding.encode(values[region])

    def text(self, path: str, values: Iterable[str]) -> None:
        meta, files = text_array(list(values), self.format, _attributes("string-array"))
        self.nodes[path] = meta
        self.files |= {join(path, key): data for key, data in files.items()}

    def frame(self, path: str, index: Iterable[str], index_name: str, columns: pd.DataFrame | None) -> None:
        names = [] if columns is None else list(columns.columns)
        self.nodes[path] = _attributes("dataframe") | {"_index": index_name, "column-order": names}
        self.text(join(path, index_name), index)
        for name in names:
            assert columns is not None
            self.column(join(path, name), columns[name])

    def column(self, path: str, values: pd.Series) -> None:
        """Add a column of a data frame; text with missing values becomes categorical."""
        pd = pandas()
        types = pd.api.types
        if isinstance(values.dtype, pd.CategoricalDtype):
            self._categories(path, values)
        elif types.is_bool_dtype(values.dtype) or types.is_numeric_dtype(values.dtype):
            if isinstance(values.dtype, np.dtype):
                self.array(path, values.to_numpy())
            else:
                self._nullable(path, values, types.is_bool_dtype(values.dtype))
        elif values.isna().any():
            self._categories(path, values.astype("category"))
        else:
            self.text(path, values.astype(str))

    def _nullable(self, path: str, values: pd.Series, is_bool: bool) -> None:
        mask = values.isna().to_numpy()
        dtype = "bool" if is_bool else values.dtype.numpy_dtype
        self.nodes[path] = _attributes("nullable-boolean" if is_bool else "nullable-integer", "0.1.0")
        self.array(join(path, "values"), values.fillna(False if is_bool else 0).to_numpy(dtype=dtype))
        self.array(join(path, "mask"), mask)

    def _categories(self, path: str, values: pd.Series) -> None:
        self.nodes[path] = _attributes("categorical") | {"ordered": bool(values.cat.ordered)}
        self.array(join(path, "codes"), values.cat.codes.to_numpy())
        categories = values.cat.categories
        categories_path = join(path, "categories")
        if pandas().api.types.is_numeric_dtype(categories.dtype):
            self.array(categories_path, categories.to_numpy())
        else:
            self.text(categories_path, categories.astype(str))


def encode(
    columns: pd.DataFrame, index_key: str | None, zarr_format: ZarrFormat
) -> tuple[dict[str, JSONObject | ArrayMeta], dict[str, bytes]]:
    """Return the nodes and files of a table, by their path below its group."""
    writer = _Writer(zarr_format)
    values = columns if index_key is None else columns.drop(columns=[index_key])
    index = map(str, range(len(columns)) if index_key is None else columns[index_key].tolist())
    nullable = [name for name in values.columns if str(values[name].dtype) in ("Float32", "Float64")]
    values = values.astype(dict.fromkeys(nullable, "float64"))
    dtypes = {name: values[name].dtype for name in values.columns}
    floats = [name for name, dtype in dtypes.items() if isinstance(dtype, np.dtype) and dtype.kind == "f"]
    writer.array("X", values[floats].to_numpy() if floats else np.zeros((len(columns), 0)))
    writer.frame("obs", index, index_key or "_index", values.drop(columns=floats))
    writer.frame("var", floats, "_index", None)
    for name in _MAPPINGS:
        writer.nodes[name] = _attributes("dict", "0.1.0")
    return writer.nodes, writer.files


# -- reading ------------------------------------------------------------------------------------------------------


def decode(documents: Documents, path: str, index_key: str | None) -> pd.DataFrame:
    """Read the columns of ``X`` and of ``obs``, with the index of ``obs``; raise MetadataError for other encodings."""
    reader = _Reader(documents)
    obs = reader.frame(join(path, "obs"))
    pd = pandas()
    columns: dict[str, Any] = {}
    if documents.kind(join(path, "X")) is not None:
        matrix = reader.matrix(join(path, "X"))
        names = reader.frame(join(path, "var")).index
        columns |= {name: matrix[:, number] for number, name in enumerate(names)}
    frame = pd.DataFrame({**columns, **{name: obs[name] for name in obs.columns}}, index=obs.index)
    frame.index.name = None if obs.index.name == "_index" else obs.index.name
    if index_key is None and list(frame.index) == [str(number) for number in range(len(frame))]:
        return frame.reset_index(drop=True)
    return frame


class _Reader:
    """Reads the groups and arrays of a stored table."""

    def __init__(self, documents: Documents) -> None:
        self.documents = documents

    def attributes(self, path: str) -> JSONObject:
        if self.documents.kind(path) == "array":
            return self.documents.array_document(path)[1]
        return self.documents.group(path)

    def values(self, path: str) -> Any:
        """Read an array with zarr-python, which also decodes texts."""
        import zarr

        from lamella.store.objects.read_only_store import ReadOnlyStore

        array = zarr.open_array(
            ReadOnlyStore(self.documents.storage), path=path, mode="r", zarr_format=self.documents.format
        )
        try:
            values = np.asarray(array[...])
        except (LamellaError, MemoryError):
            raise
        except Exception as error:  # codecs raise errors of any kind
            raise DamagedDataError(
                f"{self.documents.storage.where(path)} cannot be decoded: {clause(error)}. Restore the table from a "
                "copy."
            ) from error
        if values.dtype.kind in "TUS":
            return values.astype(object)
        return values.astype(values.dtype.newbyteorder("="), copy=False)

    def frame(self, path: str) -> pd.DataFrame:
        pd = pandas()
        attributes = self.attributes(path)
        if attributes.get("encoding-type") != "dataframe":
            raise MetadataError(
                f"{self.documents.storage.where(path)} has the encoding {attributes.get('encoding-type')!r}, not "
                "'dataframe'."
            )
        index_name, order = str(attributes.get("_index", "_index")), attributes.get("column-order", [])
        if not isinstance(order, list):
            raise MetadataError(
                f"{self.documents.storage.where(path)} has the column-order {order!r}, which is not a list of names "
                "of columns."
            )
        index = pd.Index(list(self.column(join(path, index_name))), name=index_name)
        columns = {str(name): self.column(join(path, str(name))) for name in order}
        return pd.DataFrame(columns, index=pd.RangeIndex(len(index))).set_index(index)

    def column(self, path: str) -> Any:
        pd = pandas()
        attributes = self.attributes(path)
        kind = str(attributes.get("encoding-type", "array"))
        if kind in ("array", "string-array"):
            values = self.values(path)
            categories = attributes.get("categories")  # of data frames 0.1.0
            if isinstance(categories, str):
                names = self.values(join(path.rpartition("/")[0], categories)).tolist()
                return pd.Categorical.from_codes(values, names)
            return values.tolist() if values.dtype.kind == "O" else values
        if kind == "categorical":
            categories = self.values(join(path, "categories"))
            return pd.Categorical.from_codes(
                self.values(join(path, "codes")),
                categories.tolist() if categories.dtype.kind == "O" else categories,
                ordered=bool(attributes.get("ordered", False)),
            )
        if kind in ("nullable-integer", "nullable-boolean", "nullable-string-array"):
            values, mask = self.values(join(path, "values")), self.values(join(path, "mask")).astype(bool)
            if kind == "nullable-string-array":
                return [None if is_missing else value for value, is_missing in zip(values, mask, strict=True)]
            array = pd.arrays.IntegerArray if kind == "nullable-integer" else pd.arrays.BooleanArray
            return array(values, mask)
        raise MetadataError(
            f"{self.documents.storage.where(path)} has the encoding {kind!r}, which is not supported."
        )

    def matrix(self, path: str) -> Any:
        """Read a matrix, dense or sparse by rows or columns, as a dense array."""
        attributes = self.attributes(path)
        kind = str(attributes.get("encoding-type", "array"))
        if kind == "array":
            return self.values(path)
        if kind not in ("csr_matrix", "csc_matrix"):
            raise MetadataError(
                f"{self.documents.storage.where(path)} has the encoding {kind!r}, which is not supported."
            )
        shape = attributes.get("shape")
        if (
            not isinstance(shape, list)
            or len(shape) != 2
            or not all(isinstance(length, int) for length in shape)
        ):
            raise MetadataError(
                f"{self.documents.storage.where(path)} has the shape {shape!r}, which is not a number of rows and of "
                "columns."
            )
        rows, columns = map(int, shape)
        data, indices, starts = (self.values(join(path, name)) for name in ("data", "indices", "indptr"))
        outer = np.repeat(np.arange(len(starts) - 1), np.diff(starts))  # rows of CSR, columns of CSC
        dense = np.zeros((rows, columns), data.dtype)
        dense[(outer, indices) if kind == "csr_matrix" else (indices, outer)] = data
        return dense
