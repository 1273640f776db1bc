"""Choices that the specification leaves to a reader: rules LM-11 to LM-14 of lamella's own.

Two channels of one name, a level that is listed twice, a second multiscale, levels at different positions: the document
is valid, and each reader decides what it means.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lamella.spec.rules.catalogue import own_finding
from lamella.spec.rules.raw_json import (
    datasets,
    describe,
    multiscales,
    omero_channels,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lamella.spec.rules.finding import Finding, Location
    from lamella.spec.rules.version_traits import RuleContext
    from lamella.types import JSONObject


def check_readings(ome: JSONObject, at: Location, context: RuleContext) -> Iterator[Finding]:
    """Check the choices that a reader of one image document must make."""
    entries = ome.get("multiscales")
    if isinstance(entries, list) and len(entries) > 1:
        yield own_finding(
            "LM-12",
            context.node,
            f"there are {len(entries)} multiscales",
            "keep one, and store the others as images of their own",
            at=(*at, "multiscales", 1),
        )
    for index, multiscale in multiscales(ome):
        yield from _check_paths(multiscale, (*at, "multiscales", index, "datasets"), context)
    yield from _check_labels(ome, at, context)


def _check_paths(multiscale: JSONObject, at: Location, context: RuleContext) -> Iterator[Finding]:
    seen: set[str] = set()
    for index, dataset in datasets(multiscale):
        path = dataset.get("path")
        if not isinstance(path, str):
            continue
        if path in seen:
            yield own_finding(
                "LM-13",
                context.node,
                f"the level {describe(path)} is listed twice",
                "list it once",
                at=(*at, index, "path"),
            )
        seen.add(path)


def _check_labels(ome: JSONObject, at: Location, context: RuleContext) -> Iterator[Finding]:
    seen: set[str] = set()
    for index, channel in enumerate(omero_channels(ome) or []):
        label = channel.get("label")
        if label is None:
            yield own_finding(
                "LM-11",
                context.node,
                "the channel has no name",
                "write a label",
                at=(*at, "omero", "channels", index),
            )
        if isinstance(label, str) and label in seen:
            yield own_finding(
                "LM-11",
                context.node,
                f"two channels are named {describe(label)}",
                "name each differently",
                at=(*at, "omero", "channels", index, "label"),
            )
        if isinstance(label, str):
            seen.add(label)
