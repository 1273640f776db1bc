"""Rules LB on one document: the list of a labels group, and ``image-label``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lamella.spec.rules.value import check_inner_version, describe, is_equal, is_integer, is_number, is_text

if TYPE_CHECKING:
    from lamella.spec.rules.finding import Finding, Level
    from lamella.spec.rules.value import Findings, Value
    from lamella.types import JSON


def check_labels_group(ome: Value) -> Findings:
    """Check the list of label images in a group ``labels`` (LB-01)."""
    if "labels" not in ome.raw:
        yield ome.finding("LB-01", "the group has no list of labels", "list the paths of its label images")
        return
    labels = ome["labels"]
    if not isinstance(labels.raw, list):
        yield labels.finding("LB-01", f"labels is {labels}", "list the paths of the label images")
        return
    seen: set[str] = set()
    for path in labels:
        name = path.raw
        if not is_text(name) or name.startswith("/") or ".." in name.split("/"):
            remedy = "write the path of a label image below this group"
            yield path.finding("LB-01", f"the path is {path}", remedy)
        elif name in seen:
            yield path.finding("LB-01", f"{path} is listed twice", "list it once", level="SHOULD")
        else:
            seen.add(name)


def check_image_label(ome: Value) -> Findings:
    """Check ``image-label`` of a label image (LB-07 to LB-13, VE-02)."""
    if "image-label" not in ome.raw:
        yield ome.finding("LB-07", "the label image has no image-label", "add image-label with colors")
        return
    part = ome["image-label"]
    raw = part.raw
    if not isinstance(raw, dict):
        yield part.finding("LB-07", f"image-label is {part}", "write an object", level="MUST")
        return
    yield from check_inner_version(part, "VE-02")
    if "colors" not in raw:
        yield part.finding("LB-08", "there are no colors", "list a color for each label")
    elif not isinstance(raw["colors"], list) or not raw["colors"]:
        yield part.wrong("LB-08", "colors", "list colors, or leave it out", level="MUST")
    else:
        yield from _check_colors(part["colors"])
    if "properties" in raw:
        yield from _check_properties(part["properties"])
    if "source" in raw:
        yield from _check_source(part["source"])


def _check_colors(colors: Value) -> Findings:
    first_of_label: dict[JSON, JSON] = {}
    for color in colors:
        raw = color.raw
        if not isinstance(raw, dict):
            yield color.finding("LB-08", f"the color is {color}", "write an object", level="MUST")
            continue
        if not is_integer(raw.get("label-value")):
            yield _unusable_label(color, "LB-09")
        if "rgba" in raw:
            yield from _check_rgba(color)
        label = raw.get("label-value")
        if not is_number(label):
            continue
        if label in first_of_label:
            level: Level | None = "MUST" if is_equal(first_of_label[label], raw) else None
            found = f"label {describe(label)} has two colors"
            yield color.finding("LB-11", found, "keep the last", "label-value", level=level)
        first_of_label.setdefault(label, raw)


def _unusable_label(item: Value, rule: str) -> Finding:
    if "label-value" not in item.raw:
        return item.finding(rule, "there is no label-value", "add the pixel value of the label")
    return item.wrong(rule, "label-value", "write an integer", name="the label-value")


def _check_rgba(color: Value) -> Findings:
    rgba = color.raw["rgba"]
    if not isinstance(rgba, list) or len(rgba) != 4:
        yield color.wrong("LB-10", "rgba", "write four integers from 0 to 255")
        return
    for index, component in enumerate(rgba):
        if not is_integer(component) or not 0 <= component <= 255:
            found = f"rgba has {describe(component)}"
            yield color.finding("LB-10", found, "write an integer from 0 to 255", "rgba", index)


def _check_properties(properties: Value) -> Findings:
    if not isinstance(properties.raw, list) or not properties.raw:
        yield properties.finding("LB-12", f"properties is {properties}", "list properties, or leave it out")
        return
    first_of_label: dict[JSON, JSON] = {}
    for item in properties:
        raw = item.raw
        if not isinstance(raw, dict):
            yield item.finding("LB-12", f"the item is {item}", "write an object")
            continue
        if not is_integer(raw.get("label-value")):
            yield _unusable_label(item, "LB-12")
        label = raw.get("label-value")
        if is_number(label) and label in first_of_label and is_equal(first_of_label[label], raw):
            found = f"the properties of label {describe(label)} are listed twice"
            yield item.finding("LB-12", found, "remove one")
        elif is_number(label):
            first_of_label.setdefault(label, raw)


def _check_source(source: Value) -> Findings:
    if not isinstance(source.raw, dict):
        yield source.finding("LB-13", f"source is {source}", 'write an object such as {"image": "../../"}')
        return
    if "image" not in source.raw:
        return
    image = source.raw["image"]
    if not isinstance(image, str):
        yield source.wrong("LB-13", "image", "write a relative path", name="the image")
    elif image.startswith("/") or "://" in image:
        found = f"the path {describe(image)} is not relative"
        yield source.finding("LB-13", found, 'write one such as "../../"', "image")
