"""Walk a store for ``validate``: from any root through images, labels, plates, wells and collections.

Every group is read once and checked by the rules of its version; then its members are visited, also those that no
document lists. Damage in a store raises no error: it is a finding. The module ``plate`` visits plates and wells,
``collection`` collections and scenes, ``tables`` tables.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, TypeVar

from lamella.errors import first_of
from lamella.ops.execution import run_at_store
from lamella.ops.validation import collection, plate
from lamella.ops.validation.consolidated import ConsolidatedMetadata, consolidated_metadata_of
from lamella.ops.validation.tables import visit_tables
from lamella.spec.own_key import read_creating, read_replacing
from lamella.spec.rules import RULES, VERSION_TRAITS, ParentImage, check_arrays, check_attributes
from lamella.spec.rules.catalogue import OWN_RULES, own_finding
from lamella.spec.rules.value import Value, datasets, describe, multiscales, ome_object
from lamella.spec.versions import detect
from lamella.store.keys import V2, ancestors, join
from lamella.store.metadata.missing_document import content_of, documents_of, has_nodes, how_to_restore
from lamella.store.pixels.stored_chunks import describe_foreign

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from lamella.ops.raw_nodes import ArrayNode, StoredNode, StoreReader
    from lamella.ops.validation.tables import TableGroup
    from lamella.spec.rules import Finding, Kind, Level, Location
    from lamella.store.metadata.stored_documents import NodeKind
    from lamella.types import JSONObject

T = TypeVar("T")

_MAX_DEPTH = 4
"""Maximum depth of nested groups without metadata."""

_CONTAINER_KEYS = {"plate", "bioformats2raw.layout", "well"}
"""Keys by which a group lists its members."""

_ARRAY_RULES_OF_ALL_VERSIONS = ("MS-04", "MS-06")
"""Rules that apply to images of any version, also of an unsupported one."""


@dataclass
class CheckedGroup:
    """A group that was checked by the rules of ``version``, and facts about its members."""

    kind: Kind
    node: StoredNode
    version: str
    arrays: dict[str, ArrayNode] = field(default_factory=dict)
    """Of an image: its levels by dataset path."""
    members: list[str] = field(default_factory=list)
    """Of a well, a labels group or a plate: the listed members that exist."""
    unlisted: list[str] = field(default_factory=list)
    """Of a well or a labels group: members that exist and are not listed."""
    fields: dict[str, plate.Fields | None] = field(default_factory=dict)
    """Of a plate: path and acquisition of each image of each listed well; None for an unreadable well."""


VALIDATE_LATER = "validate again when it can be read"
"""What to do about a file that the system or a service does not return: nothing is known to be wrong with it."""


class Inspection:
    """One walk of a store, and its findings; ``on_group`` is called with each group when its members are checked."""

    def __init__(
        self,
        reader: StoreReader,
        on_group: Callable[[CheckedGroup], None] | None = None,
        *,
        keep_images: bool = False,
    ) -> None:
        self.reader = reader
        self.findings: list[Finding] = []
        self.tables: list[TableGroup] = []
        self.notes: list[tuple[str, str]] = []
        self.group_count = 0
        self.version: str | None = None
        self.images: list[CheckedGroup] = []
        self.consolidated: list[ConsolidatedMetadata] = []
        self.on_group = on_group
        self.keep_images = keep_images
        self._finished: list[CheckedGroup] = []
        self._inherited = 0
        self._read_paths: set[str] = set()
        self._reported_links: set[str] = set()
        self._checked_paths: set[str] = set()

    # -- findings ------------------------------------------------------------------------------------------------

    def report(
        self,
        rule: str,
        node: StoredNode | str,
        found: str,
        remedy: str,
        *,
        at: Location = (),
        level: Level | None = None,
        version: str | None = None,
    ) -> None:
        """Add a finding of a rule of lamella, or of the specification if the version has that rule."""
        path = node if isinstance(node, str) else node.path
        version = version or self.version or ""
        if rule in OWN_RULES:
            self.findings.append(own_finding(rule, path, found, remedy, at=at, level=level))
        elif version in RULES[rule].versions:
            value = Value(None, at, VERSION_TRAITS[version], path)
            self.findings.append(value.finding(rule, found, remedy, level=level))

    def report_missing(
        self,
        rule: str,
        node: StoredNode,
        at: Location,
        kind: str,
        path: str,
        *,
        below: StoredNode | None = None,
        version: str | None = None,
    ) -> None:
        """Report a listed member without a document; ``path`` is relative to ``below``, by default to ``node``."""
        found, remedy = self.describe_lost(join((below or node).path, path), node, "group") or (
            f"there is no {kind} {describe(path)}",
            f"write the {kind}, or remove it from the list",
        )
        self.report(rule, node, found, remedy, at=at, version=version)

    def describe_lost(self, path: str, node: StoredNode, kind: NodeKind) -> tuple[str, str] | None:
        """Describe a member that has content but no document, and the remedy; None without content."""
        replacing = read_replacing(node.attributes)
        if replacing is not None and join(node.path, replacing.name) == path:
            return (
                f"{describe(path)} is being replaced, and its new pixels are still under a temporary name",
                "repeat the call that replaces it; any other change of the image finishes it too",
            )
        names = content_of(self.reader.storage, path)
        if not names:
            return None
        files = documents_of(node.zarr_format, kind)
        return (
            f"{describe(path)} has content ({first_of(names)}), but no {files.replace(' and ', ' and no ')}",
            how_to_restore(files, kind),
        )

    # -- reading -------------------------------------------------------------------------------------------------

    def read_group(self, path: str) -> StoredNode:
        """Read a group, and report problems of its documents."""
        node = self.reader.group(path)
        if path not in self._read_paths:
            self._read_paths.add(path)
            self._report_document_problems(node)
            if node.exists:
                self._compare_consolidated(node)
        return node

    def read_array(self, path: str, zarr_format: int | None) -> ArrayNode:
        """Read an array, and report problems of its document."""
        array = self.reader.array(path, zarr_format)
        if path in self._read_paths:
            return array
        self._read_paths.add(path)
        self._report_document_problems(array)
        if array.problem is not None:
            level: Level = "MUST" if array.facts is None else "SHOULD"
            self.report("LM-07", path, array.problem, "correct the document", level=level)
        if array.exists:
            self._compare_consolidated(array)
        return array

    def _report_document_problems(self, node: StoredNode) -> None:
        for finding in node.findings:
            if finding.is_link and finding.found in self._reported_links:
                continue  # reported for a node above
            if finding.is_link:
                self._reported_links.add(finding.found)
            if finding.rule == "ST-06":
                self.report(
                    "ST-06",
                    node,
                    finding.found,
                    "remove the comments",
                    version=self.version if self.version in VERSION_TRAITS else "0.4",
                )
            elif finding.rule == "LM-03":
                self.report("LM-03", node.path, finding.found, "write a number, or leave the value out")
            else:
                remedy = "restore the file from a copy, or delete the node"
                self.report("LM-01", node.path, finding.found, VALIDATE_LATER if finding.unread else remedy)
        if len(node.formats) > 1 or node.has_other_format:
            found = f"documents of Zarr v2 and v3 lie side by side; the v{node.zarr_format} ones are checked"
            self.report("LM-02", node.path, found, "remove those of one format")

    def _compare_consolidated(self, node: StoredNode) -> None:
        for consolidated in self.consolidated:
            consolidated.compare(node)
        own_consolidated = consolidated_metadata_of(node)
        if own_consolidated is not None:
            self.consolidated.append(own_consolidated)

    # -- parts ---------------------------------------------------------------------------------------------------

    def visit_parts(self, paths: Sequence[str], visit: Callable[[Inspection, str], T]) -> dict[str, T]:
        """Visit parts of the store, many at once where each request takes a while; findings are in the order of paths.

        ``visit`` is called with an inspection of the part. Return what it returns, by path.
        """
        finished: dict[str, tuple[Inspection, T]] = {}
        results: dict[str, T] = {}

        def visit_part(path: str) -> tuple[str, Inspection, T]:
            part = self._part()
            return path, part, visit(part, path)

        def add(result: tuple[str, Inspection, T]) -> None:
            finished[result[0]] = result[1:]
            while len(results) < len(paths) and (path := paths[len(results)]) in finished:
                part, results[path] = finished.pop(path)
                self._add(part)

        run_at_store(visit_part, paths, self.reader.storage, on_result=add)
        return results

    def _part(self) -> Inspection:
        """Return an inspection of a part of the store, which knows what this one has visited."""
        part = Inspection(self.reader, keep_images=self.keep_images)
        part.on_group, part.version = part._finished.append, self.version
        part._read_paths, part._checked_paths = self._read_paths, self._checked_paths
        part._reported_links, part.consolidated = self._reported_links, list(self.consolidated)
        part._inherited = len(part.consolidated)
        return part

    def _add(self, part: Inspection) -> None:
        """Add the findings of a part, and finish its groups."""
        self.findings += part.findings
        self.tables += part.tables
        self.notes += part.notes
        self.images += part.images
        self.consolidated += part.consolidated[part._inherited :]
        self.group_count += part.group_count
        self.version = self.version or part.version
        for checked in part._finished:
            self.finish_group(checked)

    # -- walking -------------------------------------------------------------------------------------------------

    def walk(self, path: str) -> None:
        """Check everything from a root."""
        node = self.read_group(path)
        if node.exists:
            self.version = self._version(node)
        if node.kind == "array":
            self.report("LM-06", path, "an array is stored here", "use the image group that contains it")
            return
        # A folder without a document may be anything. It is walked only if it is a row of a plate: if it has a well.
        if node.exists or any("well" in self.reader.group(join(path, name)).ome for name in node.members):
            self.visit(node)
        for consolidated in self.consolidated:
            consolidated.finish(self.reader)
            if consolidated.stale:
                found = f"the consolidated metadata are stale: {consolidated.stale}"
                self.report("LM-08", consolidated.path, found, "remove them, or consolidate again")
        if not self.group_count and not self.findings:
            found, remedy = (
                "there is no OME-NGFF metadata here or below",
                "use the path of an image, a plate or a collection",
            )
            names = [] if node.exists else content_of(self.reader.storage, path)
            if has_nodes(self.reader.storage, path, names):
                found = f"there is no metadata document here, but Zarr nodes are below ({first_of(names)})"
                remedy = f"restore the document from a backup, or {remedy}"
            self.report("LM-06", path, found, remedy)

    def _version(self, node: StoredNode) -> str:
        if node.version is not None:
            return node.version
        if node.zarr_format != 3 or not isinstance(node.attributes, dict):
            return node.stated_version or "unknown"
        # The version is unknown, which is a finding (ST-07). The other rules are those of the version of the store, or
        # of the version that has such metadata.
        if self.version in VERSION_TRAITS and VERSION_TRAITS[self.version].zarr_format == 3:
            return self.version
        unversioned = {key: value for key, value in node.ome.items() if key != "version"}
        return detect(3, {"ome": unversioned}).name

    def visit(self, node: StoredNode, *, depth: int = 0) -> None:
        """Check a group by the kind in its document, and visit its members."""
        ome = node.ome
        if "plate" in ome:
            plate.visit_plate(self, node)
        if "bioformats2raw.layout" in ome:
            collection.visit_collection(self, node)
        if "well" in ome:
            plate.visit_well(self, node, None)
        if "scene" in ome:
            collection.visit_scene(self, node)
        if "multiscales" in ome or "omero" in ome or "image-label" in ome:
            self.visit_image(node, label="image-label" in ome)
        elif "labels" in ome:
            self.visit_labels(node, None)
        elif not ome.keys() & _CONTAINER_KEYS and depth < _MAX_DEPTH:
            if not isinstance(node.attributes, dict) or "ome" in node.attributes:
                self.check_document("ome", node)
            for name in node.members:
                child = self.read_group(join(node.path, name))
                if child.kind == "group" or child.unreadable or not child.exists:
                    self.visit(child, depth=depth + 1)

    def check_document(
        self, kind: Kind, node: StoredNode, *, acquisitions: Collection[int] | None = None
    ) -> str:
        """Check a document by the rules of a kind; return the version of the rules."""
        version = self._node_version(node)
        if node.unreadable:
            return version
        if version in VERSION_TRAITS:
            findings = check_attributes(
                kind, node.attributes, version, node=node.path, acquisitions=acquisitions
            )
            if node.zarr_format == 2 and V2.attributes not in node.data and node.members:
                remedy = self._how_to_restore(V2.attributes, kind)
                findings = [
                    replace(finding, found=f"no {V2.attributes}: {finding.found}", remedy=remedy)
                    for finding in findings
                ]
            self.findings.extend(findings)
        return version

    def _how_to_restore(self, files: str, kind: Kind) -> str:
        if kind == "labels":  # its content can be derived
            return f"restore {files} from a backup, or list the label images with repair"
        return how_to_restore(files, "group")

    def check_group(self, node: StoredNode) -> str:
        """Count a group, and check the rules for groups of any kind; return its version."""
        version = self._node_version(node)
        if node.unreadable or node.path in self._checked_paths:
            return version
        self._checked_paths.add(node.path)
        self.group_count += 1
        if version not in VERSION_TRAITS:
            found = f"the version is {version}, for which there are no rules"
            remedy = (
                "upgrade it to 0.4 or later" if version < "0.4" else "update lamella, or correct the version"
            )
            self.report("LM-04", node.path, found, remedy)
            return version
        if self.version is None:
            self.version = version
        if self.version in VERSION_TRAITS and node.zarr_format != VERSION_TRAITS[self.version].zarr_format:
            zarr_format = VERSION_TRAITS[self.version].zarr_format
            rule = {2: "ST-01", 3: "ST-02"}[zarr_format]
            found, remedy = f"the group is Zarr v{node.zarr_format}", f"store it as Zarr v{zarr_format}"
            if not node.exists:
                files = documents_of(zarr_format, "group")
                found = f"the folder has content, but no {files.replace(' and ', ' and no ')}"
                kind: Kind = "labels" if node.path.rpartition("/")[2] == "labels" else "image"
                remedy = self._how_to_restore(files, kind)
            self.report(rule, node, found, remedy, version=self.version)
        elif node.stated_version is not None and version != self.version:
            found = (
                f"the version is {describe(node.stated_version)}, that of the store {describe(self.version)}"
            )
            remedy = "keep one version in a store"
            self.report("ST-08", node, found, remedy, at=("ome", "version"), version=version)
        if node.kind == "array":
            rule = {2: "ST-01", 3: "ST-02"}[node.zarr_format or 2]
            found = "an array is stored here, where a group belongs"
            self.report(rule, node, found, "restore the document from a copy", version=version)
        elif node.zarr_format == 2 and node.lacks(V2.group):
            self.report("ST-01", node, "the group has no .zgroup", "write one", version=version)
        return version

    def _node_version(self, node: StoredNode) -> str:
        if self.version is not None and not node.exists:
            return self.version
        if self.version is None or node.stated_version is not None:
            return self._version(node)
        version = self._version(node)
        # A group that states no version has the version of the store, unless it is of 0.1 to 0.3 (these state it in
        # their parts), or of the other Zarr format.
        if version in VERSION_TRAITS and self.version in VERSION_TRAITS:
            has_same_format = VERSION_TRAITS[version].zarr_format == VERSION_TRAITS[self.version].zarr_format
            return self.version if has_same_format else version
        return version

    # -- images --------------------------------------------------------------------------------------------------

    def visit_image(
        self, node: StoredNode, *, label: bool = False, parent: CheckedGroup | None = None
    ) -> None:
        """Check an image or label image with its arrays and labels; once, even if it is listed several times."""
        if node.path in self._checked_paths:
            return
        version = self.check_group(node)
        checked = CheckedGroup("label" if label else "image", node, version)
        self.check_document("image", node)
        if label:
            self.check_document("label", node)
        ome_of_version = (
            ome_object(node.attributes, VERSION_TRAITS[version]) if version in VERSION_TRAITS else {}
        )
        for path in _dataset_paths(ome_of_version if "multiscales" in ome_of_version else node.ome):
            checked.arrays[path] = self.read_array(join(node.path, path), node.zarr_format)
        if not node.unreadable:
            self._check_arrays(checked, parent)
        if self.keep_images:
            self.images.append(checked)
        else:
            self._check_chunk_keys(checked)
        if "labels" in node.names if node.names is not None else not node.unreadable:
            labels = self.read_group(join(node.path, "labels"))
            # A folder "labels" without documents may be one of the user's, and an array "labels" may be a level.
            if (labels.exists or _has_groups(self, labels)) and labels.kind != "array":
                self.visit_labels(labels, checked)
        visit_tables(self, node)
        self.finish_group(checked)

    def _check_arrays(self, checked: CheckedGroup, parent: CheckedGroup | None) -> None:
        node, version = checked.node, checked.version
        rules_version = version if version in VERSION_TRAITS else "0.4"
        facts = {path: array.facts for path, array in checked.arrays.items() if array.facts is not None}
        parent_image = None
        if parent is not None:
            parent_facts = {
                path: array.facts for path, array in parent.arrays.items() if array.facts is not None
            }
            parent_image = ParentImage(parent.node.attributes, parent_facts)
        kind: Kind = "label" if checked.kind == "label" else "image"
        for finding in check_arrays(
            kind, node.attributes, rules_version, facts, node=node.path, parent=parent_image
        ):
            if version not in VERSION_TRAITS and finding.rule not in _ARRAY_RULES_OF_ALL_VERSIONS:
                continue
            array = self._array_of(checked, finding) if finding.rule == "MS-04" else None
            if array is not None and array.exists and array.kind != "group":
                continue  # it exists, and LM-01 or LM-07 describes the problem
            lost_array = (
                None if array is None or array.exists else self.describe_lost(array.path, node, "array")
            )
            if lost_array is None:
                self.findings.append(finding)
            else:
                found, remedy = lost_array
                self.findings.append(replace(finding, found=found, remedy=remedy))

    def _check_chunk_keys(self, checked: CheckedGroup) -> None:
        """Check the keys of the chunks of the levels. If pixels are checked, their check does this instead."""
        for array in checked.arrays.values():
            key = self.reader.foreign_chunk_key(array)
            if key is not None and array.meta is not None:
                found = f"{describe_foreign(key, array.meta)}, and readers see fill values"
                remedy = "correct the separator (dimension_separator or chunk_key_encoding) in the document"
                self.report("LM-09", array.path, found, remedy)

    def _array_of(self, checked: CheckedGroup, finding: Finding) -> ArrayNode | None:
        """Return the array whose path is at the location of a finding."""
        path = checked.node.attributes
        for key in finding.location:
            path = path[key]
        return checked.arrays.get(path)

    # -- labels --------------------------------------------------------------------------------------------------

    def visit_labels(self, node: StoredNode, parent: CheckedGroup | None) -> None:
        """Check a group of labels, and the label images in it."""
        version = self.check_group(node)
        self.check_document("labels", node)
        checked = CheckedGroup("labels", node, version)
        stored = node.ome.get("labels")
        listed = [path for path in stored if isinstance(path, str)] if isinstance(stored, list) else []
        at = node.location("labels")
        for number, path in enumerate(listed):
            if path in listed[:number]:
                continue
            image = self.read_group(join(node.path, path))
            if image.exists:
                checked.members.append(path)
                self._check_groups_above_label(node, path)
                self.visit_image(image, label=True, parent=parent)
            elif path and ".." not in path.split("/"):
                self.report_missing("LB-01", node, (*at, number), "label image", path, version=version)
        for path, image in self._unlisted_images(node, "", set(listed), 0):
            checked.unlisted.append(path)
            if not node.unreadable:
                self.report(
                    "LB-02",
                    node,
                    f"the label image {describe(path)} is not listed",
                    "list it",
                    at=at if isinstance(stored, list) else (),
                    version=version,
                )
            self.visit_image(image, label=True, parent=parent)
        self.finish_group(checked)

    def _unlisted_images(
        self, node: StoredNode, path: str, listed: set[str], depth: int
    ) -> list[tuple[str, StoredNode]]:
        """Return the label images that exist and are not listed, also in nested groups."""
        images = []
        for name in node.members:
            image_path = join(path, name)
            if image_path in listed:
                continue
            child = self.read_group(join(node.path, name))
            if read_creating(child.attributes) is not None:
                continue
            if "multiscales" in child.ome or "image-label" in child.ome:
                images.append((image_path, child))
            elif child.kind != "array" and depth < _MAX_DEPTH:
                images.extend(self._unlisted_images(child, image_path, listed, depth + 1))
        return images

    def _check_groups_above_label(self, labels: StoredNode, path: str) -> None:
        """Report metadata of groups between the group of labels and a label image."""
        for folder in ancestors(path)[1:]:
            group = self.reader.group(join(labels.path, folder))
            if isinstance(group.attributes, dict) and "ome" in group.attributes:
                found = "a group between labels and a label image has metadata"
                self.report("LB-06", group, found, "remove them", at=("ome",))

    def finish_group(self, checked: CheckedGroup) -> None:
        """Call ``on_group`` with a group whose members have been checked."""
        if self.on_group is not None:
            self.on_group(checked)


def _has_groups(inspection: Inspection, node: StoredNode) -> bool:
    return any(inspection.reader.group(join(node.path, name)).exists for name in node.members)


def _dataset_paths(ome: JSONObject) -> list[str]:
    paths = [
        dataset["path"]
        for _, multiscale in multiscales(ome)
        for _, dataset in datasets(multiscale)
        if isinstance(dataset.get("path"), str) and dataset["path"]
    ]
    return list(dict.fromkeys(paths))
