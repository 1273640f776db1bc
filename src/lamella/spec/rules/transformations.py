"""Rules CT-20 to CT-26 and SC of 0.6: where transformations are allowed and what they may connect, also in a scene.

`transformation_types` checks the parameters of each type.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from lamella.spec.rules.coordinate_systems import check_connected, check_systems
from lamella.spec.rules.raw_json import (
    datasets,
    describe,
    intrinsic_system,
    is_text,
    objects,
    output_system,
    systems,
)
from lamella.spec.rules.transformation_types import check_parameters
from lamella.spec.rules.version_traits import Ends, find_object

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from lamella.spec.rules.finding import Finding, Location
    from lamella.spec.rules.version_traits import RuleContext
    from lamella.types import JSON, JSONObject

Edge: TypeAlias = tuple[str, str]
"""Two vertices that a transformation connects: systems of the document, arrays, or groups elsewhere."""


class Reference(NamedTuple):
    """One side of a transformation: a coordinate system by name, a group or array by path."""

    name: str | None
    path: str | None


def read_reference(
    transformation: JSONObject, side: str, at: Location, context: RuleContext
) -> Generator[Finding, None, Reference | None]:
    """Check ``input`` or ``output`` (CT-20) and return its reference; None if it is unreadable."""
    if side not in transformation:
        yield context.finding(
            "CT-20", at, f"the transformation has no {side}", f"add {side} with a name or a path"
        )
        return None
    value = transformation[side]
    if not isinstance(value, dict):
        yield context.finding(
            "CT-20",
            (*at, side),
            f"{side} is {describe(value)}",
            "write an object with a name or a path, no plain string",
        )
        return None
    parts: dict[str, str | None] = {}
    for key in ("name", "path"):
        # The text allows null for "not given", the schema doesn't: accepted.
        part = value.get(key)
        if part is not None and not isinstance(part, str):
            yield context.finding(
                "CT-20", (*at, side, key), f"{side}.{key} is {describe(part)}", "write a string"
            )
            return None
        parts[key] = part
    return Reference(parts["name"], parts["path"])


def check_level_list(
    dataset: JSONObject, at: Location, multiscale: JSONObject, context: RuleContext
) -> Iterator[Finding]:
    """Check the transformations of one dataset of a multiscale (CT-01 to CT-03, CT-20 to CT-23)."""
    value = dataset.get("coordinateTransformations")
    where = (*at, "coordinateTransformations") if "coordinateTransformations" in dataset else at
    if not isinstance(value, list) or not value:
        yield context.finding(
            "CT-01",
            where,
            f"coordinateTransformations is {describe(value)}",
            "list one scale, identity or sequence",
        )
        return
    allowed = context.traits.dataset_types
    kinds = [item.get("type") if isinstance(item, dict) else None for item in value]
    fitting = [kind for kind in kinds if kind in allowed]
    if not fitting or kinds.count("scale") > 1:
        yield context.finding("CT-03", where, f"the list has {len(fitting)} scales", "keep exactly one scale")
    elif len(value) > 1:
        yield context.finding(
            "CT-21",
            where,
            f"the list has {len(value)} transformations",
            "keep one; put a scale and its translation in a sequence",
        )
    for index, transformation in enumerate(value):
        yield from _check_level_entry(transformation, (*where, index), dataset, multiscale, context)


def _check_level_entry(
    entry: JSON, at: Location, dataset: JSONObject, multiscale: JSONObject, context: RuleContext
) -> Iterator[Finding]:
    if not isinstance(entry, dict) or not isinstance(entry.get("type"), str):
        yield context.finding(
            "CT-01", at, f"the transformation is {describe(entry)}", "write an object with a type"
        )
        return
    kind = entry["type"]
    if kind not in context.traits.dataset_types:
        allowed = ", ".join(context.traits.dataset_types)
        yield context.finding(
            "CT-02", (*at, "type"), f"the type is {describe(kind)}", f"use one of {allowed}"
        )
    elif kind == "sequence":
        yield from _check_level_sequence(entry, at, context)
    source = yield from read_reference(entry, "input", at, context)
    if source is not None:
        yield from _check_level_input(source, (*at, "input"), dataset, context)
    target = yield from read_reference(entry, "output", at, context)
    if target is not None:
        yield from _check_level_output(target, (*at, "output"), multiscale, context)
    axes = systems(multiscale).get(target.name or "") if target is not None else None
    count = len(axes) if axes else None
    if kind in context.traits.dataset_types:
        yield from check_parameters(entry, at, Ends(count, count), context)


def _check_level_sequence(entry: JSONObject, at: Location, context: RuleContext) -> Iterator[Finding]:
    kinds = [item.get("type") for _, item in objects(entry.get("transformations"))]
    if kinds == ["scale", "translation"]:
        return
    where = (*at, "transformations") if "transformations" in entry else at
    yield context.finding(
        "CT-21",
        where,
        f"the sequence contains {describe(kinds)}",
        "put one scale and then one translation in it",
    )


def _check_level_input(
    source: Reference, at: Location, dataset: JSONObject, context: RuleContext
) -> Iterator[Finding]:
    path = dataset.get("path")
    if source.path is None:
        yield context.finding("CT-22", at, "the input has no path", "write the path of the dataset")
    elif isinstance(path, str) and source.path != path:
        yield context.finding(
            "CT-22",
            (*at, "path"),
            f"the input is {describe(source.path)}, the dataset is {describe(path)}",
            "write the path of the dataset",
        )
    if source.name is not None:
        yield context.finding(
            "CT-22", (*at, "name"), "the input has a name", "remove it: the path is enough", level="SHOULD"
        )


def _check_level_output(
    target: Reference, at: Location, multiscale: JSONObject, context: RuleContext
) -> Iterator[Finding]:
    if target.name is None:
        yield context.finding("CT-23", at, "the output has no name", "write the name of a coordinate system")
    elif target.name not in systems(multiscale):
        yield context.finding(
            "CT-23",
            (*at, "name"),
            f"there is no coordinate system {describe(target.name)}",
            "write the name of a system of this multiscale",
        )
    elif target.name != intrinsic_system(multiscale):
        yield context.finding(
            "CT-23",
            (*at, "name"),
            f"this level leads to {describe(target.name)}, the first one elsewhere",
            "let all levels lead to the same system",
        )
    if target.path is not None:
        yield context.finding(
            "CT-23", (*at, "path"), "the output has a path", "remove it: the name is enough", level="SHOULD"
        )


def check_further_list(multiscale: JSONObject, at: Location, context: RuleContext) -> Iterator[Finding]:
    """Check the transformations of a whole multiscale (CT-07, CT-20, CT-24, CT-25) and the graph (CS-04)."""
    edges: list[Edge | None] = []
    for _, dataset in datasets(multiscale):
        output = output_system(dataset)
        edges.append((f"array {describe(dataset.get('path'))}", output) if output is not None else None)
    if "coordinateTransformations" in multiscale:
        value = multiscale["coordinateTransformations"]
        where = (*at, "coordinateTransformations")
        if not isinstance(value, list) or not value:
            yield context.finding(
                "CT-07", where, f"it is {describe(value)}", "list transformations, or leave it out"
            )
            return
        for index, entry in enumerate(value):
            edges.append((yield from _check_further(entry, (*where, index), multiscale, context)))
    yield from _check_graph(multiscale, edges, at, context)


def _check_graph(
    owner: JSONObject, edges: list[Edge | None], at: Location, context: RuleContext
) -> Iterator[Finding]:
    """Check the graph, unless one of its edges is unreadable, which is a finding already."""
    known = [edge for edge in edges if edge is not None]
    if len(known) == len(edges) and "coordinateSystems" in owner:
        yield from check_connected(systems(owner), known, (*at, "coordinateSystems"), context)


def _check_further(
    entry: JSON, at: Location, multiscale: JSONObject, context: RuleContext
) -> Generator[Finding, None, Edge | None]:
    if not isinstance(entry, dict):
        yield context.finding(
            "CT-20", at, f"the transformation is {describe(entry)}", "write an object with a type"
        )
        return None
    source = yield from read_reference(entry, "input", at, context)
    target = yield from read_reference(entry, "output", at, context)
    known = systems(multiscale)
    counts: list[int | None] = []
    for side, reference in (("input", source), ("output", target)):
        if reference is not None:
            yield from _check_side(reference, (*at, side), known, context)
        local = reference is not None and reference.path is None
        axes = known.get(reference.name or "") if reference is not None and local else None
        counts.append(len(axes) if axes else None)
    yield from check_parameters(entry, at, Ends(*counts), context, values_rule="CT-07")
    if source is None or target is None or not (_is_known(source, known) and _is_known(target, known)):
        return None
    yield from _check_ends(entry, at, (source, target), intrinsic_system(multiscale), context)
    return _vertex(source), _vertex(target)


def _is_known(reference: Reference, known: dict[str, list[JSON]]) -> bool:
    """Return whether a side names a system of this document, or one in another group."""
    return reference.name is not None and (bool(reference.path) or reference.name in known)


def _check_side(
    reference: Reference, at: Location, known: dict[str, list[JSON]], context: RuleContext
) -> Iterator[Finding]:
    if reference.name is None:
        yield context.finding("CT-24", at, "there is no name", "write the name of a coordinate system")
    elif reference.path is None and reference.name not in known:
        yield context.finding(
            "CT-24",
            (*at, "name"),
            f"there is no coordinate system {describe(reference.name)}",
            "write the name of a system of this multiscale, or add the path of its labels group",
        )
    elif reference.path is not None and reference.path.strip("/").split("/")[0] != "labels":
        yield context.finding(
            "CT-24",
            (*at, "path"),
            f"the path {describe(reference.path)} is no labels group",
            "refer to a system of this multiscale or of a group below labels",
        )


def _check_ends(
    entry: JSONObject,
    at: Location,
    ends: tuple[Reference, Reference],
    intrinsic: str | None,
    context: RuleContext,
) -> Iterator[Finding]:
    if intrinsic is not None and Reference(intrinsic, None) not in ends:
        yield context.finding(
            "CT-24", at, "neither side is the system of the levels", f"start or end at {describe(intrinsic)}"
        )
    if all(end.path is None for end in ends):
        return
    kind = entry.get("type")
    inner = [item.get("type") for _, item in objects(entry.get("transformations"))]
    simple = kind in ("identity", "scale", "translation") or (
        kind == "sequence" and inner == ["scale", "translation"]
    )
    if not simple:
        yield context.finding(
            "CT-25",
            (*at, "type") if "type" in entry else at,
            f"a transformation of type {describe(kind)} leads to a labels group",
            "use identity, scale, translation, or a sequence of scale and translation",
        )


def _vertex(reference: Reference) -> str:
    return f"group {reference.path}" if reference.path else str(reference.name)


def check_scene_list(scene: JSONObject, at: Location, context: RuleContext) -> Iterator[Finding]:
    """Check ``scene.coordinateTransformations`` (SC-01, CT-20, CT-26) and the graph (CS-04)."""
    if "coordinateTransformations" not in scene:
        yield context.finding("SC-01", at, "the scene has no coordinateTransformations", "list at least one")
        return
    value = scene["coordinateTransformations"]
    where = (*at, "coordinateTransformations")
    if not isinstance(value, list) or not value:
        yield context.finding("SC-01", where, f"it is {describe(value)}", "list at least one transformation")
        return
    known = systems(scene)
    edges: list[Edge | None] = []
    for index, entry in enumerate(value):
        edges.append((yield from _check_scene_entry(entry, (*where, index), known, context)))
    yield from _check_graph(scene, edges, at, context)


def _check_scene_entry(
    entry: JSON, at: Location, known: dict[str, list[JSON]], context: RuleContext
) -> Generator[Finding, None, Edge | None]:
    if not isinstance(entry, dict):
        yield context.finding(
            "SC-01", at, f"the transformation is {describe(entry)}", "write an object with a type"
        )
        return None
    ends: list[Reference] = []
    counts: list[int | None] = []
    for side in ("input", "output"):
        reference = yield from read_reference(entry, side, at, context)
        axes = None
        if reference is not None:
            yield from _check_scene_side(entry[side], reference, (*at, side), known, context)
            ends.append(reference)
            # An empty path means the scene itself.
            axes = known.get(reference.name or "") if not reference.path else None
        counts.append(len(axes) if axes else None)
    yield from check_parameters(entry, at, Ends(*counts), context)
    if len(ends) < 2 or not all(_is_known(end, known) for end in ends):
        return None
    return _vertex(ends[0]), _vertex(ends[1])


def _check_scene_side(
    value: JSONObject, reference: Reference, at: Location, known: dict[str, list[JSON]], context: RuleContext
) -> Iterator[Finding]:
    extra = [key for key in value if key not in ("name", "path")]
    if extra:
        yield context.finding(
            "SC-01", (*at, extra[0]), f"there is a key {describe(extra[0])}", "keep only name and path"
        )
    if not is_text(reference.name):
        yield context.finding("CT-26", at, "there is no name", "write the name of a coordinate system")
    elif not reference.path and reference.name not in known:
        yield context.finding(
            "CT-26",
            (*at, "name"),
            f"the scene has no coordinate system {describe(reference.name)}",
            "add the path of the group that has it, or the system",
        )


def check_scene(ome: JSONObject, at: Location, context: RuleContext) -> Iterator[Finding]:
    """Check ``scene``."""
    part = yield from find_object(
        ome, "scene", at, context, "SC-01", "write an object with coordinateTransformations"
    )
    if part is None:
        return
    scene, where = part
    if "coordinateSystems" in scene:
        # The bounds for arrays (AX-08 to AX-10) apply to multiscales only.
        yield from check_systems(
            scene["coordinateSystems"], (*where, "coordinateSystems"), context, rule="SC-02", bounded=False
        )
    yield from check_scene_list(scene, where, context)
