"""Display of a channel: a colour from its name, and the omero entry of a new channel."""

from __future__ import annotations

import math
import re
from itertools import count as count_from
from itertools import islice
from typing import TYPE_CHECKING

from lamella.spec.colors import label_color
from lamella.spec.images import ChannelMeta, WindowDict
from lamella.spec.own_key import own_record, with_own_record

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from lamella.types import JSON, JSONObject

ACQUISITION_SETTINGS = "channels"
"""Name of lamella's record of the wavelengths and exposure of each channel, which `convert` stores."""
COLOR_SAMPLES = "samples"
"""Name of the record which states that the channels are red, green and blue of colour pixels; its value is "rgb"."""

WHITE = "FFFFFF"
_BLUE, _CYAN, _GREEN, _YELLOW = "0000FF", "00FFFF", "00FF00", "FFFF00"
_DARK_ORANGE, _MAGENTA, _ORANGE, _RED = "FF8000", "FF00FF", "FFA500", "FF0000"

_NAME_PATTERNS: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern, re.IGNORECASE), color)
    for pattern, color in (
        # Transmitted light first: "Phase 488" is not fluorescence.
        (r"phase|bright.?field|\bbf\b|\bdic\b|transmitted|\btl\b|retardance", WHITE),
        # Names that contain a shorter name of another colour come before it.
        (r"irfp|sytox.?deep.?red|far.?red|cy7|cy5\.5|near.?infrared|\bnir\b", _RED),
        (r"td.?tomato|sytox.?orange|orange", _DARK_ORANGE),
        (r"sytox.?blue|dapi|hoechst|bfp|cascade.?blue|pacific.?blue", _BLUE),
        (r"cfp|cerulean|turquoise|cyan", _CYAN),
        (r"yfp|venus|citrine|cy3|tritc|rhodamine|yellow", _YELLOW),
        (r"gfp|fitc|fluorescein|cy2|neon.?green|clover|calcein|sytox|green", _GREEN),
        (r"txr|texas.?red|rfp|m?cherry|mscarlet|mkate|mruby|magenta", _MAGENTA),
        (r"cy5|draq[57]|\bsir[ _-]?(dna|actin|tubulin|lysosome)?\b", _ORANGE),
        (r"\bred\b", _RED),
        (r"\bblue\b", _BLUE),
    )
)

_WAVELENGTH = re.compile(
    r"""(?: ^ | (?<=[\s_-])           # the number starts a word, or follows the name of a laser or a dye
          | (?<![a-z0-9])
            (?: (alexa|janelia)([ _-]?fluor)? | af | atto | cf | dylight | jf | laser | ex | em | w | c )
            [ _-]? )
        (?P<nm>[3-8]\d\d)            # three digits of nanometers, not part of a longer number
        (?= \s?nm\b | [\s_/-] | $ )""",
    re.IGNORECASE | re.VERBOSE,
)

_EXCITATION_COLORS: tuple[tuple[int, str], ...] = (
    (435, _BLUE),
    (475, _CYAN),
    (530, _GREEN),
    (563, _YELLOW),
    (620, _MAGENTA),
    (690, _ORANGE),
    (900, _RED),
)
"""Exclusive upper ends of ranges of wavelengths in nm, and the colour of the dyes that are excited there."""


STANDARD_COLORS = ("00FFFF", "FF00FF", "FFFF00", "FF4040", "40FF40", "6080FF", WHITE)
"""Colours of three or more channels without known names, in this order; `standard_colors` chooses for one and two."""

ALPHA = "alpha"
"""Name, in upper or lower case, of a channel that is the opacity of a colour image."""


def standard_colors(count: int) -> list[str]:
    """Choose distinguishable colours for channels without known names; beyond seven, colours of the label palette."""
    if count <= 2:
        return [[WHITE], [_GREEN, _MAGENTA]][count - 1] if count else []
    return list(islice(_palette(), count))


