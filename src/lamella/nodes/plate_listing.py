"""List what a plate has, from its documents: paths of wells and positions, names of acquisitions."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from lamella.errors import LamellaError, NodeNotFoundError, WrongTypeError
from lamella.nodes.node import NGFFNode
from lamella.nodes.store_handle import join

if TYPE_CHECKING:
    from lamella.nodes.plate import Plate


class PlateListing(NGFFNode):
    """Methods of a plate that return names and paths."""

    @property
    def acquisition_names(self) -> list[str | None]:
        """Names of the acquisitions in the order of the plate; None for one without a name.

        Examples
        --------
        >>> plate.acquisition_names
        ['Acquisition 0']
        """
        return [entry.name for entry in cast("Plate", self).document.shared_model.acquisitions or []]

    def well_paths(self) -> list[str]:
        """Return the paths of the wells, along rows, then columns; no well is opened.

        Examples
        --------
        >>> plate.well_paths()
        ['A/1', 'B/2']
        """
        return cast("Plate", self)._well_paths()

    def position_paths(self, *, acquisition: int | str | None = None) -> list[str]:
        """Return the paths of the positions, along rows, columns and the fields of each well; no image is opened.

        Parameters
        ----------
        acquisition
            Id or name of one acquisition; all by default.

        Raises
        ------
        NodeNotFoundError
            If there is no such acquisition (a KeyError).
        MetadataError
            At a well that is listed but not in the store, or damaged.

        Examples
        --------
        >>> plate.position_paths()
        ['A/1/0', 'A/1/1', 'B/2/0']
        """
        number = self._acquisition_id(acquisition)
        paths = []
        for well_path, well in cast("Plate", self)._wells_ahead():
            if isinstance(well, LamellaError):
                raise well
            images = well.document.shared_model.images
            paths += [join(well_path, image.path) for image in images if is_of(image.acquisition, number)]
        return paths

    def _acquisition_id(self, id_or_name: int | str | None) -> int | None:
        """Return the id of an acquisition that is given by its id or name; None for None."""
        if id_or_name is None:
            return None
        if not isinstance(id_or_name, int | str) or isinstance(id_or_name, bool):
            raise WrongTypeError(f"acquisition is an id or a name, not {id_or_name!r}.")
        listed = cast("Plate", self).document.shared_model.acquisitions or []
        for entry in listed:
            if id_or_name in (entry.id, entry.name):
                return entry.id
        if not listed and id_or_name == 0:
            return 0
        names = ", ".join(f"{entry.id} ({entry.name})" for entry in listed)
        raise NodeNotFoundError(
            f"There is no acquisition {id_or_name!r} in {self.node_path}. Its acquisitions are: {names or 'none'}."
        )


def is_of(acquisition: int | None, number: int | None) -> bool:
    """Whether an image is of the acquisition with an id (None for any); an image without one is of acquisition 0."""
    return number is None or (acquisition or 0) == number
