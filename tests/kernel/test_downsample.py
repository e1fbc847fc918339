"""Majority votes: the block kernel, the voxel kernel, and what others make of the same voxels."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

import _braid
from tests.kernel.conftest import RealShard
from tests.support.votes_reference import (
    Triple,
    Voxels,
    made_volume,
    numpy_votes,
    tensorstore_mode,
    untidy_chunk,
)

pytestmark = pytest.mark.usefixtures("lanes")

Encode = Callable[[Voxels], bytes]

FACTORS = [f for f in itertools.product((1, 2), (1, 2), (1, 2)) if f != (1, 1, 1)]
factors_drawn = st.sampled_from(FACTORS)
seeds = st.integers(0, 2**32 - 1)


@dataclass
class Geometry:
    """Two scales, as far as the kernel is concerned; all (x, y, z)."""

    size: Triple
    fine: Triple
    coarse: Triple
    factors: Triple

    @property
    def slots(self) -> Triple:
        """Fine chunks that a cell meets, generously."""
        x, y, z = (
            c * f // e + 2 for c, f, e in zip(self.coarse, self.factors, self.fine, strict=True)
        )
        return x, y, z

    @property
    def coarse_size(self) -> list[int]:
        """Voxels of the coarse volume."""
        return [-(-n // f) for n, f in zip(self.size, self.factors, strict=True)]

    def coords(self) -> npt.NDArray[np.int64]:
        """Every coarse chunk."""
        grid = [-(-n // c) for n, c in zip(self.coarse_size, self.coarse, strict=True)]
        return np.array(list(itertools.product(*map(range, grid))), np.int64)

    def chunks(self, volume: Voxels, encode: Encode = _braid.cseg_encode) -> list[bytes | None]:
        """Every slot of every cell."""
        return [
            self._chunk(volume, first + np.array([x, y, z]), encode)
            for first in self.coords() * self.coarse * self.factors // self.fine
            for z, y, x in itertools.product(*map(range, self.slots[::-1]))
        ]

    def _chunk(self, volume: Voxels, coord: npt.NDArray[np.int64], encode: Encode) -> bytes | None:
        part = volume[self.box(coord, self.fine)]
        return encode(np.ascontiguousarray(part)) if part.any() else None

    @staticmethod
    def box(coord: npt.NDArray[np.int64], chunk: Triple) -> tuple[slice, ...]:
        """Index of a chunk's voxels."""
        low = coord * chunk
        return tuple(slice(int(b), int(b + e)) for b, e in zip(low[::-1], chunk[::-1], strict=True))

    def vote(
        self, chunks: list[bytes | None], *, nonzero: bool, label_bits: int = 64
    ) -> _braid.Transcoded:
        """What the kernel makes of all cells."""
        return _braid.downsample_cells(
            chunks,
            self.coords(),
            fine_size=self.size,
            fine_chunk=self.fine,
            coarse_chunk=self.coarse,
            slots=self.slots,
            factors=self.factors,
            nonzero=nonzero,
            label_bits=label_bits,
        )

    def check(self, voted: _braid.Transcoded, expected: Voxels) -> None:
        """Each chunk must be the encoder's bytes of the expected voxels."""
        for i, coord in enumerate(self.coords()):
            part = np.ascontiguousarray(expected[self.box(coord, self.coarse)])
            chunk = voted.data[voted.start[i] : voted.start[i + 1]].tobytes()
            assert voted.labels[i] == len(np.unique(part))
            assert chunk == (_braid.cseg_encode(part) if part.any() else b"")


chunk_edges = st.sampled_from([8, 16, 24, 32, 64])
chunk_shapes = st.tuples(chunk_edges, chunk_edges, chunk_edges)
sizes = st.tuples(*[st.integers(1, 70)] * 3)
small_sizes = st.tuples(*[st.integers(1, 26)] * 3)
small_geometries = st.builds(Geometry, small_sizes, chunk_shapes, chunk_shapes, factors_drawn)
geometries = st.builds(Geometry, sizes, chunk_shapes, chunk_shapes, factors_drawn)


