"""Plan a repair: walk the store as ``validate`` does, and draft new contents of the documents that can be fixed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lamella.ops.repair.fixes import Facts, apply_fixes
from lamella.ops.repair.images import dimension_names
from lamella.ops.repair.plates import with_exchanged_names
from lamella.ops.validation.walk import Inspection
from lamella.spec.rules import VERSION_TRAITS
from lamella.spec.rules.value import is_integer, objects, strings
from lamella.spec.versions import by_name
from lamella.store.keys import V2, V3, join
from lamella.store.metadata import format_v2

if TYPE_CHECKING:
    from collections.abc import Callable

    from lamella.ops.raw_nodes import ArrayNode, StoredNode
    from lamella.ops.repair.changes import Drafts
    from lamella.ops.validation.plate import Fields
    from lamella.ops.validation.tables import TableGroup
    from lamella.ops.validation.walk import CheckedGroup
    from lamella.spec.rules import Kind, VersionTraits
    from lamella.types import JSON, JSONObject

_OME_KEYS = (
    "multiscales",
    "omero",
    "image-label",
    "labels",
    "plate",
    "well",
    "bioformats2raw.layout",
    "series",
    "scene",
)


class Planner:
    """Drafts the fixes of a store; later checks read drafts in place of the stored documents."""

    def __init__(self, drafts: Drafts) -> None:
        self.drafts = drafts
        self._reader = drafts.reader()
        self._fields: dict[str, Fields] = {}
        self._store_version: Callable[[], str | None] = lambda: None

    def plan(self, root: str) -> None:
        """Draft the fixes of everything at and below a root."""
        inspection = Inspection(self._reader, self._fix)
        self._store_version = lambda: inspection.version
        inspection.walk(root)
        for group in inspection.tables:
            self._fix_tables(group)
        for copies in inspection.consolidated:
            if copies.stale:
                self.drafts.drop_consolidated(copies.path, ("LM-08",))

    def _fix(self, checked: CheckedGroup) -> None:
        node = checked.node
        self._fix_comments(node)
        # If a store has two versions or Zarr formats, the right one is unknown.
        if (
            checked.version != self._store_version()
            or checked.version not in VERSION_TRAITS
            or len(node.formats) > 1
        ):
            return
        traits = VERSION_TRAITS[checked.version]
        if node.unreadable or not isinstance(node.attributes, dict):
            return
        attributes, rules = _move_ome(node.attributes, traits)
        ome = attributes.get("ome") if traits.wrapper else attributes
        if ome is None and checked.kind == "labels":
            ome = {}  # its content can be derived from the store
            rules += ("ST-02", "ST-03")
        if not isinstance(ome, dict):
            return
        if traits.zarr_format == 2 and V2.group not in node.documents:
            self.drafts.put(node.path, V2.group, dict(format_v2.GROUP_DOCUMENT), ("ST-01", "LM-01"))
        facts = self._facts(checked, ome)
        for kind in _kinds(checked):
            ome, fixed_rules = apply_fixes(kind, ome, facts)
            rules += fixed_rules
        self._store_fields(checked, ome)
        if rules:
            new = attributes | {"ome": ome} if traits.wrapper else ome
            self.drafts.put_attributes(node.path, new, traits.zarr_format, rules)
        self._fix_arrays(checked, ome, traits)
        if checked.kind == "plate":
            self._fix_rows(checked)

    def _fix_tables(self, group: TableGroup) -> None:
        """List the tables that exist, each once."""
        node = self._reader.group(group.path)
        attributes = node.attributes
        names = [name for name in dict.fromkeys(group.names) if name not in group.absent]
        if (
            isinstance(attributes, dict)
            and attributes.get("tables") != names
            and node.zarr_format is not None
        ):
            self.drafts.put_attributes(
                group.path, attributes | {"tables": names}, node.zarr_format, ("LM-21",)
            )

    def _fix_comments(self, node: StoredNode) -> None:
        for finding in node.findings:
            # NaN and Infinity (LM-03) have no JSON that a fix could write.
            has_constants = any(
                other.rule == "LM-03" and other.file == finding.file for other in node.findings
            )
            if finding.rule == "ST-06" and finding.file in node.documents and not has_constants:
                self.drafts.put(node.path, finding.file, node.documents[finding.file], ("ST-06",))

    # -- facts -------------------------------------------------------------------------------------------------------

    def _facts(self, checked: CheckedGroup, ome: JSONObject) -> Facts:
        node = checked.node
        lost = frozenset(
            path
            for path in _listed(checked.kind, ome)
            if path not in checked.members and path and not self._reader.exists(join(node.path, path))
        )
        fields: dict[str, Fields] | None = None
        swapped: frozenset[str] = frozenset()
        if checked.kind == "plate":
            swapped = frozenset(filter(lambda path: self._is_swapped(node.path, path, checked), lost))
            existing = [path for path in checked.fields if path not in lost]
            if all(join(node.path, path) in self._fields for path in existing):
                fields = {path: self._fields[join(node.path, path)] for path in existing}
        finest = next(iter(checked.arrays.values()), None)
        dtype = finest.facts.dtype if finest is not None and finest.facts is not None else ""
        return Facts(checked.version, lost, swapped, tuple(checked.unlisted), fields, dtype)

    def _is_swapped(self, plate: str, path: str, checked: CheckedGroup) -> bool:
        """Return whether a missing well is in the store, unlisted, with row and column exchanged."""
        other = with_exchanged_names(path)
        return (
            path.count("/") == 1
            and other not in _listed("plate", checked.node.ome)
            and self._reader.exists(join(plate, other))
        )

    def _store_fields(self, checked: CheckedGroup, ome: JSONObject) -> None:
        """Store the images that a well lists now, for the counts of its plate."""
        well = ome.get("well")
        if checked.kind != "well" or not isinstance(well, dict):
            return
        listed_images = [
            image for _, image in objects(well.get("images")) if isinstance(image.get("path"), str)
        ]
        # Of entries with one path the first counts.
        acquisitions: dict[str, JSON] = {
            image["path"]: image.get("acquisition") for image in reversed(listed_images)
        }
        self._fields[checked.node.path] = [
            (path, int(acquisition) if is_integer(acquisition) else None)
            for path, acquisition in acquisitions.items()
        ]

    # -- arrays and rows -----------------------------------------------------------------------------------------------

    def _fix_arrays(self, checked: CheckedGroup, ome: JSONObject, traits: VersionTraits) -> None:
        for path, array in checked.arrays.items():
            self._fix_comments(array)
            self._write_separator(array, traits)
            if array.facts is None or array.zarr_format != 3 or V3.group not in array.documents:
                continue
            document = dict(array.documents[V3.group])
            rules: tuple[str, ...] = ()
            names = dimension_names(ome, path, array.facts.dimension_names, len(array.facts.shape), traits)
            if names is not None:
                document["dimension_names"] = names
                rules += ("ST-05",)
            separator = self._reader.other_separator(array)
            if separator is not None:
                document["chunk_key_encoding"] = {
                    "name": "default",
                    "configuration": {"separator": separator},
                }
                rules += ("LM-09",)
            if rules:
                self.drafts.put(array.path, V3.group, document, rules)

    def _write_separator(self, array: ArrayNode, traits: VersionTraits) -> None:
        """Write the version's separator of chunk keys, if all chunks are stored under such keys."""
        separator, document = traits.chunk_separator, array.documents.get(V2.array)
        if separator != "/" or document is None or document.get("dimension_separator", ".") == separator:
            return
        if self._reader.are_nested(array.path):
            self.drafts.put(array.path, V2.array, document | {"dimension_separator": separator}, ("ST-04",))

    def _fix_rows(self, checked: CheckedGroup) -> None:
        """Write the documents of row folders with wells."""
        for row in dict.fromkeys(path.partition("/")[0] for path in checked.members):
            node = self._reader.group(join(checked.node.path, row))
            if node.zarr_format == 2 and V2.group not in node.documents:
                self.drafts.put(node.path, V2.group, dict(format_v2.GROUP_DOCUMENT), ("ST-01", "LM-01"))
            elif not node.exists:
                attributes = by_name(checked.version).with_ome({}, {})
                zarr_format = VERSION_TRAITS[checked.version].zarr_format
                self.drafts.put_attributes(node.path, attributes, zarr_format, (f"ST-0{zarr_format - 1}",))


