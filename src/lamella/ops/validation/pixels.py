"""Check pixels for ``validate --pixels``: decode every stored chunk, and recompute pyramids whose method is known.

`check_pixels` opens the arrays of one image at a time, decodes them, and compares each level with the level before.
"""

from __future__ import annotations

from itertools import pairwise
from math import lcm, prod
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from lamella.errors import DamagedDataError, LamellaError, clause
from lamella.ops.execution import run
from lamella.ops.integrity.verify import decode, files_to_decode
from lamella.ops.pyramids.downsample import downsample
from lamella.ops.pyramids.plan import recorded_method
from lamella.ops.regions import REGION_BYTES, bounded_shape, enlarge, regions
from lamella.ops.validation.walk import VALIDATE_LATER
from lamella.spec.edits import levels_from_removed
from lamella.spec.geometry import level_factors
from lamella.spec.rules import VERSION_TRAITS
from lamella.spec.rules.value import datasets, describe, level_scale, multiscales, ome_object
from lamella.spec.stale_levels import read_stale
from lamella.store.keys import join
from lamella.store.metadata.documents import Documents
from lamella.store.pixels.arrays import StoredArray

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lamella.ops.execution import Count, Workers
    from lamella.ops.integrity.verify import Decoded
    from lamella.ops.pyramids.downsample import Method
    from lamella.ops.regions import Region
    from lamella.ops.validation.walk import CheckedGroup, Inspection
    from lamella.store.metadata.array_meta import ArrayMeta
    from lamella.types import JSONObject, Shape


_COMPUTE = "compute the pyramid again"


class ComparedRegion(NamedTuple):
    """A region of a coarse level that is compared with the fine level before it."""

    fine: StoredArray
    coarse: StoredArray
    factors: Shape
    method: Method
    region: Region


def check_pixels(inspection: Inspection, workers: Workers, progress: Count) -> None:
    """Decode all chunks of an inspection's images, compare their pyramids, and add findings; progress is in bytes."""
    damaged: set[str] = set()
    opened: dict[str, StoredArray] = {}
    for image in inspection.images:
        for path, array in image.arrays.items():
            array_path = join(image.node.path, path)
            if array.facts is None or array.problem is not None or array.zarr_format is None:
                damaged.add(array_path)
            elif array_path not in opened:
                documents = Documents(inspection.reader.storage, 3 if array.zarr_format == 3 else 2)
                opened[array_path] = StoredArray(documents, array_path)
                _decode(inspection, opened[array_path], damaged, workers, progress)
        _compare_image(inspection, image, opened, damaged, workers)
        opened.clear()


def _decode(
    inspection: Inspection, array: StoredArray, damaged: set[str], workers: Workers, progress: Count
) -> None:
    problems: list[tuple[str, str]] = []

    def collect(decoded: Decoded) -> None:
        progress.add(decoded.size)
        if decoded.unread:
            problems.append((decoded.damage, VALIDATE_LATER))
        elif decoded.damage:
            found = f"{decoded.key.removeprefix(array.path + '/')} cannot be decoded"
            problems.append((found, "write that region again, or restore the file from a copy"))

    try:
        run(decode, files_to_decode(array), workers, on_result=collect)
    except LamellaError as error:  # the codec is unsupported, or the folder cannot be listed
        problems.append((clause(error), VALIDATE_LATER))
    for found, remedy in problems:
        damaged.add(array.path)
        inspection.report("LM-09", array.path, found, remedy)


# -- pyramids ------------------------------------------------------------------------------------------------------


