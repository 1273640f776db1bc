"""Frames from an instrument into many positions of a plate: :mod:`lamella.ops.streaming` does it.

Layer: nodes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lamella.nodes.node import NGFFNode

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import DTypeLike

    from lamella.nodes.plate_creation import PositionSpec
    from lamella.nodes.position import Position
    from lamella.ops.streaming.stream import FrameStream
    from lamella.spec.transforms import TransformationMeta
    from lamella.store.compressor import CompressorChoice


class PlateStreamMethods(NGFFNode):
    """What a plate can do with frames that come one by one."""

    def stream(
        self,
        positions: Sequence[Position | PositionSpec | str],
        name: str,
        shape_per_frame: Sequence[int],
        dtype: DTypeLike,
        *,
        order: Sequence[str] | None = None,
        lengths: Mapping[str, int] | None = None,
        channel_names: Sequence[str] | None = None,
        chunks: Sequence[int] | None = None,
        shards_ratio: Sequence[int] | None = None,
        transform: Sequence[TransformationMeta] | None = None,
        compressor: CompressorChoice = None,
        resume: bool = False,
        pyramid: int | str | None = None,
        queue: int | None = None,
        flush_every: int | None = None,
    ) -> FrameStream:
        """Write frames of several positions as they come: to be used in a ``with`` block.

        Parameters
        ----------
        positions
            In the order in which they are visited: paths such as ``"A/1/0"``, tuples as for :meth:`create_positions`,
            or positions. Those that are not there are made, all at once.
        name, shape_per_frame, dtype
            As for :meth:`Position.stream`.
        order
            Names of the axes, the last one fastest, with ``"p"`` for the positions: ``"tpcz"`` visits each position at
            each time. By default p comes second.
        lengths, channel_names, chunks, shards_ratio, transform, compressor, resume, pyramid, queue, flush_every
            As for :meth:`Position.stream`; one queue and one set of threads serve all positions.

        Returns
        -------
        FrameStream
            Takes the frames: ``append``, ``skip``, ``flush``.

        Raises
        ------
        InvalidArgumentError, NodeExistsError
            If something does not fit or the name is taken (ValueErrors).

        Examples
        --------
        >>> fields = ["C/3/0", "C/3/1"]
        >>> with plate.stream(fields, "0", (8, 8), "uint16", order="tpc") as frames:
        ...     for number in range(8):
        ...         where = frames.append(np.full((8, 8), number, "uint16"))
        >>> where, plate["C/3/1/0"].shape, plate["C/3/1/0"][:, :, 0, 0, 0].tolist()
        ({'t': 1, 'p': 1, 'c': 1}, (2, 2, 1, 8, 8), [[2, 3], [6, 7]])
        """
        from lamella.ops.streaming.opening import StreamOptions, stream_plate

        options = StreamOptions.of(
            name,
            shape_per_frame,
            dtype,
            order=order,
            lengths=lengths,
            channel_names=channel_names,
            chunks=chunks,
            shards_ratio=shards_ratio,
            transform=transform,
            compressor=compressor,
            resume=resume,
            pyramid=pyramid,
            queue=queue,
            flush_every=flush_every,
        )
        return stream_plate(self, positions, options)  # type: ignore[arg-type]
