"""Small screens with an index, written as instruments write them: 2 wells of 2 fields, 2 channels, 3 z, 2 t.

``python -m tests.formats.small_screens`` writes the samples ``generated_*``: one well of 2 fields, 2 channels, 2 z.
"""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import tifffile

if TYPE_CHECKING:
    from collections.abc import Sequence

SCREENS = Path(__file__).parent.parent / "data" / "formats" / "screens"
SHAPE = (16, 20)
WELLS = {"A/01": (1, 1), "B/12": (2, 12)}


Plane = tuple[str, int, int, int, int]


def pixels(well: str, field: int, channel: int, z: int, t: int) -> np.ndarray:
    """Pixels that differ for every plane; all numbers count from 1."""
    seed = [*map(ord, well), field, channel, z, t]
    return np.random.default_rng(seed).integers(0, 4000, size=SHAPE).astype("uint16")


def planes() -> list[Plane]:
    """Well, field, channel, z and t of every plane."""
    return list(itertools.product(WELLS, (1, 2), (1, 2), (1, 2, 3), (1, 2)))


def write_opera(folder: Path, listed: Sequence[Plane] | None = None) -> Path:
    """Write an Opera Phenix plate from a real index, with the camera's resolution in the TIFF files."""
    folder.mkdir(parents=True)
    real = (SCREENS / "opera_phenix" / "Version1" / "images" / "Index.idx.xml").read_text("utf-8-sig")
    head, _, rest = real.partition("<Images>")
    template = rest[: rest.index("</Image>") + len("</Image>")]
    images = []
    for well, field, channel, z, t in listed or planes():
        row, column = WELLS[well]
        name = f"r{row:02}c{column:02}f{field:02}p{z:02}-ch{channel}sk{t}fk1fl1.tiff"
        text = template.replace("r01c01f01p01-ch1sk1fk1fl1.tiff", name)
        for tag, old, new in (
            ("Row", "1", row),
            ("Col", "1", column),
            ("FieldID", "1", field),
            ("PlaneID", "1", z),
            ("TimepointID", "0", t - 1),
            ("ChannelID", "1", channel),
            ("ChannelName", "Alexa 647", ("DAPI", "GFP")[channel - 1]),
            ("ImageSizeX", "1080", SHAPE[1]),
            ("ImageSizeY", "1080", SHAPE[0]),
            ('PositionX Unit="m"', "0", 0.0001 * (field - 1)),
            ('PositionY Unit="m"', "0", -0.0002 * (field - 1)),
            ('PositionZ Unit="m"', "-5E-06", -5e-6 + 2e-6 * (z - 1)),
            ("AbsTime", "2021-03-29T16:55:28.987-04:00", f"2021-03-29T16:52:{10 * t:02}.6444882-04:00"),
        ):
            assert f"<{tag}>{old}<" in text
            text = text.replace(f"<{tag}>{old}<", f"<{tag}>{new}<")
        images.append(text)
        tifffile.imwrite(folder / name, pixels(well, field, channel, z, t), resolution=(1550.39, 1550.39))
    (folder / "Index.idx.xml").write_text(
        f"{head}<Images>{''.join(images)}</Images></EvaluationInputData>", "utf-8-sig"
    )
    return folder


def write_imagexpress(folder: Path, listed: Sequence[Plane] | None = None) -> Path:
    """Write an ImageXpress plate: a folder per time point and z step, and MetaSeries XML in each image."""
    source = SCREENS / "imagexpress" / "plate"
    with tifffile.TiffFile(source / "TimePoint_1" / "9987_B02.TIF") as tiff:
        template = tiff.pages.first.description
    for axis, length in zip("yx", SHAPE, strict=True):
        old = f'"pixel-size-{axis}" type="int" value="256"'
        assert old in template
        template = template.replace(old, old.replace("256", str(length)))
    for well, field, channel, z, t in listed or planes():
        target = (
            folder / f"TimePoint_{t}" / f"ZStep_{z}" / f"p_{well.replace('/', '')}_s{field}_w{channel}.tif"
        )
        target.parent.mkdir(parents=True, exist_ok=True)
        text = template.replace('"10025.4"/>', f'"{10025.4 + 2.5 * z}"/>').replace(
            "14:44:46", f"14:44:{4 * t:02}"
        )
        tifffile.imwrite(target, pixels(well, field, channel, z, t), description=text, metadata=None)
    htd = (
        (source / "9987.HTD")
        .read_bytes()
        .replace(b'"WellsSelection2", FALSE, TRUE', b'"WellsSelection2", FALSE, FALSE')
    )
    htd = htd.replace(b'"NWavelengths", 1', b'"NWavelengths", 2').replace(
        b'"WaveCollect1", 1', b'"WaveCollect1", 1\r\n"WaveName2", "GFP"\r\n"WaveCollect2", 1'
    )
    (folder / "p.HTD").write_bytes(htd)
    return folder


def write_cellvoyager(folder: Path, listed: Sequence[Plane] | None = None) -> Path:
    """Write a CellVoyager plate from the records of a real one."""
    folder.mkdir(parents=True)
    source = SCREENS / "cv8000"
    for name in ("MeasurementDetail.mrf", "Minimal-3C3W2S-FP2-stack.mes"):
        text = (source / name).read_text("utf-8-sig")
        for side, length in zip(("Vertical", "Horizontal"), SHAPE, strict=True):
            text = text.replace(f'bts:{side}Pixels="2000"', f'bts:{side}Pixels="{length}"')
        (folder / name).write_text(text, "utf-8-sig")
    records = []
    for well, field, channel, z, t in listed or planes():
        row, column = WELLS[well]
        name = f"p_{well.replace('/', '')}_T{t:04}F{field:03}L01A0{channel}Z{z:02}C{channel:02}.tif"
        records.append(
            f'<bts:MeasurementRecord bts:Type="IMG" bts:Time="2023-09-18T13:58:{40 + t}.4014935+02:00" '
            f'bts:Column="{column}" bts:Row="{row}" bts:TimePoint="{t}" bts:FieldIndex="{field}" bts:ZIndex="{z}" '
            f'bts:X="{100 * field}" bts:Y="{-50 * field}" bts:Z="{3.0 * z}" bts:Ch="{channel}">{name}'
            "</bts:MeasurementRecord>"
        )
        tifffile.imwrite(folder / name, pixels(well, field, channel, z, t))
    (folder / "MeasurementData.mlf").write_text(
        '<bts:MeasurementData xmlns:bts="http://www.yokogawa.co.jp/BTS/BTSSchema/1.0">'
        f"{''.join(records)}</bts:MeasurementData>"
    )
    return folder


WRITERS = {"operetta": write_opera, "imagexpress": write_imagexpress, "cellvoyager": write_cellvoyager}


def few_planes() -> list[Plane]:
    """The planes of the generated samples."""
    return list(itertools.product(["B/12"], (1, 2), (1, 2), (1, 2), (1,)))


if __name__ == "__main__":
    for name in ("operetta", "cellvoyager"):
        WRITERS[name](SCREENS / f"generated_{name}", few_planes())
