"""Writing a box of an array, cut into parts whose files are covered whole and parts whose files are not.

Layer: store.
"""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

from lamella.store import coverage
from lamella.store.keys import join
from lamella.store.selection import Selection

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from lamella.store.array_meta import ArrayMeta
    from lamella.store.coverage import Kind
    from lamella.store.engine import Engine
    from lamella.store.storage import Storage
    from lamella.store.whole_files import WholeFiles
    from lamella.types import Array

_WHOLE: frozenset[Kind] = frozenset({"inside", "ragged"})

#: Raw bytes that are encoded before they are written, where an engine cannot replace files itself.
_BATCH_BYTES = 64 << 20


class BoxWriter:
    """Writer of boxes of one array.

    Parameters
    ----------
    storage, path, meta
        The array.
    engine
        Opens what writes the files that a box covers in part: TensorStore takes 30 ms to load.
    whole
        Writes those that it covers whole; the engine does that too where this is None.
    """

    def __init__(
        self,
        storage: Storage,
        path: str,
        meta: ArrayMeta,
        engine: Callable[[], Engine],
        whole: WholeFiles | None,
    ) -> None:
        self._storage = storage
        self._path = path
        self.meta = meta
        self._engine = engine
        self._whole = whole

    def write(self, selection: Selection, block: Array) -> None:
        """Write a block to a selection that is a box."""
        box = tuple(one for one in selection.axes if isinstance(one, slice))
        origin = [one.start for one in box]
        apart = self._engine().reads_before_writing if self._whole is None else _WHOLE
        for piece in coverage.pieces(self.meta, box, apart):
            part = block[_shifted(piece.box, origin)]
            if self._whole is not None and piece.kind in _WHOLE:
                self._whole.write(piece.box, part)
            elif piece.kind in self._engine().reads_before_writing:
                self._encode(piece.box, part)
            else:
                self._engine().write(as_selection(piece.box), part)

    def _encode(self, box: tuple[slice, ...], block: Array) -> None:
        origin = [one.start for one in box]
        parts = list(coverage.batches(self.meta, box, _BATCH_BYTES))
        encoded = (self._engine().encode(as_selection(part), block[_shifted(part, origin)]) for part in parts)
        if len(parts) == 1:
            self._write_files(next(encoded))
        else:
            self._write_while_encoding(encoded)

    def _write_while_encoding(self, encoded: Iterator[dict[str, bytes]]) -> None:
        """Write one batch while the next is encoded; two batches at most are in memory."""
        with ThreadPoolExecutor(1, "lamella-write") as writer:
            written: Future[None] | None = None
            for files in encoded:
                if written is not None:
                    written.result()
                written = writer.submit(self._write_files, files)
            if written is not None:
                written.result()

    def _write_files(self, files: dict[str, bytes]) -> None:
        self._storage.write_many((join(self._path, key), data) for key, data in files.items())


def as_selection(box: tuple[slice, ...]) -> Selection:
    """Return the selection of a box."""
    shape = tuple(one.stop - one.start for one in box)
    return Selection(box, False, shape, (), None, shape)


def _shifted(box: tuple[slice, ...], origin: Sequence[int]) -> tuple[slice, ...]:
    return tuple(slice(one.start - o, one.stop - o) for one, o in zip(box, origin, strict=True))
