"""Frames from an instrument into a position: :mod:`lamella.ops.streaming` does it.

Layer: nodes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lamella.nodes.node import NGFFNode

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import DTypeLike

    from lamella.ops.streaming.stream import FrameStream
    from lamella.spec.transforms import TransformationMeta
    from lamella.store.compressor import CompressorChoice


class StreamMethods(NGFFNode):
    """What a position can do with frames that come one by one."""

    def stream(
        self,
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
        """Write frames as they come: to be used in a ``with`` block.

        Parameters
        ----------
        name
            Name of the array, which is made with the first axis of the order empty, and grows.
        shape_per_frame
            Shape of one frame in the order of the axes that are not in `order`, as (Y, X); axes before them are 1 long.
        dtype
            Data type of the array.
        order
            Names of the axes over which frames come, the last one fastest: ``"tcz"`` for stacks in all channels at each
            time. By default all axes that a frame does not have.
        lengths
            How many frames come along the axes of the order. The first may be left out: then it grows.
        channel_names
            Names of the channels that come, in the order in which they come; all of the position by default. A position
            without an image gets those that it does not have.
        chunks
            Shape of a chunk; one frame by default.
        shards_ratio
            Chunks per shard along each axis (0.5 and later); no shards by default. Frames that share a shard are stored
            with the last of them.
        transform, compressor
            As for :meth:`create_zeros`.
        resume
            Go on after the last stored frame of an array that is there; make a new one where there is none.
        pyramid
            Make that many levels (or ``"auto"``) behind the frames, by mean: on one thread, whenever a file of them is
            stored, and the rest at the end.
        queue
            Chunks that may wait to be encoded before ``append`` waits for one; from half of them on it waits a
            little. 8, or twice the processors, by default.
        flush_every
            Store all frames after each so many: what a kill may cost where shards hold many frames.

        Returns
        -------
        FrameStream
            Takes the frames: ``append``, ``skip``, ``flush``.

        Raises
        ------
        InvalidArgumentError, NodeExistsError
            If something does not fit or the name is taken (ValueErrors). Nothing is written then.

        Examples
        --------
        >>> with plate["B/2/0"].stream("0", (8, 8), "uint16", order="tcz", lengths={"z": 3}) as frames:
        ...     for number in range(12):
        ...         where = frames.append(np.full((8, 8), number, "uint16"))
        >>> where, plate["B/2/0/0"].shape
        ({'t': 1, 'c': 1, 'z': 2}, (2, 2, 3, 8, 8))
        """
        from lamella.ops.streaming.opening import StreamOptions, stream_position

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
        return stream_position(self, options)  # type: ignore[arg-type]
