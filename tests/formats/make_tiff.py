"""Small TIFF files as microscopes write them, after the public layouts of their tags: STK, LSM, ScanImage, SEM, nd.

``python -m tests.formats.make_tiff`` writes the samples in ``tests/data/formats/tiff`` and ``tests/data/formats/nd``.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from datetime import date
from typing import TYPE_CHECKING, Any

import numpy as np
import tifffile
from tests.formats.samples import DATA

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

Tag = tuple[int, int, bytes | Callable[[int], bytes]]
"""Type, count and bytes of a tag; the bytes may depend on their offset in the file."""

SHORT, LONG, RATIONAL = 3, 4, 5


def stack(*shape: int) -> np.ndarray:
    """Pixels that differ in every plane."""
    return np.random.default_rng(shape).integers(0, 60_000, shape).astype("<u2")


def fraction(value: float) -> bytes:
    """A number in thousandths."""
    return struct.pack("<2I", round(value * 1000), 1000)


def pascal(text: str) -> bytes:
    return struct.pack("<I", len(text) + 1) + text.encode() + b"\0"


def write_stk(
    path: Path,
    pixels: np.ndarray,
    *,
    z_step: float = 0.0,
    seconds: Sequence[float] = (),
    wave: float = 525,
    label: str = "",
    stage: tuple[float, float] = (100.0, 50.0),
) -> None:
    """Write planes (n, y, x) of one page as MetaMorph does, with UIC tags."""
    count, height, width = pixels.shape
    day = date(2024, 5, 31).toordinal() + 1721424
    times = [round(1000 * each) + 36_000_000 for each in seconds or [0.0] * count]
    planes = b"".join(struct.pack("<6I", round(1000 * z_step), 1000, day, time, day, time) for time in times)

    def settings(offset: int) -> bytes:
        """IDs with values, or with the offsets of longer values, which follow."""
        longer = {4: fraction(0.325), 5: fraction(0.325), 6: pascal("um"), 7: pascal("stack")}
        if count == 1:
            longer |= {28: fraction(stage[0]) + fraction(stage[1]), 37: pascal(label)}
        table, rest = struct.pack("<2I", 3, 1), b""
        start = offset + 8 * (1 + len(longer))
        for number, value in longer.items():
            table += struct.pack("<2I", number, start + len(rest))
            rest += value
        return table + rest

    each = struct.pack("<H", 28) + (fraction(stage[0]) + fraction(stage[1])) * count
    each += struct.pack("<H", 37) + pascal(label) * count
    each += struct.pack("<H", 40) + b"".join(fraction(10 + z_step * n) for n in range(count))
    each += struct.pack("<H", 41) + struct.pack("<I", 1) * count + struct.pack("<H", 0)
    text = b"Exposure: 50 ms\0" * count
    tags: dict[int, Tag] = {
        256: (SHORT, 1, struct.pack("<H", width)),
        257: (SHORT, 1, struct.pack("<H", height)),
        258: (SHORT, 1, struct.pack("<H", 16)),
        259: (SHORT, 1, struct.pack("<H", 1)),
        262: (SHORT, 1, struct.pack("<H", 1)),
        270: (2, len(text), text),
        273: (LONG, 1, struct.pack("<I", 8)),
        278: (SHORT, 1, struct.pack("<H", height)),
        279: (LONG, 1, struct.pack("<I", height * width * 2)),
        33628: (LONG, 5 + 2 * (count == 1), settings),
        33629: (RATIONAL, count, planes),
        33630: (RATIONAL, count, fraction(wave) * count),
    }
    if count > 1:
        tags[33631] = (LONG, count, each)
    start = 8 + pixels.nbytes
    values, entries = b"", b""
    behind = start + 2 + 12 * len(tags) + 4
    for code, (kind, number, value) in sorted(tags.items()):
        data = value(behind + len(values)) if callable(value) else value
        field = data.ljust(4, b"\0") if len(data) <= 4 else struct.pack("<I", behind + len(values))
        values += data if len(data) > 4 else b""
        entries += struct.pack("<HHI", code, kind, number) + field
    directory = struct.pack("<H", len(tags)) + entries + struct.pack("<I", 0)
    path.write_bytes(b"II*\0" + struct.pack("<I", start) + pixels.tobytes() + directory + values)


def write_lsm(path: Path, pixels: np.ndarray, *, times: Sequence[float]) -> None:
    """Write planes (t, c, y, x) as LSM: channels are samples of pages, each followed by a thumbnail."""
    count, channels, height, width = pixels.shape
    info = np.zeros((), np.dtype(tifffile.TIFF.CZ_LSMINFO))
    info["MagicNumber"], info["StructureSize"] = 67127628, info.nbytes
    info["DimensionX"], info["DimensionY"], info["DimensionZ"] = width, height, 1
    info["DimensionChannels"], info["DimensionTime"], info["ScanType"] = channels, count, 3
    info["VoxelSizeX"] = info["VoxelSizeY"] = 2e-7
    info["VoxelSizeZ"], info["TimeIntervall"] = 1e-6, times[1] - times[0]
    names = b"".join(struct.pack("<I", len(name) + 1) + name + b"\0" for name in (b"Ch1-T1", b"Ch2-T2", b"T"))
    colors = struct.pack("<6I", 36 + len(names), 3, 3, 24, 36, 0)
    colors += bytes([0, 255, 0, 0, 255, 0, 0, 0, 255, 255, 255, 0]) + names
    stamps = struct.pack("<2i", 8 + 8 * count, count) + np.asarray(times, "<f8").tobytes()
    places = struct.pack("<I3d", 1, 1e-3, 5e-4, 2e-5)

    def write() -> int:
        with tifffile.TiffWriter(path) as file:
            for number, plane in enumerate(pixels):
                tags = [(34412, 1, info.nbytes, info.tobytes(), False)] if number == 0 else []
                options: dict[str, Any] = {"metadata": None, "contiguous": False, "software": False}
                file.write(
                    plane, photometric="minisblack", planarconfig="separate", extratags=tags, **options
                )
                file.write(np.zeros((8, 8, 3), np.uint8), photometric="rgb", subfiletype=1, **options)
        return path.stat().st_size

    end = write()
    for name, block in {"ChannelColors": colors, "TimeStamps": stamps, "Positions": places}.items():
        info[f"Offset{name}"] = end
        end += len(block)
    write()
    with open(path, "ab") as file:
        file.write(colors + stamps + places)


SCANIMAGE = """SI.VERSION_MAJOR = 2020
SI.hChannels.channelSave = [1;3]
SI.hChannels.channelName = {'GCaMP' 'unused' 'tdTomato'}
SI.hChannels.channelMergeColor = {'green' 'blue' 'red'}
SI.hStackManager.framesPerSlice = 2
SI.hStackManager.actualNumSlices = 3
SI.hStackManager.stackZStepSize = 5
SI.hRoiManager.scanFramePeriod = 0.0333
SI.hRoiManager.imagingFovUm = [-20 -10;20 -10;20 10;-20 10]"""


def write_scanimage(path: Path, pixels: np.ndarray) -> None:
    """Write planes (n, y, x) as ScanImage: a BigTIFF with settings between its header and the first page."""
    settings = SCANIMAGE.encode() + b"\0"
    head = struct.pack("<IIII", 0x07030301, 4, len(settings), 1) + settings + b"\0"
    head = head.ljust(-(-len(head) // 8) * 8, b"\0")
    count, height, width = pixels.shape
    software = settings
    body, start = b"", 16 + len(head)
    for number, plane in enumerate(pixels):
        at = start + len(body)
        values = plane.tobytes() + software
        tags = [
            (256, SHORT, 1, width), (257, SHORT, 1, height), (258, SHORT, 1, 16), (259, SHORT, 1, 1),
            (262, SHORT, 1, 1), (273, 16, 1, at), (277, SHORT, 1, 1), (278, SHORT, 1, height),
            (279, 16, 1, plane.nbytes), (305, 2, len(software), at + plane.nbytes),
        ]  # fmt: skip
        values = values.ljust(-(-len(values) // 8) * 8, b"\0")
        page = at + len(values)
        behind = page + 8 + 20 * len(tags) + 8
        following = 0
        if number + 1 < count:  # pixels and settings of the next page come before its directory
            following = behind + len(values)
        entries = b"".join(struct.pack("<HHQQ", *tag) for tag in tags)
        body += values + struct.pack("<Q", len(tags)) + entries + struct.pack("<Q", following)
    first = start + -(-(pixels[0].nbytes + len(software)) // 8) * 8
    path.write_bytes(struct.pack("<2sHHHQ", b"II", 43, 8, 0, first) + head + body)


def write_sem(path: Path, pixels: np.ndarray) -> None:
    """Write an image of a Zeiss SEM, with its settings as text."""
    text = b"0\r\n0\r\n0\r\n2.5e-009\r\nAP_IMAGE_PIXEL_SIZE\r\nImage Pixel Size = 2.5 nm\r\n\0"
    tifffile.imwrite(path, pixels, metadata=None, extratags=[(34118, 2, len(text), text, True)])


def write_fei(path: Path, pixels: np.ndarray) -> None:
    """Write an image of an FEI Helios, with its settings as text."""
    text = b"[User]\r\nDate=05/31/2024\r\n[Scan]\r\nPixelWidth=1.25e-008\r\nPixelHeight=1.25e-008\r\n\0"
    tifffile.imwrite(path, pixels, metadata=None, extratags=[(34682, 2, len(text), text, True)])


def write_nd(folder: Path, *, stages: Sequence[str] = ("A01", "B12"), name: str = "scan") -> Path:
    """Write 2 stages, 2 waves (the second without z) and 2 times of MetaMorph; return the index."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = [
        '"NDInfoFile", Version 1.0',
        '"Description", File recreated from images.',
        '"StartTime1", 20240531 12:00:00.000',
        '"DoTimelapse", TRUE',
        '"NTimePoints", 2',
        '"DoStage", TRUE',
        f'"NStagePositions", {len(stages)}',
        *(f'"Stage{number}", "{stage}"' for number, stage in enumerate(stages, 1)),
        '"DoWave", TRUE',
        '"NWavelengths", 2',
        '"WaveName1", "conf/488"',
        '"WaveDoZ1", TRUE',
        '"WaveName2", "BF"',
        '"WaveDoZ2", FALSE',
        '"DoZSeries", TRUE',
        '"NZSteps", 3',
        '"ZStepSize", 2,50',
        '"WaveInFileName", TRUE',
        '"EndFile"',
    ]
    (folder / f"{name}.nd").write_text("\r\n".join(lines) + "\r\n", "latin-1", newline="")
    for number in range(1, len(stages) + 1):
        for time in (1, 2):
            for wave, part, planes in ((1, "w1conf-488", 3), (2, "w2BF", 1)):
                path = folder / f"{name}_{part}_s{number}_t{time}.{'stk' if planes > 1 else 'TIF'}"
                write_stk(
                    path,
                    nd_pixels(number, wave, time)[:planes],
                    z_step=2.5 if planes > 1 else 0.0,
                    seconds=[10.0 * (time - 1) + n for n in range(planes)],
                    wave=525 * (wave == 1),
                    stage=(100.0 * number, 50.0),
                )
    return folder / f"{name}.nd"


def nd_pixels(stage: int, wave: int, time: int) -> np.ndarray:
    """The planes of one file: 3 of 12 x 14."""
    return np.random.default_rng([stage, wave, time]).integers(0, 60_000, (3, 12, 14)).astype("<u2")


if __name__ == "__main__":
    target = DATA / "tiff"
    target.mkdir(exist_ok=True)
    write_stk(target / "generated.stk", stack(4, 12, 14), z_step=0.5, label="A01", seconds=[0, 1, 2, 3])
    write_lsm(target / "generated.lsm", stack(3, 3, 12, 14), times=(100.0, 102.0, 104.5))
    write_scanimage(target / "generated_scanimage.tif", stack(12, 10, 20))
    write_sem(target / "generated_zeiss_sem.tif", stack(12, 14))
    write_fei(target / "generated_fei.tif", stack(12, 14))
    write_nd(DATA / "nd", stages=("A01",))
