"""The rules of OME-NGFF 0.4, 0.5 and 0.6, as pure functions on raw JSON.

A rule checks a document as it is stored, before a model reads it, so that any damage can be described.
`check_attributes` checks one document, `check_arrays` an image document with its arrays; `RULES` lists all rules, also
those that need the whole hierarchy. Each module has one group of rules.
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
