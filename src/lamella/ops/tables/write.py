"""Write, delete and rename tables, and the list of table names. A kill leaves the old table or the new one.

On a local disk, the new folder replaces the old one in one step. Elsewhere the new content is written to a temporary
path, which is recorded beside the list of tables, so that readers open it; then it is copied over the old content. If a
call is killed meanwhile, the next writer finishes the copy.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from lamella.arguments import check_flags
from lamella.errors import (
    InvalidArgumentError,
    LamellaError,
    MetadataError,
    NodeExistsError,
    NodeNotFoundError,
    did_you_mean,
)
from lamella.ops.renaming import check_not_renamed_by_another, renamed_by_another
from lamella.ops.tables.encoding import decode_table, encode_table
from lamella.ops.tables.frames import DESCRIPTION, as_frame, checked_choice, stored_form, with_index
from lamella.spec.own_key import (
    COPIED,
    COPYING,
    Renaming,
    RenamingRecord,
    read_renaming_record,
    with_renaming_record,
)
from lamella.spec.tables import (
    FEATURE,
    GENERIC,
    LABEL_TYPES,
    MASKING,
    ROI,
    ROI_COLUMNS,
    TABLE_TYPES,
    TableInfo,
    other_attributes,
    read_replacing_table,
    table_info,
    table_names,
    with_label,
    with_replacing_table,
)
from lamella.store.files.temporary_files import abandon, abandoned_on_errors, temporary_name
from lamella.store.keys import check_plain_name, is_private, join
from lamella.store.transfer import read_listed

if TYPE_CHECKING:
    from collections.abc import Callable

    import pandas as pd

    from lamella.nodes.tables import Tables
    from lamella.ops.tables.encoding import TableContent
    from lamella.types import JSONObject

_KIND = "The table "
"""Beginning of messages about a rename."""


def read_table(tables: Tables, name: str) -> pd.DataFrame:
    """Read a table; see :meth:`Tables.__getitem__`."""
    path = content_path(tables, name)
    info = table_info(tables.documents.group(path))
    return with_index(decode_table(tables.documents, path, info), info)


def content_path(tables: Tables, name: str) -> str:
    """Return the path of a table's content: a temporary one while the table is being replaced."""
    attributes = tables.group_attributes
    if name not in table_names(attributes):
        raise _missing_table(tables, name)
    replacement = _read_replacement(attributes)
    if replacement is not None and replacement[0] == name:
        return tables.node_path.child(replacement[1]).path
    return tables.node_path.child(name).path


def _missing_table(tables: Tables, name: str) -> NodeNotFoundError:
    names = list(tables)
    return NodeNotFoundError(
        f"There is no table {name!r} in {tables.node_path}. The tables are: {', '.join(names) or 'none'}."
        f"{did_you_mean(name, names)}"
    )


def _read_replacement(attributes: JSONObject) -> tuple[str, str] | None:
    replacement = read_replacing_table(attributes)
    # The folder of this name will be deleted, so it has to be a temporary name of lamella, whatever the document says.
    return replacement if replacement is not None and is_private(replacement[1]) else None


def write_table(
    tables: Tables,
    name: str,
    value: Any,
    kind: str | None,
    label: str | None,
    backend: str | None,
    overwrite: bool = True,
) -> None:
    """Write a table; see :meth:`Tables.write`."""
    check_plain_name(name, "A table")
    check_flags(overwrite=overwrite)
    if kind is not None:
        checked_choice(kind, TABLE_TYPES, "type")
    frame = as_frame(value, name)
    with tables.documents.lock(tables.node_path.parent.path):
        write_locked_table(tables, name, frame, kind, label, backend, overwrite)


def write_locked_table(
    tables: Tables,
    name: str,
    frame: pd.DataFrame,
    kind: str | None = None,
    label: str | None = None,
    backend: str | None = None,
    overwrite: bool = True,
) -> None:
    """Write a table; the caller has locked the members of the image or plate."""
    documents = tables.documents
    finish_changes(tables)
    old = _stored_attributes(tables, name)
    if old is not None and not overwrite:
        raise NodeExistsError(f"{tables.node_path} has a table {name!r} already: pass overwrite=True.")
    backend = _choose_backend(tables, name, backend, is_new=old is None)
    info = _describe_table(frame, table_info(old) if old is not None else None, kind, label, backend)
    _check_label(tables, name, info)
    columns, info = stored_form(frame, info, name)
    content = encode_table(columns, info.backend, info.index_key, documents.format, name)
    old_attributes = {} if old is None else _without_missing_columns(other_attributes(old), columns)
    content = content._replace(attributes={**old_attributes, **content.attributes, **info.to_attributes()})
    documents.put_missing_group(tables.path, {"tables": []})
    if old is None:
        _create(tables, name, content)
    else:
        _replace(tables, name, content)


