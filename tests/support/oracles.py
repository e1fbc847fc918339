"""Reference codecs of compressed_segmentation: TensorStore's and cloud-volume's."""

from collections.abc import Sequence
from typing import Any

import compressed_segmentation
import numpy as np
import numpy.typing as npt
import tensorstore as ts

Voxels = npt.NDArray[Any]  # uint64 or uint32, z, y, x


def _open(shape: Sequence[int], dtype: str, block_size: Sequence[int]) -> tuple[Any, Any]:
    """A volume of one chunk in memory, and the store it lives in."""
    context = ts.Context()
    size = list(shape[::-1])
    spec = {
        "driver": "neuroglancer_precomputed",
        "kvstore": "memory://",
        "multiscale_metadata": {
            "type": "segmentation",
            "data_type": dtype,
            "num_channels": 1,
        },
        "scale_metadata": {
            "key": "scale",
            "size": size,
            "chunk_size": size,
            "resolution": [8, 8, 8],
            "encoding": "compressed_segmentation",
            "compressed_segmentation_block_size": list(block_size),
        },
        "create": True,
        "open": True,
    }
    volume = ts.open(spec, context=context).result()
    return volume, ts.KvStore.open("memory://", context=context).result()


def _chunk_key(shape: Sequence[int]) -> str:
    return "scale/" + "_".join(f"0-{edge}" for edge in shape[::-1])


def tensorstore_encode(voxels: Voxels, block_size: Sequence[int] = (8, 8, 8)) -> bytes:
    """Encode a chunk with TensorStore; b"" for zeros, which it leaves out."""
    volume, store = _open(voxels.shape, str(voxels.dtype), block_size)
    volume[...].write(voxels.T[..., None]).result()
    return bytes(store.read(_chunk_key(voxels.shape)).result().value)


def tensorstore_decode(
    chunk: bytes, shape: Sequence[int], dtype: str = "uint64", block_size: Sequence[int] = (8, 8, 8)
) -> Voxels:
    """Decode a chunk with TensorStore, (z, y, x)."""
    volume, store = _open(shape, dtype, block_size)
    store.write(_chunk_key(shape), chunk).result()
    return np.asarray(volume[..., 0].read().result()).T


def cloudvolume_decode(
    chunk: bytes, shape: Sequence[int], dtype: str = "uint64", block_size: Sequence[int] = (8, 8, 8)
) -> Voxels:
    """Decode a chunk with cloud-volume's decoder, (z, y, x)."""
    size = tuple(shape[::-1])
    voxels = compressed_segmentation.decompress(
        chunk, size, np.dtype(dtype), tuple(block_size), order="F"
    )
    return np.asarray(voxels).reshape(size, order="F").T
