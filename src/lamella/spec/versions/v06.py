"""OME-NGFF 0.6: as 0.5, with named coordinate systems, all types of transformations, and scenes (RFC-5).

The drafts 0.6.dev1 to 0.6rc0, 0.9.dev1 and 0.9.dev2 are read too; 0.6 is written. In a document, levels lead to a
coordinate system, the "intrinsic" one, which has the image's axes. The transformation of the whole field of view is the
first scale and translation from there to another system of the image with the same axes. All other systems and
transformations are in ``MultiScaleMeta.systems``.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, ClassVar

from lamella.errors import InvalidArgumentError, MetadataError, clause, short_repr
from lamella.spec.axes import axes
from lamella.spec.coordinate_systems import FIELD_OF_VIEW, INTRINSIC, SceneMeta, drop_nulls
from lamella.spec.geometry import normalize_transforms
from lamella.spec.images import ImagesMeta, TransformationMeta
from lamella.spec.versions.base import PARTS, PartLocation, version_as_text
from lamella.spec.versions.v05 import PLAIN_TYPES, SYSTEMS, Version05, find_old

if TYPE_CHECKING:
    from lamella.spec.axes import AxisMeta
    from lamella.spec.base import MetaModel
    from lamella.types import JSON, JSONObject, StoredVersionName, VersionName

_STATED_NAME = re.compile(r"0\.6(?!\d)|0\.9\.?dev")
_FINAL = (None, "0.6", "0.6rc0")
"""Stated versions whose documents are spelled as those of 0.6."""


class Version06(Version05):
    """The mapping of 0.6 documents."""

    name: StoredVersionName = "0.6"
    written_as: ClassVar[VersionName] = "0.6"
    parts = PARTS | {SceneMeta: PartLocation(("scene",), is_object=True)}

    def matches(self, zarr_format: int, attributes: JSONObject) -> bool:
        """Match Zarr v3 documents that state 0.6, a draft of it or of 0.9, or that look like 0.6."""
        if zarr_format != 3:
            return False
        stated = version_as_text(self.stated_version(attributes))
        if isinstance(stated, str):
            return _STATED_NAME.match(stated) is not None
        return stated is None and _has_systems(self.ome(attributes))

    def dump(self, meta: MetaModel, attributes: JSONObject, *, trusted: bool = False) -> JSONObject:
        """Return the document with one part replaced; a draft becomes 0.6 in all its parts."""
        if self.stated_version(attributes) not in _FINAL:
            draft, attributes = attributes, self.with_ome(attributes, self.ome(attributes))
            for kind in self.parts:
                part = None if isinstance(meta, kind) else self.load(kind, draft)
                if part is not None:
                    attributes = super().dump(part, attributes, trusted=True)
        return super().dump(meta, attributes, trusted=trusted)

    def default_axes(self) -> list[AxisMeta]:
        """Return the default axes of a new image: in lower case, which every reader accepts."""
        return axes("tczyx")

    def unsupported(self, meta: MetaModel) -> list[str]:
        """Return nothing: this version supports everything."""
        return []

    def _decode(self, kind: type[MetaModel], part: JSONObject) -> JSONObject:
        multiscales = part.get("multiscales") if kind is ImagesMeta else None
        for index, scales in enumerate(multiscales if isinstance(multiscales, list) else []):
            decode_image(scales, f"ome.multiscales[{index}]")
        return part

    def _encode_images(self, part: JSONObject, old: JSONObject | None) -> None:
        part["multiscales"] = [
            encode_image(scales, find_old(old, scales, index))
            for index, scales in enumerate(part.get("multiscales", []))
        ]


def _has_systems(ome: JSONObject) -> bool:
    multiscales = ome.get("multiscales")
    first = multiscales[0] if isinstance(multiscales, list) and multiscales else None
    return "scene" in ome or (
        isinstance(first, dict) and "coordinateSystems" in first and "axes" not in first
    )


V06 = Version06()
"""OME-NGFF 0.6."""


_KEY = "coordinateTransformations"
_LEGAL_LEVELS = (["identity"], ["scale"], ["scale", "translation"])


# -- reading ------------------------------------------------------------------------------------------------


def decode_image(scales: JSON, where: str) -> None:
    """Convert one entry of multiscales of 0.6 to the fields of MultiScaleMeta.

    Missing axes, and transformations of a level that are not scales and translations, raise MetadataError.
    """
    if not isinstance(scales, dict):
        return
    scales.pop(SYSTEMS, None)
    systems: JSON = scales.pop("coordinateSystems", None)
    datasets = scales.get("datasets")
    levels = [entry for entry in datasets if isinstance(entry, dict)] if isinstance(datasets, list) else []
    if not systems and "axes" in scales:
        # Drafts, and writers that only changed the version, have a plain list of axes as 0.5 has.
        systems = [{"name": _output_name(levels) or INTRINSIC, "axes": scales["axes"]}]
    _check_systems(systems, f"{where}.coordinateSystems")
    names = [system["name"] for system in systems]
    output = _output_name(levels)
    intrinsic = output if output in names else names[0]
    intrinsic_system = systems[names.index(intrinsic)]
    if "axes" not in intrinsic_system:
        raise MetadataError(f"{where}.coordinateSystems[{names.index(intrinsic)}].axes: is missing.")
    scales["axes"] = intrinsic_system.pop("axes")
    for axis in scales["axes"] if isinstance(scales["axes"], list) else []:
        if isinstance(axis, dict):
            drop_nulls(axis)
    for index, level in enumerate(levels):
        if isinstance(level.get(_KEY), list):
            level[_KEY] = _flatten(level[_KEY], f"{where}.datasets[{index}].{_KEY}")
    _move_systems(scales, systems, str(intrinsic), where)


def _check_systems(systems: JSON, where: str) -> None:
    """Raise MetadataError unless the systems are a list of objects with names."""
    if systems is None:
        raise MetadataError(f"{where}: is missing.")
    if not isinstance(systems, list) or not systems:
        raise MetadataError(f"{where}: expected a list of coordinate systems, found {short_repr(systems)}.")
    for index, system in enumerate(systems):
        if not isinstance(system, dict) or not isinstance(system.get("name"), str):
            raise MetadataError(
                f"{where}[{index}]: expected an object with a name, found {short_repr(system)}."
            )


def _output_name(levels: list[JSONObject]) -> str | None:
    """Return the name of the system to which the levels lead, as the first level states it (CT-23)."""
    for level in levels:
        transforms = level.get(_KEY)
        for transform in transforms if isinstance(transforms, list) else []:
            name = _read_end(transform, "output")[0] if isinstance(transform, dict) else None
            if name is not None:
                return name
    return None


def _read_end(transform: JSONObject, side: str) -> tuple[str | None, str | None]:
    """Return name and path of an input or output; a text is a name, as until 0.6.dev2 (A25)."""
    reference = transform.get(side)
    if isinstance(reference, str):
        return reference, None
    if not isinstance(reference, dict):
        return None, None
    name, path = reference.get("name"), reference.get("path")
    return (name if isinstance(name, str) else None), (path if isinstance(path, str) and path else None)


def _flatten(transforms: list[JSON], where: str) -> list[JSON]:
    """Flatten the transformations of a level to a list of scales and translations."""
    steps: list[JSON] = []
    for index, transform in enumerate(transforms):
        kind = transform.get("type") if isinstance(transform, dict) else None
        if kind == "sequence" and isinstance(transform.get("transformations"), list):
            steps += _flatten(transform["transformations"], f"{where}[{index}].transformations")
        elif isinstance(transform, dict) and kind in PLAIN_TYPES:
            steps.append(_without_ends(transform))
        else:
            raise MetadataError(
                f"{where}[{index}]: the transformation of a level is an identity, a scale or a sequence of a "
                f"scale and a translation (CT-21), found {short_repr(kind or transform)}."
            )
    return steps


def _without_ends(transform: JSONObject) -> JSONObject:
    """Return a transformation without its input and output, and without a name or path of null."""
    return {
        key: value
        for key, value in transform.items()
        if key not in ("input", "output") and not (value is None and key in ("name", "path"))
    }


def _move_systems(scales: JSONObject, systems: list[JSONObject], intrinsic: str, where: str) -> None:
    """Move systems and transformations that 0.5 does not have into the key `SYSTEMS`."""
    stored = scales.pop(_KEY, None)
    if stored is not None and not isinstance(stored, list):
        raise MetadataError(f"{where}.{_KEY}: expected a list, found {short_repr(stored)}.")
    further = list(stored or [])
    by_name = {system["name"]: system for system in systems}
    axes = scales["axes"]
    field_of_view = None
    for transform in stored or []:
        if _is_field_of_view(transform, intrinsic, axes, by_name):
            field_of_view = str(_read_end(transform, "output")[0])
            further.remove(transform)
            scales[_KEY] = _flatten([transform], where)
            if by_name[field_of_view].get("axes") == axes:
                del by_name[field_of_view]["axes"]
            break
    else:
        if further and all(
            isinstance(transform, dict) and "output" not in transform for transform in further
        ):
            # As in 0.5: a transformation without input and output applies to all levels (CT-07).
            scales[_KEY], further = _flatten(further, f"{where}.{_KEY}"), []
    usual_names = [FIELD_OF_VIEW, INTRINSIC] if _KEY in scales else [INTRINSIC]
    if further or systems != [{"name": name} for name in usual_names]:
        scales[SYSTEMS] = {
            "intrinsic": intrinsic,
            "fieldOfView": field_of_view or _free_name(FIELD_OF_VIEW, by_name),
            "coordinateSystems": systems,
            _KEY: further,
        }


def _is_field_of_view(
    transform: JSON, intrinsic: str, axes: list[JSON], systems: dict[str, JSONObject]
) -> bool:
    """Return whether a transformation applies to all levels and keeps the axes, as those of 0.5 do."""
    if not isinstance(transform, dict) or not _is_plain(transform):
        return False
    (source, source_path), (target, target_path) = (
        _read_end(transform, "input"),
        _read_end(transform, "output"),
    )
    if source_path or target_path or source != intrinsic or target == intrinsic or target not in systems:
        return False
    return bool(_compared_fields(systems[target].get("axes")) == _compared_fields(axes))


def _is_plain(transform: JSON) -> bool:
    """Return whether a transformation consists of scales and translations, as those of 0.5 do."""
    if not isinstance(transform, dict):
        return False
    kind = transform.get("type")
    if kind == "sequence":
        inner = transform.get("transformations")
        return isinstance(inner, list) and bool(inner) and all(map(_is_plain, inner))
    return kind == "identity" or (kind in PLAIN_TYPES and isinstance(transform.get(kind), list))


def _compared_fields(axes: JSON) -> JSON:
    """Return name, type and unit of each axis; None for unreadable axes."""
    if not isinstance(axes, list) or not all(isinstance(axis, dict) for axis in axes):
        return None
    return [(axis.get("name"), axis.get("type"), axis.get("unit")) for axis in axes]


def _free_name(name: str, taken: dict[str, JSONObject]) -> str:
    candidate, number = name, 2
    while candidate in taken:
        candidate, number = f"{name}_{number}", number + 1
    return candidate


# -- writing ------------------------------------------------------------------------------------------------


def encode_image(scales: JSONObject, old: JSONObject | None) -> JSONObject:
    """Convert the fields of MultiScaleMeta to one entry of multiscales of 0.6, which replaces ``old``.

    Keys of a scale or a sequence that models do not have are copied from ``old``.
    """
    old = old or {}
    axes = scales.pop("axes")
    systems_meta = scales.pop(SYSTEMS, {})
    transforms = scales.pop(_KEY, None) or None
    intrinsic = systems_meta.get("intrinsic", INTRINSIC)
    field_of_view = systems_meta.get("fieldOfView", FIELD_OF_VIEW)
    further = list(systems_meta.get(_KEY, []))
    ends = {_read_end(transform, side)[0] for transform in further for side in ("input", "output")}
    systems = []
    for system in systems_meta.get("coordinateSystems", []):
        if system["name"] == intrinsic or (system["name"] == field_of_view and "axes" not in system):
            if system["name"] == intrinsic or transforms or field_of_view in ends:
                systems.append(system | {"axes": axes})
        else:
            systems.append(system)
    names = {system["name"] for system in systems}
    if intrinsic not in names:
        systems.append({"name": intrinsic, "axes": axes})
    if transforms and field_of_view not in names:
        systems.insert(0, {"name": field_of_view, "axes": axes})
    scales["coordinateSystems"] = [system | _copied_axes(system) for system in systems]
    for dataset in scales["datasets"]:
        _encode_level(dataset, intrinsic, len(axes), old)
    if transforms:
        index, old_transform = _old_transform(old.get(_KEY), intrinsic, field_of_view)
        _check_inline(transforms)
        further.insert(index, _join(transforms, {"name": intrinsic}, {"name": field_of_view}, old_transform))
    if further:
        scales[_KEY] = further
    return scales


def _copied_axes(system: JSONObject) -> JSONObject:
    return {"axes": [dict(axis) for axis in system["axes"]]} if "axes" in system else {}


def _encode_level(dataset: JSONObject, intrinsic: str, ndim: int, old: JSONObject) -> None:
    """Replace the scale and translation of a level by one transformation with an input and an output."""
    path = dataset["path"]
    stored = old.get("datasets")
    old_transform: JSONObject = {}
    for level in stored if isinstance(stored, list) else []:
        old_transforms = level.get(_KEY) if isinstance(level, dict) and level.get("path") == path else None
        if (
            isinstance(old_transforms, list)
            and len(old_transforms) == 1
            and isinstance(old_transforms[0], dict)
        ):
            old_transform = old_transforms[0]
    _check_inline(dataset[_KEY])
    transforms = _legal_transforms(dataset[_KEY], ndim, path)
    dataset[_KEY] = [_join(transforms, {"path": path}, {"name": intrinsic}, old_transform)]


def _check_inline(transforms: list[JSONObject]) -> None:
    """Raise MetadataError for numbers that are in an array instead of the document."""
    for transform in transforms:
        if transform["type"] != "identity" and transform["type"] not in transform:
            raise MetadataError(
                f"The numbers of a {transform['type']} are in the array {transform.get('path')!r}, and OME-NGFF 0.6 "
                "stores them in the document (CT-28, CT-29): read them and set them."
            )


def _legal_transforms(transforms: list[JSONObject], ndim: int, path: str) -> list[JSONObject]:
    """Return the valid equivalent: an identity, a scale, or a scale and then a translation (CT-21)."""
    if not transforms:
        return [{"type": "identity"}]
    if [transform["type"] for transform in transforms] in _LEGAL_LEVELS:
        return transforms
    try:
        models = [TransformationMeta.from_json(transform) for transform in transforms]
        return [model.to_json() for model in normalize_transforms(models, ndim)]
    except InvalidArgumentError as error:
        raise MetadataError(
            f"The transformations of level {path!r} cannot be written: {clause(error)}."
        ) from error


def _join(
    transforms: list[JSONObject], source: JSONObject, target: JSONObject, old: JSONObject
) -> JSONObject:
    """Return one transformation from a source to a target, a sequence if necessary; it replaces ``old``."""
    ends = {}
    for side, new in (("input", source), ("output", target)):
        stored = old.get(side)
        old_end = stored if isinstance(stored, dict) else {}
        ends[side] = {key: value for key, value in old_end.items() if key not in ("name", "path")} | new
    if len(transforms) == 1:
        return transforms[0] | ends
    # Keys that a list of scale and translation cannot store: the name of the sequence, and unknown keys.
    old_keys = {}
    if old.get("type") == "sequence":
        old_keys = {key: value for key, value in _without_ends(old).items() if key != "transformations"}
    return {"type": "sequence"} | old_keys | ends | {"transformations": transforms}


def _old_transform(stored: JSON, intrinsic: str, target: str) -> tuple[int, JSONObject]:
    """Return the index of the stored transformation of the whole field of view, and it; 0 and {} without one."""
    for index, transform in enumerate(stored if isinstance(stored, list) else []):
        if isinstance(transform, dict) and _is_plain(transform):
            ends = _read_end(transform, "input"), _read_end(transform, "output")
            if ends == ((intrinsic, None), (target, None)):
                return index, transform
    return 0, {}