def _choose_backend(tables: Tables, name: str, backend: str | None, *, is_new: bool) -> str | None:
    """Return the backend to write; in icechunk, which stores no plain files, anndata by default."""
    can_store = getattr(tables.documents.storage.service, "can_store", None)
    if can_store is None or can_store(join(tables.path, f"{name}/table.{backend}")):
        return backend
    if backend in ("csv", "parquet"):
        raise InvalidArgumentError(
            f"The table {name!r} cannot be written to {tables.node_path} by backend={backend!r}: icechunk stores Zarr "
            "documents and chunks, and no other files. Use backend='anndata' or 'json'."
        )
    return "anndata" if backend is None and is_new else backend


def _stored_attributes(tables: Tables, name: str) -> JSONObject | None:
    """Return the attributes of a listed table; None without one."""
    path = tables.node_path.child(name).path
    if name not in table_names(tables.group_attributes) or tables.documents.kind(path) != "group":
        return None
    return tables.documents.group(path)


def _describe_table(
    frame: pd.DataFrame, old: TableInfo | None, kind: str | None, label: str | None, backend: str | None
) -> TableInfo:
    """Return the description of a table: from the arguments, else from the frame, else from the old table."""
    description = frame.attrs.get(DESCRIPTION)
    description = description if isinstance(description, dict) else {}
    has_regions = all(column in frame.columns for column in ROI_COLUMNS)
    if label is None and kind in (None, *LABEL_TYPES):
        label = description.get("label") or (old.label if old is not None else None)
    if kind is None and label is not None and not description and (old is None or old.label != label):
        kind = MASKING if has_regions else FEATURE
    if kind is None:
        kind = description.get("type") or (old.type if old is not None else ROI if has_regions else GENERIC)
    backend = backend or (old.backend if old is not None else "parquet")
    key = old.index_key if old is not None else None
    return TableInfo(kind, backend, key, None, label if kind in LABEL_TYPES else None)


def _check_label(tables: Tables, name: str, info: TableInfo) -> None:
    if info.label is None:
        return
    names = tables.label_names()
    if info.label not in names:
        raise InvalidArgumentError(
            f"The table {name!r} is to describe the labels {info.label!r}, and {tables.node_path.parent} has no such "
            f"label image; it has {', '.join(names) or 'none'}.{did_you_mean(info.label, names)}"
        )


def _without_missing_columns(attributes: JSONObject, columns: pd.DataFrame) -> JSONObject:
    """Return attributes whose lists of columns (``..._columns``) name only columns of the table."""
    names = set(columns.columns)
    return {
        key: [name for name in value if name in names]
        if key.endswith("_columns") and isinstance(value, list)
        else value
        for key, value in attributes.items()
    }


def _create(tables: Tables, name: str, content: TableContent) -> None:
    """Write a table that is not listed yet, and list it."""
    documents, path = tables.documents, tables.node_path.child(name).path
    if documents.storage.exists(path):  # remains of a killed call
        documents.delete(path)
    if documents.storage.locks_processes:
        temporary = tables.node_path.child(temporary_name(".tmp")).path
        _put(tables, temporary, content)
        documents.move(temporary, path)
    else:
        _put(tables, path, content)
    _edit_list(tables, lambda names: [*names, name])


def _replace(tables: Tables, name: str, content: TableContent) -> None:
    documents, path = tables.documents, tables.node_path.child(name).path
    temporary = temporary_name(".tmp")
    new = tables.node_path.child(temporary).path
    try:
        _put(tables, new, content)
        if documents.storage.locks_processes:
            documents.replace(path, new)
            return
    except BaseException:
        abandon(temporary)
        with suppress(LamellaError):
            documents.delete(new)
        raise
    with abandoned_on_errors(temporary):  # not deleted: the record may be stored although the answer was lost
        while not _record_replacement(tables, (name, temporary)):
            _finish_replacing(tables)  # another program began to replace a table
    _finish_replacing(tables)


