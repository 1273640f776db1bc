"""Rows and wells of a plate."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, cast

from lamella.arguments import checked_name
from lamella.errors import NodeNotFoundError, counted
from lamella.nodes.ahead import members_ahead
from lamella.nodes.metadata_document import ome_of, read_part, stored_ome
from lamella.nodes.pictures import Pictures
from lamella.nodes.position import Position
from lamella.nodes.renaming import ListsMembers
from lamella.nodes.reporting import report
from lamella.nodes.store_handle import NodePath, StoreHandle
from lamella.nodes.tables import stored_table_names
from lamella.spec import plate_edits
from lamella.spec.plate import ImageMeta, WellGroupMeta
from lamella.spec.rules import Finding
from lamella.spec.rules.value import describe
from lamella.store.keys import join_names
from lamella.store.metadata.parents import group_above, path_below

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lamella.nodes.plate import Plate
    from lamella.spec.own_key import Renaming
    from lamella.store.metadata.json_document import StoredGroup
    from lamella.types import JSONObject


class Well(Pictures, ListsMembers[WellGroupMeta]):
    """A well: the group that lists the positions imaged in it.

    ``channel_names`` and ``axes`` are for positions that are created while the well has none; ``overwriting_creation``
    replaces existing positions on creation.

    Examples
    --------
    >>> well = plate.create_well("B", "3")
    >>> position = well.create_position("0")
    >>> list(plate["B/3"]), list(dict(plate.wells()))
    (['0'], ['A/1', 'B/2', 'B/3'])
    """

    _kinds = ("well",)

    def _load(self, attributes: JSONObject) -> WellGroupMeta:
        meta = read_part(self.node_path, WellGroupMeta, attributes)
        if meta is None:
            return WellGroupMeta(images=[ImageMeta(path=name) for name in self._stored_images()])
        renaming = self._moved_member(attributes)
        return meta if renaming is None else self._relisted(meta, renaming)

    def _stored_images(self) -> list[str]:
        """Return the images in the group of a well whose document lists none."""
        if not self.documents.storage.can_list:
            return []
        return [name for name in self.group_keys() if "multiscales" in stored_ome(self.node_path.child(name))]

    def _check(self, stored: StoredGroup) -> None:
        super()._check(stored)
        if "well" not in ome_of(self.node_path, stored.attributes):
            images = [image.path for image in self.document.last_shared_model.images]
            if images:
                problem = f"the group has no well metadata, and contains the images {describe(images)}"
                report(self.node_path, [Finding("WL-01", "MUST", self.path, (), problem)])

    def _load_shared(self, stored: StoredGroup) -> WellGroupMeta:
        """Return the model as `_load` does, shared by all wells with an equal document; never change it."""
        if "well" not in ome_of(self.node_path, stored.attributes):
            return self._load(stored.attributes)  # the images in the group differ between wells
        if not self._is_settled(stored.attributes):
            return self._load(stored.attributes)
        key = (WellGroupMeta, self.store_handle.version.name)
        return stored.get_or_make(key, lambda: self._load(stored.attributes))

    def _names_in(self, meta: WellGroupMeta) -> list[str]:
        return [image.path for image in meta.images]

    def _with_new_name(self, meta: WellGroupMeta, renaming: Renaming) -> WellGroupMeta:
        return plate_edits.rename_image(meta, *renaming)

    @contextmanager
    def _lock_members(self) -> Iterator[None]:
        """Lock the well; before it the plate, if it has tables, which name positions."""
        plate = plate_above(self.node_path, 2)
        with ExitStack() as locks:
            if plate is not None and stored_table_names(plate):
                locks.enter_context(plate.documents.lock(plate.path))
            locks.enter_context(super()._lock_members())
            yield

    def _update_moved_member(self, renaming: Renaming) -> None:
        """Update the metadata after the move of a position."""
        from lamella.ops.plates.members import update_moved_position

        update_moved_position(self, renaming)

    def _dump(self, meta: WellGroupMeta, attributes: JSONObject, *, trusted: bool = False) -> JSONObject:
        """Return the attributes to store; a well without positions has no well metadata (WL-01)."""
        version = self.store_handle.version_of(attributes)
        if meta.images:
            document = version.dump(meta, attributes, trusted=trusted)
            return self._with_renaming(document, attributes, [image.path for image in meta.images])
        other_keys = {key: value for key, value in version.ome(attributes).items() if key != "well"}
        return version.with_ome(attributes, other_keys)

    def _member_names(self) -> list[str]:
        # Each path once, also if the document lists it twice (WL-03).
        return list(dict.fromkeys([image.path for image in self.document.shared_model.images]))

    def __getitem__(self, key: int | str) -> Position:
        """Return a position of the well, or the node at a path below one.

        Raises NodeNotFoundError (a KeyError) if it does not exist.
        """
        name, _, below = self._checked_key(key).partition("/")
        position = self._open(Position, name)
        return cast("Position", position[below]) if below else position

    def __delitem__(self, key: int | str) -> None:
        """Delete a position, or a node below one, and update the metadata of the well and its plate.

        In a plate, a well without positions is deleted too, and so are rows and columns without wells. Raises
        NodeNotFoundError (a KeyError) if it does not exist.
        """
        from lamella.ops.plates.members import delete_from_well

        self.require_writable(f"delete {key!r}")
        delete_from_well(self, self._key_to_delete(key))

    def create_position(self, name: str, acquisition: int = 0) -> Position:
        """Create a position without an image in the well, of an acquisition by its id (WL-04).

        Raises
        ------
        NodeExistsError, InvalidNameError
            If the name is taken or not alphanumeric, as WL-02 demands (ValueErrors).

        Examples
        --------
        >>> plate["A/1"].create_position("2").path
        'A/1/2'
        """
        from lamella.nodes.plate_creation import add_positions_to_well

        self.require_writable(f"create the position {name!r}")
        return add_positions_to_well(self, [(checked_name(name), acquisition)])[0]

    def rename_position(self, old: str, new: str) -> None:
        """Rename the position ``old`` to ``new``; see :meth:`Plate.rename_position`.

        Examples
        --------
        >>> well = plate["A/1"]
        >>> well.rename_position("1", "7")
        >>> list(well)
        ['0', '7']
        """
        from lamella.ops.plates.members import rename_position

        rename_position(self, checked_name(old), checked_name(new))

    def positions(self) -> Iterator[tuple[str, Position]]:
        """Iterate over the names and positions of the well as listed; MetadataError at a missing or damaged one.

        Examples
        --------
        >>> [(name, position.path) for name, position in plate["A/1"].positions()]
        [('0', 'A/1/0'), ('1', 'A/1/1')]
        """
        for name in members_ahead(self.documents, self.path, self._member_names()):
            yield name, self._open_listed(Position, name)

    def _first_position(self) -> Position | None:
        for image in self.document.shared_model.images:
            return self._open_listed(Position, image.path)
        return None

    def _summary(self) -> str:
        return f", {counted(len(self.document.shared_model.images), 'position')}"


class Row(Pictures):
    """A row of a plate: the group of its wells.

    A row has no metadata of its own; the plate lists its wells.

    Examples
    --------
    >>> for name, row in plate.rows():
    ...     print(name, list(row))
    A ['1']
    B ['2']
    """

    def __getitem__(self, key: int | str) -> Well:
        """Return a well of the row, or the node at a path below one.

        Raises NodeNotFoundError (a KeyError) if it does not exist.
        """
        name, _, below = self._checked_key(key).partition("/")
        well = self._open(Well, name)
        return cast("Well", well[below]) if below else well

    def _member_names(self) -> list[str]:
        """Return the columns of the row's wells, as the plate lists them; without a plate, the stored groups."""
        plate = plate_above(self.node_path, 1)
        if plate is None:
            return self.group_keys()
        paths = [path.partition("/") for path in plate.well_paths()]
        return [column for row, _, column in paths if row == self.name]

    def __delitem__(self, key: int | str) -> None:
        """Delete a well, or a node below one, and update the metadata of the plate.

        Raises NodeNotFoundError (a KeyError) if it does not exist.
        """
        plate = plate_above(self.node_path, 1)
        if plate is None:
            super().__delitem__(key)
        else:
            del plate[join_names(self.name, self._key_to_delete(key))]

    def wells(self) -> Iterator[tuple[str, Well]]:
        """Iterate over the paths in the plate ("A/1") and wells of the row; NodeNotFoundError at a missing one.

        Examples
        --------
        >>> [(path, list(well)) for path, well in plate["A"].wells()]
        [('A/1', ['0', '1'])]
        """
        for name in self._member_names():
            yield join_names(self.name, name), self[name]


