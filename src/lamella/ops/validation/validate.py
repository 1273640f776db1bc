"""``validate``: check a store by the rules of :mod:`lamella.spec.rules`, and archives by RFC-9 (LM-15 to LM-20)."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, replace
from itertools import groupby
from math import prod
from typing import TYPE_CHECKING, Any

from lamella.errors import counted, first_of
from lamella.log import logged
from lamella.ops.execution import LARGE_CHUNK, Count, Workers, check_progress, reporting
from lamella.ops.raw_nodes import StoreReader, storage_of
from lamella.ops.validation.walk import Inspection
from lamella.spec.rules import location_text
from lamella.store.files.zip_storage import ZipStorage
from lamella.store.keys import V3, natural_order
from lamella.store.storage import with_options

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from concurrent.futures import Executor

    from zarr.abc.store import Store

    from lamella.nodes.node import NGFFNode
    from lamella.ops.execution import Progress
    from lamella.ops.validation.walk import CheckedGroup
    from lamella.spec.rules import Finding, Level
    from lamella.types import JSONObject, StrPath


@dataclass(frozen=True, repr=False)
class ValidationReport:
    """The findings in a store. True without findings.

    Attributes
    ----------
    store
        Path or URL of the store.
    version
        OME-NGFF version of the store; None if unknown.
    findings
        All findings, by node.
    notes
        Node and text of checks that were impossible, such as pyramids with an unknown method.
    nodes
        Number of groups that were checked.
    strict
        Whether a broken SHOULD also makes the report false.

    Examples
    --------
    >>> import lamella, tempfile, zarr
    >>> path = tempfile.mkdtemp() + "/well.zarr"
    >>> group = zarr.create_group(path, zarr_format=2, attributes={"well": {"images": [{"path": "0"}]}})
    >>> report = lamella.validate(path)
    >>> report.valid, report.counts, report.rules
    (False, {'MUST': 1, 'SHOULD': 2}, ('PL-12', 'VE-02'))
    >>> print(report)
    /...: not valid OME-NGFF 0.4; 1 MUST, 2 SHOULD broken; 1 group checked
    <BLANKLINE>
    /
      MUST   PL-12  well.images[0].path: there is no image "0"
                     write the image, or remove it from the list
      SHOULD VE-02  well: there is no version
                     add version: "0.4"
      SHOULD PL-12  the well has no images
                     remove the empty group
    """

    store: str
    version: str | None
    findings: tuple[Finding, ...]
    notes: tuple[tuple[str, str], ...] = ()
    nodes: int = 0
    strict: bool = False

    @property
    def readable(self) -> bool:
        """Whether the store has anything to check."""
        return self.nodes > 0

    @property
    def valid(self) -> bool:
        """Whether no MUST is broken, in a store with something to check."""
        return self.readable and not any(finding.level == "MUST" for finding in self.findings)

    @property
    def counts(self) -> dict[Level, int]:
        """Number of findings of each level."""
        counts = Counter(finding.level for finding in self.findings)
        return {"MUST": counts["MUST"], "SHOULD": counts["SHOULD"]}

    @property
    def rules(self) -> tuple[str, ...]:
        """Ids of the rules that are broken, each once, in alphabetical order."""
        return tuple(sorted({finding.rule for finding in self.findings}))

    def __bool__(self) -> bool:
        return self.valid and not (self.strict and self.findings)

    def __repr__(self) -> str:
        return f"<ValidationReport {self.verdict}>"

    def __str__(self) -> str:
        return "\n".join(self.lines())

    def lines(self, *, level: Level | None = None) -> Iterator[str]:
        """Yield the report as text: the verdict, then the findings, under the paths of the nodes that have them.

        Broken MUSTs come before SHOULDs. Equal findings of several nodes are listed once. With a ``level``, "MUST" or
        "SHOULD", only its findings are listed.

        Examples
        --------
        >>> import lamella
        >>> next(lamella.validate(position).lines())
        '...: valid OME-NGFF 0.5; nothing broken; 1 group checked'
        """
        yield self.verdict
        nodes: dict[Finding, list[str]] = {}
        listed = [finding for finding in self.findings if level in (None, finding.level)]
        for finding in sorted(listed, key=lambda finding: finding.level):
            nodes.setdefault(replace(finding, node=""), []).append(finding.node or "/")
        for paths, equal in groupby(nodes.items(), key=lambda item: item[1]):
            yield f"\n{first_of(paths)}"
            for finding, _ in equal:
                where = location_text(finding.location)
                yield f"  {finding.level:6} {finding.rule}  {where + ': ' if where else ''}{finding.found}"
                yield f"                 {finding.remedy}"
        if self.notes:
            yield "\nNot checked"
            yield from (f"  {node or '/'}: {text}" for node, text in self.notes)

    @property
    def verdict(self) -> str:
        """One line: the store, its version, and the numbers."""
        if not self.readable:
            return f"{self.store}: nothing here is OME-NGFF"
        counts = self.counts
        numbers = ", ".join(f"{counts[level]} {level}" for level in counts if counts[level])
        verdict = "valid" if self.valid else "not valid"
        return (
            f"{self.store}: {verdict} OME-NGFF {self.version or 'of an unknown version'}; "
            f"{numbers or 'nothing'} broken; {counted(self.nodes, 'group')} checked"
        )

    def to_dict(self) -> JSONObject:
        """Return the report as JSON values.

        Examples
        --------
        >>> import lamella
        >>> lamella.validate(position).to_dict()["valid"]
        True
        """
        return {
            "store": self.store,
            "version": self.version,
            "readable": self.readable,
            "valid": self.valid,
            "nodes": self.nodes,
            "counts": dict(self.counts),
            "findings": [finding.to_dict() for finding in self.findings],
            "notes": [{"node": node, "text": text} for node, text in self.notes],
        }


def validate(
    path_or_node: StrPath | Store | NGFFNode,
    *,
    strict: bool = False,
    pixels: bool = False,
    jobs: int | None = None,
    executor: Executor | None = None,
    progress: Progress | bool | None = None,
    follow_links: bool = False,
    storage_options: Mapping[str, Any] | None = None,
) -> ValidationReport:
    """Check a store by the rules of its OME-NGFF version: 0.4, 0.5 or 0.6.

    Images, labels, plates, wells, bioformats2raw collections and scenes are walked from any root: the store, or a group
    inside one. Metadata documents are read once each. Damage does not stop the walk and raises nothing: it is a
    finding, of the broken rule or of a rule of lamella (``LM-``, see ``lamella.spec.rules.catalogue.OWN_RULES``).
    Nothing is written.

    Parameters
    ----------
    path_or_node
        Path or URL of a store or of a group in one, a zarr-python store, or an open node.
    strict
        Count a broken SHOULD as well: the report is true only without any finding.
    pixels
        Also decode every chunk, and compare each level of lamella's pyramids with the level before. Reads all pixels.
    jobs
        Number of workers for the pixels; one per processor by default.
    executor
        Decodes the pixels instead of threads of this process: any ``concurrent.futures.Executor``.
    progress
        True shows a bar on the terminal. A function is called with the groups checked, 0 (unknown total), and "groups";
        then with the bytes of pixels decoded, 0, and "bytes".
    follow_links
        Follow symbolic links that lead out of the store, for plates of linked images. Ignored for an open node.
    storage_options
        Credentials and settings of a URL, as for `lamella.open_ome_zarr`.

    Returns
    -------
    ValidationReport
        True if no MUST is broken.

    Raises
    ------
    StoreNotFoundError
        The path does not exist (a FileNotFoundError).
    InvalidArgumentError
        The node is an array (a ValueError).

    Examples
    --------
    >>> import lamella
    >>> bool(lamella.validate(position, pixels=True))
    True
    """
    storage, root, name = storage_of(with_options(path_or_node, storage_options), follow_links=follow_links)
    workers = Workers(jobs, executor)
    workers.check_reach(storage)
    workers = workers.waiting_for(storage, LARGE_CHUNK)
    check_progress(progress)
    with logged("Validate %s", name), reporting(progress, "groups") as report_progress:
        inspection = inspect(StoreReader(storage), root, report_progress, keep_images=pixels)
        if pixels:
            from lamella.ops.validation.pixels import check_pixels

            check_pixels(inspection, workers, Count(report_progress, "bytes"))
    return report_of(inspection, name, strict=strict)


def inspect(
    reader: StoreReader, root: str, progress: Progress | None, *, keep_images: bool = False
) -> Inspection:
    """Check all documents at a root and below it; the progress counts groups."""
    count = Count(progress, "groups")

    def finish(checked: CheckedGroup) -> None:
        count.add()
        archive.add(checked)

    inspection = Inspection(reader, finish, keep_images=keep_images)
    archive = ArchiveCheck(inspection)
    inspection.walk(root)
    if not root:
        archive.finish()
    return inspection


def report_of(inspection: Inspection, name: str, *, strict: bool = False) -> ValidationReport:
    """Return the report of a finished inspection."""
    findings = dict.fromkeys(inspection.findings)  # a node that is reached twice is reported once
    order = {node: natural_order(node) for node in {finding.node for finding in findings}}
    return ValidationReport(
        name,
        inspection.version,
        tuple(sorted(findings, key=lambda finding: order[finding.node])),
        tuple(dict.fromkeys(inspection.notes)),
        inspection.group_count,
        strict,
    )


_PACK_AGAIN = "pack it again with `lamella pack`"


class ArchiveCheck:
    """Checks the form of a ZIP archive whose content is the inspected store (LM-15 to LM-20); ignores other stores."""

    def __init__(self, inspection: Inspection) -> None:
        self._inspection = inspection
        self._unsharded: list[str] = []

    def add(self, checked: CheckedGroup) -> None:
        """Remember the arrays of a group that an archive should have with shards."""
        for array in checked.arrays.values():
            if array.meta is not None and array.meta.shards is None and prod(array.meta.grid) > 1:
                self._unsharded.append(array.path)

    def finish(self) -> None:
        """Report the findings of the archive, if the store is one."""
        storage = self._inspection.reader.storage
        if not isinstance(storage, ZipStorage) or storage.path or not self._inspection.group_count:
            return
        ome = _ome_of(storage.directory.comment)
        is_ozx = storage.name.lower().endswith(".ozx")
        level: Level = "MUST" if is_ozx or ome is not None else "SHOULD"
        names = storage.directory.entries
        if storage.folder:
            self._report(
                "LM-15",
                f"the store lies in the folder {storage.folder!r} of the archive",
                _PACK_AGAIN,
                level=level,
            )
        elif V3.group not in names:
            self._report(
                "LM-15",
                "the store is of Zarr v2, and archives need OME-NGFF 0.5 or newer",
                "convert it with `lamella upgrade`, and pack that",
                level=level,
            )
        inner = next((name for name in names if name.lower().endswith(".ozx")), None)
        if inner is not None:
            self._report(
                "LM-15",
                f"the archive contains another one, {inner!r}",
                "move it out of the store",
                level=level,
            )
        if not is_ozx:
            self._report("LM-16", "the name of the archive does not end with .ozx", "rename it")
        self._check_form(storage)
        if not storage.folder and V3.group in names:
            self._check_order(storage)
            self._check_comment(ome)
        if self._unsharded:
            self._report(
                "LM-20",
                f"{counted(len(self._unsharded), 'array')} of several chunks without shards, such as "
                f"{self._unsharded[0]!r}",
                "write it with shards (`lamella rechunk --shards`), and pack that",
            )

    def _check_form(self, storage: ZipStorage) -> None:
        deflated = sum(entry.is_deflated for entry in storage.directory.entries.values())
        if deflated:
            self._report("LM-17", f"{counted(deflated, 'entry', 'entries')} compressed", _PACK_AGAIN)
        if not storage.directory.is_zip64:
            self._report("LM-17", "the archive does not end as ZIP64", _PACK_AGAIN)

    def _check_order(self, storage: ZipStorage) -> None:
        names = list(storage.directory.entries)
        in_file = sorted(names, key=lambda name: storage.directory.entries[name].header_offset)
        for order, where in ((in_file, "file"), (names, "directory")):
            documents = [name for name in order if name.rpartition("/")[2] == V3.group]
            depths = [name.count("/") for name in documents]
            if order[: len(documents)] != documents or depths != sorted(depths):
                self._report(
                    "LM-18",
                    f"in the {where} of the archive zarr.json documents are not first, breadth first",
                    _PACK_AGAIN,
                )

    def _check_comment(self, ome: dict[str, Any] | None) -> None:
        version = self._inspection.version
        if ome is None:
            self._report("LM-19", "the archive has no comment that names the version", _PACK_AGAIN)
        elif ome.get("version") != version:
            self._report(
                "LM-19",
                f"the comment of the archive names version {ome.get('version')!r}, and the store is {version!r}",
                _PACK_AGAIN,
            )

    def _report(self, rule: str, found: str, remedy: str, *, level: Level | None = None) -> None:
        self._inspection.report(rule, "", found, remedy, level=level)


def _ome_of(comment: bytes) -> dict[str, Any] | None:
    """Return the OME metadata in the comment of an archive; None without any."""
    try:
        document = json.loads(comment.rstrip(b"\0"))  # drafts of the RFC asked for a NUL at the end
    except (ValueError, RecursionError):
        return None
    ome = document.get("ome") if isinstance(document, dict) else None
    return ome if isinstance(ome, dict) else None