@given(seeds, sizes, factors_drawn, st.sampled_from([np.uint64, np.uint32]), st.booleans())
def test_voxels_vote_as_the_plain_reference(
    seed: int, size: Triple, factors: Triple, dtype: type, nonzero: bool
) -> None:
    """Both rules, any size, any factors, both label types."""
    volume = made_volume(seed, size[::-1], dtype)
    found = _braid.downsample_voxels(volume, factors, nonzero)
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, numpy_votes(volume, factors, nonzero=nonzero))


@given(seeds, sizes, factors_drawn)
def test_mode_equals_tensorstore(seed: int, size: Triple, factors: Triple) -> None:
    """Rule `mode` is TensorStore's, voxel for voxel, scale after scale."""
    volume = made_volume(seed, size[::-1])
    for _ in range(3):
        found = _braid.downsample_voxels(volume, factors)
        np.testing.assert_array_equal(found, tensorstore_mode(volume, factors))
        volume = found


@given(geometries, seeds, st.booleans())
def test_blocks_give_the_bytes_of_voted_voxels(
    geometry: Geometry, seed: int, nonzero: bool
) -> None:
    """Block path and voxel path agree byte for byte, whatever the chunks and the edges."""
    volume = made_volume(seed, geometry.size[::-1])
    voted = geometry.vote(geometry.chunks(volume), nonzero=nonzero)
    geometry.check(voted, numpy_votes(volume, geometry.factors, nonzero=nonzero))


@given(small_geometries, seeds, st.booleans())
def test_tables_of_other_writers(geometry: Geometry, seed: int, nonzero: bool) -> None:
    """Order, repeats and unused entries of tables, wide values, junk at edges change nothing."""
    volume = made_volume(seed, geometry.size[::-1])
    chunks = geometry.chunks(volume, lambda voxels: untidy_chunk(voxels, seed))
    voted = geometry.vote(chunks, nonzero=nonzero)
    geometry.check(voted, numpy_votes(volume, geometry.factors, nonzero=nonzero))


@pytest.mark.parametrize("nonzero", [False, True])
@pytest.mark.parametrize("factors", FACTORS)
@pytest.mark.parametrize("labels", [2, 3, 4, 5, 16, 17, 32, 33, 256, 257, 512, 100_000])
def test_counts_of_labels_around_each_width(factors: Triple, labels: int, nonzero: bool) -> None:
    """Tables as large as each width of values and ranks holds, and one more."""
    rng = np.random.default_rng(labels)
    pool = np.concatenate([[0], rng.integers(1, 2**64, labels - 1, np.uint64)]).astype(np.uint64)
    volume = rng.choice(pool, (16, 32, 48))
    volume[:8, :8, :8].flat[: min(labels, 512)] = pool[:512]
    geometry = Geometry((48, 32, 16), (16, 16, 16), (16, 16, 16), factors)
    voted = geometry.vote(geometry.chunks(volume), nonzero=nonzero)
    geometry.check(voted, numpy_votes(volume, factors, nonzero=nonzero))


@pytest.mark.parametrize("edge", range(1, 18))
def test_every_length_of_a_last_block(edge: int) -> None:
    """Upper edges of 1 to 17 voxels on each axis: windows and blocks are clipped on both scales."""
    for axis in range(3):
        shape = [24, 24, 24]
        shape[axis] = 16 + edge
        volume = made_volume(edge, shape)
        x, y, z = shape[::-1]
        geometry = Geometry((x, y, z), (16, 16, 16), (16, 16, 16), (2, 2, 2))
        for nonzero in (False, True):
            voted = geometry.vote(geometry.chunks(volume), nonzero=nonzero)
            geometry.check(voted, numpy_votes(volume, (2, 2, 2), nonzero=nonzero))


@given(seeds)
def test_labels_of_32_bits(seed: int) -> None:
    """A uint32 volume goes the same way, with tables of 32 bits."""
    volume = made_volume(seed, (40, 50, 60), np.uint32)
    geometry = Geometry((60, 50, 40), (32, 32, 32), (32, 32, 32), (2, 2, 2))
    voted = geometry.vote(geometry.chunks(volume), nonzero=False, label_bits=32)
    geometry.check(voted, numpy_votes(volume, (2, 2, 2), nonzero=False))


