"""Units of TIFF files under the names that OME-NGFF wants: UDUNITS-2, in words.

Layer: adapters.
"""

from __future__ import annotations

from lamella.spec.axes import SPACE_UNITS, TIME_UNITS

_PREFIXES = {
    "Y": "yotta", "Z": "zetta", "E": "exa", "P": "peta", "T": "tera", "G": "giga", "M": "mega", "k": "kilo",
    "h": "hecto", "d": "deci", "c": "centi", "m": "milli", "u": "micro", "n": "nano", "p": "pico", "f": "femto",
    "a": "atto", "z": "zepto", "y": "yocto",
}  # fmt: skip

_SPACE = {
    "m": "meter",
    "Å": "angstrom",
    "in": "inch",
    "ft": "foot",
    "yd": "yard",
    "mi": "mile",
    "pc": "parsec",
}
_TIME = {"s": "second", "min": "minute", "h": "hour", "d": "day"}
_SPACE |= {f"{symbol}m": f"{prefix}meter" for symbol, prefix in _PREFIXES.items()}
_TIME |= {f"{symbol}s": f"{prefix}second" for symbol, prefix in _PREFIXES.items()}

_WORDS = {
    "micron": "micrometer", "microns": "micrometer", "µ": "micrometer", "inches": "inch", "sec": "second",
    "secs": "second", "msec": "millisecond", "mins": "minute", "hr": "hour", "hrs": "hour",
}  # fmt: skip


def unit_name(text: str | None) -> str | None:
    r"""Name of a unit that a file gives as a symbol or a word.

    Parameters
    ----------
    text : str or None
        Symbol or word in any of the spellings that microscopes and ImageJ write.

    Returns
    -------
    str or None
        UDUNITS-2 name; None when the unit is no unit of length or time ("pixel", "reference frame").

    Examples
    --------
    >>> unit_name("µm"), unit_name("micron"), unit_name("ms"), unit_name("pixel")
    ('micrometer', 'micrometer', 'millisecond', None)
    >>> unit_name("\\u00B5m")
    'micrometer'
    """
    if not text:
        return None
    # ImageJ escapes the micro sign; it exists twice in Unicode (U+00B5 and the Greek letter U+03BC).
    plain = text.strip().replace("\\u00B5", "µ").replace("\u03bc", "µ")
    symbol = plain.replace("µ", "u") if len(plain) > 1 else plain
    for known in (_SPACE, _TIME, _WORDS):
        if symbol in known:
            return known[symbol]
    word = plain.lower().replace("metre", "meter").replace("ångström", "angstrom")
    if word in _WORDS:
        return _WORDS[word]
    singular = word.removesuffix("s")
    return next((name for name in (word, singular) if name in SPACE_UNITS | TIME_UNITS), None)


def micrometers_per_unit(code: int) -> float | None:
    """Micrometers in the unit of a TIFF's ResolutionUnit tag; None for no absolute unit.

    Examples
    --------
    >>> micrometers_per_unit(3), micrometers_per_unit(2), micrometers_per_unit(1)
    (10000.0, 25400.0, None)
    """
    # 4 and 5 (millimeter, micrometer) are extensions of TIFF that some writers use.
    return {2: 25400.0, 3: 10000.0, 4: 1000.0, 5: 1.0}.get(code)
