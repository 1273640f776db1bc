"""Write a small CZI after its public layout: ``python tests/formats/make_czi.py`` made tests/data/formats/wells.czi."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import NamedTuple

import numpy as np

GRAY16 = 1


class Tile(NamedTuple):
    """A subblock: its pixels, and its start along each dimension (S is the scene, M the tile of a mosaic)."""

    pixels: np.ndarray
    start: dict[str, int]

    def entry(self, position: int) -> bytes:
        """The directory entry of a tile whose subblock begins at a position of the file."""
        sizes = {"X": self.pixels.shape[1], "Y": self.pixels.shape[0]}
        dimensions = b"".join(
            struct.pack("<4siifi", name.encode(), start, sizes.get(name, 1), 0.0, 0)
            for name, start in self.start.items()
        )
        return struct.pack("<2siqiiB5xi", b"DV", GRAY16, position, 0, 0, 0, len(self.start)) + dimensions


def segment(name: str, data: bytes) -> bytes:
    data += bytes(-len(data) % 32)
    return struct.pack("<16sqq", name.encode(), len(data), len(data)) + data


def write_czi(path: Path, tiles: list[Tile], xml: str) -> None:
    """Write uncompressed tiles of 16 bit."""
    file = bytearray(segment("ZISRAWFILE", bytes(512)))
    positions = []
    for tile in tiles:
        positions.append(len(file))
        entry = tile.entry(len(file)).ljust(240, b"\0")
        pixels = tile.pixels.astype("<u2").tobytes()
        file += segment("ZISRAWSUBBLOCK", struct.pack("<iiq", 0, 0, len(pixels)) + entry + pixels)
    metadata = len(file)
    text = xml.encode()
    file += segment("ZISRAWMETADATA", struct.pack("<ii248x", len(text), 0) + text)
    directory = len(file)
    entries = b"".join(tile.entry(at) for tile, at in zip(tiles, positions, strict=True))
    file += segment("ZISRAWDIRECTORY", struct.pack("<i124x", len(tiles)) + entries)
    file[32 : 32 + 80] = struct.pack("<iiii16s16siqqiq", 1, 0, 0, 0, b"", b"", 0, directory, metadata, 0, 0)
    path.write_bytes(file)


def write_wells(path: Path) -> None:
    """Two scenes, one in each of two wells, of two channels and two tiles that overlap in 4 columns."""
    tiles = []
    for scene in range(2):
        for channel in range(2):
            for tile in range(2):
                pixels = np.arange(16 * 20).reshape(16, 20) + 1000 * scene + 400 * channel + 5000 * tile
                start = {"X": 100 * scene + 16 * tile, "Y": 50 * scene, "C": channel, "S": scene, "M": tile}
                tiles.append(Tile(pixels, start))
    distances = "".join(f'<Distance Id="{axis}"><Value>6.5E-07</Value></Distance>' for axis in "XY")
    channels = "".join(
        f'<Channel Id="Channel:{n}" Name="{name}"><EmissionWavelength>{wave}</EmissionWavelength>'
        f"<ExposureTime>{exposure}</ExposureTime></Channel>"
        for n, (name, wave, exposure) in enumerate([("DAPI", 465, 20000000), ("DAPI", 509, 100000000)])
    )
    colors = "".join(
        f'<Channel Id="Channel:{n}"><Color>{color}</Color>{contrast}</Channel>'
        for n, (color, contrast) in enumerate(
            [("#FF00A0FF", "<Low>0.01</Low><High>0.5</High>"), ("#FF00FF5B", "")]
        )
    )
    scenes = "".join(
        f'<Scene Index="{n}" Name="P{n + 1}"><ArrayName>{well}</ArrayName>'
        f"<CenterPosition>{x},{y}</CenterPosition></Scene>"
        for n, (well, x, y) in enumerate([("B02", 1000, 2000), ("C11", 10000, 3000)])
    )
    write_czi(
        path,
        tiles,
        "<ImageDocument><Metadata><Information>"
        '<Instrument><Objectives><Objective Id="Objective:1" Name="Plan-Apochromat 20x/0.8">'
        "<LensNA>0.8</LensNA><NominalMagnification>20</NominalMagnification></Objective></Objectives></Instrument>"
        "<Image><AcquisitionDateAndTime>2024-05-31T12:00:00Z</AcquisitionDateAndTime><Dimensions>"
        f"<Channels>{channels}</Channels><S><Scenes>{scenes}</Scenes></S></Dimensions></Image></Information>"
        f"<DisplaySetting><Channels>{colors}</Channels></DisplaySetting>"
        f"<Scaling><Items>{distances}</Items></Scaling></Metadata></ImageDocument>",
    )


if __name__ == "__main__":
    write_wells(Path(__file__).parents[1] / "data" / "formats" / "wells.czi")
