"""How far the levels of an image are made: told in its document, and after a kill believed as far as the disk agrees.

While all levels of a large image are made its document says which boxes of level 0 are still to come. Who makes the
same levels after a kill computes these, and those of which the disk tells another story: a file of a level that is
missing or cut off, a file of level 0 that is younger than the work.

Layer: ops. What the document says is in :mod:`lamella.spec.stale_levels`.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from math import prod
from typing import TYPE_CHECKING
from uuid import uuid4

from lamella._version import __version__
from lamella.ops.pyramids import passes
from lamella.ops.pyramids.plan import ended
from lamella.ops.pyramids.whole import is_whole
from lamella.ops.regions import enlarge, region_shape, shrink
from lamella.spec.stale_levels import (
    MOST_REST,
    Making,
    StaleLevels,
    read_stale,
    with_box,
    with_stale,
    without_box,
)
from lamella.store.chunk_grid import files_of
from lamella.store.keys import join
from lamella.store.storage import times_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from lamella.nodes.position import Position
    from lamella.ops.pyramids.passes import Pass
    from lamella.ops.regions import Region
    from lamella.spec.stale_levels import Box
    from lamella.store.array_meta import ArrayMeta
    from lamella.store.arrays import StoredArray
    from lamella.store.storage import Stamp
    from lamella.types import JSONObject, Shape

_EXACT = 2**31
"""As many boxes as it takes: few are joined only where they are written down."""

_MOST_FAULTS = 100
"""Files of a level that are not as they should be, after which the whole level is made anew."""


def begin_pyramid(
    position: Position,
    source: StoredArray,
    levels: Sequence[tuple[StoredArray, Shape]],
    method: str,
    *,
    resume: bool,
    planned: Mapping[str, ArrayMeta] | None = None,
) -> PyramidProgress:
    """Say that all levels are being made, and find what of them remains to be made.

    Parameters
    ----------
    position
        The image. From now on its levels count as stale, until the change of `PyramidProgress.ended`.
    source
        Its finest level.
    levels
        The others: array, and whole factors from the one before.
    method
        How voxels become one.
    resume
        Go on with what a killed call of the same has made.
    planned
        Path to description of the levels, where they are not listed yet; their arrays need not be there.
    """
    steps = [step for _, step in levels]
    metas = [array.meta for array, _ in levels] if planned is None else list(planned.values())
    work = _digest(position, source, [array.path for array, _ in levels], metas, steps, method)
    name = uuid4().hex[:8]
    writes = position.store_handle.writes
    if resume and read_stale(position.documents.group(position.path)).making is not None:
        writes.settle(position.path)  # where this process wrote to level 0 has to be made anew
    writes.forget(position.path)
    found: list[Making] = []

    def told(attributes: JSONObject) -> JSONObject:
        before = read_stale(attributes)
        if resume and _goes_on(before, work, len(levels), len(source.meta.shape)):
            found.append(_with_regions(before, name))
        making = found[0] if found else None
        if planned and making is None:  # so that another call knows whether it makes the same
            whole = (0,) * len(source.meta.shape), source.meta.shape
            making = Making(name, work, None, ((whole,),) * len(levels))
        return with_stale(attributes, StaleLevels((name,), (), making, tuple(planned or ())))

    _, stamp = position.documents.edit_group(position.path, told)
    return PyramidProgress(position, name, work, source, levels, stamp, found[0] if found else None)


def _digest(
    position: Position,
    source: StoredArray,
    paths: Sequence[str],
    metas: Sequence[ArrayMeta],
    steps: Sequence[Shape],
    method: str,
) -> str:
    """Name a work by what it makes: levels that begin with other arrays, methods or kernels are not gone on with."""
    made = [
        [
            path.removeprefix(position.path),
            {key: value for key, value in meta.document.items() if key != "attributes"},
        ]
        for path, meta in zip([source.path, *paths], [source.meta, *metas], strict=True)
    ]
    text = json.dumps([__version__, method, made, steps], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _goes_on(stale: StaleLevels, work: str, levels: int, ndim: int) -> bool:
    """Whether what was made of some levels counts: nobody else wrote without telling where."""
    making = stale.making
    return (
        making is not None
        and making.work == work
        and stale.writers == (making.writer,)
        and len(making.rest) == levels
        and all(
            len(start) == len(stop) == ndim for start, stop in (*stale.regions, *sum(making.rest, start=()))
        )
    )


def _with_regions(stale: StaleLevels, name: str) -> Making:
    """Add what was written meanwhile to what remains."""
    assert stale.making is not None
    rest = []
    for boxes in stale.making.rest:
        for box in stale.regions:
            boxes = with_box(boxes, box, _EXACT)  # noqa: PLW2901
        rest.append(boxes)
    return replace(stale.making, writer=name, rest=tuple(rest))


class PyramidProgress:
    """What of the levels of one image remains to be made.

    Parameters
    ----------
    position
        The image.
    name
        Under which its document says that levels are being made.
    work
        What is made.
    source, levels
        See `begin_pyramid`.
    stamp
        Of the document that says so first; None where the store has no stamps.
    before
        How far a killed call of the same came, to `go_on` from; the arrays of all levels have to be there then.
    """

    def __init__(
        self,
        position: Position,
        name: str,
        work: str,
        source: StoredArray,
        levels: Sequence[tuple[StoredArray, Shape]],
        stamp: Stamp | None,
        before: Making | None = None,
    ) -> None:
        self.name = name
        self.work = work
        self._position = position
        self._source = source
        self._shape = source.meta.shape
        self._levels = [array for array, _ in levels]
        self._factors: dict[str, Shape] = {}
        factors = (1,) * len(self._shape)
        for array, step in levels:
            factors = tuple(a * b for a, b in zip(factors, step, strict=True))
            self._factors[array.path] = factors
        self._whole: Box = ((0,) * len(self._shape), self._shape)
        self._rest: dict[str, tuple[Box, ...]] = {array.path: (self._whole,) for array in self._levels}
        self._made: dict[tuple[str, ...], list[Box]] = {}
        self._untold = 0
        # Nothing of level 0 was read when the document was written: what is younger was written meanwhile.
        times = None if stamp is None else times_of(stamp)
        self._since = None if times is None else times[0]
        self._before = before

    # -- while levels are made ------------------------------------------------------------------------------------

    def remaining(self, work: Pass) -> list[Region]:
        """Return what of the source of a pass has to be read: boxes that fill whole files of all its targets."""
        factors, shape, unit = self._factors_of(work), work.source.meta.shape, passes.unit_box(work)
        found: tuple[Box, ...] = ()
        for target in work.targets:
            for start, stop in self._rest[target.array.path]:
                box = shrink(tuple(map(slice, start, stop)), factors)
                files = [
                    (one.start // u * u, min(-(-one.stop // u) * u, n))
                    for one, u, n in zip(box, unit, shape, strict=True)
                ]
                found = with_box(found, (tuple(a for a, _ in files), tuple(b for _, b in files)), _EXACT)
        return [tuple(map(slice, start, stop)) for start, stop in sorted(found)]

    def made(self, work: Pass, region: Region) -> None:
        """Take note that the targets of a pass are made of a region of its source; tell it now and then."""
        box = enlarge(region, self._factors_of(work), self._shape)
        levels = tuple(target.array.path for target in work.targets)
        done = tuple(one.start for one in box), tuple(one.stop for one in box)
        self._made.setdefault(levels, []).append(done)
        self._untold += prod(region_shape(region)) * work.source.meta.dtype.itemsize
        if self._untold >= passes.UNIT_BYTES:
            self._untold = 0
            self._take_off()
            if any(self._rest.values()):
                self._tell()

    def _take_off(self) -> None:
        """Take what was made off what remains, in order, as long as that stays few boxes; the others wait.

        Units that end in any order leave holes, and each box costs each unit that comes after it.
        """
        for levels, boxes in self._made.items():
            boxes.sort(reverse=True)
            while boxes:
                # Levels that are made together remain together.
                cut = {
                    one: without_box(one, boxes[-1], _EXACT) for one in {self._rest[path] for path in levels}
                }
                if any(len(after) > max(MOST_REST, len(before)) for before, after in cut.items()):
                    break
                self._rest.update({path: cut[self._rest[path]] for path in levels})
                boxes.pop()

    def _factors_of(self, work: Pass) -> Shape:
        """Factors from level 0 to the source of a pass."""
        first = work.targets[0]
        return tuple(a // b for a, b in zip(self._factors[first.array.path], first.factors, strict=True))

    def _tell(self) -> None:
        making = Making(self.name, self.work, self._since, tuple(self._rest.values()))

        def told(attributes: JSONObject) -> JSONObject:
            stale = read_stale(attributes)
            # Without the name somebody else makes the levels by now.
            mine = self.name in stale.writers
            return with_stale(attributes, replace(stale, making=making)) if mine else attributes

        self._position.documents.edit_group(self._position.path, told)

    # -- after a kill ---------------------------------------------------------------------------------------------

    def go_on(self) -> None:
        """Take over what a killed call wrote down, as far as the disk agrees."""
        making, self._before = self._before, None
        if making is None:
            return
        if making.since is not None and self._since is None:
            return  # a copy in a store that cannot tell what is younger
        for array, boxes in zip(self._levels, making.rest, strict=True):
            self._rest[array.path] = tuple(self._clipped(boxes))
            for number, box in enumerate(self._missing(array)):
                few = number < _MOST_FAULTS
                self._rest[array.path] = (
                    with_box(self._rest[array.path], box, _EXACT) if few else (self._whole,)
                )
                if not few:
                    break
        if making.since is not None:
            done = {box for array in self._levels for box in self._done(array.path)}
            for number, box in enumerate(self._younger(making.since, sorted(done))):
                for path, boxes in self._rest.items():
                    self._rest[path] = (
                        with_box(boxes, box, _EXACT) if number < _MOST_FAULTS else (self._whole,)
                    )
                if number >= _MOST_FAULTS:
                    break

    def _clipped(self, boxes: Sequence[Box]) -> Iterator[Box]:
        """Yield what of some boxes lies in level 0: it may have been resized, and documents say anything."""
        for start, stop in boxes:
            first = tuple(max(0, a) for a in start)
            last = tuple(min(b, n) for b, n in zip(stop, self._shape, strict=True))
            if all(a < b for a, b in zip(first, last, strict=True)):
                yield first, last

    def _done(self, path: str) -> tuple[Box, ...]:
        """Boxes of level 0 of which a level is made."""
        found: tuple[Box, ...] = (self._whole,)
        for box in self._rest[path]:
            found = without_box(found, box, _EXACT)
        return found

    def _missing(self, array: StoredArray) -> Iterator[Box]:
        """Yield of what files of a level are made that should be there, and are not or cannot be whole."""
        factors, meta = self._factors[array.path], array.meta
        for start, stop in self._done(array.path):
            for place in files_of(meta, shrink(tuple(map(slice, start, stop)), factors)):
                if not is_whole(array, place):
                    box = enlarge(meta.file_box(place), factors, self._shape)
                    yield tuple(one.start for one in box), tuple(one.stop for one in box)

    def _younger(self, since: int, boxes: Iterable[Box]) -> Iterator[Box]:
        """Yield the files of level 0 that were written since then, of those that hold some boxes."""
        meta = self._source.meta
        for start, stop in boxes:
            for place in files_of(meta, tuple(map(slice, start, stop))):
                if self._is_younger(meta.chunk_key(place), since):
                    box = meta.file_box(place)
                    yield tuple(one.start for one in box), tuple(one.stop for one in box)

    def _is_younger(self, key: str, since: int) -> bool:
        """Whether a file of level 0 was written since then; of a missing one, whether its folder was changed.

        Other programs delete a chunk that is overwritten with the fill value.
        """
        while True:
            stamp = self._source.documents.storage.stamp(join(self._source.path, key))
            if stamp is not None:
                times = times_of(stamp)
                return times is not None and max(times) >= since
            if not key:
                return False
            key = key.rpartition("/")[0]

    # -- at the end -----------------------------------------------------------------------------------------------

    def ended(self) -> Callable[[JSONObject], JSONObject]:
        """Return the change of the image's document that says that the levels are made."""
        return ended(self.name, [self._source, *self._levels], self._written_since)

    def _written_since(self) -> Iterator[Box]:
        """Return what of level 0 was written since the work began; all of it where the store tells no times."""
        return iter([self._whole]) if self._since is None else self._younger(self._since, [self._whole])
