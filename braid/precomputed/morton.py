"""Compressed Morton codes: chunk ids of the sharded format, both ways, exact up to 64 bits.

Format: Neuroglancer `src/datasource/precomputed/volume.md`. The bits of x, y and z are interleaved
from bit 0 up, x first; an axis whose bits are used up is skipped. (A plain Morton code differs as
soon as the grid is not a cube.)
"""

from collections.abc import Iterator
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from braid.exceptions import InvalidCoordinateError
from braid.typing import Int64Array, UInt64Array, Vec3

__all__ = ["bit_axes", "decode", "decode_one", "encode", "grid_bits"]


_ID_BITS = 64
_BYTE = 8


def grid_bits(grid: Vec3) -> Vec3:
    """Bits per axis (x, y, z) of a grid of that many chunks.

    Raises:
        InvalidCoordinateError: an axis has no chunk, or the ids need more than 64 bits.
    """
    if min(grid) < 1:
        raise InvalidCoordinateError(f"grid {grid} has an axis without chunks")
    x, y, z = ((n - 1).bit_length() for n in grid)
    if x + y + z > _ID_BITS:
        raise InvalidCoordinateError(f"grid {grid} needs ids of {x + y + z} bits; there are 64")
    return x, y, z


@lru_cache(maxsize=64)
def bit_axes(grid: Vec3) -> tuple[int, ...]:
    """Axis (0 x, 1 y, 2 z) of each id bit, lowest bit first."""
    return tuple(axis for axis, _ in _bit_positions(grid_bits(grid)))


def encode(coords: npt.ArrayLike, grid: Vec3) -> UInt64Array:
    """Chunk ids of grid coordinates.

    Args:
        coords: (n, 3) integers, xyz.
        grid: chunks per axis.

    Returns:
        (n,) uint64.

    Raises:
        InvalidCoordinateError: a coordinate is outside the grid.
    """
    points = _checked(coords, grid)
    ids = np.zeros(len(points), np.uint64)
    for axis, byte, table in _encode_tables(grid_bits(grid)):
        ids |= table[(points[:, axis] >> (byte * _BYTE)) & 0xFF]
    return ids


def decode(ids: npt.ArrayLike, grid: Vec3) -> Int64Array:
    """Grid coordinates of chunk ids; they may lie past the edge unless the grid is a power of two.

    Args:
        ids: (n,) non-negative integers.
        grid: chunks per axis.

    Returns:
        (n, 3) int64, xyz.

    Raises:
        InvalidCoordinateError: an id has more bits than the grid.
    """
    codes = np.asarray(ids, np.uint64)
    bits = grid_bits(grid)
    if codes.size and int(codes.max()).bit_length() > sum(bits):
        raise InvalidCoordinateError(f"chunk id {int(codes.max())} is beyond the grid {grid}")
    coords = np.zeros((len(codes), 3), np.int64)
    for byte, table in enumerate(_decode_tables(bits)):
        coords |= table[(codes >> np.uint64(byte * _BYTE)) & np.uint64(0xFF)]
    return coords


def decode_one(chunk_id: int, grid: Vec3) -> Vec3:
    """Grid coordinate of one chunk id, many times as fast as by arrays; see `decode`.

    Raises:
        InvalidCoordinateError: the id has more bits than the grid.
    """
    axes = bit_axes(grid)
    if chunk_id >> len(axes):
        raise InvalidCoordinateError(f"chunk id {chunk_id} is beyond the grid {grid}")
    coord, bits = [0, 0, 0], [0, 0, 0]
    for position, axis in enumerate(axes):
        coord[axis] |= (chunk_id >> position & 1) << bits[axis]
        bits[axis] += 1
    return coord[0], coord[1], coord[2]


def _checked(coords: npt.ArrayLike, grid: Vec3) -> Int64Array:
    points = np.asarray(coords, np.int64).reshape(-1, 3)
    outside = ((points < 0) | (points >= np.asarray(grid, np.int64))).any(axis=1)
    if outside.any():
        first = tuple(points[int(outside.argmax())].tolist())
        raise InvalidCoordinateError(f"chunk {first} is outside the grid {grid}")
    return points


def _bit_positions(bits: Vec3) -> Iterator[tuple[int, int]]:
    """(axis, bit of that axis) of every id bit, lowest first."""
    for bit in range(max(bits)):
        for axis in range(3):
            if bit < bits[axis]:
                yield axis, bit


@lru_cache(maxsize=64)
def _encode_tables(bits: Vec3) -> tuple[tuple[int, int, UInt64Array], ...]:
    """Id bits of all 256 values of a byte, per axis and byte of a coordinate."""
    values = np.arange(256, dtype=np.uint64)
    tables: dict[tuple[int, int], UInt64Array] = {}
    for place, (axis, bit) in enumerate(_bit_positions(bits)):
        table = tables.setdefault((axis, bit // _BYTE), np.zeros(256, np.uint64))
        table |= ((values >> np.uint64(bit % _BYTE)) & np.uint64(1)) << np.uint64(place)
    return tuple((axis, byte, table) for (axis, byte), table in tables.items())


@lru_cache(maxsize=64)
def _decode_tables(bits: Vec3) -> tuple[Int64Array, ...]:
    """Coordinates (256, 3) that the values of a byte stand for, per byte of an id."""
    values = np.arange(256, dtype=np.int64)
    tables = [np.zeros((256, 3), np.int64) for _ in range(-(-sum(bits) // _BYTE))]
    for place, (axis, bit) in enumerate(_bit_positions(bits)):
        tables[place // _BYTE][:, axis] |= ((values >> (place % _BYTE)) & 1) << bit
    return tuple(tables)
