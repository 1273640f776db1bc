"""The graph of coordinate systems: finding the transformation from one system to another (CS-04).

Its vertices are coordinate systems and arrays. Transformations are its edges, in both directions if they can be
inverted.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, NamedTuple

from lamella.errors import InvalidArgumentError, clause
from lamella.spec.transformations import (
    Identity,
    OtherTransformation,
    Scale,
    SystemReference,
    Transformation,
    Translation,
    compose,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from lamella.spec.axes import AxisMeta
    from lamella.spec.coordinate_systems import CoordinateSystemMeta, SceneMeta
    from lamella.spec.images import MultiScaleMeta, TransformationMeta


class Vertex(NamedTuple):
    """A coordinate system (its name, and the path of its group), or an array (an empty name, and its path)."""

    name: str
    path: str = ""

    def __str__(self) -> str:
        if not self.name:
            return f"array {self.path!r}"
        return f"{self.name!r} of {self.path!r}" if self.path else repr(self.name)


class _Step(NamedTuple):
    vertex: Vertex
    transformation: Transformation


class CoordinateGraph:
    """Coordinate systems and the transformations between them.

    Examples
    --------
    >>> from lamella.models import SceneMeta
    >>> scene = SceneMeta.from_json({
    ...     "coordinateSystems": [{"name": "world", "axes": [{"name": "y"}, {"name": "x"}]}],
    ...     "coordinateTransformations": [{"type": "translation", "translation": [0, 348],
    ...         "input": {"name": "physical", "path": "tile_1"}, "output": {"name": "world"}}]})
    >>> graph = CoordinateGraph.of_scene(scene)
    >>> tile = SystemReference(name="physical", path="tile_1")
    >>> graph.between(tile, "world").apply([[1, 2]])
    [[1.0, 350.0]]
    >>> graph.between("world", tile).apply([[1, 350]])
    [[1.0, 2.0]]
    """

    def __init__(self) -> None:
        self._axes: dict[Vertex, list[AxisMeta] | None] = {}
        self._steps: dict[Vertex, list[_Step]] = {}
        self._unusable: list[str] = []

    @classmethod
    def of_scene(cls, scene: SceneMeta) -> CoordinateGraph:
        """Build the graph of a scene."""
        graph = cls()
        graph._add_systems(scene.coordinate_systems or [])
        graph._add_transformations(scene.coordinate_transformations)
        return graph

    @classmethod
    def of_image(cls, image: MultiScaleMeta) -> CoordinateGraph:
        """Build the graph of an image: its systems, and its levels by path.

        Examples
        --------
        >>> from lamella.models import DatasetMeta, MultiScaleMeta, TransformationMeta, axes
        >>> half = TransformationMeta(type="scale", scale=[0.5, 0.5])
        >>> level = DatasetMeta(path="0", coordinate_transformations=[half])
        >>> graph = CoordinateGraph.of_image(MultiScaleMeta(axes=axes("yx"), datasets=[level]))
        >>> graph.between("0", "intrinsic").apply([[10, 10]])
        [[5.0, 5.0]]
        """
        graph = cls()
        graph.add_image(image)
        return graph

    def add_image(self, image: MultiScaleMeta, path: str = "") -> None:
        """Add the coordinate systems and levels of an image; `path` is that of the image, relative to the scene.

        Examples
        --------
        >>> from lamella.models import DatasetMeta, MultiScaleMeta, SceneMeta, axes
        >>> scene = SceneMeta.from_json({"coordinateTransformations": [{"type": "translation",
        ...     "translation": [5, 5], "input": {"name": "intrinsic", "path": "a"},
        ...     "output": {"name": "intrinsic", "path": "b"}}]})
        >>> graph = CoordinateGraph.of_scene(scene)
        >>> for name in "ab":
        ...     graph.add_image(MultiScaleMeta(axes=axes("yx"), datasets=[DatasetMeta(path="0")]), name)
        >>> graph.between("a/0", "b/0").apply([[1, 2]])
        [[6.0, 7.0]]
        """
        from lamella.spec.coordinate_systems import ImageSystemsMeta

        systems = image.systems or ImageSystemsMeta()
        intrinsic = Vertex(systems.intrinsic, path)
        self._axes[intrinsic] = list(image.axes)
        self._add_systems(systems.coordinate_systems, path, list(image.axes))
        for dataset in image.datasets:
            array = Vertex("", f"{path}/{dataset.path}".strip("/"))
            self._axes.setdefault(array, None)
            self._add_transformation(array, intrinsic, _as_transformation(dataset.coordinate_transformations))
        if image.coordinate_transformations:
            field_of_view = Vertex(systems.field_of_view, path)
            self._axes[field_of_view] = list(image.axes)
            self._add_transformation(
                intrinsic, field_of_view, _as_transformation(image.coordinate_transformations)
            )
        self._add_transformations(systems.coordinate_transformations, path)

    @property
    def systems(self) -> list[SystemReference]:
        """List the coordinate systems and arrays of the graph.

        Examples
        --------
        >>> from lamella.models import MultiScaleMeta, axes
        >>> graph = CoordinateGraph.of_image(MultiScaleMeta(axes=axes("yx"), datasets=[]))
        >>> [system.name for system in graph.systems]
        ['intrinsic']
        """
        return [_reference(vertex) for vertex in self._axes]

    def axes(self, system: str | SystemReference) -> list[AxisMeta] | None:
        """Return the axes of a system; None if another document describes them."""
        axes = self._axes[self._find_vertex(system)]
        return None if axes is None else [axis.copied() for axis in axes]

    def between(self, source: str | SystemReference, target: str | SystemReference) -> Transformation:
        """Find the transformation from one system to another: the path with the fewest steps.

        Parameters
        ----------
        source, target : str or SystemReference
            The name of a system of the document, or the path of a level; a SystemReference for a system in a
            group below.

        Returns
        -------
        Transformation
            Its input and output are the two systems.

        Raises
        ------
        InvalidArgumentError
            There is no such system, or no usable path between the two.
        """
        start, end = self._find_vertex(source), self._find_vertex(target)
        reached_by: dict[Vertex, tuple[Vertex, _Step]] = {}
        queue = deque([start])
        while queue and end not in reached_by and start != end:
            vertex = queue.popleft()
            for step in self._steps.get(vertex, []):
                if step.vertex != start and step.vertex not in reached_by:
                    reached_by[step.vertex] = (vertex, step)
                    queue.append(step.vertex)
        if start != end and end not in reached_by:
            raise InvalidArgumentError(self._describe_missing_path(start, end))
        path: list[Transformation] = []
        vertex = end
        while vertex != start:
            vertex, step = reached_by[vertex]
            path.insert(0, step.transformation)
        transformation = compose(*path) if path else Identity()
        transformation.input, transformation.output = _reference(start), _reference(end)
        return transformation

    def _describe_missing_path(self, start: Vertex, end: Vertex) -> str:
        reasons = "; ".join(self._unusable)
        return (
            f"Nothing leads from the coordinate system {start} to {end}: "
            f"{reasons or 'add a transformation that joins them'}."
        )

    def _find_vertex(self, system: str | SystemReference) -> Vertex:
        if isinstance(system, SystemReference):
            vertex = Vertex(system.name or "", (system.path or "").strip("/"))
            if vertex in self._axes:
                return vertex
        else:
            for vertex in (Vertex(system), Vertex("", system.strip("/"))):
                if vertex in self._axes:
                    return vertex
            vertex = Vertex(system)
        vertices = ", ".join(map(str, self._axes)) or "none"
        raise InvalidArgumentError(f"There is no coordinate system {vertex}: there are {vertices}.")

    def _add_systems(
        self,
        systems: Iterable[CoordinateSystemMeta],
        path: str = "",
        default_axes: list[AxisMeta] | None = None,
    ) -> None:
        for system in systems:
            axes = default_axes if system.axes is None else system.axes
            self._axes.setdefault(Vertex(system.name, path), axes)

    def _add_transformations(self, transformations: Iterable[Transformation], path: str = "") -> None:
        for transformation in transformations:
            ends = [_vertex(side, path) for side in (transformation.input, transformation.output)]
            if None in ends:
                self._unusable.append(clause(f"{transformation.title} has no input or output (CT-20)"))
                continue
            source, target = [end for end in ends if end is not None]
            self._add_transformation(source, target, transformation)

    def _add_transformation(self, source: Vertex, target: Vertex, transformation: Transformation) -> None:
        for vertex in (source, target):
            self._axes.setdefault(vertex, None)
        if isinstance(transformation, OtherTransformation):
            self._unusable.append(clause(transformation._refusal_text(f"lead from {source} to {target}")))
            return
        problem = self._describe_misfit(source, target, transformation)
        if problem:
            self._unusable.append(problem)
            return
        self._steps.setdefault(source, []).append(_Step(target, transformation))
        try:
            inverse = transformation.inverse()
        except InvalidArgumentError as error:
            self._unusable.append(clause(error))
            return
        # The inverse of a byDimension lacks input axes that its items do not read.
        problem = self._describe_misfit(target, source, inverse)
        if problem:
            self._unusable.append(f"the inverse of {clause(problem)}")
        else:
            self._steps.setdefault(target, []).append(_Step(source, inverse))

    def _describe_misfit(self, source: Vertex, target: Vertex, transformation: Transformation) -> str:
        """Describe why the parameters do not fit the axes of the systems (CT-27); empty if they fit."""
        source_axes, target_axes = self._axes[source], self._axes[target]
        if source_axes is None:
            return ""
        try:
            count = transformation.axes_out(len(source_axes))
        except InvalidArgumentError as error:
            return clause(error)
        if target_axes is not None and count != len(target_axes) and transformation.type != "coordinates":
            return clause(
                f"{transformation.title} makes {count} axes, and the system {target} has {len(target_axes)} (CT-27)"
            )
        return ""


def _vertex(reference: SystemReference | None, path: str) -> Vertex | None:
    """Return the vertex of one side of a transformation in the group at a path; None if the side is missing."""
    if reference is None or not (reference.name or reference.path):
        return None
    relative_path = (reference.path or "").strip("/")
    return Vertex(reference.name or "", f"{path}/{relative_path}".strip("/"))


def _reference(vertex: Vertex) -> SystemReference:
    return SystemReference(name=vertex.name or None, path=vertex.path or None)


def _as_transformation(transforms: Iterable[TransformationMeta]) -> Transformation:
    """Convert the scales and translations of a level or an image to one transformation."""
    steps: list[Transformation] = []
    for transform in transforms:
        if transform.type == "scale" and transform.scale is not None:
            steps.append(Scale(scale=transform.scale))
        elif transform.type == "translation" and transform.translation is not None:
            steps.append(Translation(translation=transform.translation))
        elif transform.type != "identity":
            return OtherTransformation.from_json(transform.to_json())
    return compose(*steps)
