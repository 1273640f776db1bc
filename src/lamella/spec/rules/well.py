"""Rules WL: the images of a well."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lamella.spec.rules.raw_json import describe, is_integer
from lamella.spec.rules.versions import check_inner_version

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from lamella.spec.rules.finding import Finding, Location
    from lamella.spec.rules.version_traits import RuleContext
    from lamella.types import JSON, JSONObject


def check_well(
    ome: JSONObject, at: Location, context: RuleContext, acquisitions: Collection[int] | None
) -> Iterator[Finding]:
    """Check ``well``; `acquisitions` are the ids that its plate lists, None if the plate is unknown."""
    if not isinstance(ome.get("well"), dict):
        where = (*at, "well") if "well" in ome else at
        found = f"well is {describe(ome['well'])}" if "well" in ome else "there is no well"
        yield context.finding("WL-01", where, found, "write an object with images")
        return
    well = ome["well"]
    where = (*at, "well")
    yield from check_inner_version(well, where, "VE-02", context)
    images = well.get("images")
    spot = (*where, "images") if "images" in well else where
    if not isinstance(images, list) or not images:
        found = f"images is {describe(images)}" if "images" in well else "the well has no images"
        yield context.finding("WL-01", spot, found, "list the fields, each with a path")
        return
    seen: set[str] = set()
    for index, image in enumerate(images):
        yield from _check_image(image, (*spot, index), seen, context)
        if isinstance(image, dict):
            yield from _check_acquisition(image, (*spot, index), acquisitions, context)


def _check_image(image: JSON, at: Location, seen: set[str], context: RuleContext) -> Iterator[Finding]:
    if not isinstance(image, dict):
        yield context.finding("WL-01", at, f"the image is {describe(image)}", "write an object with a path")
        return
    if "path" not in image:
        yield context.finding("WL-01", at, "the image has no path", "write the name of its group")
        return
    path = image["path"]
    where = (*at, "path")
    if not isinstance(path, str) or not context.traits.field_name.fullmatch(path):
        yield context.finding(
            "WL-02", where, f"the path is {describe(path)}", f"use {context.traits.field_words}"
        )
    if not isinstance(path, str):
        return
    if path in seen:
        yield context.finding("WL-03", where, f"the path {describe(path)} is used twice", "list it once")
    seen.add(path)


def _check_acquisition(
    image: JSONObject, at: Location, acquisitions: Collection[int] | None, context: RuleContext
) -> Iterator[Finding]:
    where = (*at, "acquisition")
    if "acquisition" not in image:
        if acquisitions is not None and len(acquisitions) > 1:
            yield context.finding(
                "WL-04",
                at,
                f"the plate has {len(acquisitions)} acquisitions, the image names none",
                "name one",
            )
        return
    number = image["acquisition"]
    if not is_integer(number):
        yield context.finding(
            "WL-04", where, f"the acquisition is {describe(number)}", "write the id, an integer"
        )
    elif acquisitions is not None and number not in acquisitions:
        yield context.finding(
            "WL-04",
            where,
            f"the plate has no acquisition {describe(number)}",
            "write an id that the plate lists, or list this one",
        )
