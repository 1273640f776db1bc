"""Label images: integer images of segmented objects. :mod:`lamella.ops.labels` creates and deletes them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, cast

from lamella.arguments import text_of_name
from lamella.errors import InvalidArgumentError, MetadataError, WrongTypeError, short_repr
from lamella.nodes.image_array import ImageArray
from lamella.nodes.metadata_document import ome_of, read_part
from lamella.nodes.position import Position
from lamella.nodes.renaming import RenamesMembers
from lamella.nodes.reporting import check_document
from lamella.spec.labels import ImageLabelMeta, LabelsMeta
from lamella.spec.own_key import COPIED, read_creating, read_renaming_record
from lamella.store.keys import check_plain_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from concurrent.futures import Executor

    import pandas as pd
    from numpy.typing import DTypeLike, NDArray

    from lamella.nodes.renaming import Change
    from lamella.ops.execution import Progress
    from lamella.spec.own_key import Renaming, RenamingRecord
    from lamella.spec.stale_levels import Bounds
    from lamella.types import JSONObject


class LabelArray(ImageArray):
    """The ids of one level of a label image: an `ImageArray` that keeps the colour table complete.

    Ids that are written to level 0 and are not in a stored colour table get a colour of the palette of
    :meth:`LabelImage.set_colors`, because viewers hide labels without a colour in the table.
    """

    def _block_written(self, block: NDArray[Any]) -> None:
        from lamella.ops.label_colors import color_written

        image = LabelImage(self.node_path.parent)
        try:
            if self.path == image.node_path.child(image.dataset_paths[0]).path:
                color_written(image, block)
        except (MetadataError, IndexError):
            return  # the pixels are stored; `validate` reports damage of the document

    def region_written(self, bounds: Bounds) -> None:
        """Add the ids of a written region to a stored colour table."""
        from lamella.ops.regions import split_region

        if LabelImage(self.node_path.parent).colors:
            for region in split_region(tuple(map(slice, *bounds)), [self.write_unit]):
                self._block_written(self.stored.read(region))


class LabelImage(Position):
    """A label image: a multiscale image of integers, with colours and properties of its labels.

    Its pyramids are computed with "mode" or "stride", which create no new labels.

    Examples
    --------
    >>> cells = position.labels.create("cells", np.ones((1, 4, 8, 8), "uint8"), colors={1: (0, 255, 0)})
    >>> cells.colors, cells.image_label.source
    ({1: (0, 255, 0, 255)}, {'image': '../../'})
    """

    _array_class = LabelArray
    _kinds = ("image", "label")

    @property
    def image_label(self) -> ImageLabelMeta:
        """Colours, properties and source of the labels, as stored."""
        return read_part(self.node_path, ImageLabelMeta, self.documents.group(self.path)) or ImageLabelMeta()

    @property
    def colors(self) -> dict[int, tuple[int, ...]]:
        """Colour of each label that has one: red, green, blue and opacity, 0 to 255."""
        colors = self.image_label.colors or []
        return {int(color.label_value): tuple(color.rgba) for color in colors if color.rgba is not None}

    @property
    def properties(self) -> dict[int, dict[str, Any]]:
        """Properties of each label that has some."""
        properties = {}
        for number, row in enumerate(self.image_label.properties or []):
            label = row.get("label-value")
            if not isinstance(label, int) or isinstance(label, bool):
                raise MetadataError(
                    f"The image-label.properties[{number}] of {self.node_path} has the label-value "
                    f"{short_repr(label)}, which is not a whole number. set_properties() replaces them."
                )
            properties[label] = {key: value for key, value in row.items() if key != "label-value"}
        return properties

    def set_colors(self, colors: Mapping[int, Sequence[int]] | Literal["all"] | None = "all") -> None:
        """Set the colours of the labels.

        Without stored colours, viewers choose their own. With stored colours, viewers hide the labels that the table
        leaves out, so labels that are written later are added to it.

        Parameters
        ----------
        colors
            ``"all"`` adds a colour for every label that has none, from a fixed palette in which nearby ids differ
            clearly; background, 0, is transparent. All pixels are read; beyond 65,536 labels no colours are stored,
            with a warning. A mapping of label to red, green, blue and optional opacity, 0 to 255 (LB-10), replaces all
            stored colours. None removes them.

        Raises
        ------
        InvalidArgumentError
            If a label or colour is not an integer in range (a ValueError).

        Examples
        --------
        >>> cells = position.labels.create("cells", np.ones((4, 8, 8), "uint8"))
        >>> cells.set_colors({1: (0, 255, 0)})
        >>> cells.colors
        {1: (0, 255, 0, 255)}
        >>> cells.data[0, 0, 0] = 2
        >>> cells.set_colors()
        >>> cells.colors
        {1: (0, 255, 0, 255), 2: (192, 242, 121, 255)}
        """
        from lamella.ops.label_colors import color_labels
        from lamella.ops.labels import color_entries

        self.require_writable("set label colours")
        if isinstance(colors, str):
            if colors != "all":
                raise InvalidArgumentError(f"Label colours are a dict, None or 'all', not {colors!r}.")
            color_labels(self)
            return
        entries = color_entries(colors)
        self._edit_image_label(lambda meta: meta.model_copy(update={"colors": entries}))

    def set_properties(
        self, properties: Mapping[int, Mapping[str, Any]] | Iterable[Mapping[str, Any]] | None
    ) -> None:
        """Set the properties of the labels.

        Parameters
        ----------
        properties
            Mapping of label to properties, or rows that each have an integer ``label-value`` (LB-12); None removes
            them.

        Examples
        --------
        >>> cells = position.labels.create("cells", np.ones((4, 8, 8), "uint8"))
        >>> cells.set_properties({1: {"class": "mitotic", "volume": 8.0}})
        >>> cells.properties[1]["class"]
        'mitotic'
        """
        from lamella.ops.labels import property_rows

        self.require_writable("set label properties")
        rows = property_rows(properties)
        self._edit_image_label(lambda meta: meta.model_copy(update={"properties": rows}))

    def measure(
        self,
        properties: Sequence[str] = ("area", "centroid", "intensity_mean"),
        *,
        channels: Sequence[str | int] | None = None,
        level: str = "0",
        physical: bool = True,
        name: str | None = None,
        jobs: int | None = None,
        executor: Executor | None = None,
        progress: Progress | bool | None = None,
    ) -> pd.DataFrame:
        """Measure every label by ``regionprops_table`` of scikit-image, one region at a time, in bounded memory.

        Parameters
        ----------
        properties
            Names of scikit-image, such as "area", "eccentricity" or "intensity_max"; those that are arrays, such as
            "coords", are refused.
        channels
            Names or numbers of the channels whose intensities are measured; all by default.
        level
            Name of the level to measure: its labels, and the intensities of the same level of the image.
        physical
            Measure lengths, areas and centroids in the units of the axes; otherwise in voxels of the level. Bounding
            boxes are always in voxels.
        name
            Store the result as a table of this name beside the labels too.
        jobs, executor, progress
            As for :meth:`Position.compute_pyramid`; progress counts "labels".

        Returns
        -------
        pandas.DataFrame
            One row per label, with the index "label". With several time points: one row per label and time point, and a
            column "t". Columns are named by channels and axes: "intensity_mean-DAPI", "centroid-y". Assigned to
            ``position.tables[name]`` it becomes a table of measurements of these labels.

        Raises
        ------
        InvalidArgumentError
            If there is no such property, channel or level, or a property does not fit the axes (a ValueError).
        MissingDependencyError
            If scikit-image is not installed (an ImportError).

        Examples
        --------
        >>> cells = position.labels.create("cells", np.arange(8) // 4 * np.ones((4, 8, 8), "uint8"))
        >>> sizes = cells.measure(["area", "intensity_mean"], channels=["GFP"])
        >>> list(sizes.columns), sizes.loc[1].round(1).tolist()  # cubic micrometers
        (['area', 'intensity_mean-GFP'], [4.0, 385.5])
        >>> position.tables["sizes"] = sizes
        >>> position.tables.info("sizes").label
        'cells'
        """
        from lamella.ops.execution import Workers
        from lamella.ops.tables.measure import measure

        if name is not None:
            self.require_writable(f"write the table {name!r}")
            check_plain_name(name, "A table")
        frame = measure(self, properties, channels, level, physical, Workers(jobs, executor), progress)
        if name is not None:
            Position(self.node_path.parent.parent).tables.write(
                name, frame, type="feature_table", label=self.name
            )
        return frame

    def write_rois(self, name: str | None = None, *, backend: str | None = None) -> str:
        """Write a table of the bounding boxes of all labels, and return its name.

        By default the table is named after the label image: "cells_ROI_table". See :meth:`Tables.write` for `backend`.

        Examples
        --------
        >>> cells = position.labels.create("cells", np.arange(8) // 4 * np.ones((4, 8, 8), "uint8"))
        >>> cells.write_rois()
        'cells_ROI_table'
        >>> position.roi(1).region()
        (slice(0, 1, None), slice(0, 2, None), slice(0, 4, None), slice(0, 8, None), slice(4, 8, None))
        """
        from lamella.ops.tables.rois import label_roi_frame

        name = name or f"{self.name}_ROI_table"
        self.require_writable(f"write the table {name!r}")
        tables = Position(self.node_path.parent.parent).tables
        tables.write(name, label_roi_frame(self), type="masking_roi_table", label=self.name, backend=backend)
        return name

    def _edit_image_label(self, change: Any) -> None:
        def edit(attributes: JSONObject) -> JSONObject:
            version = self.store_handle.version_of(attributes)
            meta = version.load(ImageLabelMeta, attributes) or ImageLabelMeta(source={"image": "../../"})
            return version.dump(change(meta), attributes)

        self.documents.edit_group(self.path, edit)

    def compute_pyramid(
        self,
        levels: int | str | None = None,
        method: str = "mode",
        *,
        dims: Sequence[str] | None = None,
        factors: Mapping[str, int] | None = None,
        jobs: int | None = None,
        executor: Executor | None = None,
        progress: Progress | bool | None = None,
        resume: bool = True,
    ) -> None:
        """Compute the lower levels as :meth:`Position.compute_pyramid` does, with "mode" or "stride" only.

        Other methods would create labels that level 0 does not have, and raise InvalidArgumentError (a ValueError).

        Examples
        --------
        >>> cells = position.labels.create("cells", np.full((4, 8, 8), 7, "uint8"))
        >>> cells.compute_pyramid(levels=2)
        >>> cells["1"].shape, np.unique(cells["1"][:])
        ((2, 4, 4), array([7], dtype=uint8))
        """
        if method not in ("mode", "stride"):
            raise InvalidArgumentError(
                f"A pyramid of labels is computed with 'mode' or 'stride', not {method!r}: others create new labels."
            )
        super().compute_pyramid(
            levels,
            method,
            dims=dims,
            factors=factors,
            jobs=jobs,
            executor=executor,
            progress=progress,
            resume=resume,
        )


class Labels(RenamesMembers):
    """The label images of a position: a mapping of name to `LabelImage`.

    Examples
    --------
    >>> position.labels["cells"] = np.ones((1, 4, 8, 8), "uint8")
    >>> list(position.labels), position.labels["cells"].data.shape, position.labels["cells"].axis_names
    (['cells'], (1, 4, 8, 8), ['t', 'z', 'y', 'x'])
    """

    def _parse_meta(self) -> None:
        self._all_names()

    def _read_attributes(self) -> JSONObject:
        """Read the attributes of the group; empty without a group."""
        return {} if self.documents.kind(self.path) is None else super()._read_attributes()

    def _update_moved_member(self, renaming: Renaming) -> None:
        """Update the metadata after the move of a label image."""
        from lamella.ops.labels import update_moved_label

        update_moved_label(self, renaming)

    def _change_record(
        self,
        change: Change,
        rename_in_list: Renaming | None = None,
        *,
        only_if_listed: Renaming | None = None,
    ) -> None:
        """Change the record of a rename; see `RenamesMembers._change_record`."""
        from lamella.ops.labels import change_record

        def change_if_listed(record: RenamingRecord | None) -> RenamingRecord | None:
            changed = change(record)
            if only_if_listed is not None:
                self._check_listed(only_if_listed, self._all_names())
            return changed

        change_record(self, change_if_listed, rename_in_list)

    def _listed_and_hidden(self, *, confirm_missing: bool = False) -> tuple[list[str], str | None]:
        """Return the listed names, and the name that must not be shown too, None without.

        Until a rename is finished, the image may be stored under the old name, the new one, or both, and only one of
        the two is shown (:mod:`lamella.nodes.renaming`). ``confirm_missing`` is as for `Documents.kind`.
        """
        if self.documents.kind(self.path, confirm_missing=confirm_missing) is None:
            return [], None
        stored, _ = self.documents.stored_group(self.path)
        meta = read_part(self.node_path, LabelsMeta, stored.attributes)
        if meta is not None:
            check_document(self.node_path, stored, ("labels",))
        names = [] if meta is None else meta.labels
        record = read_renaming_record(stored.attributes)
        if record is None:
            return list(dict.fromkeys(names)), None
        old, new = record.renaming
        if record.state:  # the files are copied, and the list has the complete one of the two
            return list(dict.fromkeys(names)), old if record.state == COPIED else new
        hidden, shown = (old, new) if self.has_moved(record.renaming) else (new, old)
        return list(dict.fromkeys(shown if name == hidden else name for name in names)), hidden

    def _listed_names(self) -> list[str]:
        """Return the names that the group lists (LB-01)."""
        return self._listed_and_hidden()[0]

    def _all_names(self, *, confirm_missing: bool = False) -> list[str]:
        """Return the names that the group lists, and those of label images that it does not list."""
        listed, hidden = self._listed_and_hidden(confirm_missing=confirm_missing)
        if not self.documents.storage.can_list:
            return listed
        names = [name for name in self.documents.child_names(self.path) if name not in (*listed, hidden)]
        return listed + [name for name in names if self._is_label_image(name)]

    def _is_label_image(self, name: str) -> bool:
        child = self.node_path.child(name)
        try:
            if self.documents.kind(child.path) != "group":
                return False
            attributes = self.documents.group(child.path)
            # An image with a record of its creation is not complete: the call still runs, or was killed.
            return read_creating(attributes) is None and "multiscales" in ome_of(child, attributes)
        except MetadataError:
            return False

    def _member_names(self) -> list[str]:
        return self._all_names()

    def __contains__(self, key: object) -> bool:
        name = (text_of_name(key) or "").strip("/")
        image, _, below = name.partition("/")
        return image in self._all_names() and (not below or super().__contains__(name))

    def __getitem__(self, key: int | str) -> LabelImage:
        """Return a label image, or the node at a path below one.

        Raises NodeNotFoundError (a KeyError) if it does not exist.
        """
        name = self._checked_key(key)
        if name not in self._all_names():
            image, _, below = name.partition("/")
            if below and image in self._all_names():
                return cast("LabelImage", self[image][below])
            raise self.missing_error(name)
        return self._open_listed(LabelImage, name)

    def __setitem__(self, key: int | str, value: Any) -> None:
        """Create or replace a label image with default settings; see :meth:`create`."""
        if value is None:
            raise WrongTypeError(f"The labels {key!r} are an array, not None. `create` creates empty labels.")
        self.create(self._checked_key(key), value, overwrite=True)

    def __delitem__(self, key: int | str) -> None:
        """Delete a label image, and remove its name from the list.

        Raises NodeNotFoundError (a KeyError) if it does not exist.
        """
        from lamella.ops.labels import delete_label

        self.require_writable(f"delete the labels {key!r}")
        delete_label(self, self._key_to_delete(key))

    def create(
        self,
        name: str,
        data: Any = None,
        *,
        dtype: DTypeLike | None = None,
        colors: Mapping[int, Sequence[int]] | None = None,
        properties: Mapping[int, Mapping[str, Any]] | Iterable[Mapping[str, Any]] | None = None,
        overwrite: bool = False,
    ) -> LabelImage:
        """Create a label image for the position's image, from an array or empty, or replace the one of this name.

        The label image has the image's axes (without channels), scale, translation, chunks, shards and number of levels
        (LB-04); the lower levels are computed with "mode".

        Parameters
        ----------
        name
            Name of the label image.
        data
            Integers or booleans, of the image's shape without the channel axis, or of its space axes alone; axes of
            length 1 may be left out. Lazy data is read block by block. Without data the label image is 0 everywhere,
            and no pixel is written; after its regions are written, :meth:`LabelImage.compute_pyramid` updates the lower
            levels.
        dtype
            Data type of a label image without data; uint32 by default.
        colors
            As for :meth:`LabelImage.set_colors`. By default no colours are stored, and viewers choose.
        properties
            As for :meth:`LabelImage.set_properties`.
        overwrite
            Whether a label image of this name is replaced, with its colours and properties; in local folders only.
            After an error or a kill, the old or the new one is complete. A read during the exchange may have pixels of
            both, or raise DamagedDataError if the data types differ; the next one has the new pixels.

        Raises
        ------
        InvalidArgumentError, NodeExistsError
            If something does not fit or the name is taken (ValueErrors). Nothing is written then.

        Examples
        --------
        >>> bright = position.data[:, 1] > 300  # T, Z, Y, X
        >>> cells = position.labels.create("cells", bright, colors={1: (255, 0, 0)})
        >>> cells.data.shape, cells.axis_names, cells.scale
        ((1, 4, 8, 8), ['t', 'z', 'y', 'x'], [1.0, 0.5, 0.25, 0.25])
        >>> empty = position.labels.create("later", dtype="uint16")
        >>> empty["0"][0, 1] = 7
        """
        from lamella.ops.labels import create_label

        self.require_writable(f"create the labels {name!r}")
        return create_label(self, self._checked_key(name), data, dtype, colors, properties, overwrite)

    def view(self, *, height: int = 560) -> Any:
        """Show the image of the labels in a notebook, where they can be chosen; see :meth:`Position.view`.

        Examples
        --------
        >>> position.labels["cells"] = np.ones((4, 8, 8), "uint8")
        >>> widget = position.labels.view()
        >>> widget.close()
        """
        return Position(self.node_path.parent).view(height=height)

    def rename(self, old: str, new: str) -> None:
        """Rename a label image, in the store, in the list and in its own metadata.

        Raises
        ------
        NodeNotFoundError, NodeExistsError
            If there is no label image ``old`` (a KeyError), or the name ``new`` is taken (a ValueError).

        Examples
        --------
        >>> position.labels["cells"] = np.ones((4, 8, 8), "uint8")
        >>> position.labels.rename("cells", "nuclei")
        >>> list(position.labels)
        ['nuclei']
        """
        from lamella.ops.labels import rename_label

        self.store_handle.require_writable(f"rename the labels {old!r}", self.path)
        rename_label(self, self._checked_key(old), self._checked_key(new))

    def _summary(self) -> str:
        return f", {len(self)} label images"
