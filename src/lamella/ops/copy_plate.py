"""Making a plate from positions of other stores, as encoded chunks where that can be.

Layer: ops.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lamella.errors import InvalidArgumentError
from lamella.nodes.image_array import ImageArray
from lamella.nodes.position import Position
from lamella.ops.copy import as_source, write_array
from lamella.spec import versions
from lamella.store.documents import new_array
from lamella.store.transfer import copy_files

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from zarr.abc.store import Store

    from lamella.nodes.plate import Plate
    from lamella.nodes.session import Place
    from lamella.types import JSONObject, StrPath


def from_positions(
    store_path: StrPath | Store, positions: Mapping[str, Position], *, jobs: int | None = None
) -> Plate:
    """Create a plate from positions of other stores; see :meth:`Plate.from_positions`.

    The plate's documents are written last: a copy that is killed is not taken for a whole plate.
    """
    from lamella.nodes.open import open_ome_zarr

    if not positions:
        raise InvalidArgumentError("A plate is made from at least one position; got none.")
    for path, position in positions.items():
        if path.strip("/").count("/") != 2 or not isinstance(position, Position):
            raise InvalidArgumentError(
                f"positions maps 'row/column/field' to positions; got {path!r}: {type(position).__name__}."
            )
    first = next(iter(positions.values()))
    plate = open_ome_zarr(
        store_path,
        layout="hcs",
        mode="w-",
        channel_names=first.channel_names,
        axes=first.axes,
        version=first.version,
    )
    specs = [tuple(path.strip("/").split("/")) for path in positions]
    created = plate.create_positions(specs)
    for source, target in zip(positions.values(), created, strict=True):
        copy_position(source, target, jobs=jobs)
    return plate


def copy_position(source: Position, target: Position, *, jobs: int | None = None) -> None:
    """Copy all arrays, labels and metadata of a position into an empty one.

    Parameters
    ----------
    source
        What to copy, of any version.
    target
        A position without an image, in a store open for writing.
    jobs
        Number of workers; one per processor by default.
    """
    target._require_writable("copy a position")
    if source._session.version.zarr_format == target._session.version.zarr_format:
        copy_files(source._documents.storage, source.path, target._documents.storage, target.path, jobs=jobs)
        _rewrite_versions(source._place, target._place)
    else:
        _recode(source._place, target._place, jobs)
    target._live.refresh()


def _groups_and_arrays(place: Place, below: str = "") -> Iterator[tuple[str, str]]:
    """Yield the relative path and kind of all nodes below a group, parents first."""
    children = place.session.documents.children(place.child(below).path)
    for name, kind in children.items():
        path = f"{below}/{name}".strip("/")
        yield path, kind
        if kind == "group":
            yield from _groups_and_arrays(place, path)


def _rewrite_versions(source: Place, target: Place) -> None:
    """Give copied documents the spelling of the target's version, where it differs."""
    if source.session.version is target.session.version:
        return
    for path, kind in [("", "group"), *_groups_and_arrays(target)]:
        if kind == "group":
            target.session.documents.put_group(target.child(path).path, _converted(source, target, path))


def _recode(source: Place, target: Place, jobs: int | None) -> None:
    """Decode and encode anew, with the same chunks: the Zarr formats differ."""
    documents = target.session.documents
    for path, kind in _groups_and_arrays(source):
        if kind == "array":
            _recode_array(source.child(path), target.child(path), jobs)
        else:
            documents.put_group(target.child(path).path, _converted(source, target, path))
    documents.put_group(target.path, _converted(source, target, ""))


def _recode_array(source: Place, target: Place, jobs: int | None) -> None:
    meta = source.session.documents.array(source.path)
    new = new_array(
        meta.shape,
        meta.dtype,
        zarr_format=target.session.version.zarr_format,
        chunks=meta.chunks,
        shards=meta.shards if target.session.version.zarr_format == 3 else None,
        compressor=meta.compressor if meta.compressor is not None else False,
        fill_value=meta.fill_value,
        dimension_names=meta.dimension_names or _axis_names(source),
        attributes=meta.attributes,
    )
    target.session.documents.put_array(target.path, new)
    write_array(ImageArray(target), as_source(ImageArray(source)), jobs=jobs)


def _axis_names(array: Place) -> list[str] | None:
    """Return the axis names of the image that an array is a level of (ST-05 wants them in 0.5)."""
    from lamella.nodes.kinds import array_at

    axes = array_at(array).axes
    return None if axes is None else [axis.name for axis in axes]


def _converted(source: Place, target: Place, path: str) -> JSONObject:
    attributes = source.session.documents.group(source.child(path).path)
    return versions.convert_attributes(attributes, source.session.version, target.session.version)
