"""``repair``: fix the metadata of a store without guesses; pixels are not read.

A repair is first planned as drafts of documents. A dry run validates the store as if it had the drafts. Else the old
documents are saved beside the store, and each is replaced atomically.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lamella.arguments import check_flags
from lamella.errors import counted
from lamella.log import logged
from lamella.ops.execution import check_progress, reporting
from lamella.ops.raw_nodes import StoreReader, storage_of
from lamella.ops.repair import images as _images  # noqa: F401 (each registers its fixes)
from lamella.ops.repair import plates as _plates  # noqa: F401
from lamella.ops.repair import values as _values  # noqa: F401
from lamella.ops.repair.changes import Change, Drafts, backup_folder, save_backup, write_changes
from lamella.ops.repair.plan import Planner
from lamella.ops.repair.reindex import plan_index
from lamella.ops.validation.validate import ValidationReport, inspect, report_of
from lamella.store.storage import with_options

if TYPE_CHECKING:
    from collections.abc import Mapping

    from zarr.abc.store import Store

    from lamella.nodes.node import NGFFNode
    from lamella.ops.execution import Progress
    from lamella.store.storage import Storage
    from lamella.types import JSONObject, StrPath


_MAX_PASSES = 4


@dataclass(frozen=True, repr=False)
class RepairReport:
    """A repair of a store, planned or done. True if nothing is wrong afterwards.

    Attributes
    ----------
    before
        Findings before the repair.
    after
        Findings after the repair: of the store, read again, or of a plan, as if it were done.
    changes
        The new contents of documents.
    written
        Whether they were written.
    backup
        Folder of the old documents; None if no document was replaced.

    Examples
    --------
    >>> import lamella
    >>> plan = lamella.repair(position, dry_run=True)
    >>> plan.changes, plan.written, bool(plan)
    ((), False, True)
    """

    before: ValidationReport
    after: ValidationReport
    changes: tuple[Change, ...]
    written: bool = False
    backup: str | None = None

    def __bool__(self) -> bool:
        return bool(self.after)

    @property
    def rules(self) -> tuple[str, ...]:
        """Ids of the rules that are fixed, in alphabetical order."""
        return tuple(sorted({rule for change in self.changes for rule in change.rules}))

    @property
    def diff(self) -> str:
        """All changes as one unified diff."""
        return "\n".join(filter(None, (change.diff for change in self.changes)))

    def __repr__(self) -> str:
        return f"<RepairReport {self}>"

    def __str__(self) -> str:
        if not self.changes:
            return f"{self.before.store}: nothing that can be fixed"
        count = len(self.changes)
        action = "fixed" if self.written else "to fix"
        text = f"{self.before.store}: {counted(count, 'document')} {action} ({', '.join(self.rules)})"
        if self.backup is not None:
            text += f"; the old ones are in {self.backup}"
        return text

    def to_dict(self) -> JSONObject:
        """Return the repair as JSON values; each change has ``key``, ``rules`` and ``diff``.

        Examples
        --------
        >>> import lamella
        >>> sorted(lamella.repair(plate, dry_run=True).to_dict())
        ['after', 'backup', 'before', 'changes', 'written']
        """
        return {
            "changes": [
                {"key": change.key, "rules": list(change.rules), "diff": change.diff}
                for change in self.changes
            ],
            "written": self.written,
            "backup": self.backup,
            "before": self.before.to_dict(),
            "after": self.after.to_dict(),
        }


def repair(
    path_or_node: StrPath | Store | NGFFNode,
    *,
    dry_run: bool = False,
    reindex: bool = False,
    backup: StrPath | None = None,
    progress: Progress | bool | None = None,
    follow_links: bool = False,
    storage_options: Mapping[str, Any] | None = None,
) -> RepairReport:
    """Fix the metadata of a store without guesses.

    It fixes lists of labels; indices and counts of plates; missing wells and images; names of dimensions; stale
    consolidated metadata; colors, windows, version keys and the order of transformations; numbers written as text,
    paths written as numbers, synonyms of units and the separator of chunk keys. It never invents rows, columns, wells
    or names: everything listed afterwards was listed before, or is in the store. Other problems stay, and the report
    ``after`` lists them. The old documents are saved in ``<store>.backup-<date>``, beside the store, under their keys:
    copying them back undoes the repair.

    Parameters
    ----------
    path_or_node
        Path of a store or of a group in one, a zarr-python store, or a node open for writing.
    dry_run
        Only plan: nothing is written.
    reindex
        First rebuild the metadata of the plate at the path and of its wells from the images in the store, also where it
        is missing or damaged.
    backup
        Another folder for the old documents; required if the store is not local.
    progress
        True shows a bar on the terminal. A function is called with the groups checked, 0 (unknown total), and "groups";
        each check of the store counts the groups again.
    follow_links
        Follow symbolic links that lead out of the store, for plates of linked images. Ignored for an open node.
    storage_options
        Credentials and settings of a URL, as for `lamella.open_ome_zarr`.

    Returns
    -------
    RepairReport
        The changes, and the remaining findings.

    Raises
    ------
    StoreNotFoundError
        The path does not exist (a FileNotFoundError).
    ReadOnlyError
        The node is open for reading (a PermissionError).
    InvalidArgumentError
        ``reindex`` without images, or no folder for the backup (a ValueError).
    MetadataError
        Another process changed a document meanwhile (a ValueError).

    Examples
    --------
    >>> import lamella
    >>> position.zattrs["ome"] = {**position.zattrs["ome"], "version": "0.5.2"}
    >>> done = lamella.repair(position)
    >>> done.before.valid, done.rules, done.after.valid
    (False, ('ST-07',), True)
    """
    check_flags(dry_run=dry_run, reindex=reindex, follow_links=follow_links)
    target = with_options(path_or_node, storage_options)
    storage, root, name = storage_of(target, read_only=dry_run, follow_links=follow_links)
    if not dry_run:
        storage.check_writable(root)
    check_progress(progress)
    before = _report(storage, root, name, {}, progress)
    changes = _plan(storage, root, reindex, before.rules)
    if dry_run and changes:
        contents = {change.key: change.new for change in changes}
        return RepairReport(before, _report(storage, root, name, contents, progress), changes)
    plan = RepairReport(before, before, changes)
    if not changes:
        return plan
    return write_repair(plan, target, backup=backup, progress=progress, follow_links=follow_links)


def write_repair(
    plan: RepairReport,
    path_or_node: StrPath | Store | NGFFNode,
    *,
    backup: StrPath | None = None,
    progress: Progress | bool | None = None,
    follow_links: bool = False,
    storage_options: Mapping[str, Any] | None = None,
) -> RepairReport:
    """Write a repair that a dry run planned for the same store; see `repair`."""
    storage, root, name = storage_of(
        with_options(path_or_node, storage_options), read_only=False, follow_links=follow_links
    )
    storage.check_writable(root)
    if not plan.changes:
        return plan
    replaced = [change for change in plan.changes if change.old is not None]
    folder = backup_folder(storage, backup) if replaced else None
    with logged("Repair %s of %s", counted(len(plan.changes), "document"), name):
        if folder is not None:
            save_backup(storage, replaced, folder)
        write_changes(storage, plan.changes)
        if isinstance(path_or_node, str) and storage.has_own_changes:
            storage.commit(f"Repair {counted(len(plan.changes), 'document')}")
    after = _report(storage, root, name, {}, progress)
    return RepairReport(plan.before, after, plan.changes, True, folder)


def _plan(storage: Storage, root: str, reindex: bool, broken: tuple[str, ...]) -> tuple[Change, ...]:
    drafts = Drafts(storage)
    if reindex:
        index = plan_index(storage, root, replace_damaged=True)
        for path, attributes in index.groups.items():
            drafts.put_attributes(path, attributes, index.version.zarr_format, ("LM-05",))
    # A fix may reveal further findings, such as those of a well under its corrected path.
    for _ in range(_MAX_PASSES):
        before = dict(drafts.contents)
        Planner(drafts).plan(root)
        if drafts.contents == before:
            break
    return drafts.changes(broken)


def _report(
    storage: Storage,
    root: str,
    name: str,
    contents: dict[str, bytes | None],
    progress: Progress | bool | None,
) -> ValidationReport:
    with reporting(progress, "groups") as report_progress:
        inspection = inspect(StoreReader(storage, contents), root, report_progress)
    return report_of(inspection, name)