def test_tie_between_two_labels_goes_to_the_smaller() -> None:
    """Four against four in every window; unsigned, so that 2**64 - 1 is the largest."""
    volume = np.full((16, 16, 16), 2**64 - 1, np.uint64)
    volume[::2] = 2**63 - 1
    geometry = Geometry((16, 16, 16), (16, 16, 16), (8, 8, 8), (2, 2, 2))
    voted = geometry.vote(geometry.chunks(volume), nonzero=False)
    geometry.check(voted, np.full((8, 8, 8), 2**63 - 1, np.uint64))


@pytest.mark.parametrize("nonzero", [False, True])
@pytest.mark.parametrize("labels", [2, 3, 4, 9, 16])
def test_few_labels_in_every_mixture(labels: int, nonzero: bool) -> None:
    """Windows of one to eight equal voxels, with 0 and without, in every place of a block."""
    rng = np.random.default_rng(labels)
    for lowest in (0, 2**40):
        pool = np.array([lowest, *rng.integers(1, 2**40, labels - 1)], np.uint64)
        chance = rng.dirichlet(np.full(labels, 0.6), 64)
        picked = [rng.choice(pool, 512, p=p).reshape(8, 8, 8) for p in chance]
        volume = np.block([[picked[16 * z + 4 * y :][:4] for y in range(4)] for z in range(4)])
        geometry = Geometry((32, 32, 32), (16, 16, 16), (16, 16, 16), (2, 2, 2))
        voted = geometry.vote(geometry.chunks(volume), nonzero=nonzero)
        geometry.check(voted, numpy_votes(volume, (2, 2, 2), nonzero=nonzero))


def test_rules_differ_where_zeros_are_many() -> None:
    """Seven zeros and a label: `mode` gives 0, `nonzero-mode` the label."""
    volume = np.zeros((16, 16, 16), np.uint64)
    volume[::2, ::2, ::2] = 77
    geometry = Geometry((16, 16, 16), (16, 16, 16), (8, 8, 8), (2, 2, 2))
    chunks = geometry.chunks(volume)
    mode = geometry.vote(chunks, nonzero=False)
    assert mode.data.size == 0
    assert mode.labels.tolist() == [1]
    geometry.check(geometry.vote(chunks, nonzero=True), np.full((8, 8, 8), 77, np.uint64))


def test_no_cells_and_no_chunks() -> None:
    """An empty batch is empty; a cell without chunks is a chunk of zeros."""
    geometry = Geometry((100, 100, 100), (64, 64, 64), (64, 64, 64), (2, 2, 2))
    voted = geometry.vote([None] * 64, nonzero=True)
    assert voted.start.tolist() == [0, 0]
    none = _braid.downsample_cells(
        [],
        np.zeros((0, 3), np.int64),
        fine_size=(100, 100, 100),
        fine_chunk=(64, 64, 64),
        coarse_chunk=(64, 64, 64),
        slots=(2, 2, 2),
        factors=(2, 2, 2),
    )
    assert none.start.tolist() == [0]
    assert none.labels.size == 0


@pytest.mark.parametrize(
    "change",
    [
        {"factors": (2, 2, 3)},
        {"slots": (1, 2, 2)},
        {"fine_chunk": (60, 64, 64)},
        {"coarse_chunk": (8192, 64, 64)},
        {"fine_size": (0, 100, 100)},
        {"label_bits": 16},
        {"chunks": [None] * 7},
        {"coords": np.array([[0, 0, 1]])},
        {"coords": np.array([[-1, 0, 0]])},
        {"coords": np.array([[0, 0]])},
    ],
    ids=str,
)
def test_a_geometry_that_cannot_be_walked_is_refused(change: dict[str, Any]) -> None:
    """Wrong use never reaches the loops."""
    usual: dict[str, Any] = {
        "chunks": [None] * 8,
        "coords": np.array([[0, 0, 0]]),
        "fine_size": (100, 100, 100),
        "fine_chunk": (64, 64, 64),
        "coarse_chunk": (64, 64, 64),
        "slots": (2, 2, 2),
        "factors": (2, 2, 2),
    }
    arguments = usual | change
    with pytest.raises(ValueError, match=r"expected|lies outside|can meet") as caught:
        _braid.downsample_cells(arguments.pop("chunks"), arguments.pop("coords"), **arguments)
    assert not isinstance(caught.value, _braid.KernelError)


