"""Rules OM: the display of an image (transitional metadata)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from lamella.spec.rules.value import is_number

if TYPE_CHECKING:
    from lamella.spec.rules.value import Findings, Value

_HEX_COLOR = re.compile(r"[0-9A-Fa-f]{6}")


def check_omero(ome: Value) -> Findings:
    """Check ``omero`` of an image, which is optional."""
    if "omero" not in ome.raw:
        return
    omero = ome["omero"]
    if not isinstance(omero.raw, dict):
        yield omero.finding("OM-01", f"omero is {omero}", "write an object with channels")
        return
    if not isinstance(omero.raw.get("channels"), list):
        yield omero.wrong("OM-01", "channels", "list one object per channel")
        return
    for channel in omero["channels"]:
        if not isinstance(channel.raw, dict):
            yield channel.finding("OM-01", f"the channel is {channel}", "write an object")
            continue
        yield from _check_plain_fields(channel)
        yield from _check_color(channel)
        yield from _check_window(channel)


def _check_plain_fields(channel: Value) -> Findings:
    raw = channel.raw
    for key in ("label", "family"):
        if key in raw and not isinstance(raw[key], str):
            yield channel.wrong("OM-01", key, "write a string", name=f"the {key}")
    if "active" in raw and not isinstance(raw["active"], bool):
        yield channel.wrong("OM-01", "active", "write true or false")


def _check_color(channel: Value) -> Findings:
    color = channel.raw.get("color")
    if "color" not in channel.raw:
        yield channel.finding("OM-02", "the channel has no color", 'add six hex digits, such as "00FF00"')
    elif not isinstance(color, str) or not _HEX_COLOR.fullmatch(color):
        remedy = 'write six hex digits without #, such as "00FF00"'
        yield channel.wrong("OM-02", "color", remedy, name="the color", level="MUST")


def _check_window(channel: Value) -> Findings:
    if "window" not in channel.raw:
        yield channel.finding("OM-03", "the channel has no window", "add start, end, min and max")
        return
    window = channel.raw["window"]
    if not isinstance(window, dict):
        yield channel.wrong(
            "OM-03", "window", "write start, end, min and max", name="the window", level="MUST"
        )
        return
    for key in ("start", "end", "min", "max"):
        if not is_number(window.get(key)):
            yield channel["window"].wrong(
                "OM-03", key, "write a number", name=f"{key} of the window", level="MUST"
            )
