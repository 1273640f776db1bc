"""Create stores from parts of others: wells, acquisitions, channels, a region; merge plates, or join channels.

All operations create a store from positions (:mod:`lamella.ops.plates.from_positions`);
:mod:`lamella.ops.plates.composition` plans positions that are copied in part.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from lamella.arguments import items_of
from lamella.errors import (
    InvalidArgumentError,
    LamellaError,
    NodeNotFoundError,
    counted,
    did_you_mean,
    first_of,
    warn,
)
from lamella.nodes.plate import Plate
from lamella.nodes.position import Position
from lamella.nodes.walk import walk
from lamella.ops.plates.composition import Composition, Part
from lamella.ops.plates.from_positions import NewStore, create_store
from lamella.ops.plates.origins import acquisitions_of
from lamella.ops.regions import pixel_region
from lamella.store.storage import is_store, share_options

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from concurrent.futures import Executor

    from zarr.abc.store import Store

    from lamella.nodes.node import NGFFNode
    from lamella.nodes.well import Well
    from lamella.ops.execution import Progress
    from lamella.types import StrPath


def subset_plate(
    plate: Plate,
    store_path: StrPath | Store,
    *,
    wells: Iterable[str] | None = None,
    acquisitions: Iterable[int | str] | None = None,
    channels: Iterable[str] | None = None,
    crop: Mapping[str, Any] | None = None,
    **options: Any,
) -> Plate:
    """Create a plate from a part of another plate; see :meth:`Plate.subset`."""
    well_paths = None
    if wells is not None:
        well_names = items_of(wells, "The argument wells is a list of names")
        well_paths = {path_of_well(plate, name) for name in well_names}
    positions = {}
    for field in walk(plate, wells=well_paths):
        if isinstance(field.node, LamellaError):
            raise field.node
        positions[field.path] = field.node
    if acquisitions is not None:
        positions = of_acquisitions(
            plate, positions, items_of(acquisitions, "The argument acquisitions is a list of ids")
        )
    if not positions:
        raise InvalidArgumentError(
            f"No position of {plate.node_path} is selected, so there is nothing to copy."
        )
    compositions = _compositions(positions, channels, crop)
    return cast("Plate", create_store(store_path, NewStore("subset", positions, compositions), **options))


def subset_position(
    position: Position,
    store_path: StrPath | Store,
    *,
    channels: Iterable[str] | None = None,
    crop: Mapping[str, Any] | None = None,
    **options: Any,
) -> Position:
    """Create a store of one image from a part of another image; see :meth:`Position.subset`."""
    sources = {"": position}
    request = NewStore("subset", sources, _compositions(sources, channels, crop))
    return cast("Position", create_store(store_path, request, **options))


def path_of_well(plate: Plate, name: object) -> str:
    """Return the path of a well by its path or name; raise for a well that the plate does not list."""
    path = plate.find_well(str(name).strip("/"))
    if path is None:
        wells = first_of(plate.well_paths(), 12)
        raise NodeNotFoundError(f"There is no well {name!r} in {plate.node_path}. Its wells are: {wells}.")
    return path


def of_acquisitions(
    node: Plate | Well, positions: Mapping[str, Position], ids_or_names: Sequence[int | str]
) -> dict[str, Position]:
    """Return the positions of a plate or well that belong to some acquisitions, each chosen by id or name."""
    acquisitions = acquisitions_of(positions)
    listed = node.document.shared_model.acquisitions or [] if isinstance(node, Plate) else []
    acquisition_by_id = {acquisition.id: acquisition for acquisition in [*acquisitions.values(), *listed]}
    id_by_text = {str(acquisition_id): acquisition_id for acquisition_id in acquisition_by_id}
    for acquisition in reversed(acquisition_by_id.values()):  # of equal names the first counts
        if acquisition.name is not None:
            id_by_text[acquisition.name] = acquisition.id
    ids = set()
    for id_or_name in ids_or_names:
        acquisition_id = id_by_text.get(id_or_name) if isinstance(id_or_name, str) else id_or_name
        if acquisition_id not in acquisition_by_id:
            names = ", ".join(
                f"{acquisition.id} ({acquisition.name})" for acquisition in acquisition_by_id.values()
            )
            raise NodeNotFoundError(
                f"There is no acquisition {id_or_name!r} in {node.node_path}. Its acquisitions are: {names or 'none'}."
            )
        ids.add(acquisition_id)
    return {path: position for path, position in positions.items() if acquisitions[path].id in ids}


def _compositions(
    positions: Mapping[str, Position], channels: Iterable[str] | None, crop: Mapping[str, Any] | None
) -> dict[str, Composition]:
    """Return the selected part of each position; empty if positions are copied whole."""
    if channels is None and not crop:
        return {}
    names = None if channels is None else items_of(channels, "The argument channels is a list of names")
    if names is not None and (not names or len(set(names)) < len(names)):
        raise InvalidArgumentError(f"channels={names!r} is not a list of different names.")
    return {
        path: Composition(
            (Part(position, _channel_indices(position, names)),), pixel_region(position, crop or {}, "crop")
        )
        for path, position in positions.items()
    }


def _channel_indices(position: Position, names: Sequence[str] | None) -> tuple[int, ...] | None:
    if names is None:
        return None
    channel_names = position.channel_names
    for name in names:
        if name not in channel_names:
            raise InvalidArgumentError(
                f"There is no channel {name!r} in {position.node_path}. Its channels are {channel_names}."
                f"{did_you_mean(str(name), channel_names)}"
            )
    return None if list(names) == channel_names else tuple(channel_names.index(name) for name in names)


# -- several stores ---------------------------------------------------------------------------------------------


def merge(
    plates: Sequence[Plate | StrPath | Store],
    store_path: StrPath | Store,
    *,
    renumber: bool = False,
    jobs: int | None = None,
    executor: Executor | None = None,
    progress: Progress | bool | None = None,
    storage_options: Mapping[str, Any] | None = None,
) -> Plate:
    """Create a plate with the positions of several plates.

    Chunks are copied as they are encoded. Names, rows, columns, acquisitions, channels, levels, labels and tables
    are copied as by `Plate.from_positions`, and an interrupted call is resumed as described there.

    Parameters
    ----------
    plates : sequence of Plate, path or URL
        In the order of their rows, columns and positions in the new plate.
    store_path : path, URL or zarr store
        The new plate; nothing may be there.
    renumber : bool
        Name a position whose path an earlier plate has by the next free number of its well, instead of raising.
    jobs, executor, progress, storage_options
        As for `Plate.from_positions`.

    Returns
    -------
    Plate
        The new plate, open for reading and writing.

    Raises
    ------
    InvalidArgumentError
        Two plates have a position of the same path (a ValueError).
    StoreExistsError
        There is something at ``store_path`` (a FileExistsError).

    Examples
    --------
    >>> import lamella
    >>> merged = lamella.merge([plate, plate], tmp / "both.zarr", renumber=True)
    >>> [path for path, position in merged.positions()]
    ['A/1/0', 'A/1/1', 'A/1/2', 'A/1/3', 'B/2/0', 'B/2/1']
    """
    inputs = items_of(plates, "The argument plates is a list of plates")
    *inputs, store_path = share_options((*inputs, store_path), storage_options)
    opened_plates = [cast("Plate", _opened(source, Plate)) for source in inputs]
    sources: dict[str, Position] = {}
    owners: dict[str, Plate] = {}
    for plate in opened_plates:
        for path, position in plate.positions():
            new_path = _unused_path(path, sources) if renumber else path
            if new_path in sources:
                raise InvalidArgumentError(
                    f"{owners[new_path].node_path} and {plate.node_path} both have a position {path!r}. Pass "
                    "renumber=True (--renumber) to name the second one by the next free number of its well, or rename "
                    "a well first."
                )
            sources[new_path], owners[new_path] = position, plate
    if not sources:
        raise InvalidArgumentError(
            f"There are no positions in {opened_plates}, so there is nothing to merge."
        )
    request = NewStore("merge", sources)
    return cast("Plate", create_store(store_path, request, jobs=jobs, executor=executor, progress=progress))


def _unused_path(path: str, used: Mapping[str, Position]) -> str:
    """Return the path, or the next free number in its well if another position has this path."""
    if path not in used:
        return path
    well = path.rpartition("/")[0]
    names = [other.rpartition("/")[2] for other in used if other.rpartition("/")[0] == well]
    return f"{well}/{max((int(name) for name in names if name.isdecimal()), default=-1) + 1}"


def concatenate_channels(
    sources: Sequence[Plate | Position | StrPath | Store],
    store_path: StrPath | Store,
    *,
    channel_names: Sequence[str] | None = None,
    jobs: int | None = None,
    executor: Executor | None = None,
    progress: Progress | bool | None = None,
    storage_options: Mapping[str, Any] | None = None,
) -> Plate | Position:
    """Create a store whose images have the channels of several stores, one after the other.

    Positions of plates are joined by their paths; all plates need the same ones, with images of equal axes, shape and
    data type but for the channels. Chunks are copied as they are encoded where none spans two stores. Levels that all
    stores have are copied too, and others computed. Names, scale, labels, tables and all else come from the first
    store, with those label images of the others that it lacks. An interrupted call is resumed by the same call.

    Parameters
    ----------
    sources : sequence of Plate, Position, path or URL
        All plates or all positions.
    store_path : path, URL or zarr store
        The new store; nothing may be there.
    channel_names : sequence of str, optional
        Of all channels; by default those of the sources.
    jobs, executor, progress, storage_options
        As for `Plate.from_positions`.

    Returns
    -------
    Plate or Position
        The new store, open for reading and writing.

    Raises
    ------
    InvalidArgumentError
        The stores do not fit together, or two channels have one name (a ValueError).
    StoreExistsError
        There is something at ``store_path`` (a FileExistsError).

    Examples
    --------
    >>> import lamella
    >>> for name, value in (("DAPI", 1), ("GFP", 2)):
    ...     pixels = np.full((1, 8, 8), value, "uint8")
    ...     image = lamella.write_image(tmp / f"{name}.zarr", pixels, axes="cyx", channels=[name])
    >>> both = lamella.concatenate_channels([tmp / "DAPI.zarr", tmp / "GFP.zarr"], tmp / "both.zarr")
    >>> both.channel_names, both["0"][:, 0, 0].tolist()
    (['DAPI', 'GFP'], [1, 2])
    """
    inputs = items_of(sources, "The argument sources is a list of stores")
    *inputs, store_path = share_options((*inputs, store_path), storage_options)
    stores = [_opened(source, (Plate, Position)) for source in inputs]
    if not stores or len({isinstance(store, Plate) for store in stores}) > 1:
        raise InvalidArgumentError(f"sources={stores!r} is neither a list of plates nor one of positions.")
    positions_by_store = [
        dict(store.positions()) if isinstance(store, Plate) else {"": store} for store in stores
    ]
    for store, positions in zip(stores, positions_by_store, strict=True):
        if positions.keys() != positions_by_store[0].keys():
            path = min(positions.keys() ^ positions_by_store[0].keys())
            raise InvalidArgumentError(
                f"The plates need the same positions: only one of {stores[0].node_path} and {store.node_path} has "
                f"{path!r}. Choose wells with subset first."
            )
    names = (
        None
        if channel_names is None
        else tuple(items_of(channel_names, "The argument channel_names is a list of names"))
    )
    compositions = {
        path: Composition(tuple(Part(positions[path]) for positions in positions_by_store), {}, names)
        for path in positions_by_store[0]
    }
    for composition in compositions.values():
        count = sum(len(part.position.channel_names) for part in composition.parts)
        if names is not None and len(names) != count:
            images = " and ".join(str(part.position.node_path) for part in composition.parts)
            raise InvalidArgumentError(
                f"channel_names={list(names)} has {counted(len(names), 'name')}, and {images} have "
                f"{counted(count, 'channel')} together."
            )
    request = NewStore("concatenate_channels", positions_by_store[0], compositions)
    created = create_store(store_path, request, jobs=jobs, executor=executor, progress=progress)
    _warn_of_geometry(list(compositions.values()))
    return created


def _warn_of_geometry(compositions: Sequence[Composition]) -> None:
    """Warn of images with another scale or origin than that of the first store, which the new images get."""
    for composition in compositions:
        first, *other_positions = (part.position for part in composition.parts)
        for other in other_positions:
            for quantity, of_first in _geometry_of(first).items():
                of_other = _geometry_of(other).get(quantity, of_first)
                are_numbers = quantity != "units"
                is_close = are_numbers and np.allclose(of_first, of_other, rtol=1e-6, atol=1e-9)
                if of_first != of_other and not is_close:
                    warn(
                        f"The images {first.node_path} and {other.node_path} have different {quantity}: the new image "
                        f"has {of_first} of the first, not {of_other}. Their pixels are joined as they are."
                    )
                    return


def _geometry_of(position: Position) -> dict[str, list[Any]]:
    """Return pixel sizes, translations and units of an image; empty without pixels."""
    if not position.dataset_paths:
        return {}
    return {
        "pixel sizes": position.scale,
        "translations": position.get_effective_translation(position.dataset_paths[0]),
        "units": [axis.unit for axis in position.axes],
    }


def _opened(
    source: NGFFNode | StrPath | Store, kind: type[NGFFNode] | tuple[type[NGFFNode], ...]
) -> Plate | Position:
    """Return a node unchanged; open a path, a URL or a store."""
    from lamella.nodes.open import open_ome_zarr

    node: Any = source
    if isinstance(source, str | os.PathLike) or is_store(source):
        node = open_ome_zarr(source)
    if not isinstance(node, kind):
        raise InvalidArgumentError(f"{source!r} is not a plate or position that can be joined with others.")
    return cast("Plate | Position", node)
