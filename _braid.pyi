from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

type Bytes = bytes | bytearray | memoryview | npt.NDArray[np.uint8]
type Labels = npt.NDArray[np.uint64]
type Starts = npt.NDArray[np.int64]

class KernelError(ValueError):
    item: int
    def __init__(self, text: str, item: int = -1) -> None: ...

def decode_blocks(
    blocks: Bytes,
    start: Starts,
    out: Labels,
    labels: Labels | None = None,
    label_start: Starts | None = None,
    supervoxels: Labels | None = None,
    supervoxel_start: Starts | None = None,
) -> None: ...
def encode_block(voxels: Labels, table: Labels | None = None) -> bytes: ...
def cseg_encode(
    voxels: Labels | npt.NDArray[np.uint32], block_size: Sequence[int] = (8, 8, 8)
) -> bytes: ...
def cseg_decode(
    data: Bytes,
    out: Labels | npt.NDArray[np.uint32],
    block_size: Sequence[int] = (8, 8, 8),
) -> None: ...
def use_wide_lanes(wide: bool) -> bool: ...
