"""Rules BF on one document: the top group of a bioformats2raw collection, and its OME group."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lamella.spec.rules.value import is_number

if TYPE_CHECKING:
    from lamella.spec.rules.value import Findings, Value

LAYOUT_KEY = "bioformats2raw.layout"


def check_layout(ome: Value) -> Findings:
    """Check the top group (BF-01)."""
    layout = ome.raw.get(LAYOUT_KEY)
    if LAYOUT_KEY not in ome.raw:
        yield ome.finding("BF-01", f"there is no {LAYOUT_KEY}", "add it with the value 3")
    elif not is_number(layout) or layout != 3:
        yield ome.wrong("BF-01", LAYOUT_KEY, "write 3", name="it")


def check_series(ome: Value) -> Findings:
    """Check the OME group (BF-05), in which a series is optional."""
    if "series" not in ome.raw:
        return
    series = ome["series"]
    if not isinstance(series.raw, list):
        yield series.finding("BF-05", f"series is {series}", "list the paths of the images")
        return
    seen: set[str] = set()
    for path in series:
        if not isinstance(path.raw, str):
            yield path.finding("BF-05", f"the path is {path}", "write a string")
        elif path.raw in seen:
            yield path.finding("BF-05", f"the path {path} is listed twice", "list each image once")
        else:
            seen.add(path.raw)
