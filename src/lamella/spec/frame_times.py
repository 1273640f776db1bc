"""Records of times that a regular time axis cannot store: real times of frames, and an axis that writes have set.

Both are objects by image in lamella's own key, with start and step of the time axis for which they are true. ``times``
has the real times of frames: for {"0": {"start": 0, "step": 60, "frames": [0, 1], "times": [0, 61.5]}}, frame 1 of
image "0" was taken at 61.5, not at 60. ``xarray_times`` is stored when the times of written timepoints set the axis.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from lamella.spec.own_key import own_object, with_own_record

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lamella.types import JSONObject

_REAL_TIMES, WRITTEN_TIMES = "times", "xarray_times"


def real_times(attributes: JSONObject, image: str, start: float, step: float) -> dict[int, float] | None:
    """Return the real times of the frames of an image, by index; None if all are on their steps.

    Stored times count only while start and step of the time axis are unchanged.

    >>> stored = {"lamella": {"times": {"0": {"start": 0, "step": 60, "frames": [0, 1], "times": [0, 61.5]}}}}
    >>> real_times(stored, "0", 0.0, 60.0), real_times(stored, "0", 0.0, 1.0)
    ({0: 0.0, 1: 61.5}, None)
    """
    record: Any = own_object(attributes, _REAL_TIMES).get(image)
    try:
        tolerance = 1e-9 * abs(step)
        for stored, current in ((record["start"], start), (record["step"], step)):
            if not math.isclose(stored, current, rel_tol=1e-9, abs_tol=tolerance):
                return None
        pairs = zip(record["frames"], record["times"], strict=True)
        times = {int(frame): float(time) for frame, time in pairs}
    except (TypeError, KeyError, ValueError, OverflowError):
        return None  # another program wrote it
    return times if all(math.isfinite(time) for time in times.values()) else None


def with_real_times(
    attributes: JSONObject, image: str, start: float, step: float, times: Mapping[int, float] | None
) -> JSONObject:
    """Return attributes with the real times of frames by index; None removes them: all frames are on their steps.

    >>> with_real_times({}, "0", 0.0, 60.0, {0: 0.0, 1: 61.5})
    {'lamella': {'times': {'0': {'start': 0.0, 'step': 60.0, 'frames': [0, 1], 'times': [0.0, 61.5]}}}}
    """
    records = own_object(attributes, _REAL_TIMES)
    new_records = {key: value for key, value in records.items() if key != image}
    if times is not None:
        frames = sorted(times)
        record = {"start": start, "step": step, "frames": frames}
        new_records[image] = {**record, "times": [times[frame] for frame in frames]}
    elif image not in records:
        return attributes
    return with_own_record(attributes, _REAL_TIMES, new_records or None)


def with_cut_times(attributes: JSONObject, first: int, stop: int) -> JSONObject:
    """Return attributes of an image that has only the frames from ``first`` to before ``stop``, numbered from 0.

    >>> stored = {"lamella": {"times": {"0": {"start": 0, "step": 60, "frames": [0, 1], "times": [0, 61.5]}}}}
    >>> with_cut_times(stored, 1, 2)
    {'lamella': {'times': {'0': {'start': 60, 'step': 60, 'frames': [0], 'times': [61.5]}}}}
    """
    records: dict[str, Any] = {}
    for image, record in own_object(attributes, _REAL_TIMES).items():
        fields: Any = record
        try:
            times = dict(zip(fields["frames"], fields["times"], strict=True))
            times = {frame - first: time for frame, time in times.items() if first <= frame < stop}
            start, step = fields["start"] + first * fields["step"], fields["step"]
        except (TypeError, KeyError, ValueError, OverflowError):
            continue  # another program wrote it
        records[image] = {"start": start, "step": step, "frames": list(times), "times": list(times.values())}
    return with_own_record(attributes, _REAL_TIMES, records or None)


def written_times(attributes: JSONObject, image: str) -> tuple[float, float | None] | None:
    """Return start and step of the timepoints of an image, if writes of timepoints have set them; else None.

    The step is None for a single timepoint of unknown distance to the next.

    >>> written_times({"lamella": {"xarray_times": {"0": {"start": 3.0, "step": None}}}}, "0")
    (3.0, None)
    """
    record = own_object(attributes, WRITTEN_TIMES).get(image)
    if not isinstance(record, dict) or not isinstance(record.get("start"), int | float):
        return None
    step = record.get("step")
    try:
        return float(record["start"]), float(step) if isinstance(step, int | float) else None
    except OverflowError:  # an integer of hundreds of digits
        return None


def with_written_times(attributes: JSONObject, image: str, start: float, step: float | None) -> JSONObject:
    """Return attributes that record start and step of timepoints as following from writes.

    >>> with_written_times({}, "0", 3.0, None)
    {'lamella': {'xarray_times': {'0': {'start': 3.0, 'step': None}}}}
    """
    records = {**own_object(attributes, WRITTEN_TIMES), image: {"start": start, "step": step}}
    return with_own_record(attributes, WRITTEN_TIMES, records)
