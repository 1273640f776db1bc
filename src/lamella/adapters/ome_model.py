"""Parse OME-XML into the complete model of ``ome-types``, which needs the extra ``ome``."""

from __future__ import annotations

import re
import warnings
from contextlib import suppress
from typing import TYPE_CHECKING

from lamella.errors import MetadataWarning, MissingDependencyError, counted, importing, warn
from lamella.spec.ome_xml import damaged, parse_ome_xml

if TYPE_CHECKING:
    from types import ModuleType
    from xml.etree.ElementTree import Element

    from ome_types import OME

_GREEK_MU = re.compile(rb"""(Unit\s*=\s*["'])(?:\xce\xbc|&#956;|&#x0*3bc;)""", re.IGNORECASE)
"""The Greek letter mu in a unit; the schema requires the micro sign (U+00B5), which looks the same."""


def load_ome_types() -> ModuleType:
    """Import ``ome_types``; raise MissingDependencyError if it is not installed."""
    with importing('Reading OME-XML needs {library}, which is not installed (pip install "lamella[ome]").'):
        import ome_types
    module: ModuleType = ome_types
    return module


def ome_model(data: bytes, where: str) -> OME:
    """Parse OME-XML with ``ome-types``; messages call the document ``where``.

    Raise MissingDependencyError without ``ome-types``, and MetadataError for a document that is damaged, not OME-XML,
    or unsafe (a DTD, endless nesting).

    >>> xml = b'<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"/>'
    >>> ome_model(xml, "METADATA.ome.xml").images
    []
    >>> ome_model(xml[:20], "METADATA.ome.xml")
    Traceback (most recent call last):
    ...
    lamella.errors.MetadataError: METADATA.ome.xml cannot be read: ... Restore it from a copy.
    """
    ome_types = load_ome_types()
    invalid = _invalid_ids(parse_ome_xml(data, where))
    data = _GREEK_MU.sub(rb"\1" + "\u00b5".encode(), data)
    try:
        model = _parse_quietly(ome_types, data) if invalid else _parse(ome_types, data)
    except ImportError as error:
        raise MissingDependencyError(
            f"{where} is of a schema before 2016-06, and reading it needs lxml: pip install lxml."
        ) from error
    except Exception as error:  # any error of xsdata, pydantic or the XML parser
        raise damaged(where, str(error).partition("\n")[0] or type(error).__name__) from error
    if not isinstance(model, ome_types.OME):
        raise damaged(where, f"its root element is {type(model).__name__}, not OME")
    if invalid:
        warn(
            f"{where} has {counted(len(invalid), 'id')} that the schema of OME-XML does not allow, such as "
            f"{invalid[0]!r}: ome-types replaces such ids in its model. The file does not change.",
            MetadataWarning,
        )
    return model


_ID = re.compile(r"(?:urn:lsid:(?:[\w.-]+\.[\w.-]+)+:)?(\w+):\S+")
_OTHER_ID_NAMES = frozenset({"Annotation", "LightSource", "Shape"})
"""Names in ids that elements of other names share, such as Laser."""

_ID_NAMES = {"EmissionFilterRef": "Filter", "ExcitationFilterRef": "Filter", "Leader": "Experimenter"}
"""Names in the ids of references whose own names differ."""


def _invalid_ids(root: Element) -> list[str]:
    """Return the ids that do not state their kind of element, as in "Image:0", each once; ome-types replaces them."""
    ids = []
    elements = [root]
    for element in elements:
        identifier, name = element.get("ID"), element.tag.rpartition("}")[2]
        match = None if identifier is None else _ID.fullmatch(identifier)
        names = {
            *(name, name.removesuffix("Ref"), name.removesuffix("Settings"), _ID_NAMES.get(name)),
            *_OTHER_ID_NAMES,
        }
        if identifier is not None and (match is None or match[1] not in names):
            ids.append(identifier)
        if name != "Value":  # an annotation may contain any XML
            elements += element
    return list(dict.fromkeys(ids))


def _parse_quietly(ome_types: ModuleType, data: bytes) -> object:
    """Parse OME-XML with ids that ome-types warns of. The filters of warnings belong to all threads."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Casting invalid")
        return _parse(ome_types, data)


def _parse(ome_types: ModuleType, data: bytes) -> object:
    """Parse OME-XML, also with values in a spelling that the schema forbids, such as BigEndian="True"."""
    from xsdata.exceptions import ParserError
    from xsdata.formats.dataclass.parsers.config import ParserConfig

    strict = ParserConfig(fail_on_converter_warnings=True)
    try:
        return ome_types.from_xml(data, validate=False, parser_kwargs={"config": strict})
    except ParserError as error:
        # xsdata warns about each such value. Filters of warnings are shared by all threads, so they are replaced only
        # for these documents, not for every one.
        with warnings.catch_warnings(), suppress(ValueError):
            warnings.simplefilter("ignore")
            return ome_types.from_xml(data, validate=False)
        raise error