def plate_above(node_path: NodePath, levels: int) -> Plate | None:
    """Return the plate above a row (1 level) or well (2), also outside of the opened store; None if missing.

    A plate outside of the store that does not list the well counts as missing.
    """
    if not node_path.path:
        return _plate_outside(node_path, levels)
    for _ in range(levels):
        if not node_path.path:
            return None
        node_path = node_path.parent
    return _plate_at(node_path)


def _plate_at(node_path: NodePath) -> Plate | None:
    """Read the plate at a node path; None if there is no plate."""
    from lamella.nodes.plate import Plate

    try:
        stored, stamp = node_path.store_handle.documents.stored_group(node_path.path)
    except NodeNotFoundError:
        return None
    if "plate" not in ome_of(node_path, stored.attributes):
        return None
    plate = Plate(node_path, parse_meta=False)
    plate._adopt_document(stored, stamp)
    plate._parse_meta()
    return plate


def path_in_plate(well: NodePath) -> str:
    """Return the path of a well in its plate: row and column."""
    return "/".join(well.path.split("/")[-2:]) or path_below(well.store_handle.documents.storage, 2)


def _plate_outside(node_path: NodePath, levels: int) -> Plate | None:
    """Return the plate in the folders above a well that was opened as a store; None in other stores."""
    documents = group_above(node_path.store_handle.documents.storage, 2) if levels == 2 else None
    if documents is None or documents.format != node_path.store_handle.documents.format:
        return None
    store_handle = node_path.store_handle
    outside = NodePath(
        StoreHandle(
            documents, store_handle.version, strict=store_handle.strict, reported=store_handle.reported
        ),
        "",
    )
    plate = _plate_at(outside)
    return plate if plate is not None and path_in_plate(node_path) in plate.well_paths() else None
