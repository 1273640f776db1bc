"""Create the arrays of a position, after checking that they fit the image."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal, cast

from lamella.nodes.array_creation import ArrayCreation, create_empty_array
from lamella.nodes.array_request import request_of
from lamella.nodes.image_array import ImageArray
from lamella.nodes.node import NGFFNode
from lamella.nodes.store_handle import errors_naming

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import DTypeLike

    from lamella.nodes.metadata_document import MetadataDocument
    from lamella.nodes.position import Position
    from lamella.spec.images import ImagesMeta, TransformationMeta
    from lamella.spec.rules import Kind
    from lamella.store.metadata.array_meta import CompressorChoice


class PositionArrays(NGFFNode):
    """Methods of a position that create arrays."""

    document: MetadataDocument[ImagesMeta]
    _kinds: ClassVar[tuple[Kind, ...]]
    _array_class: ClassVar[type[ImageArray]] = ImageArray

    def create_image(
        self,
        name: str,
        data: Any,
        chunks: Sequence[int] | Literal["auto"] | None = None,
        shards_ratio: Sequence[int] | None = None,
        transform: Sequence[TransformationMeta] | None = None,
        check_shape: bool = True,
        *,
        compressor: CompressorChoice = None,
        checksum: bool | None = None,
    ) -> ImageArray:
        """Create an array and write its pixels.

        Parameters
        ----------
        name
            Name of the array; the first one of a position is the full-resolution level.
        data
            Voxels in the order of the position's axes: any array-like; lazy data (dask, xarray, zarr, memory map) is
            read block by block.
        chunks
            Shape of a chunk. By default the last three axes whole (at most 512 MiB); ``"auto"`` for chunks near 1 MiB,
            in shards near 256 MiB if the version has shards.
        shards_ratio
            Chunks per shard along each axis; no shards by default.
        transform
            Scale and translation of the level; scale 1 by default. An array that cannot be a valid level (larger than
            the level before, or of another dtype in 0.6) raises an error if it has a transform; otherwise it is stored
            without being listed as a level, with a warning. Label images get as many levels as their image (LB-04).
        check_shape
            Raise if the data does not fit the axes and channels.
        compressor
            Compression of the chunks; blosc with zstd level 1 and bit shuffle by default.
        checksum
            End each chunk in a checksum, which detects flipped bits (version 0.5 and later). By default only with
            shards.

        Raises
        ------
        InvalidArgumentError, NodeExistsError
            If something does not fit or the name is taken (ValueErrors). Nothing is written then.

        Examples
        --------
        >>> pixels = np.ones((1, 2, 4, 8, 8), "float32")
        >>> plane, stack = (1, 1, 1, 8, 8), (1, 1, 4, 1, 1)
        >>> image = plate["B/2/0"].create_image("0", pixels, chunks=plane, shards_ratio=stack)
        >>> image.dtype, image.chunks, image.shards
        (dtype('float32'), (1, 1, 1, 8, 8), (1, 1, 4, 8, 8))
        """
        options = {
            "chunks": chunks,
            "shards_ratio": shards_ratio,
            "transform": transform,
            "check_shape": check_shape,
            "compressor": compressor,
            "checksum": checksum,
        }
        return self.create_from(name, data, options)

    def create_from(
        self, name: str, data: Any, options: dict[str, Any], *, is_result: bool = False
    ) -> ImageArray:
        """Create an array from data, as `create_image` does; ``is_result`` for a result of `Plate.map`."""
        from lamella.ops.array_writes import as_source

        self.require_writable(f"create the array {name!r}")
        source = as_source(data)
        with errors_naming(self.node_path):
            request = request_of(source.shape, source.dtype, **options)
        request = request._replace(is_result=is_result)
        return ArrayCreation(cast("Position", self), name, request, source).create()

    def create_zeros(
        self,
        name: str,
        shape: Sequence[int],
        dtype: DTypeLike,
        chunks: Sequence[int] | Literal["auto"] | None = None,
        shards_ratio: Sequence[int] | None = None,
        transform: Sequence[TransformationMeta] | None = None,
        check_shape: bool = True,
        *,
        compressor: CompressorChoice = None,
        checksum: bool | None = None,
    ) -> ImageArray:
        """Create an array of zeros. Only its metadata is written, whatever its size.

        Parameters
        ----------
        shape
            Length of each axis, in the order of the position's axes.
        dtype
            Data type: bool, (u)int8 to 64, float16 to 64 or complex.
        name, chunks, shards_ratio, transform, check_shape, compressor, checksum
            As for :meth:`create_image`, as are the errors.

        Examples
        --------
        >>> image = plate["B/2/0"].create_zeros("0", (1000, 2, 64, 2048, 2048), "uint16")
        >>> image.nbytes // 2**30, image.chunks  # GiB that need no disk until they are written
        (1000, (1, 1, 64, 2048, 2048))
        """
        self.require_writable(f"create the array {name!r}")
        with errors_naming(self.node_path):
            request = request_of(
                shape,
                dtype,
                chunks,
                shards_ratio,
                transform,
                check_shape,
                compressor=compressor,
                checksum=checksum,
            )
        return create_empty_array(cast("Position", self), name, request)

    def is_unwritten(self, key: str) -> bool:
        """Whether an array has no chunks."""
        names = self.documents.storage.list(self.node_path.child(key).path)
        return set(names) <= set(self.documents.files.document_names)
