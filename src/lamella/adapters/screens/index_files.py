"""Read index files: XML of any size by element, without document type declarations, and lines of keys and values."""

from __future__ import annotations

import csv
from typing import IO, TYPE_CHECKING
from xml.etree import ElementTree
from xml.parsers import expat

from lamella.errors import SourceError, clause
from lamella.ops.conversion.source import COPY_AGAIN

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from xml.etree.ElementTree import Element


_MAX_DEPTH = 50
"""Maximum number of nested elements; the indexes of instruments have five."""

_BLOCK_BYTES = 1 << 16


class _RootReachedError(Exception):
    """The root element begins, so no document type declaration can follow."""


def elements(path: str, names: Collection[str]) -> Iterator[Element]:
    """Yield the elements with one of these names (without namespace) as their end tags are read.

    Each is emptied afterwards, to save memory; so the root, which comes last, has lost its children. Raise SourceError
    for a file that cannot be read, is not complete XML, or declares a document type.
    """
    try:
        with open(path, "rb") as file:
            _check_prolog(path, file)
            file.seek(0)
            stack: list[Element] = []
            for event, element in ElementTree.iterparse(file, events=("start", "end")):
                if event == "start":
                    stack.append(element)
                    if len(stack) > _MAX_DEPTH:
                        raise SourceError(f"{path} has elements nested more than {_MAX_DEPTH} deep.")
                    continue
                stack.pop()
                if local_name(element.tag) in names:
                    yield element
                    element.clear()
                    if stack:
                        del stack[-1][:]
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error.strerror or error}.") from error
    except (ElementTree.ParseError, expat.ExpatError, LookupError, ValueError) as error:
        raise SourceError(
            f"{path} is not complete XML, it may be truncated: {clause(error)}. {COPY_AGAIN}"
        ) from error


def _check_prolog(path: str, file: IO[bytes]) -> None:
    """Raise for a document type declaration, which can only stand before the root element."""

    def refuse(*declaration: object) -> None:
        raise SourceError(
            f"{path} has a document type declaration, which the index of an instrument never has."
        )

    def stop(name: str, attributes: object) -> None:
        raise _RootReachedError

    parser = expat.ParserCreate()
    parser.StartDoctypeDeclHandler = refuse
    parser.StartElementHandler = stop
    try:
        while block := file.read(_BLOCK_BYTES):
            parser.Parse(block, False)
        parser.Parse(b"", True)
    except _RootReachedError:
        return


def local_name(tag: str) -> str:
    """Return the name of an element or attribute without its namespace."""
    return tag.rpartition("}")[2]


def attributes(element: Element) -> dict[str, str]:
    """Return the attributes of an element without their namespaces."""
    return {local_name(name): value for name, value in element.attrib.items()}


def texts(element: Element) -> dict[str, str]:
    """Return the texts of the children by name."""
    return {local_name(child.tag): (child.text or "").strip() for child in element}


def read_keys(path: str) -> dict[str, list[str]]:
    """Return the values of each key in a ``.nd`` or ``.HTD`` file; raise SourceError for a file that cannot be read."""
    try:
        with open(path, encoding="latin-1", newline="") as file:
            lines = list(csv.reader(file, skipinitialspace=True))
    except (OSError, csv.Error) as error:
        raise SourceError(f"{path} cannot be read: {clause(error)}.") from error
    return {line[0]: [value.strip() for value in line[1:]] for line in lines if line}
