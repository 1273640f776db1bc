"""Models of axes, and how to find an axis: by type, then by lower-cased name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias, get_args

from pydantic import Discriminator, Tag

from lamella.arguments import items_of
from lamella.errors import InvalidArgumentError, MetadataError, did_you_mean, short_repr
from lamella.spec.base import MetaModel

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lamella.types import JSON

AxisKind: TypeAlias = Literal["time", "channel", "space"]
"""The meanings that the specification defines for an axis."""


class AxisMeta(MetaModel):
    """An axis of an image, with any type and unit (rules AX-01 to AX-04).

    Axes are equal when name, type, unit and unknown keys are equal, whichever class represents them.

    Attributes
    ----------
    name : str
    type : str or None
        "time", "channel", "space" or any other word.
    unit : str or None

    Examples
    --------
    >>> AxisMeta(name="angle", type="angle", unit="degree").to_json()
    {'name': 'angle', 'type': 'angle', 'unit': 'degree'}
    >>> AxisMeta(name="x", type="space") == SpaceAxisMeta(name="x")
    True
    """

    name: str
    type: str | None = None
    unit: str | None = None

    __hash__ = None  # type: ignore[assignment]  # mutable

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, AxisMeta):
            return NotImplemented
        return self.__dict__ == other.__dict__ and (self.__pydantic_extra__ or {}) == (
            other.__pydantic_extra__ or {}
        )


class ChannelAxisMeta(AxisMeta):
    """The axis of channels.

    Examples
    --------
    >>> ChannelAxisMeta(name="c").to_json()
    {'name': 'c', 'type': 'channel'}
    """

    type: Literal["channel"] = "channel"


class SpaceAxisMeta(AxisMeta):
    """An axis of space, with a length unit of UDUNITS-2 (rule AX-04).

    Examples
    --------
    >>> SpaceAxisMeta(name="z", unit="micrometer").to_json()
    {'name': 'z', 'type': 'space', 'unit': 'micrometer'}
    """

    type: Literal["space"] = "space"
    unit: (
        Literal[
            "angstrom",
            "attometer",
            "centimeter",
            "decimeter",
            "exameter",
            "femtometer",
            "foot",
            "gigameter",
            "hectometer",
            "inch",
            "kilometer",
            "megameter",
            "meter",
            "micrometer",
            "mile",
            "millimeter",
            "nanometer",
            "parsec",
            "petameter",
            "picometer",
            "terameter",
            "yard",
            "yoctometer",
            "yottameter",
            "zeptometer",
            "zettameter",
        ]
        | None
    ) = None


class TimeAxisMeta(AxisMeta):
    """The axis of time, with a time unit of UDUNITS-2 (rule AX-04).

    Examples
    --------
    >>> TimeAxisMeta(name="t", unit="second").to_json()
    {'name': 't', 'type': 'time', 'unit': 'second'}
    """

    type: Literal["time"] = "time"
    unit: (
        Literal[
            "attosecond",
            "centisecond",
            "day",
            "decisecond",
            "exasecond",
            "femtosecond",
            "gigasecond",
            "hectosecond",
            "hour",
            "kilosecond",
            "megasecond",
            "microsecond",
            "millisecond",
            "minute",
            "nanosecond",
            "petasecond",
            "picosecond",
            "second",
            "terasecond",
            "yoctosecond",
            "yottasecond",
            "zeptosecond",
            "zettasecond",
        ]
        | None
    ) = None


def _units_of(model: type[AxisMeta]) -> frozenset[str]:
    literal, _ = get_args(model.model_fields["unit"].annotation)
    return frozenset(get_args(literal))


SPACE_UNITS: frozenset[str] = _units_of(SpaceAxisMeta)
"""The 26 legal units of a space axis."""

TIME_UNITS: frozenset[str] = _units_of(TimeAxisMeta)
"""The 23 legal units of a time axis."""

_LEGAL_UNITS: dict[Any, frozenset[str]] = {"space": SPACE_UNITS, "time": TIME_UNITS}


def _model_tag(axis: Any) -> str:
    """Return the tag of the model for an axis: that of its type if type and unit are legal, else of AxisMeta."""
    if not isinstance(axis, dict):
        return f"<{axis.type}>" if axis.__class__ is not AxisMeta and isinstance(axis, AxisMeta) else "<axis>"
    kind, unit = axis.get("type"), axis.get("unit")
    if kind == "channel":
        return "<channel>"
    if kind in ("space", "time") and (unit is None or (isinstance(unit, str) and unit in _LEGAL_UNITS[kind])):
        return f"<{kind}>"
    return "<axis>"


_MODEL_OF_TAG: dict[str, type[AxisMeta]] = {
    "<space>": SpaceAxisMeta,
    "<channel>": ChannelAxisMeta,
    "<time>": TimeAxisMeta,
    "<axis>": AxisMeta,
}

AnyAxis: TypeAlias = Annotated[
    Annotated[SpaceAxisMeta, Tag("<space>")]
    | Annotated[ChannelAxisMeta, Tag("<channel>")]
    | Annotated[TimeAxisMeta, Tag("<time>")]
    | Annotated[AxisMeta, Tag("<axis>")],
    Discriminator(_model_tag),
]
"""An axis in a document, read as the model of its type if type and unit are legal, else as AxisMeta."""


def axes_from_json(document: JSON) -> list[AxisMeta]:
    """Read axes from a document."""
    if not isinstance(document, list):
        raise MetadataError(f"axes: expected a list of axes, found {short_repr(document)}.")
    return [
        _MODEL_OF_TAG[_model_tag(axis)].from_json(axis, f"axes[{index}]")
        for index, axis in enumerate(document)
    ]


def axes(names: str) -> list[AxisMeta]:
    """Make lower-case axes with the usual units: second, micrometer.

    Parameters
    ----------
    names : str
        One letter of ``tczyx`` per axis, in axis order, in any case.

    Raises
    ------
    InvalidArgumentError
        Another letter, or one letter twice.

    Examples
    --------
    >>> [axis.to_json() for axis in axes("cyx")]
    [{'name': 'c', 'type': 'channel'},
     {'name': 'y', 'type': 'space', 'unit': 'micrometer'},
     {'name': 'x', 'type': 'space', 'unit': 'micrometer'}]
    """
    letters = names.lower()
    if not letters or not set(letters) <= set("tczyx") or len(set(letters)) < len(letters):
        raise InvalidArgumentError(
            f"Cannot make axes of {names!r}: use each of the letters t, c, z, y, x at most once, as in 'tczyx'."
        )
    return [_default_axis(letter) for letter in letters]


def axes_from(argument: object) -> list[Any]:
    """Return the axes that an argument lists, or names in text such as "tczyx" (see `axes`)."""
    if isinstance(argument, str):
        return axes(argument)
    return items_of(argument, "The argument axes is a list of axes or text, such as 'tczyx'")  # type: ignore[arg-type]


def default_axes() -> list[AxisMeta]:
    """Return the default axes of an image: T, C, Z, Y, X.

    Examples
    --------
    >>> [axis.name for axis in default_axes()]
    ['T', 'C', 'Z', 'Y', 'X']
    """
    return [_default_axis(letter) for letter in "TCZYX"]


def _default_axis(letter: str) -> AxisMeta:
    match letter.lower():
        case "t":
            return TimeAxisMeta(name=letter, unit="second")
        case "c":
            return ChannelAxisMeta(name=letter)
        case _:
            return SpaceAxisMeta(name=letter, unit="micrometer")


_KIND_OF_NAME: dict[str, AxisKind] = {
    "t": "time",
    "time": "time",
    "c": "channel",
    "channel": "channel",
    "z": "space",
    "y": "space",
    "x": "space",
}


def axis_kind(axis: AxisMeta) -> AxisKind | None:
    """Return the meaning of an axis: its type, or else the usual meaning of its lower-cased name.

    >>> axis_kind(AxisMeta(name="q", type="time")), axis_kind(AxisMeta(name="C"))
    ('time', 'channel')
    >>> axis_kind(AxisMeta(name="angle", type="angle")) is None
    True
    """
    match axis.type:
        case "time" | "channel" | "space":
            return axis.type
        case _:
            return _KIND_OF_NAME.get(axis.name.lower())


def axis_index(axes: Sequence[AxisMeta], name: str) -> int:
    """Return the index of an axis by name: the exact name first, then ignoring case.

    >>> axis_index(default_axes(), "z")
    2
    """
    names = [axis.name for axis in axes]
    if name in names:
        return names.index(name)
    lowered = [axis_name.lower() for axis_name in names]
    if str(name).lower() in lowered:
        return lowered.index(str(name).lower())
    raise InvalidArgumentError(
        f"There is no axis {name!r}: the axes are {', '.join(names)}.{did_you_mean(name, names)}"
    )


def _indices_of_kind(axes: Sequence[AxisMeta], kind: AxisKind) -> tuple[int, ...]:
    """Return the indices of the axes of a type; if no axis has it, those of the axes with such a name."""
    typed = tuple(index for index, axis in enumerate(axes) if axis.type == kind)
    return typed or tuple(index for index, axis in enumerate(axes) if axis_kind(axis) == kind)


def channel_axis(axes: Sequence[AxisMeta]) -> int | None:
    """Return the index of the channel axis; None if missing.

    >>> channel_axis(default_axes())
    1
    >>> channel_axis([AxisMeta(name="Y"), AxisMeta(name="X")]) is None
    True
    """
    return next(iter(_indices_of_kind(axes, "channel")), None)


def time_axis(axes: Sequence[AxisMeta]) -> int | None:
    """Return the index of the time axis; None if missing."""
    return next(iter(_indices_of_kind(axes, "time")), None)


def space_axes(axes: Sequence[AxisMeta]) -> tuple[int, ...]:
    """Return the indices of the space axes, in order.

    >>> space_axes(default_axes())
    (2, 3, 4)
    >>> space_axes([AxisMeta(name="c"), AxisMeta(name="Y"), AxisMeta(name="X")])
    (1, 2)
    """
    return tuple(index for index, axis in enumerate(axes) if axis_kind(axis) == "space")


def check_axes(axes: Sequence[AxisMeta]) -> None:
    """Raise InvalidArgumentError for axes that an image must not have (AX-02, AX-06 to AX-10).

    >>> check_axes(default_axes())
    >>> check_axes([ChannelAxisMeta(name="c"), SpaceAxisMeta(name="x")])
    Traceback (most recent call last):
    ...
    lamella.errors.InvalidArgumentError: The axes c (channel), x (space) ...: an image has 2 or 3 axes of ... (AX-07).
    """
    names = [axis.name for axis in axes]
    kinds = [axis.type if axis.type in ("time", "space") else "other" for axis in axes]
    ranks = [("time", "other", "space").index(kind) for kind in kinds]
    rules = (
        (not all(names), "every axis has a name (AX-01)"),
        (len(set(names)) < len(names), "names of axes are unique (AX-02)"),
        (not 2 <= len(axes) <= 5, "an image has 2 to 5 axes (AX-06)"),
        (not 2 <= kinds.count("space") <= 3, "an image has 2 or 3 axes of type space (AX-07)"),
        (kinds.count("time") > 1, "an image has at most one axis of type time (AX-08)"),
        (kinds.count("other") > 1, "an image has at most one axis that is neither time nor space (AX-09)"),
        (ranks != sorted(ranks), "axes are in the order time, channel or other, space (AX-10)"),
    )
    for is_broken, rule in rules:
        if is_broken:
            described = ", ".join(f"{axis.name} ({axis.type or 'no type'})" for axis in axes) or "none"
            raise InvalidArgumentError(f"The axes {described} cannot be those of an image: {rule}.")
