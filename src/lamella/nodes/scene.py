"""A scene: images with their locations in common coordinate systems (OME-NGFF 0.6).

:class:`lamella.models.CoordinateGraph` composes the transformations.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lamella.errors import LamellaError
from lamella.nodes.metadata_document import read_part, stored_ome
from lamella.nodes.node import ModelNode
from lamella.nodes.pictures import Pictures
from lamella.nodes.position import Position
from lamella.spec.coordinate_systems import SceneMeta

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lamella.types import JSONObject


class Scene(Pictures, ModelNode[SceneMeta]):
    """Images and other groups in common coordinate systems; a mapping of the groups below it.

    ``channel_names``, ``axes`` and ``overwriting_creation`` are passed to the images.

    Examples
    --------
    >>> import lamella, tempfile, zarr
    >>> path = tempfile.mkdtemp() + "/scene.zarr"
    >>> tile = {"type": "translation", "translation": [0, 348], "input": {"path": "tile", "name": "physical"},
    ...         "output": {"name": "world"}}
    >>> plane = [{"name": name, "type": "space", "unit": "micrometer"} for name in "yx"]
    >>> scene = {"coordinateSystems": [{"name": "world", "axes": plane}], "coordinateTransformations": [tile]}
    >>> group = zarr.create_group(path, zarr_format=3, attributes={"ome": {"version": "0.6", "scene": scene}})
    >>> new = {"layout": "fov", "mode": "w", "channel_names": ["DAPI"], "version": "0.6"}
    >>> with lamella.open_ome_zarr(path + "/tile", **new) as image:
    ...     image["0"] = np.zeros((1, 1, 1, 8, 8), "uint8")
    >>> scene = lamella.open_ome_zarr(path)
    >>> [(path, image.data.shape) for path, image in scene.images()]
    [('tile', (1, 1, 1, 8, 8))]
    >>> scene.metadata.coordinate_transformations[0].translation
    [0.0, 348.0]
    """

    _kinds = ("scene",)

    def _load(self, attributes: JSONObject) -> SceneMeta:
        return read_part(self.node_path, SceneMeta, attributes) or SceneMeta()

    def images(self) -> Iterator[tuple[str, Position]]:
        """Iterate over the paths and images that the transformations name, in their order.

        Raises MetadataError at an image that is named but not in the store, or damaged.

        Examples
        --------
        >>> import lamella, zarr
        >>> plane = [{"name": name, "type": "space", "unit": "micrometer"} for name in "yx"]
        >>> systems = [{"name": name, "axes": plane} for name in ("world", "stage")]
        >>> step = {"type": "identity", "input": {"name": "stage"}, "output": {"name": "world"}}
        >>> scene = {"coordinateSystems": systems, "coordinateTransformations": [step]}
        >>> ome = {"version": "0.6", "scene": scene}
        >>> group = zarr.create_group(tmp / "scene.zarr", zarr_format=3, attributes={"ome": ome})
        >>> list(lamella.open_ome_zarr(tmp / "scene.zarr").images())
        []
        """
        for path in self._image_paths():
            yield path, self._open_listed(Position, path)

    def _image_paths(self) -> list[str]:
        systems = [
            system
            for step in self.document.shared_model.coordinate_transformations
            for system in (step.input, step.output)
        ]
        paths = [
            str(system.path).removeprefix("./").strip("/")
            for system in systems
            if system is not None and system.path
        ]
        return [path for path in dict.fromkeys(paths) if path and self._is_image(path)]

    def _is_image(self, path: str) -> bool:
        """Whether a path is an image; a missing group counts as an image, a nested scene does not."""
        node_path = self.node_path.child(path)
        try:
            if self.documents.kind(node_path.path) is None:
                return True
            ome = stored_ome(node_path)
        except LamellaError:
            return True
        return "multiscales" in ome

    def _summary(self) -> str:
        return f", {len(self._image_paths())} images"
