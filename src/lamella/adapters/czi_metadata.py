"""The XML of a Zeiss CZI file: sizes, channels, scenes with their wells, times, objective."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import numpy as np

from lamella.adapters.descriptions import positive_or_none, sample_channels
from lamella.ops.conversion.source import Objective, SourceChannel

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

_IMAGE = "Metadata/Information/Image"
_DAYS_TO_UNIX_EPOCH = 25569
"""Days from 1899-12-30, where OLE dates begin, to 1970-01-01."""
_WELL = re.compile(r"([A-Z]{1,2})0*([1-9]\d*)")
Box = tuple[int, int, int, int]
"""x, y, width and height in pixels."""


@dataclass(frozen=True)
class CziScene:
    """Name of a scene, its well (row, column), and its centre on the stage in micrometers."""

    name: str = ""
    well: tuple[str, str] | None = None
    centre: tuple[float, float] | None = None

    def stage(
        self, box: Box, scale: dict[str, float], scene_box: Box, is_one_of_many: bool
    ) -> dict[str, float]:
        """Return the stage position of the first pixel of an image, whose region in the file is ``box``.

        If the centre of the scene is unknown, several images of a file are placed relative to the file's origin.
        """
        if not {"x", "y"} <= set(scale):
            return {}
        stage: dict[str, float] = {}
        for number, axis in enumerate("xy"):
            if self.centre is not None:
                pixels = box[number] - scene_box[number] - (scene_box[number + 2] - 1) / 2
                stage[axis] = self.centre[number] + pixels * scale[axis]
            elif is_one_of_many:
                stage[axis] = box[number] * scale[axis]
        return stage


class CziMetadata:
    """The metadata in the XML of a file; without XML every value is unknown."""

    def __init__(self, root: Element | None) -> None:
        self._root = root
        self._scenes = self._read_scenes()

    def scale(self, times: tuple[float, ...]) -> dict[str, float]:
        """Return the pixel sizes in micrometers, and the time step in seconds unless several times are known."""
        scale = {"t": None if len(times) > 1 else positive_or_none(self._interval())}
        for element in self._find_all("Metadata/Scaling/Items/Distance"):
            axis = element.get("Id", "").lower()
            if axis in ("x", "y", "z"):
                scale[axis] = positive_or_none(_number(element.findtext("Value"), 6)) or scale.get(axis)
        return {axis: step for axis, step in scale.items() if step is not None}

    def channels(
        self, first_channel: int, count: int, sample_count: int, dtype: np.dtype[Any]
    ) -> tuple[SourceChannel, ...]:
        """Return ``count`` channels from index ``first_channel`` on, or all samples of a colour image."""
        channels = self._channels(first_channel, count, np.iinfo(dtype).max if dtype.kind == "u" else None)
        if sample_count >= 3:
            names = [channel.label for channel in channels]
            return sample_channels(sample_count, [""] if count == 1 else names)
        return tuple(channels)

    def scene(self, number: int | None) -> CziScene:
        """Return a scene by its number; None for the only scene of a file that does not number scenes."""
        return self._scenes.get(0 if number is None else number, CziScene())

    def times(self, stamps: Any, first_frame: int, count: int) -> tuple[float, ...]:
        """Return the times of frames in seconds from the time stamps of the file; empty if a frame has none.

        Time stamps are seconds, or days since 1899-12-30 if they are near the day of the acquisition.
        """
        if stamps is None or len(stamps) < first_frame + count:
            return ()
        seconds = [float(stamp) for stamp in stamps[first_frame : first_frame + count]]
        day = self._acquisition_day()
        if day is not None and all(abs(stamp - day) < 2 for stamp in seconds):  # OLE dates
            seconds = [(stamp - seconds[0]) * 86400 for stamp in seconds]
        return tuple(seconds)

    @property
    def acquired(self) -> str:
        """Date and time of the acquisition in ISO 8601."""
        for path in ("AcquisitionDateAndTime", "Dimensions/T/StartTime"):
            text = self._text(f"{_IMAGE}/{path}")
            if text and not text.startswith("0001-"):
                return text
        return ""

    @property
    def objective(self) -> Objective | None:
        """The first objective."""
        for element in self._find_all("Metadata/Information/Instrument/Objectives/Objective"):
            name = element.get("Name") or element.findtext("Manufacturer/Model") or ""
            return Objective(
                name, _number(element.findtext("NominalMagnification")), _number(element.findtext("LensNA"))
            )
        return None

    def _channels(self, first_channel: int, count: int, largest: int | None) -> list[SourceChannel]:
        elements = self._find_all(f"{_IMAGE}/Dimensions/Channels/Channel")
        display_settings = {
            element.get("Id"): element
            for element in self._find_all("Metadata/DisplaySetting/Channels/Channel")
        }
        channels = []
        for number in range(first_channel, first_channel + count):
            element = elements[number] if number < len(elements) else None
            identifier = f"Channel:{number}" if element is None else element.get("Id")
            descriptions = (element, display_settings.get(identifier))
            channels.append(
                _channel([description for description in descriptions if description is not None], largest)
            )
        return channels

    def _read_scenes(self) -> dict[int, CziScene]:
        scenes: dict[int, CziScene] = {}
        for number, element in enumerate(self._find_all(f"{_IMAGE}/Dimensions/S/Scenes/Scene")):
            match = _WELL.fullmatch(element.findtext("ArrayName") or "")
            well = None if match is None else (match[1], match[2])
            index = element.get("Index", "")
            coordinates = [_number(text) for text in (element.findtext("CenterPosition") or "").split(",")]
            centre = (coordinates[0], coordinates[1]) if len(coordinates) == 2 else None
            scenes[int(index) if index.isdecimal() else number] = CziScene(
                element.get("Name", ""),
                well,
                centre if centre and None not in centre else None,  # type: ignore[arg-type]
            )
        return scenes

    def _interval(self) -> float | None:
        element = next(iter(self._find_all(f"{_IMAGE}/Dimensions/T/Positions/Interval")), None)
        return None if element is None else _number(element.findtext("Increment"))

    def _acquisition_day(self) -> float | None:
        try:
            moment = datetime.fromisoformat(self.acquired[:19])
        except ValueError:
            return None
        return moment.toordinal() - datetime(1970, 1, 1).toordinal() + _DAYS_TO_UNIX_EPOCH

    def _find_all(self, path: str) -> list[Element]:
        return [] if self._root is None else self._root.findall(path)

    def _text(self, path: str) -> str:
        return "" if self._root is None else (self._root.findtext(path) or "").strip()


def _channel(elements: list[Element], largest: int | None) -> SourceChannel:
    """Return a channel from its elements; each value is that of the first element that states it."""

    def text(*paths: str) -> str:
        return next(
            (child for path in paths for element in elements if (child := element.findtext(path))), ""
        )

    label = next((name for element in elements if (name := element.get("Name"))), "") or text(
        "DyeName", "Fluor"
    )
    color = text("Color").lstrip("#")
    exposure = _number(text("ExposureTime"), -9)  # nanoseconds
    return SourceChannel(
        label=label,
        color=color[-6:].upper() if re.fullmatch(r"([0-9A-Fa-f]{2})?[0-9A-Fa-f]{6}", color) else None,
        excitation=_number(text("ExcitationWavelength")),
        window=_window(_number(text("Low")), _number(text("High")), largest),
        emission=_number(text("EmissionWavelength")),
        exposure=exposure,
    )


def _window(low: float | None, high: float | None, largest: int | None) -> tuple[float, float] | None:
    """Return the displayed range, which is stated as parts of the largest value of the data type; 0 to 1 is none.

    >>> _window(0.01, 0.5, 65535), _window(0, 1, 65535)
    ((655.35, 32767.5), None)
    """
    if low is None or high is None or largest is None or (low, high) == (0, 1):
        return None
    return low * largest, high * largest


def _number(text: str | None, power_of_ten: int = 0) -> float | None:
    """Return a number times 10 to a power, exactly: 2e-07 meters are 0.2 micrometers with the power 6."""
    try:
        return float(Decimal(text or "").scaleb(power_of_ten))
    except ArithmeticError:
        return None
