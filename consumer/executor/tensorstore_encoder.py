"""TensorStore as encoder of chunks that the kernels do not encode (raw, uint32).

TensorStore's own sharded writer holds a whole shard until its transaction commits. Here it only
encodes: one chunk at a time goes into an unsharded volume in memory and comes out as bytes, which
the shard writer takes like any other. So memory stays flat, the file appears atomically, and its
bytes do not depend on who wrote it.
"""

import threading
from typing import Any, Final

import numpy as np
import tensorstore as ts

from braid.exceptions import EncodingError
from braid.precomputed.volume_spec import ScaleSpec
from braid.transcode.voxel_path import Encode
from braid.typing import UInt64Array

Shape = tuple[int, ...]

_KEY: Final = "chunk"


def encoder(scale: ScaleSpec) -> Encode:
    """An encoder of voxels, (z, y, x) uint64, to the bytes of a chunk of this scale.

    The encoder is safe to call from several threads; it raises EncodingError where a label does
    not fit the volume's data type.
    """
    return _Encoder(scale).encode


class _Encoder:
    """Encoder with one single-chunk volume per thread and chunk shape (clipped chunks differ)."""

    def __init__(self, scale: ScaleSpec) -> None:
        self._scale = scale
        self._type = np.dtype(scale.data_type)
        self._thread_local = threading.local()

    def encode(self, voxels: UInt64Array) -> bytes:
        largest = int(voxels.max())
        if largest > np.iinfo(self._type).max:
            raise EncodingError(f"label {largest} does not fit {self._type}")
        volume = self._volume(voxels.shape)
        volume.write(voxels.astype(self._type).T[..., np.newaxis]).result()
        x, y, z = reversed(voxels.shape)
        stored = volume.kvstore.read(f"{_KEY}/0-{x}_0-{y}_0-{z}").result()
        return bytes(stored.value)

    def _volume(self, shape: Shape) -> Any:  # noqa: ANN401 - TensorStore publishes no types
        volumes: dict[Shape, Any] = self._thread_local.__dict__.setdefault("volumes", {})
        if shape not in volumes:
            # A context of its own, so that no two volumes share their memory:// store.
            volumes[shape] = ts.open(self._spec(shape), create=True, context=ts.Context()).result()
        return volumes[shape]

    def _spec(self, shape: Shape) -> dict[str, Any]:
        size = list(reversed(shape))
        block = self._scale.block_size
        return {
            "driver": "neuroglancer_precomputed",
            "kvstore": "memory://",
            "multiscale_metadata": {
                "type": "segmentation",
                "data_type": self._scale.data_type,
                "num_channels": 1,
            },
            "scale_metadata": {
                "key": _KEY,
                "size": size,
                "chunk_size": size,
                "resolution": [1, 1, 1],
                "encoding": self._scale.encoding,
                **({"compressed_segmentation_block_size": list(block)} if block else {}),
            },
            "store_data_equal_to_fill_value": True,
        }
