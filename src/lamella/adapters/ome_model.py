"""OME-XML as the model of ``ome-types``, which has all of it.

Layer: adapters. Needs the extra ``ome`` (ome-types).
"""

from __future__ import annotations

import re
import warnings
from typing import TYPE_CHECKING

from lamella.errors import MissingDependencyError
from lamella.spec.ome_xml import damaged, parse_ome_xml

if TYPE_CHECKING:
    from types import ModuleType

    from ome_types import OME

_GREEK_MU = re.compile(rb"""(Unit\s*=\s*["'])(?:\xce\xbc|&#956;|&#x0*3bc;)""", re.IGNORECASE)
"""The Greek letter in a unit, where the schema has the micro sign (U+00B5) that looks the same."""


def load_ome_types() -> ModuleType:
    """Import ``ome_types``.

    Raises
    ------
    MissingDependencyError
        It is not installed.
    """
    try:
        import ome_types
    except ImportError as error:
        raise MissingDependencyError(
            f'reading OME-XML needs {error.name}, which is not installed: pip install "lamella[ome]"'
        ) from error
    module: ModuleType = ome_types
    return module


def ome_model(data: bytes, where: str) -> OME:
    """Parse OME-XML with ``ome-types``.

    Parameters
    ----------
    data : bytes
        The document.
    where : str
        What it is, for messages.

    Raises
    ------
    MissingDependencyError
        ``ome-types`` is not installed.
    MetadataError
        It is damaged, is no OME-XML, or has what OME-XML never needs and attackers do: a DTD, endless nesting.

    Examples
    --------
    >>> xml = b'<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"/>'
    >>> ome_model(xml, "METADATA.ome.xml").images
    []
    >>> ome_model(xml[:20], "METADATA.ome.xml")
    Traceback (most recent call last):
    ...
    lamella.errors.MetadataError: METADATA.ome.xml cannot be read: ... restore it from a copy
    """
    ome_types = load_ome_types()
    parse_ome_xml(data, where)
    data = _GREEK_MU.sub(rb"\1" + "\u00b5".encode(), data)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a value that does not fit is warned of and then refused
            found = ome_types.from_xml(data, validate=False)
    except ImportError as error:
        raise MissingDependencyError(
            f"{where} is of a schema before 2016-06, and reading it needs lxml: pip install lxml"
        ) from error
    except Exception as error:  # of xsdata, of pydantic, or of the parser below them
        raise damaged(where, str(error).partition("\n")[0] or type(error).__name__) from error
    if not isinstance(found, ome_types.OME):
        raise damaged(where, f"its root element is {type(found).__name__}, not OME")
    return found
