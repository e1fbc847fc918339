"""Chunk ids equal those of independent readers, on any grid."""

import numpy as np
import pytest
from cloudvolume.datasource.precomputed.common import compressed_morton_code
from hypothesis import given
from hypothesis import strategies as st

from braid.exceptions import InvalidCoordinateError
from braid.precomputed import morton

GRIDS = st.tuples(*[st.integers(1, 2**21)] * 3)


def coords_in(grid: tuple[int, int, int], count: int, seed: int) -> np.ndarray:
    """Random coordinates of a grid, its last corner among them."""
    rng = np.random.default_rng(seed)
    coords = np.stack([rng.integers(0, n, count) for n in grid], axis=1)
    coords[0] = np.asarray(grid) - 1
    return coords


@given(GRIDS, st.integers(0, 2**32))
def test_ids_equal_cloud_volumes(grid: tuple[int, int, int], seed: int) -> None:
    """Every id is the one cloud-volume computes, and decodes to its coordinate."""
    coords = coords_in(grid, 50, seed)
    ids = morton.encode(coords, grid)
    assert ids.dtype == np.uint64
    np.testing.assert_array_equal(ids, compressed_morton_code(coords, grid).astype(np.uint64))
    np.testing.assert_array_equal(morton.decode(ids, grid), coords)
    ones = [morton.decode_one(chunk_id, grid) for chunk_id in ids.tolist()]
    np.testing.assert_array_equal(ones, coords)


@given(st.tuples(*[st.integers(1, 9)] * 3))
def test_ids_of_small_grids_by_hand(grid: tuple[int, int, int]) -> None:
    """On a small grid every id is what taking turns bit by bit gives; all ids differ."""
    coords = np.stack(np.meshgrid(*map(np.arange, grid), indexing="ij"), -1).reshape(-1, 3)
    found = morton.encode(coords, grid)
    for point, got in zip(coords.tolist(), found.tolist(), strict=True):
        bits = []
        for level in range(4):
            bits += [c >> level & 1 for c, n in zip(point, grid, strict=True) if n - 1 >> level]
        assert got == sum(bit << place for place, bit in enumerate(bits))
    assert len(set(found.tolist())) == len(found)


def test_all_64_bits() -> None:
    """The largest grid that fits uses all 64 bits; one bit more is refused."""
    grid = (2**21, 2**21, 2**22)
    corner = np.asarray([grid]) - 1
    ids = morton.encode(corner, grid)
    assert ids.tolist() == [2**64 - 1]
    np.testing.assert_array_equal(morton.decode(ids, grid), corner)
    with pytest.raises(InvalidCoordinateError, match="65 bits"):
        morton.grid_bits((2**22, 2**21, 2**22))


def test_coordinates_outside_are_refused() -> None:
    """A coordinate off the grid is named; an id off the grid's bits too."""
    for point in ((3, 0, 0), (0, -1, 0)):
        with pytest.raises(InvalidCoordinateError, match=rf"\({point[0]}, {point[1]}, 0\)"):
            morton.encode([[0, 0, 0], point], (3, 3, 3))
    with pytest.raises(InvalidCoordinateError, match="id 64"):
        morton.decode([64], (3, 3, 3))
    with pytest.raises(InvalidCoordinateError, match="id 64"):
        morton.decode_one(64, (3, 3, 3))
    with pytest.raises(InvalidCoordinateError, match="without chunks"):
        morton.grid_bits((3, 0, 3))


def test_no_coordinates() -> None:
    """Nothing in, nothing out."""
    assert morton.encode(np.zeros((0, 3), np.int64), (3, 3, 3)).shape == (0,)
    assert morton.decode(np.zeros(0, np.uint64), (3, 3, 3)).shape == (0, 3)
