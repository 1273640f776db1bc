"""Colours of channels from their names."""

from __future__ import annotations

import pytest

from lamella.spec.channels import channel_color, channel_meta


@pytest.mark.parametrize(
    ("names", "color"),
    [
        (
            ["GFP", "FITC", "Green", "EGFP", "raw GFP", "Alexa 488", "Alexa Fluor 488", "488 nm", "SYTOX"],
            "00FF00",
        ),
        (["TXR", "RFP", "mCherry", "Texas Red", "Alexa 594", "AF568", "mCherry EX561"], "FF00FF"),
        (["DAPI", "Hoechst", "BFP", "Alexa405", "405nm", "Hoechst 33342", "PCO-405"], "0000FF"),
        (["Cy3", "YFP", "Alexa 555", "561"], "FFFF00"),
        (["Cy5", "Alexa 647", "640 nm", "w3-640"], "FFA500"),
        (["tdTomato", "SYTOX Orange"], "FF8000"),
        (["CFP", "445"], "00FFFF"),
        (["Cy7", "iRFP670", "750 nm"], "FF0000"),
        (
            ["Phase3D", "Brightfield", "BF", "DIC", "LaminB1", "Channel 0", "Image 4000", "", "Siren"],
            "FFFFFF",
        ),
    ],
)
def test_the_colour_follows_the_name(names: list[str], color: str) -> None:
    assert {name: channel_color(name) for name in names} == dict.fromkeys(names, color)
    assert {name.lower(): channel_color(name.lower()) for name in names} == dict.fromkeys(
        map(str.lower, names), color
    )


def test_all_channels_are_shown_at_first_but_not_an_opacity() -> None:
    assert [channel_meta("GFP", index).active for index in range(3)] == [True, True, True]
    assert channel_meta("Alpha", 3).active is False
