"""Read the data sets of MetaMorph: an index ``.nd`` lists stages, waves, z series and times of its TIFF or STK files.

A file is named after the index: ``scan_w1DAPI_s1_t1.stk`` is wave 1, stage 1, time 1, with all z. Each stage is an
image, and a field of a plate if all stages are named after wells. Pixel sizes, stage positions and times are read from
these files.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from lamella.adapters.descriptions import parse_number
from lamella.adapters.formats import ENDINGS
from lamella.adapters.screens.index_files import read_keys
from lamella.adapters.screens.screen import seconds_between
from lamella.adapters.screens.source import FieldSource
from lamella.adapters.tiff.reader import open_tiff
from lamella.errors import SourceError, counted
from lamella.ops.conversion.reader import Container, OriginalMetadata, Reader, list_names
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
    """An ``.nd`` file; ``stages`` is empty and ``times`` is 0 if the names of the files contain no stage or no time."""

    path: str
    stages: tuple[str, ...]
    waves: tuple[_Wave, ...]
    has_waves: bool
    times: int
    z_steps: int
    z_step: float | None
    times_by_wave: Mapping[int, frozenset[int]]
    """The times at which a wave was recorded, by its number; waves that are missing here were recorded at all times."""

    @property
    def name(self) -> str:
        return os.path.splitext(os.path.basename(self.path))[0]

    def expected_files(self) -> list[tuple[int, int]]:
        """List (wave, time) of each file that a stage must have, counted from 1."""
        return [
            (wave, time)
            for time in range(1, max(1, self.times) + 1)
            for wave in range(1, len(self.waves) + 1)
            if time in self.times_by_wave.get(wave, (time,))
        ]


Files = dict[tuple[int, int, int], str]
"""Files by number of stage, wave and time; a number that the names of files lack is 1."""


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
                f"{path} lists files such as {index.name}_w1..., but no such TIFF or STK file is beside it."
            )
        depths, first_of_all = _depths(index, files)
        notes = [*_z_notes(index, depths)]
        wells = _wells(index.stages)
        notes += ["wells and fields were read from the names of stages"] if wells else []
        sources = []
        for stage in range(1, max(1, len(index.stages)) + 1):
            stage_files = {
                (wave, time): file for (file_stage, wave, time), file in files.items() if file_stage == stage
            }
            description = replace(
                _describe(index, stage, stage_files, depths, first_of_all),
                notes=tuple(notes),
                well=wells[stage - 1] if wells else None,
                plate=index.name if wells else "",
            )
            notes = []  # only the first image reports them
            files_by_index = {(time - 1, wave - 1, 0): file for (wave, time), file in stage_files.items()}
            sources.append(StackSource(description, files_by_index, depths))
        with open(path, encoding="latin-1") as stream:
            return Container(sources, [OriginalMetadata(os.path.basename(path), stream.read())])


class StackSource(FieldSource):
    """A field with one file per channel and time, which has all z; ``depths`` are the numbers of planes by channel."""

    def __init__(
        self, description: ImageDescription, files: Mapping[tuple[int, int, int], str], depths: Sequence[int]
    ) -> None:
        super().__init__(description, files)
        self._depths = tuple(depths)

    def __reduce__(self) -> tuple[type[StackSource], tuple[object, ...]]:
        return StackSource, (self._description, self._files, self._depths)

    def read_plane(self, index: tuple[int, ...], rows: slice | None = None) -> Array | None:
        """Read one plane, or some rows of it; a channel without z has its only plane at the first z."""
        indices = dict(zip(self._description.axes, index, strict=False))
        channel, z = indices.get("c", 0), indices.get("z", 0)
        file = self._files.get((indices.get("t", 0), channel, 0))
        if file is None or z >= self._depths[channel]:
            return None
        source = self._source(file)
        planes = source.description.plane_count
        if planes != self._depths[channel]:
            raise SourceError(
                f"{file} has {counted(planes, 'plane')}, but the other files of its wave have {self._depths[channel]}."
            )
        return source.read_plane(
            tuple(z if length > 1 else 0 for length in source.description.shape[:-2]), rows
        )

    def open_file(self, file: str) -> PlaneSource:
        return _open_stack(file)


def _open_stack(file: str) -> PlaneSource:
    images = open_tiff(file, keeps_pages=True)
    if len(images) > 1 or sum(length > 1 for length in images[0].description.shape[:-2]) > 1:
        raise SourceError(f"{file} is not a file of MetaMorph: it has more than one z series.")
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
        number = parse_number(text(key))
        if number is None or number < 1 or number != int(number):
            raise SourceError(f"{path} has {key} {text(key)!r}, which is not a number of files.")
        return int(number)

    has_waves, has_z = is_on("DoWave"), is_on("DoZSeries")
    waves = [_Wave("", has_z)]
    if has_waves:
        waves = [
            _Wave(text(f"WaveName{number}"), has_z and text(f"WaveDoZ{number}").upper() != "FALSE")
            for number in range(1, count("NWavelengths") + 1)
        ]
    times_by_wave = {
        number: frozenset(int(time) for time in keys[key] if time.isdecimal())
        for number in range(1, len(waves) + 1)
        if keys.get(key := f"WavePointsCollected{number}")
    }
    stages = range(1, count("NStagePositions") + 1) if is_on("DoStage") else ()
    # The fields of a line are separated by commas: a number with a decimal comma ("0,5") arrives as two fields.
    step = parse_number(".".join(keys.get("ZStepSize", ())))
    return _Index(
        path,
        tuple(text(f"Stage{number}") for number in stages),
        tuple(waves),
        has_waves,
        count("NTimePoints") if is_on("DoTimelapse") else 0,
        count("NZSteps") if has_z else 1,
        step if step and is_size(step) else None,
        times_by_wave,
    )


def _find_files(index: _Index) -> Files:
    """Find the files of an index in its folder by name; leave out stages, waves and times that it does not list."""
    # The name of a wave may begin with digits: "w1488" is wave 1 of the name "488".
    digits = [re.sub(r"\D.*", "", wave.name) for wave in index.waves]
    waves = "|".join(rf"{number}(?={name}\D|\D)" for number, name in enumerate(digits, 1))
    wave_pattern = rf"_w(?P<wave>{waves}).*?" if index.has_waves else ""
    stage_pattern = r"_s(?P<stage>\d+)" if index.stages else ""
    time_pattern = r"_t(?P<time>\d+)" if index.times else ""
    pattern = re.compile(
        re.escape(index.name) + wave_pattern + stage_pattern + time_pattern + _ENDING, re.IGNORECASE
    )
    expected = set(index.expected_files())
    folder = os.path.dirname(os.path.abspath(index.path))
    files: Files = {}
    for name in sorted(list_names(folder)):
        match = pattern.fullmatch(name)
        if match is None:
            continue
        groups = match.groupdict()
        stage, wave, time = (int(groups.get(key) or 1) for key in ("stage", "wave", "time"))
        if stage > max(1, len(index.stages)) or (wave, time) not in expected:
            continue
        other = files.setdefault((stage, wave, time), os.path.join(os.path.dirname(index.path), name))
        if os.path.basename(other) != name:
            raise SourceError(
                f"{index.path} has two files of wave {wave}, stage {stage}, time {time}: "
                f"{os.path.basename(other)} and {name}."
            )
    return files


def _depths(index: _Index, files: Files) -> tuple[list[int], ImageDescription]:
    """Return the number of planes of each wave's first file, and the description of the first file of all waves."""
    samples = []
    for wave in range(1, len(index.waves) + 1):
        file = next((files[key] for key in sorted(files) if key[1] == wave), None)
        if file is not None:
            image = _open_stack(file)
            image.close()
        samples.append(None if file is None else image.description)
    first = next(sample for sample in samples if sample is not None)
    depths = [
        sample.plane_count if sample is not None else index.z_steps if wave.has_z else 1
        for sample, wave in zip(samples, index.waves, strict=True)
    ]
    return depths, first


