"""The rules of OME-NGFF 0.4, 0.5 and 0.6, as pure functions on raw JSON.

A rule says what is wrong in a document as it is stored, before any model has read it, so that any damage can
be described. `check_attributes` judges one document; `check_arrays` compares an image document with the facts
of its arrays; `RULES` lists all rules, also those that take a walk through the hierarchy or that no file can
show.

Modules: one per group of rules (``axes``, ``coordinate_systems``, ``plain_transforms`` of 0.4 and 0.5,
``transformations``, ``transformation_types`` and ``matrices`` of 0.6, ``multiscales``, ``omero``, ``labels``,
``plate``, ``well``, ``bioformats2raw``, ``scene``, ``versions``, ``arrays``); ``catalogue`` is the table of
rules, ``dialect`` what differs between versions.

Layer: spec. No I/O, no numpy, no pydantic.
"""

from lamella.spec.rules.arrays import ArrayFacts, ParentImage
from lamella.spec.rules.catalogue import RULES, Rule
from lamella.spec.rules.check import Kind, check_arrays, check_attributes
from lamella.spec.rules.dialect import DIALECTS, Dialect
from lamella.spec.rules.finding import Finding, Level, Location, location_text
from lamella.spec.rules.plate import acquisition_ids

__all__ = [
    "DIALECTS",
    "RULES",
    "ArrayFacts",
    "Dialect",
    "Finding",
    "Kind",
    "Level",
    "Location",
    "ParentImage",
    "Rule",
    "acquisition_ids",
    "check_arrays",
    "check_attributes",
    "location_text",
]
