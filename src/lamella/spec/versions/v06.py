"""OME-NGFF 0.6: as 0.5, with named coordinate systems, all types of transformations, and scenes (RFC-5).

The drafts 0.6.dev1 to 0.6rc0, 0.9.dev1 and 0.9.dev2 are read too; 0.6 is written. The image's axes are those of the
system to which the levels lead. The transformation of the whole field of view is the first scale and translation from
there to another system of the image with the same axes; all others are in ``MultiScaleMeta.systems``.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, ClassVar

from lamella.errors import InvalidArgumentError, MetadataError, clause, short_repr
from lamella.spec.axes import axes
from lamella.spec.coordinate_systems import FIELD_OF_VIEW, INTRINSIC, SceneMeta, drop_nulls
from lamella.spec.geometry import normalize_transforms
from lamella.spec.images import ImagesMeta, TransformationMeta
from lamella.spec.versions.base import PARTS, Part
from lamella.spec.versions.v05 import PLAIN, SYSTEMS, Version05, as_text, find_old

if TYPE_CHECKING:
    from lamella.spec.axes import AxisMeta
    from lamella.spec.base import MetaModel
    from lamella.types import JSON, JSONObject, StoredVersionName, VersionName

_CLAIMED = re.compile(r"0\.6(?!\d)|0\.9\.?dev")
_FINAL = (None, "0.6", "0.6rc0")


class Version06(Version05):
    """The mapping of 0.6 documents."""

    name: StoredVersionName = "0.6"
    written_as: ClassVar[VersionName] = "0.6"
    parts = PARTS | {SceneMeta: Part(keys=("scene",), marks=("scene",), wrapped=True)}

    def matches(self, zarr_format: int, attributes: JSONObject) -> bool:
        """Match Zarr v3 documents that state 0.6, a draft of it or of 0.9, or that look like 0.6."""
        if zarr_format != 3:
            return False
        declared = as_text(self.stated_version(attributes))
        if isinstance(declared, str):
            return _CLAIMED.match(declared) is not None
        return declared is None and _has_systems(self.ome(attributes))

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
        entries = part.get("multiscales") if kind is ImagesMeta else None
        for index, scales in enumerate(entries if isinstance(entries, list) else []):
            decode_image(scales, f"ome.multiscales[{index}]")
        return part

    def _encode_images(self, part: JSONObject, old: JSONObject | None) -> None:
        part["multiscales"] = [
            encode_image(scales, find_old(old, scales, index))
            for index, scales in enumerate(part.get("multiscales", []))
        ]


def _has_systems(ome: JSONObject) -> bool:
    entries = ome.get("multiscales")
    first = entries[0] if isinstance(entries, list) and entries else None
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
    listed = scales.pop("coordinateSystems", None)
    datasets = scales.get("datasets")
    levels = [entry for entry in datasets if isinstance(entry, dict)] if isinstance(datasets, list) else []
    if not listed and "axes" in scales:
        # Drafts, and writers that only changed the version, have a plain list of axes as 0.5 has.
        listed = [{"name": _output_name(levels) or INTRINSIC, "axes": scales["axes"]}]
    systems = _checked_systems(listed, f"{where}.coordinateSystems")
    names = [system["name"] for system in systems]
    output = _output_name(levels)
    intrinsic = output if output in names else names[0]
    own = systems[names.index(intrinsic)]
    if "axes" not in own:
        raise MetadataError(f"{where}.coordinateSystems[{names.index(intrinsic)}].axes: is missing.")
    scales["axes"] = own.pop("axes")
    for axis in scales["axes"] if isinstance(scales["axes"], list) else []:
        if isinstance(axis, dict):
            drop_nulls(axis)
    for index, level in enumerate(levels):
        if isinstance(level.get(_KEY), list):
            level[_KEY] = _unwrapped(level[_KEY], f"{where}.datasets[{index}].{_KEY}")
    _set_systems_apart(scales, systems, str(intrinsic), where)


def _checked_systems(listed: JSON, where: str) -> list[JSONObject]:
    if listed is None:
        raise MetadataError(f"{where}: is missing.")
    if not isinstance(listed, list) or not listed:
        raise MetadataError(f"{where}: expected a list of coordinate systems, found {short_repr(listed)}.")
    for index, system in enumerate(listed):
        if not isinstance(system, dict) or not isinstance(system.get("name"), str):
            raise MetadataError(
                f"{where}[{index}]: expected an object with a name, found {short_repr(system)}."
            )
    return listed


def _output_name(levels: list[JSONObject]) -> str | None:
    """Return the name of the system to which the levels lead, as the first level states it (CT-23)."""
    for level in levels:
        entries = level.get(_KEY)
        for entry in entries if isinstance(entries, list) else []:
            name = _side(entry, "output")[0] if isinstance(entry, dict) else None
            if name is not None:
                return name
    return None


def _side(entry: JSONObject, side: str) -> tuple[str | None, str | None]:
    """Return name and path of an input or output; a text is a name, as until 0.6.dev2 (A25)."""
    reference = entry.get(side)
    if isinstance(reference, str):
        return reference, None
    if not isinstance(reference, dict):
        return None, None
    name, path = reference.get("name"), reference.get("path")
    return (name if isinstance(name, str) else None), (path if isinstance(path, str) and path else None)


def _unwrapped(entries: list[JSON], where: str) -> list[JSON]:
    """Flatten the transformations of a level to a list of scales and translations."""
    flat: list[JSON] = []
    for index, entry in enumerate(entries):
        kind = entry.get("type") if isinstance(entry, dict) else None
        if kind == "sequence" and isinstance(entry.get("transformations"), list):
            flat += _unwrapped(entry["transformations"], f"{where}[{index}].transformations")
        elif isinstance(entry, dict) and kind in PLAIN:
            flat.append(_bare(entry))
        else:
            raise MetadataError(
                f"{where}[{index}]: the transformation of a level is an identity, a scale or a sequence of a "
                f"scale and a translation (CT-21), found {short_repr(kind or entry)}."
            )
    return flat


def _bare(entry: JSONObject) -> JSONObject:
    return {
        key: value
        for key, value in entry.items()
        if key not in ("input", "output") and not (value is None and key in ("name", "path"))
    }


def _set_systems_apart(scales: JSONObject, systems: list[JSONObject], intrinsic: str, where: str) -> None:
    stored = scales.pop(_KEY, None)
    if stored is not None and not isinstance(stored, list):
        raise MetadataError(f"{where}.{_KEY}: expected a list, found {short_repr(stored)}.")
    further = list(stored or [])
    by_name = {system["name"]: system for system in systems}
    axes = scales["axes"]
    field_of_view = None
    for entry in stored or []:
        if _is_field_of_view(entry, intrinsic, axes, by_name):
            field_of_view = str(_side(entry, "output")[0])
            further.remove(entry)
            scales[_KEY] = _unwrapped([entry], where)
            if by_name[field_of_view].get("axes") == axes:
                del by_name[field_of_view]["axes"]
            break
    else:
        if further and all(isinstance(entry, dict) and "output" not in entry for entry in further):
            # As in 0.5: a transformation without input and output applies to all levels (CT-07).
            scales[_KEY], further = _unwrapped(further, f"{where}.{_KEY}"), []
    if further or systems != _usual_systems(_KEY in scales):
        scales[SYSTEMS] = {
            "intrinsic": intrinsic,
            "fieldOfView": field_of_view or free_name(FIELD_OF_VIEW, by_name),
            "coordinateSystems": systems,
            _KEY: further,
        }


def _usual_systems(has_field_of_view: bool) -> list[JSONObject]:
    names = [FIELD_OF_VIEW, INTRINSIC] if has_field_of_view else [INTRINSIC]
    return [{"name": name} for name in names]


def _is_field_of_view(entry: JSON, intrinsic: str, axes: list[JSON], systems: dict[str, JSONObject]) -> bool:
    """Return whether a transformation applies to all levels and keeps the axes, as those of 0.5 do."""
    if not isinstance(entry, dict) or not _is_plain(entry):
        return False
    (source, source_path), (target, target_path) = _side(entry, "input"), _side(entry, "output")
    if source_path or target_path or source != intrinsic or target == intrinsic or target not in systems:
        return False
    return bool(_meaning(systems[target].get("axes")) == _meaning(axes))


def _is_plain(entry: JSON) -> bool:
    if not isinstance(entry, dict):
        return False
    kind = entry.get("type")
    if kind == "sequence":
        inner = entry.get("transformations")
        return isinstance(inner, list) and bool(inner) and all(map(_is_plain, inner))
    return kind == "identity" or (kind in PLAIN and isinstance(entry.get(kind), list))


def _meaning(axes: JSON) -> JSON:
    if not isinstance(axes, list) or not all(isinstance(axis, dict) for axis in axes):
        return None
    return [(axis.get("name"), axis.get("type"), axis.get("unit")) for axis in axes]


def free_name(name: str, taken: dict[str, JSONObject]) -> str:
    """Return a name that is not taken yet."""
    result, number = name, 2
    while result in taken:
        result, number = f"{name}_{number}", number + 1
    return result


# -- writing ------------------------------------------------------------------------------------------------


def encode_image(scales: JSONObject, old: JSONObject | None) -> JSONObject:
    """Convert the fields of MultiScaleMeta to one entry of multiscales of 0.6, which replaces ``old``.

    The keys around a scale or a sequence are copied from ``old``.
    """
    old = old or {}
    axes = scales.pop("axes")
    apart = scales.pop(SYSTEMS, {})
    whole = scales.pop(_KEY, None) or None
    intrinsic = apart.get("intrinsic", INTRINSIC)
    target = apart.get("fieldOfView", FIELD_OF_VIEW)
    further = list(apart.get(_KEY, []))
    used = {_side(entry, side)[0] for entry in further for side in ("input", "output")}
    systems = []
    for system in apart.get("coordinateSystems", []):
        if system["name"] == intrinsic or (system["name"] == target and "axes" not in system):
            if system["name"] == intrinsic or whole or target in used:
                systems.append(system | {"axes": axes})
        else:
            systems.append(system)
    names = {system["name"] for system in systems}
    if intrinsic not in names:
        systems.append({"name": intrinsic, "axes": axes})
    if whole and target not in names:
        systems.insert(0, {"name": target, "axes": axes})
    scales["coordinateSystems"] = [system | _copied_axes(system) for system in systems]
    for dataset in scales["datasets"]:
        _wrap_level(dataset, intrinsic, len(axes), old)
    if whole:
        index, entry = _old_entry(old.get(_KEY), intrinsic, target)
        result = _wrapped(_inline(whole), {"name": intrinsic}, {"name": target}, entry)
        further.insert(index, result)
    if further:
        scales[_KEY] = further
    return scales


def _copied_axes(system: JSONObject) -> JSONObject:
    return {"axes": [dict(axis) for axis in system["axes"]]} if "axes" in system else {}


def _wrap_level(dataset: JSONObject, intrinsic: str, ndim: int, old: JSONObject) -> None:
    path = dataset["path"]
    stored = old.get("datasets")
    entry: JSONObject = {}
    for known in stored if isinstance(stored, list) else []:
        entries = known.get(_KEY) if isinstance(known, dict) and known.get("path") == path else None
        if isinstance(entries, list) and len(entries) == 1 and isinstance(entries[0], dict):
            entry = entries[0]
    transforms = _legal(_inline(dataset[_KEY]), ndim, path)
    dataset[_KEY] = [_wrapped(transforms, {"path": path}, {"name": intrinsic}, entry)]


def _inline(transforms: list[JSONObject]) -> list[JSONObject]:
    for transform in transforms:
        if transform["type"] != "identity" and transform["type"] not in transform:
            raise MetadataError(
                f"The numbers of a {transform['type']} are in the array {transform.get('path')!r}, and OME-NGFF 0.6 "
                "stores them in the document (CT-28, CT-29): read them and set them."
            )
    return transforms


def _legal(transforms: list[JSONObject], ndim: int, path: str) -> list[JSONObject]:
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


def _wrapped(
    transforms: list[JSONObject], source: JSONObject, target: JSONObject, old: JSONObject
) -> JSONObject:
    ends = {}
    for side, new in (("input", source), ("output", target)):
        stored = old.get(side)
        remaining = stored if isinstance(stored, dict) else {}
        ends[side] = {key: value for key, value in remaining.items() if key not in ("name", "path")} | new
    if len(transforms) == 1:
        return transforms[0] | ends
    # Keys that a list of scale and translation cannot store: the name of the sequence, and unknown keys.
    around = {}
    if old.get("type") == "sequence":
        around = {key: value for key, value in _bare(old).items() if key != "transformations"}
    return {"type": "sequence"} | around | ends | {"transformations": transforms}


def _old_entry(stored: JSON, intrinsic: str, target: str) -> tuple[int, JSONObject]:
    """Return the index of the transformation of the whole field of view, and the transformation."""
    for index, entry in enumerate(stored if isinstance(stored, list) else []):
        if isinstance(entry, dict) and _is_plain(entry):
            ends = _side(entry, "input"), _side(entry, "output")
            if ends == ((intrinsic, None), (target, None)):
                return index, entry
    return 0, {}