def _compare_image(
    inspection: Inspection,
    image: CheckedGroup,
    opened: dict[str, StoredArray],
    damaged: set[str],
    workers: Workers,
) -> None:
    if image.version not in VERSION_TRAITS:
        return
    for _, multiscale in multiscales(ome_object(image.node.attributes, VERSION_TRAITS[image.version])):
        levels = [
            (dataset, str(dataset["path"]))
            for _, dataset in datasets(multiscale)
            if isinstance(dataset.get("path"), str)
        ]
        if len(levels) < 2:
            continue
        stale = read_stale(image.node.attributes)
        if stale.unwritten:
            names = ", ".join(level for level, _ in stale.unwritten)
            note = f"levels that were created empty are not written: {names}. compute_pyramid() computes them"
            inspection.notes.append((image.node.path, note))
        if stale.writers or stale.regions:
            note = "level 0 was written since the levels were computed: call update_pyramid()"
            inspection.notes.append((image.node.path, note))
        method = recorded_method(multiscale)
        if method is None:
            details = multiscale.get("metadata")
            program = details.get("method") if isinstance(details, dict) else None
            note = (
                f"its pyramid was computed by {describe(program)}"
                if program
                else "its metadata do not name the method of its pyramid"
            )
            inspection.notes.append((image.node.path, f"{note}: the levels were not compared"))
            continue
        from_removed = levels_from_removed(multiscale.get("metadata"))
        for fine, coarse in pairwise(levels):
            if coarse[1] in from_removed:
                note = f"level {coarse[1]} was computed from a level that was removed, and was not compared"
                inspection.notes.append((image.node.path, note))
                continue
            _compare_levels(inspection, image, (fine, coarse), method, opened, damaged, workers)


def _compare_levels(
    inspection: Inspection,
    image: CheckedGroup,
    levels: tuple[tuple[JSONObject, str], tuple[JSONObject, str]],
    method: Method,
    opened: dict[str, StoredArray],
    damaged: set[str],
    workers: Workers,
) -> None:
    paths = [join(image.node.path, path) for _, path in levels]
    if damaged & set(paths) or not opened.keys() >= set(paths):
        note = f"levels {levels[0][1]} and {levels[1][1]} cannot be read, and were not compared"
        inspection.notes.append((image.node.path, note))
        return
    fine, coarse = (opened[path] for path in paths)
    scales = [level_scale(dataset) for dataset, _ in levels]
    factors = _factors(fine.meta, coarse.meta, scales[0], scales[1])
    if factors is None or fine.meta.dtype != coarse.meta.dtype:
        found = f"shape {list(coarse.meta.shape)} is not a level of {list(fine.meta.shape)}"
        inspection.report("LM-10", paths[1], found, _COMPUTE)
        return
    differences: list[str] = []

    def collect(difference: str) -> None:
        if difference:
            differences.append(f"{difference} from level {levels[0][1]!r} downsampled by {method}")

    try:
        run(_compare, _compared_regions(fine, coarse, factors, method), workers, on_result=collect)
    except DamagedDataError as error:
        differences.append(clause(error))
    if differences:
        inspection.report("LM-10", paths[1], differences[0], _COMPUTE)


def _factors(
    fine: ArrayMeta, coarse: ArrayMeta, fine_scale: list[float] | None, coarse_scale: list[float] | None
) -> Shape | None:
    ratios = [1.0] * fine.ndim
    if fine_scale and coarse_scale and len(fine_scale) == len(coarse_scale) == fine.ndim:
        ratios = [
            coarse_size / size if size else 1.0
            for size, coarse_size in zip(fine_scale, coarse_scale, strict=True)
        ]
    return level_factors(fine.shape, coarse.shape, ratios)


def _compared_regions(
    fine: StoredArray, coarse: StoredArray, factors: Shape, method: Method
) -> Iterator[ComparedRegion]:
    """Split a level into regions that are computed from whole chunks of the level before."""
    meta = coarse.meta
    smallest = tuple(
        lcm(chunk, factor) // factor for chunk, factor in zip(fine.meta.chunks, factors, strict=True)
    )
    unit = bounded_shape(meta.shape, smallest, prod(factors) * meta.dtype.itemsize, REGION_BYTES)
    for region in regions(meta.shape, tuple(max(1, length) for length in unit)):
        yield ComparedRegion(fine, coarse, factors, method, region)


def _compare(compared: ComparedRegion) -> str:
    """Describe the first voxel of a region that differs from the recomputed level; empty if none does."""
    fine, coarse, factors, method, region = compared
    computed = downsample(fine.read(enlarge(region, factors, fine.meta.shape)), factors, method)
    stored = coarse.read(region)
    if np.array_equal(computed, stored, equal_nan=stored.dtype.kind == "f"):
        return ""
    differs = computed != stored
    if stored.dtype.kind == "f":
        differs &= ~(np.isnan(computed) & np.isnan(stored))
    first = [int(indices[0]) + span.start for indices, span in zip(np.nonzero(differs), region, strict=True)]
    return f"the voxel at {first} differs"
