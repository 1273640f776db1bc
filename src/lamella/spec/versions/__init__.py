"""The versions of OME-NGFF, and how to find the version of a document.

Each version is one module here: a subclass of ``SpecVersion``, with an entry in ``VERSIONS``. No other code compares
names of versions: a store gets its version once, when it is opened or created.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lamella.errors import InvalidArgumentError, MetadataError, short_repr
from lamella.spec.versions.base import SpecVersion
from lamella.spec.versions.v04 import V01, V02, V03, V04
from lamella.spec.versions.v05 import V05
from lamella.spec.versions.v06 import V06

if TYPE_CHECKING:
    from lamella.types import JSONObject

__all__ = ["VERSIONS", "SpecVersion", "by_name", "convert_attributes", "detect"]

VERSIONS: tuple[SpecVersion, ...] = (V01, V02, V03, V04, V06, V05)
"""All known versions; a document has the first one that matches it."""


def by_name(name: str) -> SpecVersion:
    """Return a version by its name."""
    for version in VERSIONS:
        if version.name == name:
            return version
    raise InvalidArgumentError(
        f"OME-NGFF version {name!r} is not known: choose one of {_names(only_writable=True)}."
    )


def detect(zarr_format: int, attributes: JSONObject) -> SpecVersion:
    """Return the version of a document.

    A document that names a draft or a patch of a version, or the version as a number, is read as that version; rule
    ST-07 reports it. An unknown version raises MetadataError.
    """
    for version in VERSIONS:
        if version.matches(zarr_format, attributes):
            return version
    ome = attributes.get("ome")
    stated = ome.get("version") if isinstance(ome, dict) else None
    raise MetadataError(
        f"The ome.version is {short_repr(stated)} (Zarr v{zarr_format}), which lamella does not read: it reads "
        f"{_names()}."
    )


def _names(only_writable: bool = False) -> str:
    return ", ".join(sorted(version.name for version in VERSIONS if version.writable or not only_writable))


def convert_attributes(
    attributes: JSONObject, source: SpecVersion, target: SpecVersion, *, lossy: bool = False
) -> JSONObject:
    """Return a group's attributes in the spelling of another version; unknown keys are kept.

    An older version than 0.6 has levels and the transformation of the whole field of view, but no names for the two
    coordinate systems to which these lead: converting back restores the default names. Other coordinate systems,
    their transformations and scenes raise MetadataError; ``lossy`` drops them.
    """
    if source is target:
        return attributes
    return source.converted(attributes, target, lossy=lossy)
