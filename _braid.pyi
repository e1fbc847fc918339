from collections.abc import Sequence
from typing import NamedTuple, Self, TypeAlias

import numpy as np
import numpy.typing as npt

# Arrays are C-contiguous where the kernels say so; `_Bytes` is anything with a buffer of bytes.
_Bytes: TypeAlias = bytes | bytearray | memoryview | npt.NDArray[np.uint8]
_Labels: TypeAlias = npt.NDArray[np.uint64]
_Starts: TypeAlias = npt.NDArray[np.int64]
_VoxelLabels: TypeAlias = npt.NDArray[np.uint64] | npt.NDArray[np.uint32]

class KernelError(ValueError):
    item: int
    def __init__(self, text: str, item: int = -1) -> None: ...

class FrameError(KernelError): ...

class MemberError(KernelError):
    slot: int
    def __init__(self, text: str, item: int, slot: int) -> None: ...

class Transcoded(NamedTuple):
    data: npt.NDArray[np.uint8]
    start: _Starts
    labels: npt.NDArray[np.uint32]

def arrow_metadata(
    metadata: bytes | bytearray | memoryview, want: int = 0
) -> tuple[int, int, int, bool, tuple[tuple[int, int], ...], tuple[tuple[int, int], ...]]: ...
def arrow_rows(
    buffers: Sequence[_Bytes],
    buffer: _Starts,
    begin: _Starts,
    end: _Starts,
    lengths: _Starts,
    batch: _Starts,
    row: _Starts,
) -> tuple[
    npt.NDArray[np.int32],
    npt.NDArray[np.uint8],
    _Starts,
    npt.NDArray[np.uint32],
    _Labels,
    _Starts,
    _Labels,
    _Starts,
]: ...
def decode_blocks(
    blocks: _Bytes,
    start: _Starts,
    out: _Labels,
    labels: _Labels | None = None,
    label_start: _Starts | None = None,
    supervoxels: _Labels | None = None,
    supervoxel_start: _Starts | None = None,
) -> None: ...
def transcode_blocks(
    blocks: _Bytes,
    start: _Starts,
    labels: _Labels | None = None,
    label_start: _Starts | None = None,
    supervoxels: _Labels | None = None,
    supervoxel_start: _Starts | None = None,
    out: npt.NDArray[np.uint8] | None = None,
) -> Transcoded: ...
def encode_block(voxels: _Labels, table: _Labels | None = None) -> bytes: ...
def cseg_encode(
    voxels: _Labels | npt.NDArray[np.uint32], block_size: Sequence[int] = (8, 8, 8)
) -> bytes: ...
def cseg_decode(
    data: _Bytes, out: _Labels | npt.NDArray[np.uint32], block_size: Sequence[int] = (8, 8, 8)
) -> None: ...
def downsample_cells(
    chunks: Sequence[_Bytes | None],
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
    voxels: _VoxelLabels, factors: Sequence[int], nonzero: bool = False
) -> _VoxelLabels: ...
def gzip_chunks(
    data: _Bytes, start: _Starts, level: int, functions: Sequence[int]
) -> tuple[bytes, _Starts]: ...
def gunzip_chunks(
    members: Sequence[_Bytes], start: _Starts, out: npt.NDArray[np.uint8], functions: Sequence[int]
) -> None: ...
def decompress_frames(
    frames: _Bytes,
    begin: _Starts,
    end: _Starts,
    start: _Starts,
    out: npt.NDArray[np.uint8],
    functions: Sequence[int],
) -> None: ...

class Payloads(NamedTuple):
    data: bytes
    start: _Starts
    labels: npt.NDArray[np.uint32]
    seconds: tuple[float, float, float]

class PayloadBatch:
    def __new__(
        cls,
        rows: _Starts,
        frames: _Bytes,
        frame_start: _Starts,
        sizes: npt.NDArray[np.uint32],
        zstd: Sequence[int],
        gzip: Sequence[int] | None,
        level: int,
        labels: _Labels | None = None,
        label_start: _Starts | None = None,
        supervoxels: _Labels | None = None,
        supervoxel_start: _Starts | None = None,
    ) -> Self: ...
    def work(self) -> None: ...
    def stop(self) -> None: ...
    def result(self) -> Payloads: ...

class CellMaker:
    def __new__(
        cls,
        *,
        fine_size: Sequence[int],
        fine_chunk: Sequence[int],
        coarse_chunk: Sequence[int],
        slots: Sequence[int],
        factors: Sequence[int],
        nonzero: bool,
        label_bits: int,
        gunzip: Sequence[int] | None,
        gzip: Sequence[int] | None,
        level: int,
    ) -> Self: ...

class CellBatch:
    def __new__(
        cls,
        maker: CellMaker,
        data: _Bytes,
        start: _Starts,
        sizes: _Starts,
        place: _Starts,
        coords: npt.NDArray[np.int64],
    ) -> Self: ...
    def work(self) -> None: ...
    def stop(self) -> None: ...
    def result(self) -> Payloads: ...

def use_wide_lanes(wide: bool) -> bool: ...
