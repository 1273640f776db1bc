"""Collections: several images in one store, as bioformats2raw writes them (rules BF-01 to BF-07)."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from lamella.nodes.metadata_document import read_part
from lamella.nodes.ome_xml import OMEXMLMethods, series_of
from lamella.nodes.pictures import Pictures
from lamella.nodes.position import Position
from lamella.nodes.reporting import check_document
from lamella.spec.plate import Bioformats2RawMeta

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lamella.types import JSONObject

_OME = "OME"


class Collection(Pictures, OMEXMLMethods):
    """The images of one acquisition file: a mapping of path to `Position`, in the order of the file.

    ``channel_names``, ``axes`` and ``overwriting_creation`` are passed to the images.

    Examples
    --------
    >>> import lamella, numpy as np, tempfile, zarr
    >>> path = tempfile.mkdtemp() + "/scan.zarr"
    >>> group = zarr.create_group(path, zarr_format=2, attributes={"bioformats2raw.layout": 3})
    >>> for name in ("0", "1"):
    ...     with lamella.open_ome_zarr(f"{path}/{name}", layout="fov", mode="w", channel_names=["DAPI"]) as image:
    ...         image["0"] = np.zeros((1, 1, 1, 8, 8), "uint8")
    >>> collection = lamella.open_ome_zarr(path)
    >>> list(collection), collection["1"].channel_names
    (['0', '1'], ['DAPI'])
    """

    def _parse_meta(self) -> None:
        self.metadata  # noqa: B018 (reading is the check)

    @property
    def metadata(self) -> Bioformats2RawMeta:
        """The layout number, and the paths of the images in the order of the file (BF-05, BF-06)."""
        stored, _ = self.documents.stored_group(self.path)
        root = read_part(self.node_path, Bioformats2RawMeta, stored.attributes) or Bioformats2RawMeta()
        check_document(self.node_path, stored, ("bioformats2raw",))
        return Bioformats2RawMeta(layout=root.layout, series=series_of(self.node_path))

    def _member_names(self) -> list[str]:
        return list(self.metadata.series or [])

    def __getitem__(self, key: int | str) -> Position:
        """Return an image, or the node at a path below one; NodeNotFoundError (a KeyError) if it does not exist."""
        name = self._checked_key(key)
        if name in self._member_names():
            return self._open_listed(Position, name)
        return cast("Position", super().__getitem__(name))

    def __delitem__(self, key: int | str) -> None:
        """Delete an image or another member, and remove it from the list of images."""
        name = self._key_to_delete(key)
        series = self._member_names()
        if name in series:
            self.require_writable(f"delete {name!r}")
            self._write_series([path for path in series if path != name])
        super().__delitem__(name)

    def _write_series(self, series: list[str]) -> None:
        version, path = self.store_handle.version, self.node_path.child(_OME).path

        def edit(attributes: JSONObject) -> JSONObject:
            return version.with_ome(attributes, {**version.ome(attributes), "series": series})

        with self.documents.lock(self.path):
            self.documents.put_missing_group(path, {})
            self.documents.edit_group(path, edit)

    def positions(self) -> Iterator[tuple[str, Position]]:
        """Iterate over the paths and images, in the order of the file.

        Raises MetadataError at an image that is listed but not in the store, or damaged.

        Examples
        --------
        >>> import lamella, zarr
        >>> group = zarr.create_group(tmp / "scan.zarr", zarr_format=2, attributes={"bioformats2raw.layout": 3})
        >>> image = lamella.open_ome_zarr(tmp / "scan.zarr/0", layout="fov", mode="w", channel_names=["DAPI"])
        >>> image["0"] = np.zeros((1, 1, 1, 8, 8), "uint8")
        >>> [(path, image.data.shape) for path, image in lamella.open_ome_zarr(tmp / "scan.zarr").positions()]
        [('0', (1, 1, 1, 8, 8))]
        """
        for name in self._member_names():
            yield name, self._open_listed(Position, name)

    def _first_position(self) -> Position | None:
        return next((position for _, position in self.positions()), None)

    def _summary(self) -> str:
        return f", {len(self._member_names())} images"