@pytest.mark.parametrize("factors", [(2, 2), (2, 2, 0), (3, 2, 2)], ids=str)
def test_voxels_refuse_other_factors(factors: tuple[int, ...]) -> None:
    """Only 1 and 2."""
    with pytest.raises(ValueError, match="expected three factors"):
        _braid.downsample_voxels(np.zeros((4, 4, 4), np.uint64), factors)


def test_the_damaged_chunk_is_named() -> None:
    """Item is the cell, the text says which chunk of the fine grid."""
    volume = made_volume(3, (64, 64, 128)) | np.uint64(1)
    geometry = Geometry((128, 64, 64), (32, 32, 32), (32, 32, 32), (2, 2, 2))
    chunks = geometry.chunks(volume)
    with pytest.raises(_braid.KernelError, match=r"chunk \(3, 0, 0\): .* headers") as caught:
        geometry.vote([*chunks[:65], b"\1\0\0\0", *chunks[66:]], nonzero=False)
    assert caught.value.item == 1


@given(st.data())
def test_damage_never_reads_outside(data: st.DataObject) -> None:
    """Any bytes: chunks or KernelError, for edges and untidy tables too."""
    seed = data.draw(seeds)
    volume = made_volume(seed, (20, 21, 22))
    geometry = Geometry((22, 21, 20), (16, 16, 16), (16, 16, 16), data.draw(factors_drawn))
    chunks = geometry.chunks(volume, lambda voxels: untidy_chunk(voxels, seed))
    known = [i for i, chunk in enumerate(chunks) if chunk]
    for at in data.draw(st.lists(st.sampled_from(known or [0]), max_size=3)):
        chunk = bytearray(chunks[at] or b"")
        if not chunk:
            continue
        offset = data.draw(st.integers(0, len(chunk) - 1))
        chunk[offset] = data.draw(st.integers(0, 255))
        chunks[at] = bytes(chunk[: data.draw(st.integers(0, len(chunk)))])
    try:
        voted = geometry.vote(chunks, nonzero=data.draw(st.booleans()))
    except _braid.KernelError as error:
        known = list(range(len(geometry.coords())))
        known[error.item]  # of this batch, or IndexError
        return
    assert voted.start[-1] == voted.data.size


@pytest.mark.parametrize("nonzero", [False, True])
def test_real_shard(real_shard: RealShard, nonzero: bool) -> None:
    """Real chunks, eight at a time: blocks equal voxels, and `mode` equals TensorStore."""
    chunks = _braid.transcode_blocks(real_shard.blocks, real_shard.start, *real_shard.mapping)
    pieces = [
        chunks.data[chunks.start[i] : chunks.start[i + 1]].tobytes() or None
        for i in range(len(real_shard))
    ]
    for first in range(0, 256, 8):
        cell = pieces[first : first + 8]
        volume = np.zeros((128, 128, 128), np.uint64)
        for slot, chunk in enumerate(cell):
            z, y, x = slot >> 2, slot >> 1 & 1, slot & 1
            if chunk:
                part = volume[64 * z : 64 * z + 64, 64 * y : 64 * y + 64, 64 * x : 64 * x + 64]
                _braid.cseg_decode(chunk, part)
        geometry = Geometry((128, 128, 128), (64, 64, 64), (64, 64, 64), (2, 2, 2))
        padded: list[bytes | None] = [None] * 64
        for slot, chunk in enumerate(cell):
            padded[(slot >> 2) * 16 + (slot >> 1 & 1) * 4 + (slot & 1)] = chunk
        expected = _braid.downsample_voxels(volume, (2, 2, 2), nonzero)
        geometry.check(geometry.vote(padded, nonzero=nonzero), expected)
        if not nonzero:
            np.testing.assert_array_equal(expected, tensorstore_mode(volume, (2, 2, 2)))
