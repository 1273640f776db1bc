"""Apply a function to the regions of one image: the image stands for a plate with one position, whose path is ""."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from lamella.ops.plates.mapping import map_plate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from concurrent.futures import Executor

    from numpy.typing import DTypeLike

    from lamella.nodes.plate import Plate
    from lamella.nodes.position import Position
    from lamella.nodes.store_handle import NodePath
    from lamella.ops.plates.mapping import MapReport
    from lamella.ops.progress import Progress
    from lamella.store.documents import Documents


class _OneImage:
    """What `map` uses of a plate."""

    def __init__(self, image: Position) -> None:
        self._image = image

    @property
    def node_path(self) -> NodePath:
        return self._image.node_path

    @property
    def documents(self) -> Documents:
        return self._image.documents

    def require_writable(self, what: str) -> None:
        self._image.require_writable(what)

    def positions(self) -> Iterator[tuple[str, Position]]:
        yield "", self._image

    def __getitem__(self, path: str) -> Position:
        return self._image


def map_image(
    image: Position,
    function: Callable[[Any], Any],
    name: str | Sequence[str],
    *,
    level: str | None,
    dtype: DTypeLike | None,
    halo: int | Mapping[str, int] | None,
    axes: Sequence[str] | None,
    kwargs: Mapping[str, Any] | None,
    retries: int,
    resume: bool,
    check: bool,
    jobs: int | None,
    executor: Executor | None,
    progress: Progress | bool | None,
) -> MapReport:
    """Apply a function over the regions of an image; see :meth:`Position.map`."""
    report = map_plate(
        cast("Plate", _OneImage(image)),
        function,
        over="regions",
        level=next(iter(image.dataset_paths), "0") if level is None else level,
        name=name,
        dtype=dtype,
        halo=halo,
        axes=axes,
        kwargs=kwargs,
        retries=retries,
        resume=resume,
        check=check,
        jobs=jobs,
        executor=executor,
        progress=progress,
    )
    report.output = image
    return report
