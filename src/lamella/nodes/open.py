"""The public functions `open_ome_zarr` and `open`; :mod:`lamella.nodes.opening`, loaded on first use, does the work.

numpy is imported here, since every program that opens a store needs it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np  # noqa: F401

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from zarr.abc.store import Store

    from lamella.nodes.plate import Plate
    from lamella.nodes.position import Position
    from lamella.spec.axes import AxisMeta
    from lamella.types import Durability, Layout, Mode, Recheck, StrPath, VersionName


@overload
def open_ome_zarr(
    store_path: StrPath | Store,
    layout: Literal["fov"],
    mode: Mode = "r",
    channel_names: Sequence[str] | None = None,
    axes: Sequence[AxisMeta] | str | None = None,
    version: VersionName = "0.4",
    disable_path_checking: bool = False,
    *,
    durability: Durability = "process",
    strict: bool = False,
    cache_bytes: int | None = None,
    recheck: Recheck = "call",
    storage_options: Mapping[str, Any] | None = None,
    **kwargs: Any,
) -> Position: ...
@overload
def open_ome_zarr(
    store_path: StrPath | Store,
    layout: Literal["hcs"],
    mode: Mode = "r",
    channel_names: Sequence[str] | None = None,
    axes: Sequence[AxisMeta] | str | None = None,
    version: VersionName = "0.4",
    disable_path_checking: bool = False,
    *,
    durability: Durability = "process",
    strict: bool = False,
    cache_bytes: int | None = None,
    recheck: Recheck = "call",
    storage_options: Mapping[str, Any] | None = None,
    **kwargs: Any,
) -> Plate: ...
@overload
def open_ome_zarr(
    store_path: StrPath | Store,
    layout: Layout = "auto",
    mode: Mode = "r",
    channel_names: Sequence[str] | None = None,
    axes: Sequence[AxisMeta] | str | None = None,
    version: VersionName = "0.4",
    disable_path_checking: bool = False,
    *,
    durability: Durability = "process",
    strict: bool = False,
    cache_bytes: int | None = None,
    recheck: Recheck = "call",
    storage_options: Mapping[str, Any] | None = None,
    **kwargs: Any,
) -> Any: ...


def open_ome_zarr(
    store_path: StrPath | Store,
    layout: Layout = "auto",
    mode: Mode = "r",
    channel_names: Sequence[str] | None = None,
    axes: Sequence[AxisMeta] | str | None = None,
    version: VersionName = "0.4",
    disable_path_checking: bool = False,
    *,
    durability: Durability = "process",
    strict: bool = False,
    cache_bytes: int | None = None,
    recheck: Recheck = "call",
    storage_options: Mapping[str, Any] | None = None,
    **kwargs: Any,
) -> Any:
    """Open or create an OME-Zarr store.

    Parameters
    ----------
    store_path
        Path or URL of the store, or of a group inside one ("plate.zarr/A/1/0"), or a zarr-python store.
    layout
        "fov" is one image, "hcs" a plate, "tiled" one image of tiles. "auto" reads the layout from the metadata, and
        opens wells, rows, labels and collections too; it cannot create a store.
    mode
        "r" read only, must exist; "r+" read and write, must exist; "a" read and write, created when missing; "w"
        create, an existing store is deleted; "w-" create, fails when anything exists.
    channel_names
        Channel names of a new store; ignored for an existing one that has names. A plate without positions has none.
    axes
        The 2 to 5 axes of a new store, as a list of `AxisMeta` or a text such as ``"zyx"``. The axes of a text have the
        units second and micrometer. By default T, C, Z, Y, X (in lower case in 0.6).
    version
        OME-NGFF version of a new store: "0.4" (Zarr v2), "0.5" or "0.6" (Zarr v3). An existing store states its own.
        `lamella.open`, `write_image` and all commands create 0.5 by default.
    disable_path_checking
        Let mode "w" delete an existing directory that is not a Zarr store or has no ".zarr" in its path, with all its
        files. In every mode, follow symbolic links that lead out of the store, for plates of linked images; they are
        refused otherwise. The path itself may be a link.
    durability
        What a finished write survives. "process": the death of the process at any instant, since every document, chunk
        and shard replaces the old one as a whole. "fsync": a power cut and a crash of the system too, since every file
        and its folder are flushed to the disk, which costs some milliseconds for each file. For folders only.
    strict
        Raise a MetadataError where a metadata document breaks a rule of OME-NGFF. By default the document is
        read with an assumption, which a ``lamella.errors.MetadataWarning`` states once for each rule and opened store.
    cache_bytes
        Bytes of decoded chunks that this handle keeps for reading parts of them again; 0 keeps none. By default all
        handles of the process share 64 MiB. A chunk whose file has changed is read again.
    recheck
        When a store at a URL, opened in mode "r", checks whether others changed the documents and chunks that it has
        read: at each ``"call"`` (a request without a body), or never after it was opened (``"open"``).
    storage_options
        Credentials and settings of a URL in the spelling of fsspec, such as ``{"anon": True}`` for a public bucket or
        ``{"profile": "lab", "endpoint_url": "https://minio.lab"}``; see ``docs/remote.md``. Other settings come
        from the environment and the profile files of the AWS command line.
    **kwargs
        Options of the class of the node: the other keyword arguments of its constructor.

    Returns
    -------
    Position, TiledPosition, Plate, Well, Row, Labels, LabelImage or Collection
        The node at the path. Use it in a ``with`` statement or call ``close()``.

    Raises
    ------
    StoreNotFoundError, StoreExistsError
        Modes "r" and "r+": there is nothing at the path (a FileNotFoundError). Mode "w-": there is something (a
        FileExistsError).
    InvalidArgumentError, InvalidNameError
        An argument does not fit, the layout contradicts the metadata, or the documents are behind a symbolic link that
        leads out of the store (ValueErrors). Nothing was touched.
    ReadOnlyError, AccessError
        The store can only be read, or there are no credentials for the URL, or the service refuses them
        (PermissionErrors).
    MetadataError
        The store has no usable OME-NGFF metadata, or, with ``strict``, metadata that are not valid (a ValueError).

    Examples
    --------
    >>> import numpy as np, tempfile
    >>> from lamella import open_ome_zarr
    >>> path = tempfile.mkdtemp() + "/cells.zarr"
    >>> with open_ome_zarr(path, layout="fov", mode="w-", channel_names=["GFP"], version="0.5") as position:
    ...     position["0"] = np.ones((1, 1, 1, 16, 16), "uint16")
    >>> with open_ome_zarr(path) as position:
    ...     int(position["0"][0, 0].sum())
    256
    """
    from lamella.nodes.open_request import OpenRequest
    from lamella.nodes.opening import open_store

    request = OpenRequest(
        layout,
        mode,
        channel_names,
        axes,
        version,
        disable_path_checking,
        durability,
        strict,
        cache_bytes,
        recheck,
        storage_options,
        kwargs,
    )
    return open_store(store_path, request)


@overload
def open(path: StrPath | Store, mode: Mode = "r", *, layout: Literal["fov"], **options: Any) -> Position: ...
@overload
def open(path: StrPath | Store, mode: Mode = "r", *, layout: Literal["hcs"], **options: Any) -> Plate: ...
@overload
def open(path: StrPath | Store, mode: Mode = "r", *, layout: Layout = "auto", **options: Any) -> Any: ...


def open(path: StrPath | Store, mode: Mode = "r", *, layout: Layout = "auto", **options: Any) -> Any:
    """Open or create an OME-Zarr store: `open_ome_zarr` with a short name and newer defaults.

    A new store is of version 0.5 and has the lower-case axes t, c, z, y, x. Returns and raises as `open_ome_zarr`.

    Parameters
    ----------
    path, mode, layout
        As for `open_ome_zarr`.
    **options
        All other options of `open_ome_zarr`.

    Examples
    --------
    >>> import lamella, numpy as np, tempfile
    >>> path = tempfile.mkdtemp() + "/plate.zarr"
    >>> with lamella.open(path, "w-", layout="hcs", channel_names=["DAPI"], axes="cyx") as plate:
    ...     plate.create_position("A", "1", "0")["0"] = np.ones((1, 16, 16), "uint16")
    >>> lamella.open(path)["A/1/0"].axis_names, lamella.open(path + "/A/1/0").data.shape
    (['c', 'y', 'x'], (1, 16, 16))
    """
    if mode in ("a", "w", "w-"):
        options = {"version": "0.5", "axes": "tczyx", **options}
    return open_ome_zarr(path, layout, mode, **options)