def _z_notes(index: _Index, depths: Sequence[int]) -> list[str]:
    """Return notes about waves whose number of z steps differs from that of the index."""
    notes = []
    for number, (wave, depth) in enumerate(zip(index.waves, depths, strict=True), 1):
        if wave.has_z and depth != index.z_steps:
            notes.append(f"the index states {index.z_steps} z steps, the files of wave {number} have {depth}")
    single_plane_waves = [f"w{number}" for number, depth in enumerate(depths, 1) if depth == 1 < max(depths)]
    if single_plane_waves:
        verb = (
            "has a single plane, which stands"
            if len(single_plane_waves) == 1
            else "have single planes, which stand"
        )
        notes.append(
            f"{', '.join(single_plane_waves)} {verb} at the first z step; the other z steps are zeros"
        )
    return notes


def _describe(
    index: _Index,
    stage: int,
    files: Mapping[tuple[int, int], str],
    depths: Sequence[int],
    first_of_all: ImageDescription,
) -> ImageDescription:
    """Describe a stage by the index and its files; plane shape and data type are those of ``first_of_all``."""
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
    sizes = {**lengths, "y": first_of_all.plane_shape[0], "x": first_of_all.plane_shape[1]}
    first = by_time[min(by_time)] if by_time else first_of_all
    scale = {axis: first.scale[axis] for axis in "zyx" if axis in first.scale}
    units = {axis: first.units.get(axis) for axis in scale}
    if index.z_step is not None:
        scale["z"], units["z"] = index.z_step, "micrometer"
    start_time = first.acquired
    seconds = [seconds_between(start_time, by_time[time].acquired) for time in sorted(by_time)]
    times = tuple(second for second in seconds if second is not None)
    missing = tuple(
        f"stage {stage}, wave {wave}, time {time} (a file named after {index.path})"
        for wave, time in index.expected_files()
        if (wave, time) not in files
    )
    name = index.stages[stage - 1] if index.stages else ""
    return ImageDescription(
        name=name or index.name,
        files=tuple(files.values()),
        axes=axes,
        shape=tuple(sizes[axis] for axis in axes),
        dtype=first_of_all.dtype,
        scale=scale,
        units={**units, "t": "second"} if lengths["t"] > 1 and len(times) > 1 else units,
        channels=tuple(_channel(wave, by_wave.get(number)) for number, wave in enumerate(index.waves, 1)),
        title=name,
        stage=first.stage if by_time else {},
        times=times if len(times) == lengths["t"] > 1 else (),
        acquired=start_time if by_time else "",
        objective=first.objective,
        band_rows=first_of_all.band_rows,
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
    # P1, P2 and so on are more likely positions than wells of the last row of a plate with 384 wells.
    is_plate = len(set(wells)) == len(wells) and {row for row, _, _ in wells} != {"P"}
    return wells if is_plate else []
