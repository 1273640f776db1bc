"""The rules of OME-NGFF 0.4, 0.5 and 0.6, as pure functions on raw JSON.

A rule checks a document as it is stored, before any model has read it, so that any damage can be described.
`check_attributes` checks one document; `check_arrays` compares an image document with the facts of its arrays; `RULES`
lists all rules, including those that need the whole hierarchy or that no file can show.

Modules: one per group of rules (``axes``, ``coordinate_systems``, ``plain_transforms`` of 0.4 and 0.5,
``transformations``, ``transformation_types`` and ``matrices`` of 0.6, ``multiscales``, ``omero``, ``labels``,
``plate``, ``well``, ``bioformats2raw``, ``scene``, ``versions``, ``arrays``); ``catalogue`` is the table of rules,
``version_traits`` the differences between versions.

No I/O, no numpy, no pydantic.
"""

from lamella.spec.rules.arrays import ArrayFacts, ParentImage
from lamella.spec.rules.catalogue import RULES, Rule
from lamella.spec.rules.check import Kind, check_arrays, check_attributes
from lamella.spec.rules.finding import Finding, Level, Location, location_text
from lamella.spec.rules.plate import acquisition_ids
from lamella.spec.rules.version_traits import VERSION_TRAITS, VersionTraits

__all__ = [
    "RULES",
    "VERSION_TRAITS",
    "ArrayFacts",
    "Finding",
    "Kind",
    "Level",
    "Location",
    "ParentImage",
    "Rule",
    "VersionTraits",
    "acquisition_ids",
    "check_arrays",
    "check_attributes",
    "location_text",
]
