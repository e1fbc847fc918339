"""Majority votes on compressed_segmentation bytes.

The first byte chooses factors and rule, the second the shape of the volume; the rest is one chunk,
which stands for the whole volume.
"""

import itertools
from typing import Any

import numpy as np

import _braid

CHUNK = (24, 24, 24)
SIZES = [(8, 8, 8), (16, 16, 16), (24, 8, 16), (9, 15, 24), (1, 2, 3), (17, 8, 7)]  # x, y, z
FACTORS = list(itertools.product((1, 2), repeat=3))


def downsample_cells(data: bytes) -> None:
    """Where the chunk decodes, its votes must be those of its voxels."""
    if len(data) < 2:
        return
    factors, nonzero = FACTORS[data[0] & 7], bool(data[0] & 8)
    dtype = np.uint32 if data[0] & 16 else np.uint64
    size, chunk = SIZES[data[1] % len(SIZES)], data[2:]
    geometry: dict[str, Any] = {
        "fine_size": size,
        "fine_chunk": CHUNK,
        "coarse_chunk": CHUNK,
        "slots": (1, 1, 1),
        "factors": factors,
        "nonzero": nonzero,
        "label_bits": 32 if data[0] & 16 else 64,
    }
    coords = np.zeros((1, 3), np.int64)
    try:
        voted = _braid.downsample_cells([chunk], coords, **geometry).data.tobytes()
    except _braid.KernelError:
        _check_refused(chunk, coords, geometry)
        return
    assert _in_one_go(chunk, coords, geometry) == voted, "one kernel and the steps disagree"
    voxels = np.zeros(size[::-1], dtype)
    try:
        _braid.cseg_decode(chunk, voxels)
    except _braid.KernelError:  # beyond the volume, where votes do not look
        return
    expected = _braid.downsample_voxels(voxels, factors, nonzero)
    encoded = _braid.cseg_encode(expected) if expected.any() else b""
    assert voted == encoded, "votes on blocks and on voxels disagree"


def _in_one_go(chunk: bytes, coords: np.ndarray, geometry: dict[str, Any]) -> bytes:
    """The chunk through the fused kernel, stored as it is."""
    maker = _braid.CellMaker(**geometry, gunzip=None, gzip=None, level=0)
    sizes = np.array([len(chunk)], np.int64)
    place = np.zeros(1, np.int64)
    batch = _braid.CellBatch(maker, chunk, np.append(0, sizes), sizes, place, coords)
    batch.work()
    return batch.result().data


def _check_refused(chunk: bytes, coords: np.ndarray, geometry: dict[str, Any]) -> None:
    try:
        _in_one_go(chunk, coords, geometry)
    except _braid.KernelError:
        return
    raise AssertionError("one kernel takes what the steps refuse")