def _palette() -> Iterator[str]:
    """Yield distinguishable colours, without end and without repetition."""
    yield from STANDARD_COLORS
    seen = set(STANDARD_COLORS)
    for number in count_from(1):
        color = "{:02X}{:02X}{:02X}".format(*label_color(number))
        if color not in seen:
            seen.add(color)
            yield color


def distinct_colors(names: Sequence[str], colors: Sequence[str | None]) -> list[str]:
    """Replace each None in the colours of channels by the colour of the name, else by one that is not used yet."""
    completed = [color or named_color(name) for name, color in zip(names, colors, strict=True)]
    if not any(completed):
        return standard_colors(len(completed))
    used = {color.upper() for color in completed if color}
    unused = (color for color in _palette() if color not in used)
    return [color or next(unused) for color in completed]


def channel_color(name: str) -> str:
    """Choose the colour of a channel from its name, by dye or excitation wavelength; white if it shows neither."""
    return named_color(name) or WHITE


_PLACEHOLDER_NAME = re.compile(r"(channel_\d+)?", re.IGNORECASE)


def new_colors(names: Sequence[str]) -> list[str]:
    """Choose the colours of new channels: by name, and distinguishable colours for ``channel_N``."""
    return distinct_colors(
        names, [None if _PLACEHOLDER_NAME.fullmatch(name) else channel_color(name) for name in names]
    )


def named_color(name: str) -> str | None:
    """Choose a colour as `channel_color` does; None if the name does not show one."""
    for pattern, color in _NAME_PATTERNS:
        if pattern.search(name):
            return color
    match = _WAVELENGTH.search(name)
    if match:
        wavelength = int(match["nm"])
        return next(color for upper_end, color in _EXCITATION_COLORS if wavelength < upper_end)
    return None


def channel_meta(
    name: str, index: int, window: WindowDict | None = None, color: str | None = None
) -> ChannelMeta:
    """Return the omero entry of a new channel. It is visible, unless it is an opacity that is not channel 0.

    ``color`` defaults to the colour of the name; an image with pixels needs a ``window`` (rule OM-03).
    """
    return ChannelMeta(
        active=index == 0 or name.lower() != ALPHA,
        coefficient=1.0,
        color=color or channel_color(name),
        family="linear",
        inverted=False,
        label=name,
        window=window,
    )


def name_for_file(name: str) -> str:
    """Return a channel name for use in a file name: all characters but letters, digits and "." become "-"."""
    return re.sub(r"[^\w.-]|_", "-", name).strip(".") or "channel"


def displayed_range(channel: ChannelMeta) -> tuple[float, float] | None:
    """Return start and end of a channel's window; None if either is missing or not a number."""
    window = channel.window or {}
    start, end = window.get("start"), window.get("end")
    try:
        bounds = None if start is None or end is None else (float(start), float(end))
    except OverflowError:  # a whole number of hundreds of digits
        return None
    return bounds if bounds is not None and all(map(math.isfinite, bounds)) else None


def acquisition_settings(attributes: JSONObject, count: int, indices: Iterable[int | None]) -> list[JSON]:
    """Return the stored wavelengths and exposure of channels of an image by index; {} for a channel without any.

    The image has ``count`` channels: a stored list of another length belongs to other channels, and is ignored. The
    index of a new channel is None.

    >>> stored = {"lamella": {"channels": [{"emission": 450}, {"emission": 520}]}}
    >>> acquisition_settings(stored, 2, [1, None]), acquisition_settings(stored, 3, [1])
    ([{'emission': 520}, {}], [{}])
    """
    record = own_record(attributes, ACQUISITION_SETTINGS)
    settings = record if isinstance(record, list) and len(record) == count else []
    return [settings[index] if index is not None and index < len(settings) else {} for index in indices]


def with_acquisition_settings(
    attributes: JSONObject, count: int, indices: Iterable[int | None]
) -> JSONObject:
    """Return attributes with the `acquisition_settings` of only these channels, in this order."""
    settings = acquisition_settings(attributes, count, indices)
    return with_own_record(attributes, ACQUISITION_SETTINGS, settings if any(settings) else None)
