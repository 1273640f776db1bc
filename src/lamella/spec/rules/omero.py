"""Rules OM: the display of an image (transitional metadata)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from lamella.spec.rules.raw_json import describe, is_number

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lamella.spec.rules.finding import Finding, Location
    from lamella.spec.rules.version_traits import RuleContext
    from lamella.types import JSON, JSONObject

_HEX_COLOR = re.compile(r"[0-9A-Fa-f]{6}")
_TEXT_KEYS = ("label", "family")


def check_omero(ome: JSONObject, at: Location, context: RuleContext) -> Iterator[Finding]:
    """Check ``omero`` of an image, which is optional."""
    if "omero" not in ome:
        return
    omero = ome["omero"]
    where = (*at, "omero")
    if not isinstance(omero, dict):
        yield context.finding("OM-01", where, f"omero is {describe(omero)}", "write an object with channels")
        return
    if not isinstance(omero.get("channels"), list):
        spot = (*where, "channels") if "channels" in omero else where
        yield context.finding(
            "OM-01", spot, f"channels is {describe(omero.get('channels'))}", "list one object per channel"
        )
        return
    for index, channel in enumerate(omero["channels"]):
        spot = (*where, "channels", index)
        if not isinstance(channel, dict):
            yield context.finding("OM-01", spot, f"the channel is {describe(channel)}", "write an object")
            continue
        yield from _check_plain_fields(channel, spot, context)
        yield from _check_color(channel, spot, context)
        yield from _check_window(channel, spot, context)


def _check_plain_fields(channel: JSONObject, at: Location, context: RuleContext) -> Iterator[Finding]:
    for key in _TEXT_KEYS:
        if key in channel and not isinstance(channel[key], str):
            yield context.finding(
                "OM-01", (*at, key), f"the {key} is {describe(channel[key])}", "write a string"
            )
    if "active" in channel and not isinstance(channel["active"], bool):
        yield context.finding(
            "OM-01", (*at, "active"), f"active is {describe(channel['active'])}", "write true or false"
        )


def _check_color(channel: JSONObject, at: Location, context: RuleContext) -> Iterator[Finding]:
    if "color" not in channel:
        yield context.finding("OM-02", at, "the channel has no color", 'add six hex digits, such as "00FF00"')
        return
    color = channel["color"]
    if not isinstance(color, str) or not _HEX_COLOR.fullmatch(color):
        yield context.finding(
            "OM-02",
            (*at, "color"),
            f"the color is {describe(color)}",
            'write six hex digits without #, such as "00FF00"',
            level="MUST",
        )


def _check_window(channel: JSONObject, at: Location, context: RuleContext) -> Iterator[Finding]:
    if "window" not in channel:
        yield context.finding("OM-03", at, "the channel has no window", "add start, end, min and max")
        return
    window: JSON = channel["window"]
    where = (*at, "window")
    if not isinstance(window, dict):
        yield context.finding(
            "OM-03", where, f"the window is {describe(window)}", "write start, end, min and max", level="MUST"
        )
        return
    for key in ("start", "end", "min", "max"):
        if not is_number(window.get(key)):
            yield context.finding(
                "OM-03",
                (*where, key) if key in window else where,
                f"{key} of the window is {describe(window.get(key))}",
                "write a number",
                level="MUST",
            )
