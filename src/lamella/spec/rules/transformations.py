"""Rules CT-20 to CT-26 and SC of 0.6: where transformations are allowed and what they may connect, also in a scene.

`transformation_types` checks the parameters of each type.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from lamella.spec.rules.axes import check_connected, check_systems
from lamella.spec.rules.transformation_types import check_parameters
from lamella.spec.rules.value import (
    Ends,
    describe,
    find_object,
    intrinsic_system,
    is_text,
    objects,
    output_system,
    systems,
)

if TYPE_CHECKING:
    from collections.abc import Generator

    from lamella.spec.rules.finding import Finding
    from lamella.spec.rules.value import Findings, Value
    from lamella.types import JSON, JSONObject

Systems: TypeAlias = "dict[str, list[JSON]]"
"""The axes of coordinate systems by name."""

Edge: TypeAlias = tuple[str, str]
"""Two vertices that a transformation connects: systems of the document, arrays, or groups elsewhere."""


class Reference(NamedTuple):
    """One side of a transformation: a coordinate system by name, a group or array by path."""

    name: str | None
    path: str | None


def _read_reference(transformation: Value, side: str) -> Generator[Finding, None, Reference | None]:
    """Check ``input`` or ``output`` (CT-20) and return its reference; None if it is unreadable."""
    if side not in transformation.raw:
        found = f"the transformation has no {side}"
        yield transformation.finding("CT-20", found, f"add {side} with a name or a path")
        return None
    reference = transformation.raw[side]
    if not isinstance(reference, dict):
        yield transformation.wrong("CT-20", side, "write an object with a name or a path, no plain string")
        return None
    for key in ("name", "path"):
        # The text allows null for a missing key, and the schema does not: accepted.
        if reference.get(key) is not None and not isinstance(reference[key], str):
            yield transformation[side].wrong("CT-20", key, "write a string", name=f"{side}.{key}")
            return None
    return Reference(reference.get("name"), reference.get("path"))


def check_level_list(dataset: Value, own_systems: Systems, intrinsic: str | None) -> Findings:
    """Check the transformations of one dataset (CT-01 to CT-03, CT-20 to CT-23).

    ``own_systems`` are the systems of its multiscale; all levels have to lead to the one named ``intrinsic``.
    """
    key = "coordinateTransformations"
    if not isinstance(dataset.raw.get(key), list) or not dataset.raw[key]:
        yield dataset.wrong("CT-01", key, "list one scale, identity or sequence")
        return
    steps = dataset[key]
    kinds = [item.get("type") if isinstance(item, dict) else None for item in steps.raw]
    fitting = [kind for kind in kinds if kind in dataset.traits.dataset_types]
    if not fitting or kinds.count("scale") > 1:
        yield steps.finding("CT-03", f"the list has {len(fitting)} scales", "keep exactly one scale")
    elif len(kinds) > 1:
        found = f"the list has {len(kinds)} transformations"
        yield steps.finding("CT-21", found, "keep one; put a scale and its translation in a sequence")
    for entry in steps:
        yield from _check_level_entry(entry, dataset.raw.get("path"), own_systems, intrinsic)


def _check_level_entry(entry: Value, path: JSON, own_systems: Systems, intrinsic: str | None) -> Findings:
    kind = entry.raw.get("type") if isinstance(entry.raw, dict) else None
    if not isinstance(kind, str):
        yield entry.finding("CT-01", f"the transformation is {entry}", "write an object with a type")
        return
    allowed = entry.traits.dataset_types
    if kind not in allowed:
        yield entry.wrong("CT-02", "type", f"use one of {', '.join(allowed)}", name="the type")
    elif kind == "sequence":
        yield from _check_level_sequence(entry)
    source = yield from _read_reference(entry, "input")
    if source is not None:
        yield from _check_level_input(entry["input"], source, path)
    target = yield from _read_reference(entry, "output")
    if target is not None:
        yield from _check_level_output(entry["output"], target, own_systems, intrinsic)
    axes = own_systems.get(target.name or "") if target is not None else None
    count = len(axes) if axes else None
    if kind in allowed:
        yield from check_parameters(entry, Ends(count, count))


def _check_level_sequence(entry: Value) -> Findings:
    kinds = [item.get("type") for _, item in objects(entry.raw.get("transformations"))]
    if kinds != ["scale", "translation"]:
        where = ("transformations",) if "transformations" in entry.raw else ()
        found = f"the sequence contains {describe(kinds)}"
        yield entry.finding("CT-21", found, "put one scale and then one translation in it", *where)


def _check_level_input(side: Value, source: Reference, path: JSON) -> Findings:
    remedy = "write the path of the dataset"
    if source.path is None:
        yield side.finding("CT-22", "the input has no path", remedy)
    elif isinstance(path, str) and source.path != path:
        found = f"the input is {describe(source.path)}, the dataset is {describe(path)}"
        yield side.finding("CT-22", found, remedy, "path")
    if source.name is not None:
        remedy = "remove it: the path is enough"
        yield side.finding("CT-22", "the input has a name", remedy, "name", level="SHOULD")


def _check_level_output(
    side: Value, target: Reference, own_systems: Systems, intrinsic: str | None
) -> Findings:
    if target.name is None:
        yield side.finding("CT-23", "the output has no name", "write the name of a coordinate system")
    elif target.name not in own_systems:
        found = f"there is no coordinate system {describe(target.name)}"
        yield side.finding("CT-23", found, "write the name of a system of this multiscale", "name")
    elif target.name != intrinsic:
        found = f"this level leads to {describe(target.name)}, the first one elsewhere"
        yield side.finding("CT-23", found, "let all levels lead to the same system", "name")
    if target.path is not None:
        remedy = "remove it: the name is enough"
        yield side.finding("CT-23", "the output has a path", remedy, "path", level="SHOULD")


def check_further_list(multiscale: Value) -> Findings:
    """Check the transformations of a whole multiscale (CT-07, CT-20, CT-24, CT-25) and the graph (CS-04)."""
    edges: list[Edge | None] = []
    for _, dataset in objects(multiscale.raw.get("datasets")):
        output = output_system(dataset)
        edges.append((f"array {describe(dataset.get('path'))}", output) if output is not None else None)
    if "coordinateTransformations" in multiscale.raw:
        further = multiscale["coordinateTransformations"]
        if not isinstance(further.raw, list) or not further.raw:
            yield further.finding("CT-07", f"it is {further}", "list transformations, or leave it out")
            return
        for entry in further:
            edge = yield from _check_further(entry, multiscale.raw)
            edges.append(edge)
    yield from _check_graph(multiscale, edges)


def _check_graph(owner: Value, edges: list[Edge | None]) -> Findings:
    """Check the graph, unless an edge is unreadable (None), which is a finding already."""
    readable = [edge for edge in edges if edge is not None]
    if len(readable) == len(edges) and "coordinateSystems" in owner.raw:
        yield from check_connected(owner, systems(owner.raw), readable)


def _check_further(entry: Value, multiscale: JSONObject) -> Generator[Finding, None, Edge | None]:
    if not isinstance(entry.raw, dict):
        yield entry.finding("CT-20", f"the transformation is {entry}", "write an object with a type")
        return None
    source = yield from _read_reference(entry, "input")
    target = yield from _read_reference(entry, "output")
    own_systems = systems(multiscale)
    counts: list[int | None] = []
    for side, reference in (("input", source), ("output", target)):
        if reference is not None:
            yield from _check_side(entry[side], reference, own_systems)
        local = reference is not None and reference.path is None
        axes = own_systems.get(reference.name or "") if reference is not None and local else None
        counts.append(len(axes) if axes else None)
    yield from check_parameters(entry, Ends(*counts), values_rule="CT-07")
    if (
        source is None
        or target is None
        or not (_is_known(source, own_systems) and _is_known(target, own_systems))
    ):
        return None
    yield from _check_ends(entry, (source, target), intrinsic_system(multiscale))
    return _vertex(source), _vertex(target)


def _is_known(reference: Reference, own_systems: Systems) -> bool:
    """Return whether a side names a system of this document, or one in another group."""
    return reference.name is not None and (bool(reference.path) or reference.name in own_systems)


def _check_side(side: Value, reference: Reference, own_systems: Systems) -> Findings:
    if reference.name is None:
        yield side.finding("CT-24", "there is no name", "write the name of a coordinate system")
    elif reference.path is None and reference.name not in own_systems:
        found = f"there is no coordinate system {describe(reference.name)}"
        remedy = "write the name of a system of this multiscale, or add the path of its labels group"
        yield side.finding("CT-24", found, remedy, "name")
    elif reference.path is not None and reference.path.strip("/").split("/")[0] != "labels":
        found = f"the path {describe(reference.path)} is no labels group"
        remedy = "refer to a system of this multiscale or of a group below labels"
        yield side.finding("CT-24", found, remedy, "path")


def _check_ends(entry: Value, ends: tuple[Reference, Reference], intrinsic: str | None) -> Findings:
    if intrinsic is not None and Reference(intrinsic, None) not in ends:
        found = "neither side is the system of the levels"
        yield entry.finding("CT-24", found, f"start or end at {describe(intrinsic)}")
    if all(end.path is None for end in ends):
        return
    kind = entry.raw.get("type")
    inner = [item.get("type") for _, item in objects(entry.raw.get("transformations"))]
    is_pair = kind == "sequence" and inner == ["scale", "translation"]
    if kind not in ("identity", "scale", "translation") and not is_pair:
        found = f"a transformation of type {describe(kind)} leads to a labels group"
        remedy = "use identity, scale, translation, or a sequence of scale and translation"
        yield entry.finding("CT-25", found, remedy, *(("type",) if "type" in entry.raw else ()))


def _vertex(reference: Reference) -> str:
    return f"group {reference.path}" if reference.path else str(reference.name)


def check_scene(ome: Value) -> Findings:
    """Check ``scene`` (SC-01, SC-02, CT-20, CT-26) and its graph (CS-04)."""
    scene = yield from find_object(ome, "scene", "SC-01", "write an object with coordinateTransformations")
    if scene is None:
        return
    if "coordinateSystems" in scene.raw:
        # The bounds for arrays (AX-08 to AX-10) apply to multiscales only.
        yield from check_systems(scene, rule="SC-02", bounded=False)
    if "coordinateTransformations" not in scene.raw:
        yield scene.finding("SC-01", "the scene has no coordinateTransformations", "list at least one")
        return
    entries = scene["coordinateTransformations"]
    if not isinstance(entries.raw, list) or not entries.raw:
        yield entries.finding("SC-01", f"it is {entries}", "list at least one transformation")
        return
    own_systems = systems(scene.raw)
    edges: list[Edge | None] = []
    for entry in entries:
        edge = yield from _check_scene_entry(entry, own_systems)
        edges.append(edge)
    yield from _check_graph(scene, edges)


def _check_scene_entry(entry: Value, own_systems: Systems) -> Generator[Finding, None, Edge | None]:
    if not isinstance(entry.raw, dict):
        yield entry.finding("SC-01", f"the transformation is {entry}", "write an object with a type")
        return None
    ends: list[Reference] = []
    counts: list[int | None] = []
    for side in ("input", "output"):
        reference = yield from _read_reference(entry, side)
        axes = None
        if reference is not None:
            yield from _check_scene_side(entry[side], reference, own_systems)
            ends.append(reference)
            # An empty path means the scene itself.
            axes = own_systems.get(reference.name or "") if not reference.path else None
        counts.append(len(axes) if axes else None)
    yield from check_parameters(entry, Ends(*counts))
    if len(ends) < 2 or not all(_is_known(end, own_systems) for end in ends):
        return None
    return _vertex(ends[0]), _vertex(ends[1])


def _check_scene_side(side: Value, reference: Reference, own_systems: Systems) -> Findings:
    extra = [key for key in side.raw if key not in ("name", "path")]
    if extra:
        found = f"there is a key {describe(extra[0])}"
        yield side.finding("SC-01", found, "keep only name and path", extra[0])
    if not is_text(reference.name):
        yield side.finding("CT-26", "there is no name", "write the name of a coordinate system")
    elif not reference.path and reference.name not in own_systems:
        found = f"the scene has no coordinate system {describe(reference.name)}"
        remedy = "add the path of the group that has it, or the system"
        yield side.finding("CT-26", found, remedy, "name")
