"""Reference implementations of downsampling, and volumes for them. Voxels are (z, y, x)."""

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorstore as ts

Voxels = npt.NDArray[Any]
Triple = tuple[int, int, int]

MOST = np.uint64(2**64 - 1)


def numpy_votes(voxels: Voxels, factors: Sequence[int], *, nonzero: bool) -> Voxels:
    """Majority of each voting window's existing voxels, the smallest of equals, with numpy.

    With `nonzero`, zeros count for nothing.
    """
    windows, exist = _windows(voxels, factors)
    same = (windows[:, None] == windows[None]) & exist[None]
    counts = same.sum(axis=1) * exist
    if nonzero:
        counts = counts * (windows != 0)
    best = counts == counts.max(axis=0)
    least: Voxels = np.where(best & exist, windows, np.iinfo(windows.dtype).max).min(axis=0)
    return least


def tensorstore_mode(voxels: Voxels, factors: Sequence[int]) -> Voxels:
    """TensorStore's `mode`."""
    store = ts.downsample(ts.array(voxels), list(factors[::-1]), "mode")
    return np.asarray(store.read().result())


def _windows(voxels: Voxels, factors: Sequence[int]) -> tuple[Voxels, npt.NDArray[np.bool_]]:
    """(corners, z, y, x) voxels of each window, and which of them exist."""
    pads = [(0, -n % f) for n, f in zip(voxels.shape, factors[::-1], strict=True)]
    padded = np.pad(voxels, pads)
    present = np.pad(np.ones(voxels.shape, bool), pads)
    corners = list(itertools.product(*(range(f) for f in factors[::-1])))

    def at(array: npt.NDArray[Any], corner: tuple[int, ...]) -> npt.NDArray[Any]:
        z, y, x = (slice(k, None, f) for k, f in zip(corner, factors[::-1], strict=True))
        return array[z, y, x]

    return (
        np.stack([at(padded, corner) for corner in corners]),
        np.stack([at(present, corner) for corner in corners]),
    )


def made_volume(seed: int, shape: Sequence[int], dtype: type = np.uint64) -> Voxels:
    """Random boxes: empty, solid, noisy; labels from 1 to the largest."""
    rng = np.random.default_rng(seed)
    volume: Voxels = np.zeros(shape, dtype)
    for _ in range(12):
        begin = [int(rng.integers(0, n)) for n in shape]
        edge = int(rng.integers(1, 40))
        box = tuple(slice(b, b + edge) for b in begin)
        part = volume[box]
        kind = rng.integers(0, 4)
        if kind == 0:
            part[...] = 0
        elif kind == 1:
            part[...] = _labels(rng, 1, dtype)[0]
        elif kind == 2:
            part[...] = rng.choice(_labels(rng, int(rng.integers(2, 5)), dtype), part.shape)
        else:
            part[...] = rng.choice(_labels(rng, int(rng.integers(5, 900)), dtype), part.shape)
    return volume


def _labels(rng: np.random.Generator, count: int, dtype: type) -> Voxels:
    """Labels, among them perhaps 0, small ones and the largest."""
    top = np.iinfo(dtype).max
    pool = rng.integers(0, top, count, dtype=dtype, endpoint=True)
    pool[rng.random(count) < 0.2] = 0
    pool[rng.random(count) < 0.1] = top
    return pool


def untidy_chunk(voxels: Voxels, seed: int) -> bytes:
    """A chunk of 8x8x8 blocks as the format allows but no known writer makes it.

    Tables are in any order, repeat labels, hold unused ones and are never shared; values take more
    bits than they need and stand in any order; places beyond the volume hold anything in range.
    """
    rng = np.random.default_rng(seed)
    blocks = [-(-n // 8) for n in voxels.shape]
    words: list[int] = [0] * (2 * int(np.prod(blocks)))
    for number, (z, y, x) in enumerate(itertools.product(*map(range, blocks))):
        part = voxels[8 * z : 8 * z + 8, 8 * y : 8 * y + 8, 8 * x : 8 * x + 8]
        table, values = _untidy_block(part, rng)
        least = max(1, int(len(table) - 1).bit_length())
        bits = int(rng.choice([b for b in (1, 2, 4, 8, 16, 32) if b >= least]))
        if len(table) == 1 and rng.random() < 0.5:
            bits = 0
        words[2 * number + 1] = len(words)
        words += _pack(values, bits)
        words[2 * number] = len(words) | bits << 24
        for label in table:
            words += [int(label) & 0xFFFFFFFF, int(label) >> 32]
    return np.array([1, *words], "<u4").tobytes()


def _untidy_block(part: Voxels, rng: np.random.Generator) -> tuple[Voxels, Voxels]:
    """A table, and the 512 values of a block of which `part` exists."""
    labels = np.unique(part)
    extra = rng.choice(labels, int(rng.integers(0, 3)))
    unused = rng.integers(0, MOST, int(rng.integers(0, 2)), dtype=np.uint64)
    table = rng.permutation(np.concatenate([labels, extra, unused]))
    whole = rng.choice(table, (8, 8, 8))
    whole[tuple(slice(n) for n in part.shape)] = part
    values = np.empty(512, np.int64)
    for label in np.unique(whole):
        places = np.flatnonzero(whole == label)
        values[places] = rng.choice(np.flatnonzero(table == label), len(places))
    return table, values


def _pack(values: Voxels, bits: int) -> list[int]:
    """LSB-first words."""
    if bits == 0:
        return []
    each = 32 // bits
    shifts = np.arange(each, dtype=np.uint64) * np.uint64(bits)
    shifted = values.astype(np.uint64).reshape(-1, each) << shifts
    return [int(word) for word in np.bitwise_or.reduce(shifted, axis=1)]
