"""Any spelling of a unit is the UDUNITS-2 name that OME-NGFF wants, or no unit at all."""

from __future__ import annotations

import pytest

from lamella.spec.axes import SPACE_UNITS, TIME_UNITS
from lamella.spec.units import unit_name


@pytest.mark.parametrize("name", sorted(SPACE_UNITS | TIME_UNITS))
def test_a_legal_unit_is_itself_and_so_is_its_plural(name: str) -> None:
    assert unit_name(name) == unit_name(f" {name.upper()} ") == unit_name(f"{name}s") == name


@pytest.mark.parametrize(
    "text",
    [
        "um",
        "\u00b5m",
        "\u03bcm",
        r"\u00B5m",
        r"\u03bcm",
        "\u00b5",
        "\u00c2\u00b5m",
        "micron",
        "Microns",
        "micrometre",
    ],
)
def test_every_spelling_of_micrometer_is_one_unit(text: str) -> None:
    assert unit_name(text) == unit_name(text, "space") == "micrometer"
    assert unit_name(text, "time") is None


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("nm", "nanometer"), ("Mm", "megameter"), ("mm", "millimeter"), ("\u00c5", "angstrom"), ("\u212b", "angstrom"),
        ("inches", "inch"), ("s", "second"), ("sec", "second"), ("secs", "second"), ("msec", "millisecond"),
        ("\u03bcs", "microsecond"), ("us", "microsecond"), ("min", "minute"), ("mins", "minute"), ("hrs", "hour"),
        ("h", "hour"), ("d", "day"),
    ],
)  # fmt: skip
def test_symbols_and_abbreviations_are_known(text: str, name: str) -> None:
    assert unit_name(text) == name


@pytest.mark.parametrize(
    "text", [None, "", " ", "pixel", "pixels", "none", "px", "reference frame", "?m", "1", "MM"]
)
def test_what_is_no_unit_stays_unknown(text: str | None) -> None:
    assert unit_name(text) is None
