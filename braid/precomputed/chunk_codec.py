"""Codec of chunks of any scale; voxels are (z, y, x).

Formats: Neuroglancer `src/sliceview/compressed_segmentation/README.md`; a raw chunk is its voxels,
little-endian, x fastest (`src/datasource/precomputed/volume.md`).
"""

from typing import TypeAlias

import numpy as np

import _braid
from braid.exceptions import DecompressionError, EncodingError
from braid.precomputed.volume_spec import ScaleSpec
from braid.typing import BytesLike, UInt32Array, UInt64Array, Vec3

__all__ = ["Voxels", "decode_chunk", "encode_chunk", "voxel_dtype"]

Voxels: TypeAlias = UInt64Array | UInt32Array


def voxel_dtype(scale: ScaleSpec) -> np.dtype[np.uint64] | np.dtype[np.uint32]:
    """Type of the voxels, little-endian like every host that the kernels run on."""
    return np.dtype(np.uint32) if scale.data_type == "uint32" else np.dtype(np.uint64)


def decode_chunk(scale: ScaleSpec, data: BytesLike, shape: Vec3) -> Voxels:
    """Decode a chunk of known (clipped) shape.

    Raises:
        DecompressionError: the bytes do not fit.
    """
    dtype = voxel_dtype(scale)
    voxels: Voxels = np.empty(shape, dtype)
    if scale.block_size is None:
        if len(data) != voxels.nbytes:
            raise DecompressionError(
                f"raw chunk: expected {voxels.nbytes} bytes, found {len(data)}"
            )
        voxels.ravel()[:] = np.frombuffer(data, dtype)
        return voxels
    try:
        _braid.cseg_decode(data, voxels, scale.block_size)
    except _braid.KernelError as error:
        raise DecompressionError(str(error)) from None
    return voxels


def encode_chunk(scale: ScaleSpec, voxels: Voxels) -> bytes:
    """Encode a chunk, without the data encoding.

    Raises:
        EncodingError: it is too large for the format.
    """
    if scale.block_size is None:
        return voxels.tobytes()
    try:
        return _braid.cseg_encode(voxels, scale.block_size)
    except _braid.KernelError as error:
        raise EncodingError(str(error)) from None