def _record_replacement(tables: Tables, replacement: tuple[str, str]) -> bool:
    """Record the table that is being replaced, and its new content; False if another replacement is recorded."""
    stored: list[tuple[str, str] | None] = []

    def edit(attributes: JSONObject) -> JSONObject:
        stored.append(_read_replacement(attributes))
        return with_replacing_table(attributes, replacement) if stored[-1] is None else attributes

    tables.documents.edit_group(tables.path, edit)
    return stored[-1] in (None, replacement)


def finish_changes(tables: Tables, request: tuple[str, str] | None = None) -> Renaming | None:
    """Finish a killed replacement or rename, and delete temporary folders; return the finished rename.

    Raise `StorageError` if another machine may be doing a rename, except one with the names of ``request``.
    """
    tables.documents.storage.sweep(tables.path)
    _finish_replacing(tables)
    renaming = _finish_renaming(tables, request)
    tables.documents.delete_abandoned(tables.path)
    return renaming


def _finish_renaming(tables: Tables, request: tuple[str, str] | None) -> Renaming | None:
    """Finish a recorded rename if the table is listed under its new name, else remove the record."""
    record = read_renaming_record(tables.group_attributes)
    if record is None:
        return None
    if record.token:
        check_not_renamed_by_another(tables.node_path, record, request, _KIND)
        own = record._replace(token=temporary_name(".tmp"))
        with abandoned_on_errors(own.token):
            _change_record(tables, record, own)
        record = own
    with abandoned_on_errors(record.token):
        if record.state == COPYING:
            _change_record(tables, record, None)
            return None
        _delete_renamed(tables, record)
    return record.renaming


def _change_record(
    tables: Tables, old: RenamingRecord | None, new: RenamingRecord | None, *, lists: bool = False
) -> None:
    """Replace the record of a rename, and with ``lists`` the name in the list; raise if ``old`` is not recorded."""

    def edit(attributes: JSONObject) -> JSONObject:
        stored = read_renaming_record(attributes)
        if stored != old:
            renaming = next(record.renaming for record in (stored, old, new) if record is not None)
            raise renamed_by_another(tables.node_path, renaming, _KIND)
        names = table_names(attributes)
        if new is not None and (old is None or lists):
            before, after = new.renaming
            if before not in names or after in names:
                raise _renamed_meanwhile(tables, new.renaming)
            if lists:
                names = [after if name == before else name for name in names]
        return with_renaming_record({**attributes, "tables": list(dict.fromkeys(names))}, new)

    tables.documents.edit_group(tables.path, edit)


def _renamed_meanwhile(tables: Tables, renaming: Renaming) -> NodeExistsError:
    return NodeExistsError(
        f"Cannot rename the table {renaming.old!r} to {renaming.new!r} in {tables.node_path}: another program has "
        "renamed the first one or created the second one."
    )


def _delete_renamed(tables: Tables, record: RenamingRecord) -> None:
    """Delete the files of a renamed table at its old path, and remove the record."""
    documents, source = tables.documents, tables.node_path.child(record.renaming.old).path
    if record.renaming.old not in table_names(tables.group_attributes) and documents.storage.exists(source):
        documents.delete(source)
    _change_record(tables, record, None)


def _finish_replacing(tables: Tables) -> None:
    """Copy the new content of a table over the old one, if the list records an unfinished replacement."""
    documents = tables.documents
    replacement = _read_replacement(tables.group_attributes)
    if replacement is None:
        return
    name, temporary = replacement
    path, new = tables.node_path.child(name).path, tables.node_path.child(temporary).path
    if documents.storage.exists(new):
        keys = documents.storage.keys_below(new)
        # The old files are not deleted first: another program may have finished, and deleted `new`.
        _copy(tables, new, path)
        # With an unchanged record no other program has deleted files of `new` before `keys` were listed.
        if _read_replacement(tables.group_attributes) == replacement:
            new_keys = {path + key[len(new) :] for key in keys}
            for key in documents.storage.keys_below(path):
                if key not in new_keys:
                    documents.storage.delete(key)
    documents.edit_group(
        tables.path,
        lambda attributes: (
            with_replacing_table(attributes, None)
            if _read_replacement(attributes) == replacement
            else attributes
        ),
    )
    abandon(temporary)
    if documents.storage.exists(new):
        documents.delete(new)


def _put(tables: Tables, path: str, content: TableContent) -> None:
    """Write a new table; in a store without locks the document of its group is written last."""
    documents = tables.documents
    files = ((join(path, key), data) for key, data in content.files.items())
    if documents.storage.locks_processes:
        documents.put_new({path: {"": content.attributes, **content.nodes}})
        documents.storage.write_many(files)
        return
    if content.nodes:  # before their chunks, which icechunk requires
        documents.put_new({path: content.nodes})
    documents.storage.write_many(files)
    documents.put_new({path: {"": content.attributes}})


