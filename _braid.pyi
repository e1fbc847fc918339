from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

# Arrays are C-contiguous where the kernels say so; `Bytes` is anything with a buffer of bytes.
Bytes: TypeAlias = bytes | bytearray | memoryview | npt.NDArray[np.uint8]
Labels: TypeAlias = npt.NDArray[np.uint64]
Starts: TypeAlias = npt.NDArray[np.int64]
VoxelLabels: TypeAlias = npt.NDArray[np.uint64] | npt.NDArray[np.uint32]

class KernelError(ValueError):
    item: int
    def __init__(self, text: str, item: int = -1) -> None: ...

class FrameError(KernelError): ...

class Transcoded(NamedTuple):
    data: npt.NDArray[np.uint8]
    start: Starts
    labels: npt.NDArray[np.uint32]

def arrow_metadata(
    metadata: bytes | bytearray | memoryview, want: int = 0
) -> tuple[int, int, int, bool, tuple[tuple[int, int], ...], tuple[tuple[int, int], ...]]: ...
def arrow_rows(
    buffers: Sequence[Bytes],
    buffer: Starts,
    begin: Starts,
    end: Starts,
    lengths: Starts,
    batch: Starts,
    row: Starts,
) -> tuple[
    npt.NDArray[np.int32],
    npt.NDArray[np.uint8],
    Starts,
    npt.NDArray[np.uint32],
    Labels,
    Starts,
    Labels,
    Starts,
]: ...
def decode_blocks(
    blocks: Bytes,
    start: Starts,
    out: Labels,
    labels: Labels | None = None,
    label_start: Starts | None = None,
    supervoxels: Labels | None = None,
    supervoxel_start: Starts | None = None,
) -> None: ...
def transcode_blocks(
    blocks: Bytes,
    start: Starts,
    labels: Labels | None = None,
    label_start: Starts | None = None,
    supervoxels: Labels | None = None,
    supervoxel_start: Starts | None = None,
    out: npt.NDArray[np.uint8] | None = None,
) -> Transcoded: ...
def encode_block(voxels: Labels, table: Labels | None = None) -> bytes: ...
def cseg_encode(
    voxels: Labels | npt.NDArray[np.uint32], block_size: Sequence[int] = (8, 8, 8)
) -> bytes: ...
def cseg_decode(
    data: Bytes, out: Labels | npt.NDArray[np.uint32], block_size: Sequence[int] = (8, 8, 8)
) -> None: ...
def downsample_cells(
    chunks: Sequence[Bytes | None],
    coords: npt.NDArray[np.int64],
    *,
    fine_size: Sequence[int],
    fine_chunk: Sequence[int],
    coarse_chunk: Sequence[int],
    slots: Sequence[int],
    factors: Sequence[int],
    nonzero: bool = False,
    label_bits: int = 64,
) -> Transcoded: ...
def downsample_voxels(
    voxels: VoxelLabels, factors: Sequence[int], nonzero: bool = False
) -> VoxelLabels: ...
def gzip_chunks(
    data: Bytes, start: Starts, level: int, functions: Sequence[int]
) -> tuple[bytes, Starts]: ...
def gunzip_chunks(
    members: Sequence[Bytes], start: Starts, out: npt.NDArray[np.uint8], functions: Sequence[int]
) -> None: ...
def unzip_frames(
    frames: Bytes,
    begin: Starts,
    end: Starts,
    start: Starts,
    out: npt.NDArray[np.uint8],
    functions: Sequence[int],
) -> None: ...

class Payloads(NamedTuple):
    data: bytes
    start: Starts
    labels: npt.NDArray[np.uint32]
    seconds: tuple[float, float, float]

class PayloadBatch:
    def __init__(
        self,
        rows: Starts,
        frames: Bytes,
        frame_start: Starts,
        sizes: npt.NDArray[np.uint32],
        zstd: Sequence[int],
        gzip: Sequence[int] | None,
        level: int,
        labels: Labels | None = None,
        label_start: Starts | None = None,
        supervoxels: Labels | None = None,
        supervoxel_start: Starts | None = None,
    ) -> None: ...
    def work(self) -> None: ...
    def stop(self) -> None: ...
    def result(self) -> Payloads: ...

def use_wide_lanes(wide: bool) -> bool: ...
