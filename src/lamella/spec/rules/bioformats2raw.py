"""Rules BF on one document: the top group of a bioformats2raw collection, and its OME group."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lamella.spec.rules.raw_json import describe, is_number

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lamella.spec.rules.finding import Finding, Location
    from lamella.spec.rules.version_traits import RuleContext
    from lamella.types import JSONObject

LAYOUT_KEY = "bioformats2raw.layout"


def check_layout(ome: JSONObject, at: Location, context: RuleContext) -> Iterator[Finding]:
    """Check the top group (BF-01)."""
    if LAYOUT_KEY not in ome:
        yield context.finding("BF-01", at, f"there is no {LAYOUT_KEY}", "add it with the value 3")
    elif not is_number(ome[LAYOUT_KEY]) or ome[LAYOUT_KEY] != 3:
        yield context.finding("BF-01", (*at, LAYOUT_KEY), f"it is {describe(ome[LAYOUT_KEY])}", "write 3")


def check_series(ome: JSONObject, at: Location, context: RuleContext) -> Iterator[Finding]:
    """Check the OME group (BF-05), in which a series is optional."""
    if "series" not in ome:
        return
    series = ome["series"]
    where = (*at, "series")
    if not isinstance(series, list):
        yield context.finding("BF-05", where, f"series is {describe(series)}", "list the paths of the images")
        return
    seen: set[str] = set()
    for index, path in enumerate(series):
        if not isinstance(path, str):
            yield context.finding("BF-05", (*where, index), f"the path is {describe(path)}", "write a string")
        elif path in seen:
            yield context.finding(
                "BF-05", (*where, index), f"the path {describe(path)} is listed twice", "list each image once"
            )
        else:
            seen.add(path)
