"""The versions of OME-NGFF, and how to tell which one a document has.

A version is one module here: a subclass of ``SpecVersion`` and an entry in ``VERSIONS``. Nothing outside
compares names of versions: the version is resolved once, when a store is opened or created.

Layer: spec.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

from lamella.errors import InvalidArgumentError, MetadataError
from lamella.spec.versions.base import SpecVersion
from lamella.spec.versions.v04 import V04
from lamella.spec.versions.v05 import V05

if TYPE_CHECKING:
    from lamella.types import JSONObject

__all__ = ["VERSIONS", "SpecVersion", "by_name", "detect"]

VERSIONS: tuple[SpecVersion, ...] = (V04, V05)
"""All known versions; the first that claims a document gets it."""


def by_name(name: str) -> SpecVersion:
    """Get a version by its name.

    Raises
    ------
    InvalidArgumentError
        No such version.

    Examples
    --------
    >>> by_name("0.4").zarr_format
    2
    >>> by_name("0.7")
    Traceback (most recent call last):
    ...
    lamella.errors.InvalidArgumentError: OME-NGFF version '0.7' is not known: choose one of 0.4, 0.5
    """
    for version in VERSIONS:
        if version.name == name:
            return version
    raise InvalidArgumentError(f"OME-NGFF version {name!r} is not known: choose one of {_known()}")


def detect(zarr_format: int, attributes: JSONObject) -> SpecVersion:
    """Tell the version of a document.

    Warns when the document states a draft or patch of the version that will be used to read it.

    Parameters
    ----------
    zarr_format : int
        2 or 3, as the store says.
    attributes : JSONObject
        The attributes of a group.

    Raises
    ------
    MetadataError
        The document states a version that is not known.

    Examples
    --------
    >>> detect(2, {}).name, detect(3, {}).name
    ('0.4', '0.5')
    >>> detect(3, {"ome": {"version": "7"}})
    Traceback (most recent call last):
    ...
    lamella.errors.MetadataError: ome.version: '7' (Zarr v3) is no version that lamella reads (0.4, 0.5)
    """
    for version in VERSIONS:
        if version.claims(zarr_format, attributes):
            declared = version.declared(attributes)
            if declared is not None and declared != version.name:
                warnings.warn(
                    f"ome.version is {declared!r}: read as {version.name}, from which it may differ",
                    UserWarning,
                    stacklevel=2,
                )
            return version
    ome = attributes.get("ome")
    declared = ome.get("version") if isinstance(ome, dict) else None
    raise MetadataError(
        f"ome.version: {declared!r} (Zarr v{zarr_format}) is no version that lamella reads ({_known()})"
    )


def _known() -> str:
    return ", ".join(version.name for version in VERSIONS)


def convert_attributes(attributes: JSONObject, source: SpecVersion, target: SpecVersion) -> JSONObject:
    """Give a group's attributes in the spelling of another version; unknown keys survive.

    Examples
    --------
    >>> convert_attributes({"labels": ["nuclei"], "lab": "ours"}, by_name("0.4"), by_name("0.5"))
    {'lab': 'ours', 'ome': {'version': '0.5', 'labels': ['nuclei']}}
    """
    if source is target:
        return attributes
    return source.converted(attributes, target)
