"""Read the data sets of MetaMorph: an index ``.nd`` lists stages, waves, z series and times of its TIFF or STK files.

A file is named after the index: ``scan_w1DAPI_s1_t1.stk`` is wave 1, stage 1, time 1, with all z. Each stage is an
image, and a field of a plate if all stages are named after wells. The files have sizes, positions and times.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from lamella.adapters.described import number
from lamella.adapters.formats import ENDINGS
from lamella.adapters.screens.index_files import read_keys
from lamella.adapters.screens.screen import seconds_between
from lamella.adapters.screens.source import FieldSource
from lamella.adapters.tiff.reader import open_tiff
from lamella.errors import SourceError, counted
from lamella.ops.conversion.reader import Container, OriginalMetadata, Reader
from lamella.ops.conversion.source import COPY_AGAIN, ImageDescription, SourceChannel
from lamella.spec.units import is_size

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from lamella.ops.conversion.source import PlaneSource
    from lamella.types import Array

_WELL = re.compile(
    r"(?:well[ _:-]*)?([A-P]|A[A-F])[ _-]?0?(\d{1,2})(?:[ _,;:-]+(?:site|field|pos|position|[sf])?[ _:-]*(\d+))?",
    re.IGNORECASE,
)
_ENDING = r"\.(?:stk|tiff?)"


@dataclass(frozen=True)
class _Wave:
    name: str
    has_z: bool


@dataclass(frozen=True)
class _Index:
    """An ``.nd`` file; ``stages`` is empty if the files have no stage in their names, ``times`` is 0 without times."""

    path: str
    stages: tuple[str, ...]
    waves: tuple[_Wave, ...]
    has_waves: bool
    times: int
    z_steps: int
    z_step: float | None
    collected: Mapping[int, frozenset[int]]

    @property
    def name(self) -> str:
        return os.path.splitext(os.path.basename(self.path))[0]

    def expected(self) -> list[tuple[int, int]]:
        """List the numbers of wave and time that each stage has files of, from 1."""
        return [
            (wave, time)
            for time in range(1, max(1, self.times) + 1)
            for wave in range(1, len(self.waves) + 1)
            if time in self.collected.get(wave, (time,))
        ]


Files = dict[tuple[int, int, int], str]
"""Files by number of stage, wave and time; 1 for what names do not have."""


class MetaMorphReader(Reader):
    """The index ``.nd`` of MetaMorph."""

    name, title, extra, libraries = "metamorph", "MetaMorph (.nd)", "tiff", ("tifffile", "imagecodecs")
    endings = ENDINGS["metamorph"]
    lists_files = True

    def recognises(self, head: bytes) -> bool:
        return head.startswith(b'"NDInfoFile"')

    def open(self, path: str) -> Container:
        self.require()
        index = _parse(path)
        files = _find_files(index)
        if not files:
            raise SourceError(
                f"No TIFF or STK file beside {path} is named after it, as {index.name}_w1... is."
            )
        depths, sample = _depths(index, files)
        notes = [*_z_notes(index, depths)]
        wells = _wells(index.stages)
        notes += ["wells and fields were read from the names of stages"] if wells else []
        sources = []
        for stage in range(1, max(1, len(index.stages)) + 1):
            own = {(wave, time): file for (at, wave, time), file in files.items() if at == stage}
            description = replace(
                _describe(index, stage, own, depths, sample),
                notes=tuple(notes),
                well=wells[stage - 1] if wells else None,
                plate=index.name if wells else "",
            )
            notes = []
            by_index = {(time - 1, wave - 1, 0): file for (wave, time), file in own.items()}
            sources.append(StackSource(description, by_index, depths))
        with open(path, encoding="latin-1") as stream:
            return Container(sources, [OriginalMetadata(os.path.basename(path), stream.read())])


class StackSource(FieldSource):
    """A field whose files have all z of a channel and time; ``depths`` are the numbers of their planes by channel."""

    def __init__(
        self,
        description: ImageDescription,
        files: Mapping[tuple[int, int, int], str],
        depths: Sequence[int],
    ) -> None:
        super().__init__(description, files)
        self._depths = tuple(depths)

    def __reduce__(self) -> tuple[type[StackSource], tuple[object, ...]]:
        return StackSource, (self._description, self._files, self._depths)

    def read_plane(self, index: tuple[int, ...], rows: slice | None = None) -> Array | None:
        """Read one plane, or some rows of it; a channel without z has its only plane at the first z."""
        at = dict(zip(self._description.axes, index, strict=False))
        channel, z = at.get("c", 0), at.get("z", 0)
        file = self._files.get((at.get("t", 0), channel, 0))
        if file is None or z >= self._depths[channel]:
            return None
        source = self._source(file)
        planes = source.description.plane_count
        if planes != self._depths[channel]:
            raise SourceError(
                f"{file} has {counted(planes, 'plane')}, but the other files of its wave have {self._depths[channel]}."
            )
        return source.read_plane(tuple(z if n > 1 else 0 for n in source.description.shape[:-2]), rows)

    def open_file(self, file: str) -> PlaneSource:
        return _open_stack(file)


def _open_stack(file: str) -> PlaneSource:
    images = open_tiff(file, is_read_next=True)
    if len(images) > 1 or sum(length > 1 for length in images[0].description.shape[:-2]) > 1:
        raise SourceError(f"{file} has more than a z series, which is what files of MetaMorph have.")
    return images[0]


def _parse(path: str) -> _Index:
    keys = read_keys(path)
    if "NDInfoFile" not in keys or "EndFile" not in keys:
        raise SourceError(f"{path} is truncated, or not the index of a data set of MetaMorph. {COPY_AGAIN}")

    def text(key: str) -> str:
        return next(iter(keys.get(key, ())), "")

    def is_on(key: str) -> bool:
        return text(key).upper() == "TRUE"

    def count(key: str) -> int:
        value = number(text(key))
        if value is None or value < 1 or value != int(value):
            raise SourceError(f"{path} has {key} {text(key)!r}, which is not a number of files.")
        return int(value)

    has_waves, has_z = is_on("DoWave"), is_on("DoZSeries")
    waves = [_Wave("", has_z)]
    if has_waves:
        waves = [
            _Wave(text(f"WaveName{n}"), has_z and text(f"WaveDoZ{n}").upper() != "FALSE")
            for n in range(1, count("NWavelengths") + 1)
        ]
    collected = {
        n: frozenset(int(value) for value in keys[key] if value.isdecimal())
        for n in range(1, len(waves) + 1)
        if keys.get(key := f"WavePointsCollected{n}")
    }
    stages = range(1, count("NStagePositions") + 1) if is_on("DoStage") else ()
    # Where the decimal mark is a comma, the number has one too.
    step = number(".".join(keys.get("ZStepSize", ())))
    return _Index(
        path,
        tuple(text(f"Stage{n}") for n in stages),
        tuple(waves),
        has_waves,
        count("NTimePoints") if is_on("DoTimelapse") else 0,
        count("NZSteps") if has_z else 1,
        step if step and is_size(step) else None,
        collected,
    )


def _find_files(index: _Index) -> Files:
    """Find the files in the folder of an index by their names; those that the index does not count are left out."""
    wave = r"_w(?P<wave>\d+).*?" if index.has_waves else ""
    stage = r"_s(?P<stage>\d+)" if index.stages else ""
    time = r"_t(?P<time>\d+)" if index.times else ""
    pattern = re.compile(re.escape(index.name) + wave + stage + time + _ENDING, re.IGNORECASE)
    folder = os.path.dirname(os.path.abspath(index.path))
    files: Files = {}
    for name in sorted(os.listdir(folder)):
        match = pattern.fullmatch(name)
        if match is None:
            continue
        groups = match.groupdict()
        at = (int(groups.get("stage") or 1), int(groups.get("wave") or 1), int(groups.get("time") or 1))
        if at[0] > max(1, len(index.stages)) or (at[1], at[2]) not in index.expected():
            continue
        other = files.setdefault(at, os.path.join(os.path.dirname(index.path), name))
        if os.path.basename(other) != name:
            raise SourceError(
                f"{index.path} has two files of wave {at[1]}, stage {at[0]}, time {at[2]}: "
                f"{os.path.basename(other)} and {name}."
            )
    return files


def _depths(index: _Index, files: Files) -> tuple[list[int], ImageDescription]:
    """Return the number of planes in the files of each wave, by one file each, and the description of the first."""
    samples = []
    for wave in range(1, len(index.waves) + 1):
        file = next((files[at] for at in sorted(files) if at[1] == wave), None)
        if file is not None:
            image = _open_stack(file)
            image.close()
        samples.append(None if file is None else image.description)
    first = next(each for each in samples if each is not None)
    depths = [
        each.plane_count if each is not None else index.z_steps if wave.has_z else 1
        for each, wave in zip(samples, index.waves, strict=True)
    ]
    return depths, first


def _z_notes(index: _Index, depths: Sequence[int]) -> list[str]:
    """Return notes about waves whose z series are not what the index states."""
    notes = []
    for n, (wave, depth) in enumerate(zip(index.waves, depths, strict=True), 1):
        if wave.has_z and depth != index.z_steps:
            notes.append(f"the index states {index.z_steps} z steps, the files of wave {n} have {depth}")
    flat = [f"w{n}" for n, depth in enumerate(depths, 1) if depth == 1 < max(depths)]
    if flat:
        verb = "has a single plane, which stands" if len(flat) == 1 else "have single planes, which stand"
        notes.append(f"{', '.join(flat)} {verb} at the first z step; the other z steps are zeros")
    return notes


def _describe(
    index: _Index,
    stage: int,
    files: Mapping[tuple[int, int], str],
    depths: Sequence[int],
    sample: ImageDescription,
) -> ImageDescription:
    """Describe a stage by the index and by its first wave at each time; ``sample`` is of any file."""
    by_time: dict[int, ImageDescription] = {}
    by_wave: dict[int, ImageDescription] = {}
    for (wave, time), file in sorted(files.items()):
        if time not in by_time or wave not in by_wave:
            image = _open_stack(file)
            image.close()
            by_time.setdefault(time, image.description)
            by_wave.setdefault(wave, image.description)
    lengths = {"t": max(1, index.times), "c": len(index.waves), "z": max(depths)}
    axes = "".join(axis for axis, length in lengths.items() if length > 1 or axis == "c") + "yx"
    sizes = {**lengths, "y": sample.plane_shape[0], "x": sample.plane_shape[1]}
    first = next(iter(by_time.values()), sample)
    scale = {axis: first.scale[axis] for axis in "zyx" if axis in first.scale}
    units = {axis: first.units.get(axis) for axis in scale}
    if index.z_step is not None:
        scale["z"], units["z"] = index.z_step, "micrometer"
    start = first.acquired
    times = [seconds_between(start, by_time[time].acquired) for time in sorted(by_time)]
    known = tuple(each for each in times if each is not None)
    missing = tuple(
        f"stage {stage}, wave {wave}, time {time} (a file named after {index.path})"
        for wave, time in index.expected()
        if (wave, time) not in files
    )
    name = index.stages[stage - 1] if index.stages else ""
    return ImageDescription(
        name=name or index.name,
        files=tuple(files.values()),
        axes=axes,
        shape=tuple(sizes[axis] for axis in axes),
        dtype=sample.dtype,
        scale=scale,
        units={**units, "t": "second"} if lengths["t"] > 1 and len(known) > 1 else units,
        channels=tuple(_channel(wave, by_wave.get(n)) for n, wave in enumerate(index.waves, 1)),
        title=name,
        stage=first.stage if by_time else {},
        times=known if len(known) == lengths["t"] > 1 else (),
        acquired=start if by_time else "",
        objective=first.objective,
        band_rows=sample.band_rows,
        missing=missing,
    )


def _channel(wave: _Wave, image: ImageDescription | None) -> SourceChannel:
    channel = image.channels[0] if image is not None and len(image.channels) == 1 else SourceChannel("")
    return replace(channel, label=wave.name or channel.label)


def _wells(stages: Sequence[str]) -> list[tuple[str, str, str]]:
    """Return row, column and field of each stage if the names of all are wells; empty otherwise.

    >>> _wells(["A1", "A1 site 2", "B12"]), _wells(["A1", "nucleus"]), _wells(["A01", "A01"])
    ([('A', '01', '1'), ('A', '01', '2'), ('B', '12', '1')], [], [('A', '01', '1'), ('A', '01', '2')])
    """
    matches = [_WELL.fullmatch(stage.strip()) for stage in stages]
    wells: list[tuple[str, str, str]] = []
    counts: dict[tuple[str, str], int] = {}
    for match in matches:
        if match is None:
            return []
        well = match[1].upper(), f"{int(match[2]):02}"
        counts[well] = counts.get(well, 0) + 1
        wells.append((*well, match[3] or str(counts[well])))
    # P1, P2 and so on are rather positions than the last row of a plate of 384 wells.
    is_plate = len(set(wells)) == len(wells) and {row for row, _, _ in wells} != {"P"}
    return wells if is_plate else []
