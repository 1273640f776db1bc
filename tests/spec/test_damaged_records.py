"""Damaged records in lamella's own key raise nothing: levels count as stale, records of times as missing."""

from __future__ import annotations

from typing import Any

import pytest

from lamella.spec.frame_times import real_times, with_cut_times, written_times
from lamella.spec.stale_levels import Unfinished, read_stale, read_unfinished, with_unfinished

HUGE = 10**400
"""A number that JSON can have and a float cannot."""


@pytest.mark.parametrize("region", [[[0, 0], [4]], [[0], [4, 4]], [[float("inf")], [4]], [[0], [None]]])
def test_regions_that_cannot_be_read_leave_everything_stale(region: Any) -> None:
    stale = read_stale({"lamella": {"stale_levels": {"writers": [], "regions": [region]}}})
    assert stale.has_writer("any")
    entry = {"start": region[0], "stop": region[1], "reason": "too large"}
    readable = {"start": [0], "stop": [4], "reason": "killed"}
    found = read_unfinished({"lamella": {"unfinished": [entry, readable]}})
    assert [str(region) for region in found] == ["[0:4] was not written completely: killed"]


def test_no_unfinished_region_is_lost_when_there_are_many() -> None:
    attributes: dict[str, Any] = {}
    for start in range(0, 400, 4):
        attributes = with_unfinished(attributes, Unfinished(((start,), (start + 2,)), f"killed at {start}"))
    regions = [entry.region for entry in read_unfinished(attributes)]
    assert len(regions) < 50
    for start in range(0, 400, 4):
        assert any(low <= start and start + 2 <= high for ((low,), (high,)) in regions)


@pytest.mark.parametrize(
    "field", [{"start": HUGE}, {"step": HUGE}, {"frames": [float("inf")]}, {"times": [HUGE]}]
)
def test_times_that_cannot_be_read_are_no_times(field: dict[str, Any]) -> None:
    record = {"start": 0.5, "step": 1.5, "frames": [1], "times": [2.25]} | field
    attributes = {"lamella": {"times": {"0": record}, "xarray_times": {"0": record}}}
    assert real_times(attributes, "0", 0.5, 1.5) is None
    assert written_times(attributes, "0") in (None, (0.5, 1.5))
    assert "lamella" in with_cut_times(attributes, 1, 2)
