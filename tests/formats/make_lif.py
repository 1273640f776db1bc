"""Write a small LIF after its public layout, XML and memory blocks: it made tests/data/formats/generated.lif."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import NamedTuple

import numpy as np

_DIMENSIONS = {"X": 1, "Y": 2, "Z": 3, "T": 4, "M": 10}
_FILETIME = 116444736000000000
"""1970-01-01 in units of 100 ns since 1601."""


class Image(NamedTuple):
    """Pixels with their axes, outermost first, and what is stated of them."""

    name: str
    pixels: np.ndarray
    axes: str
    channels: tuple[tuple[int, str, str], ...] = ((0, "Gray", ""),)
    """Tag (1, 2, 3: red, green, blue), look-up table and dye."""
    steps: tuple[tuple[str, float], ...] = ()
    more: str = ""

    def element(self, block: str) -> str:
        """The XML of an image whose pixels are in a memory block."""
        strides = dict(zip(self.axes, self.pixels.strides, strict=True))
        sizes = dict(zip(self.axes, self.pixels.shape, strict=True))
        step = strides.get("C", strides.get("S", 0))
        channels = "".join(
            f'<ChannelDescription DataType="0" ChannelTag="{tag}" Resolution="{8 * self.pixels.itemsize}" '
            f'NameOfMeasuredQuantity="" Min="0" Max="255" Unit="" LUTName="{table}" IsLUTInverted="0" '
            f'BytesInc="{number * step}" BitInc="0">'
            f"<ChannelProperty><Key>DyeName</Key><Value>{dye}</Value></ChannelProperty></ChannelDescription>"
            for number, (tag, table, dye) in enumerate(self.channels)
        )
        dimensions = "".join(
            f'<DimensionDescription DimID="{_DIMENSIONS[axis]}" NumberOfElements="{sizes[axis]}" Origin="0" '
            f'Length="{dict(self.steps).get(axis, 1e-6) * (sizes[axis] - 1)}" Unit="{"s" if axis == "T" else "m"}" '
            f'BytesInc="{strides[axis]}" BitInc="0"/>'
            for axis in reversed(self.axes)
            if axis in _DIMENSIONS
        )
        return (
            f'<Element Name="{self.name}"><Data><Image><ImageDescription><Channels>{channels}</Channels>'
            f"<Dimensions>{dimensions}</Dimensions></ImageDescription>{self.more}</Image></Data>"
            f'<Memory Size="{self.pixels.nbytes}" MemoryBlockID="{block}"/></Element>'
        )


def write_lif(path: Path, images: list[Image]) -> None:
    """Write images in the version 2 of the container."""
    elements = "".join(image.element(f"MemBlock_{n}") for n, image in enumerate(images))
    xml = (
        '<LMSDataContainerHeader Version="2"><Element Name="made.lif"><Data><Experiment Path=""/></Data>'
        f'<Memory Size="0" MemoryBlockID="MemBlock_x"/><Children>{elements}</Children></Element>'
        "</LMSDataContainerHeader>"
    ).encode("utf-16-le")
    file = struct.pack("<IIBI", 0x70, len(xml) + 5, 0x2A, len(xml) // 2) + xml
    for number, image in enumerate(images):
        name, data = f"MemBlock_{number}".encode("utf-16-le"), image.pixels.tobytes()
        file += (
            struct.pack("<IIBQBI", 0x70, 14 + len(name), 0x2A, len(data), 0x2A, len(name) // 2) + name + data
        )
    path.write_bytes(file)


def write_sample(path: Path) -> None:
    """A time series of stacks, a mosaic of two tiles, a colour image, and a stack whose rows alternate."""
    numbers = np.arange(2 * 3 * 2 * 16 * 20, dtype=np.uint16)
    stamps = " ".join(f"{_FILETIME + 15 * 10**15 + 5 * 10**7 * plane:x}" for plane in range(12))
    tiles = "".join(
        f'<Tile FieldX="{n}" FieldY="0" PosX="{x}" PosY="0.002" PosZ="0.0003"/>'
        for n, x in enumerate([0.001, 0.0011])
    )
    objective = "".join(
        f' {name}="{value}"'
        for name, value in (
            ("ObjectiveName", "HC PL APO 63x/1.40"),
            ("Magnification", 63),
            ("NumericalAperture", 1.4),
        )
    )
    write_lif(
        path,
        [
            Image(
                "Stack", numbers.reshape(2, 3, 2, 16, 20), "TZCYX",
                ((0, "Blue", "DAPI"), (0, "Green", "Leica/ALEXA 488")),
                (("X", 2e-7), ("Y", 2e-7), ("Z", 5e-7), ("T", 5)),
                f"<TimeStampList>{stamps}</TimeStampList>",
            ),
            Image(
                "Tiles", numbers[:640].astype(np.uint8).reshape(2, 16, 20), "MYX", steps=(("X", 5e-7), ("Y", 5e-7)),
                more=f'<Attachment Name="TileScanInfo">{tiles}</Attachment>'
                f'<Attachment Name="HardwareSetting"><ATLConfocalSettingDefinition{objective}/></Attachment>',
            ),
            Image(
                "Colour", numbers[:960].astype(np.uint8).reshape(16, 20, 3), "YXS",
                ((1, "Red", ""), (2, "Green", ""), (3, "Blue", "")),
            ),
            Image("Alternating", numbers[:1280].astype(np.uint8).reshape(16, 4, 20), "YZX"),
        ],
    )  # fmt: skip


if __name__ == "__main__":
    write_sample(Path(__file__).parents[1] / "data" / "formats" / "generated.lif")