def _kinds(checked: CheckedGroup) -> tuple[Kind, ...]:
    return ("image", "label") if checked.kind == "label" else (checked.kind,)


def _listed(kind: Kind, ome: JSONObject) -> list[str]:
    if kind == "labels":
        return strings(ome.get("labels"))
    keys = {"plate": "wells", "well": "images"}
    container = ome.get(kind) if kind in keys else None
    members = objects(container.get(keys[kind])) if isinstance(container, dict) else ()
    return [member["path"] for _, member in members if isinstance(member.get("path"), str)]


def _move_ome(attributes: JSONObject, traits: VersionTraits) -> tuple[JSONObject, tuple[str, ...]]:
    """Move metadata into the key "ome" (0.5, 0.6) or out of it (0.4); return the attributes and the fixed rules."""
    wrapped: JSON = attributes.get("ome")
    unwrapped = attributes.keys() & set(_OME_KEYS)
    if traits.wrapper and wrapped is None and unwrapped:
        other_attributes = {key: value for key, value in attributes.items() if key not in unwrapped}
        return other_attributes | {"ome": {key: attributes[key] for key in attributes if key in unwrapped}}, (
            "ST-03",
        )
    if not traits.wrapper and isinstance(wrapped, dict) and not unwrapped and wrapped.keys() & set(_OME_KEYS):
        other_attributes = {key: value for key, value in attributes.items() if key != "ome"}
        return other_attributes | {key: value for key, value in wrapped.items() if key != "version"}, (
            "ST-01",
        )
    return attributes, ()