def _copy(tables: Tables, old: str, new: str) -> None:
    """Copy the files of a table, the documents of its group last."""
    storage, files = tables.documents.storage, tables.documents.files.document_names
    group_documents = {join(old, file) for file in files}

    def order(key: str) -> tuple[bool, bool, str]:
        return key in group_documents, key.rpartition("/")[2] not in files, key

    keys = sorted(storage.keys_below(old), key=order)
    storage.write_many((new + key[len(old) :], read_listed(storage, key)) for key in keys)


def _edit_list(tables: Tables, change: Callable[[list[str]], list[str]]) -> None:
    def edit(attributes: JSONObject) -> JSONObject:
        return {**attributes, "tables": list(dict.fromkeys(change(table_names(attributes))))}

    tables.documents.edit_group(tables.path, edit)


def delete_table(tables: Tables, name: str) -> None:
    """Delete a table, after removing it from the list; see :meth:`Tables.__delitem__`."""
    documents, path = tables.documents, tables.node_path.child(name).path
    with documents.lock(tables.node_path.parent.path):
        finish_changes(tables)
        is_stored = documents.storage.exists(path)
        # A killed deletion leaves an unlisted table.
        if not is_stored and name not in table_names(tables.group_attributes):
            raise _missing_table(tables, name)
        if is_stored:
            documents.storage.check_deletable(path)
        # Even if the name was not listed: a service may have returned an old list.
        _edit_list(tables, lambda names: [listed for listed in names if listed != name])
        if is_stored:
            documents.delete(path)


def rename_table(tables: Tables, old: str, new: str) -> None:
    """Rename a table by a copy, which is listed when it is complete; see :meth:`Tables.rename`."""
    check_plain_name(new, "A table")
    documents = tables.documents
    target = tables.node_path.child(new).path
    with documents.lock(tables.node_path.parent.path):
        if finish_changes(tables, (old, new)) == (old, new):
            return
        names = table_names(tables.group_attributes)
        if old not in names:
            raise _missing_table(tables, old)
        if old == new:
            return
        if new in names:
            raise NodeExistsError(
                f"Cannot rename the table {old!r} to {new!r}: {tables.node_path} has {new!r}."
            )
        locks = documents.storage.locks_processes
        if locks and documents.storage.exists(target):  # remains of a killed call
            documents.delete(target)
        token, state = ("", "") if locks else (temporary_name(".tmp"), COPYING)
        _rename_by_copy(tables, RenamingRecord(Renaming(old, new), token, state))


def _rename_by_copy(tables: Tables, record: RenamingRecord) -> None:
    """Copy a table, list its new name, and delete the old files; in stores without locks the steps are recorded."""
    source, target = (tables.node_path.child(name).path for name in record.renaming)
    copying = record if record.state else None
    copied = record._replace(state=COPIED) if record.state else record
    with abandoned_on_errors(record.token):
        if copying is not None:
            _change_record(tables, None, copying)
        try:
            _copy(tables, source, target)
            if copying is not None:
                _delete_surplus_files(tables, source, target)
            _change_record(tables, copying, copied, lists=True)
        except BaseException:
            if copying is not None:
                with suppress(LamellaError):
                    _change_record(tables, copying, None)
            raise
        _delete_renamed(tables, copied)


def _delete_surplus_files(tables: Tables, path: str, copy: str) -> None:
    """Delete the files in a copy that the table at a path does not have."""
    storage = tables.documents.storage
    expected = {copy + key[len(path) :] for key in storage.keys_below(path)}
    for key in storage.keys_below(copy):
        if expected and key not in expected:
            storage.delete(key)


def info_of(tables: Tables, name: str) -> TableInfo:
    """Read the description of a table from its attributes."""
    info = table_info(tables.documents.group(content_path(tables, name)))
    return info if info.index_key is not None else replace(info, index_type=None)


def rename_region(tables: Tables, old: str, new: str) -> None:
    """Write the new name of a renamed label image into its tables; damaged tables do not change."""
    documents = tables.documents
    for name in tables:
        path = tables.node_path.child(name).path
        with suppress(MetadataError):
            if documents.kind(path) == "group" and table_info(documents.group(path)).label == old:
                documents.edit_group(path, lambda attributes: with_label(attributes, new))
