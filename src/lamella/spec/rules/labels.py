"""Rules LB on one document: the list of a labels group, and ``image-label``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lamella.spec.rules.raw_json import describe, is_equal, is_integer, is_number, is_text
from lamella.spec.rules.version_traits import check_inner_version

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lamella.spec.rules.finding import Finding, Location
    from lamella.spec.rules.version_traits import RuleContext
    from lamella.types import JSON, JSONObject


def check_labels_group(ome: JSONObject, at: Location, context: RuleContext) -> Iterator[Finding]:
    """Check the list of label images in a group ``labels`` (LB-01)."""
    if "labels" not in ome:
        yield context.finding(
            "LB-01", at, "the group has no list of labels", "list the paths of its label images"
        )
        return
    value = ome["labels"]
    where = (*at, "labels")
    if not isinstance(value, list):
        yield context.finding(
            "LB-01", where, f"labels is {describe(value)}", "list the paths of the label images"
        )
        return
    seen: set[str] = set()
    for index, path in enumerate(value):
        if not is_text(path) or path.startswith("/") or ".." in path.split("/"):
            yield context.finding(
                "LB-01",
                (*where, index),
                f"the path is {describe(path)}",
                "write the path of a label image below this group",
            )
        elif path in seen:
            yield context.finding(
                "LB-01", (*where, index), f"{describe(path)} is listed twice", "list it once", level="SHOULD"
            )
        else:
            seen.add(path)


def check_image_label(ome: JSONObject, at: Location, context: RuleContext) -> Iterator[Finding]:
    """Check ``image-label`` of a label image (LB-07 to LB-13, VE-02)."""
    if "image-label" not in ome:
        yield context.finding(
            "LB-07", at, "the label image has no image-label", "add image-label with colors"
        )
        return
    part = ome["image-label"]
    where = (*at, "image-label")
    if not isinstance(part, dict):
        yield context.finding(
            "LB-07", where, f"image-label is {describe(part)}", "write an object", level="MUST"
        )
        return
    yield from check_inner_version(part, where, "VE-02", context)
    if "colors" not in part:
        yield context.finding("LB-08", where, "there are no colors", "list a color for each label")
    elif not isinstance(part["colors"], list) or not part["colors"]:
        yield context.finding(
            "LB-08",
            (*where, "colors"),
            f"colors is {describe(part['colors'])}",
            "list colors, or leave it out",
            level="MUST",
        )
    else:
        yield from _check_colors(part["colors"], (*where, "colors"), context)
    if "properties" in part:
        yield from _check_properties(part["properties"], (*where, "properties"), context)
    if "source" in part:
        yield from _check_source(part["source"], (*where, "source"), context)


def _check_colors(colors: list[JSON], at: Location, context: RuleContext) -> Iterator[Finding]:
    first: dict[JSON, JSON] = {}
    for index, color in enumerate(colors):
        where = (*at, index)
        if not isinstance(color, dict):
            yield context.finding(
                "LB-08", where, f"the color is {describe(color)}", "write an object", level="MUST"
            )
            continue
        yield from _check_label_value(color, where, "LB-09", context)
        if "rgba" in color:
            yield from _check_rgba(color["rgba"], (*where, "rgba"), context)
        value = color.get("label-value")
        if not is_number(value):
            continue
        if value in first:
            same = is_equal(first[value], color)
            yield context.finding(
                "LB-11",
                (*where, "label-value"),
                f"label {describe(value)} has two colors",
                "keep the last",
                level="MUST" if same else None,
            )
        first.setdefault(value, color)


def _check_label_value(item: JSONObject, at: Location, rule: str, context: RuleContext) -> Iterator[Finding]:
    if "label-value" not in item:
        yield context.finding(rule, at, "there is no label-value", "add the pixel value of the label")
    elif not is_integer(item["label-value"]):
        value = item["label-value"]
        yield context.finding(
            rule, (*at, "label-value"), f"the label-value is {describe(value)}", "write an integer"
        )


def _check_rgba(rgba: JSON, at: Location, context: RuleContext) -> Iterator[Finding]:
    if not isinstance(rgba, list) or len(rgba) != 4:
        yield context.finding("LB-10", at, f"rgba is {describe(rgba)}", "write four integers from 0 to 255")
        return
    for index, part in enumerate(rgba):
        if not is_integer(part) or not 0 <= part <= 255:
            yield context.finding(
                "LB-10", (*at, index), f"rgba has {describe(part)}", "write an integer from 0 to 255"
            )


def _check_properties(value: JSON, at: Location, context: RuleContext) -> Iterator[Finding]:
    if not isinstance(value, list) or not value:
        yield context.finding(
            "LB-12", at, f"properties is {describe(value)}", "list properties, or leave it out"
        )
        return
    first: dict[JSON, JSON] = {}
    for index, item in enumerate(value):
        where = (*at, index)
        if not isinstance(item, dict):
            yield context.finding("LB-12", where, f"the item is {describe(item)}", "write an object")
            continue
        yield from _check_label_value(item, where, "LB-12", context)
        label = item.get("label-value")
        if is_number(label) and label in first and is_equal(first[label], item):
            yield context.finding(
                "LB-12", where, f"the properties of label {describe(label)} are listed twice", "remove one"
            )
        elif is_number(label):
            first.setdefault(label, item)


def _check_source(source: JSON, at: Location, context: RuleContext) -> Iterator[Finding]:
    if not isinstance(source, dict):
        yield context.finding(
            "LB-13", at, f"source is {describe(source)}", 'write an object such as {"image": "../../"}'
        )
        return
    if "image" not in source:
        return
    image = source["image"]
    if not isinstance(image, str):
        yield context.finding(
            "LB-13", (*at, "image"), f"the image is {describe(image)}", "write a relative path"
        )
    elif image.startswith("/") or "://" in image:
        yield context.finding(
            "LB-13",
            (*at, "image"),
            f"the path {describe(image)} is not relative",
            'write one such as "../../"',
        )
