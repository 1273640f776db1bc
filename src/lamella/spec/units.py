"""Units of length and time: from any spelling in files to the UDUNITS-2 name that OME-NGFF requires.

The only table of synonyms of units; readers of TIFF, OME-XML and xarray, and ``repair``, use it.
"""

from __future__ import annotations

import re
from fractions import Fraction
from typing import TYPE_CHECKING, Literal

from lamella.errors import InvalidArgumentError, did_you_mean
from lamella.spec.axes import SPACE_UNITS, TIME_UNITS

if TYPE_CHECKING:
    from collections.abc import Mapping

_PREFIXES = {
    "Y": "yotta", "Z": "zetta", "E": "exa", "P": "peta", "T": "tera", "G": "giga", "M": "mega", "k": "kilo",
    "h": "hecto", "d": "deci", "c": "centi", "m": "milli", "u": "micro", "n": "nano", "p": "pico", "f": "femto",
    "a": "atto", "z": "zepto", "y": "yocto",
}  # fmt: skip

_SPACE_SYMBOLS = {
    **{f"{symbol}m": f"{prefix}meter" for symbol, prefix in _PREFIXES.items()},
    "m": "meter",
    "µ": "micrometer",
    "Å": "angstrom",
    "in": "inch",
    "ft": "foot",
    "yd": "yard",
    "mi": "mile",
    "pc": "parsec",
}
_TIME_SYMBOLS = {
    **{f"{symbol}s": f"{prefix}second" for symbol, prefix in _PREFIXES.items()},
    "s": "second",
    "min": "minute",
    "h": "hour",
    "d": "day",
}
"""Symbols, in their case: ``Mm`` is a megameter, ``mm`` a millimeter."""

_SPACE_WORDS = {"micron": "micrometer", "inches": "inch", "feet": "foot"}
_TIME_WORDS = {"sec": "second", "msec": "millisecond", "usec": "microsecond", "min": "minute", "hr": "hour"}
"""Words, in lower case and in the singular."""

_POWER_OF_PREFIX = {
    "yotta": 24, "zetta": 21, "exa": 18, "peta": 15, "tera": 12, "giga": 9, "mega": 6, "kilo": 3, "hecto": 2,
    "deci": -1, "centi": -2, "milli": -3, "micro": -6, "nano": -9, "pico": -12, "femto": -15, "atto": -18,
    "zepto": -21, "yocto": -24,
}  # fmt: skip
_OTHER_SIZES = {
    "angstrom": Fraction(1, 10**10),
    "inch": Fraction("0.0254"),
    "foot": Fraction("0.3048"),
    "yard": Fraction("0.9144"),
    "mile": Fraction("1609.344"),
    "parsec": Fraction(30856775814913673),
    "minute": Fraction(60),
    "hour": Fraction(3600),
    "day": Fraction(86400),
}
"""Units that are not a power of ten of a meter or second, in meters or seconds."""

_TABLES_OF_KIND: dict[str, tuple[Mapping[str, str], Mapping[str, str], frozenset[str]]] = {
    "space": (_SPACE_SYMBOLS, _SPACE_WORDS, SPACE_UNITS),
    "time": (_TIME_SYMBOLS, _TIME_WORDS, TIME_UNITS),
}

_MICRO = re.compile(r"\\u00B5|\\u03BC|\u03bc|\u00c2\u00b5|\u00ce\u00bc", re.IGNORECASE)
"""Spellings of the micro sign: escaped by ImageJ, the Greek letter, UTF-8 that was read as Latin-1."""

SMALLEST_SIZE, LARGEST_SIZE = 1e-150, 1e150
"""Range of sizes that are written: the product and the ratio of two are exact floats, neither 0 nor infinite."""


def is_size(number: float) -> bool:
    """Return whether a number can be the distance of samples: positive, and not extreme."""
    return SMALLEST_SIZE <= number <= LARGEST_SIZE


def unit_name(text: str | None, kind: Literal["space", "time"] | None = None) -> str | None:
    r"""Return the UDUNITS-2 name of a unit from its symbol or word; None if it is not a unit of the kind.

    The micro sign may be U+00B5, the Greek letter U+03BC, ``u``, or one of the first two as ImageJ escapes them
    (``\u00B5``).
    """
    if not text:
        return None
    spelling = _MICRO.sub("µ", text.strip()).replace("\u212b", "Å")
    symbol = spelling.replace("µ", "u") if len(spelling) > 1 else spelling
    word = spelling.lower().replace("metre", "meter").replace("ångström", "angstrom")
    kinds = list(_TABLES_OF_KIND.values()) if kind is None else [_TABLES_OF_KIND[kind]]
    for symbols, _, _ in kinds:
        if symbol in symbols:
            return symbols[symbol]
    for _, words, legal in kinds:
        for singular in (word, word.removesuffix("s")):
            if singular in legal:
                return singular
            if singular in words:
                return words[singular]
    return None


def legal_unit(unit: str, kind: str | None) -> str:
    """Return the UDUNITS-2 name of a unit (AX-04); units of axes other than space and time are not checked."""
    if not isinstance(unit, str) or not unit:
        raise InvalidArgumentError(f"A unit is text, such as 'micrometer' or 's', not {unit!r}.")
    if kind not in _TABLES_OF_KIND:
        return unit
    name = unit_name(unit, kind)  # type: ignore[arg-type]
    if name is None:
        legal = _TABLES_OF_KIND[kind][2]
        usual = "'micrometer' or 'nanometer'" if kind == "space" else "'second' or 'minute'"
        raise InvalidArgumentError(
            f"{unit!r} is not a unit of {kind}, such as {usual} (AX-04).{did_you_mean(unit, legal)}"
        )
    return name


def unit_symbol(unit: str | None) -> str | None:
    """Return the symbol of a unit as OME-XML writes it; None for a unit of another kind."""
    for symbols in (_SPACE_SYMBOLS, _TIME_SYMBOLS):
        for symbol, name in symbols.items():
            if name == unit:
                return f"µ{symbol[1:]}" if unit.startswith("micro") else symbol
    return None


def unit_ratio(unit: str | None, other: str) -> float:
    """Return how many of another unit one unit is; 1 if one of them is missing or unknown."""
    size, other_size = _size_of(unit), _size_of(other)
    return 1.0 if size is None or other_size is None else float(size / other_size)


def _size_of(unit: str | None) -> Fraction | None:
    if unit is None or unit in _OTHER_SIZES:
        return _OTHER_SIZES.get(unit or "")
    for base in ("meter", "second"):
        prefix = unit.removesuffix(base)
        if prefix != unit and (not prefix or prefix in _POWER_OF_PREFIX):
            return Fraction(10) ** _POWER_OF_PREFIX.get(prefix, 0)
    return None
