"""Synthetic export: a segmentation with neurites, cell bodies, a vessel and empty corners.

Every voxel is a formula of its coordinates and the seed, so that any output can be compared with
the expected voxels. Neurites run along z and wander; each is cut into supervoxels, and some
neighbours are merged into one label, as agglomeration does. The formula also covers voxels beyond
the volume's edge, because DVID's edge blocks are whole: readers must clip.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from braid.precomputed.volume_spec import ScaleSpec
from braid.transcode.block_assignment import BLOCK_VOXELS
from braid.typing import BoolArray, Int64Array, UInt64Array, Vec3
from producer.export_writer import (
    ExportFormat,
    Row,
    blocks_of,
    file_edge,
    file_name,
    make_row,
    write_file,
)

F32 = npt.NDArray[np.float32]

_SUPERVOXELS = 5_813_000_000  # ids look like a real dataset's
_BODIES = 1 << 40  # added to the supervoxels of cell bodies
_LABELS = 100_000
_TILE = (16, 64, 64)  # voxels z, y, x
_TUBES = 1 << 12  # neurites per axis before their numbers repeat
_PIECES = 1 << 8  # supervoxels along a neurite before their numbers repeat
_BODY_PITCH = 176  # voxels between cell bodies
_BODY_RADII = (18, 34)  # voxels, least and most
_TISSUE_RADIUS = 0.58  # of the volume's edges; above 0.5 its faces cut the tissue
_VESSEL_RADIUS = 14  # voxels
_SWAPPED = 0.1  # share of rows that DVID's 50 writers leave out of order


class Field(Protocol):
    """Segmentation that can be evaluated on any box."""

    @property
    def size(self) -> Vec3:
        """Voxels x, y, z."""

    def supervoxels(self, begin: Vec3, end: Vec3) -> UInt64Array:
        """ZYX voxels of the box [begin, end), in x, y, z; also beyond `size`."""

    def labels_of(self, supervoxels: UInt64Array) -> UInt64Array:
        """Labels of supervoxels, any shape."""


@dataclass(frozen=True)
class SyntheticVolume:
    """Synthetic segmentation.

    Attributes:
        size: voxels x, y, z.
        seed: of the formula.
        pitch: mean distance of neurites in voxels; smaller is denser.
    """

    size: Vec3
    seed: int = 0
    pitch: int = 28

    def supervoxels(self, begin: Vec3, end: Vec3) -> UInt64Array:
        """ZYX supervoxels of the box [begin, end), in x, y, z; also beyond `size`."""
        x, y, z = (np.arange(b, e) for b, e in zip(begin, end, strict=True))
        voxels = np.empty((len(z), len(y), len(x)), np.uint64)
        # Tiles that stay in the processor's cache: four times faster.
        corners = itertools.product(
            *(range(0, n, t) for n, t in zip(voxels.shape, _TILE, strict=True))
        )
        for at in corners:
            k, j, i = (slice(a, a + t) for a, t in zip(at, _TILE, strict=True))
            voxels[k, j, i] = self._tile(x[i], y[j], z[k])
        return voxels

    def labels_of(self, supervoxels: UInt64Array) -> UInt64Array:
        """Labels of supervoxels, any shape; 0 stays 0."""
        numbers = (supervoxels - np.uint64(_SUPERVOXELS)) % np.uint64(_BODIES)
        tubes = numbers // np.uint64(_PIECES)
        merged = (_hash(tubes, self.seed + 1) % np.uint64(4) == 0) & (tubes > 0)
        labels = tubes - merged.astype(np.uint64) + np.uint64(_LABELS)
        return np.where(supervoxels == 0, np.uint64(0), labels)

    def labels(self, begin: Vec3, end: Vec3) -> UInt64Array:
        """ZYX labels of the box [begin, end), in x, y, z; also beyond `size`."""
        return self.labels_of(self.supervoxels(begin, end))

    def _tile(self, x: Int64Array, y: Int64Array, z: Int64Array) -> UInt64Array:
        voxels = self._neurites(x, y, z)
        self._add_bodies(voxels, x, y, z)
        voxels[self._empty(x, y, z)] = 0
        return voxels

    def _neurites(self, x: Int64Array, y: Int64Array, z: Int64Array) -> UInt64Array:
        """Supervoxel of the nearest neurite, slice by slice (a drifting Voronoi diagram)."""
        column, line = x // self.pitch, y // self.pitch
        columns = np.arange(column[0] - 1, column[-1] + 2)
        lines = np.arange(line[0] - 1, line[-1] + 2)
        centre_x, centre_y, pieces = self._grid(columns, lines, z)
        row, col = line - line[0], column - column[0]
        nearest = np.full((len(z), len(y), len(x)), np.inf, np.float32)
        which = np.zeros(nearest.shape, np.uint8)
        fx, fy = x.astype(np.float32), y[:, None].astype(np.float32)
        for number, (dy, dx) in enumerate(itertools.product((0, 1, 2), repeat=2)):
            # Gathered axis by axis, which is faster than all at once.
            away_x = centre_x[:, row + dy][:, :, col + dx] - fx
            away_y = centre_y[:, row + dy][:, :, col + dx] - fy
            distance = away_x * away_x + away_y * away_y
            np.copyto(which, number, where=distance < nearest)
            np.minimum(nearest, distance, out=nearest)
        slices = np.arange(len(z))[:, None, None]
        return np.asarray(pieces[slices, row[:, None] + which // 3, col + which % 3])

    def _grid(
        self, columns: Int64Array, lines: Int64Array, z: Int64Array
    ) -> tuple[F32, F32, UInt64Array]:
        """Per slice and grid square, (z, lines, columns): x, y and supervoxel of its neurite."""
        tube = _tube(columns, lines)
        a, b, c = (_unit(_hash(tube, self.seed + k)) for k in (2, 3, 4))
        along = z[:, None, None]
        x = columns + 0.5 + 0.42 * np.sin(along * (0.013 + 0.02 * a) + 2 * np.pi * c)
        y = lines[:, None] + 0.5 + 0.42 * np.sin(along * (0.013 + 0.02 * b) + 2 * np.pi * a)
        piece = ((along + 200 * c) // (60 + 80 * b)).astype(np.uint64) & np.uint64(_PIECES - 1)
        ids = np.uint64(_SUPERVOXELS) + tube * np.uint64(_PIECES) + piece
        return (x * self.pitch).astype(np.float32), (y * self.pitch).astype(np.float32), ids

    def _add_bodies(self, voxels: UInt64Array, x: Int64Array, y: Int64Array, z: Int64Array) -> None:
        """Draw the cell bodies that meet the box; each is one supervoxel of a neurite's label."""
        reach = _BODY_RADII[1]
        cells = (
            range((a[0] - reach) // _BODY_PITCH, (a[-1] + reach) // _BODY_PITCH + 1)
            for a in (x, y, z)
        )
        for i, j, k in itertools.product(*cells):
            cx, cy, cz, radius = self._body(i, j, k)
            inside = (x - cx) ** 2 + (y[:, None] - cy) ** 2 + (z[:, None, None] - cz) ** 2
            tube = _tube(np.array([cx // self.pitch]), np.array([cy // self.pitch]))[0, 0]
            body = np.uint64(_BODIES + _SUPERVOXELS + k % _PIECES) + tube * np.uint64(_PIECES)
            voxels[inside < radius**2] = body

    def _body(self, i: int, j: int, k: int) -> tuple[int, int, int, int]:
        """Centre (x, y, z) and radius of the cell body in cube (i, j, k) of their grid."""
        number = np.array([(k + 1) << 42 | (j + 1) << 21 | (i + 1)], np.uint64)
        u, v, w, r = (float(_unit(_hash(number, self.seed + n))[0]) for n in (5, 6, 7, 8))
        cx, cy, cz = (int((c + 0.25 + q / 2) * _BODY_PITCH) for c, q in ((i, u), (j, v), (k, w)))
        low, high = _BODY_RADII
        return cx, cy, cz, int(low + (high - low) * r)

    def _empty(self, x: Int64Array, y: Int64Array, z: Int64Array) -> BoolArray:
        """Mask of voxels outside the tissue (an ellipsoid that the faces cut) or in the vessel."""
        sx, sy, sz = self.size
        y, z = y[:, None], z[:, None, None]
        tissue = (x / sx - 0.5) ** 2 + (y / sy - 0.5) ** 2 + (z / sz - 0.5) ** 2
        axis_x = sx * (0.45 + 0.1 * np.sin(z * 0.01))
        axis_y = sy * (0.55 + 0.1 * np.cos(z * 0.008))
        vessel = (x - axis_x) ** 2 + (y - axis_y) ** 2
        return np.asarray((tissue > _TISSUE_RADIUS**2) | (vessel < _VESSEL_RADIUS**2))


def write_export(
    root: Path,
    scale: ScaleSpec,
    field: Field,
    form: ExportFormat | None = None,
    seed: int = 0,
    *,
    keep_empty: bool = False,
) -> list[Path]:
    """Export a field as DVID does: one Arrow file and its index per extent, in `root`/s<scale>.

    Args:
        root: the export's folder.
        scale: the volume's scale at the source; its sharding decides the files' extents.
        field: the voxels.
        form: dialect, Arrow format and rows per batch.
        seed: of the order of rows.
        keep_empty: write blocks whose labels are all 0 too, as DVID did until March 2026.

    Returns:
        The Arrow files, sorted.
    """
    edge = file_edge(scale)
    x, y, z = (range(-(-n // edge)) for n in blocks_of(field.size))
    form = form or ExportFormat()
    paths = []
    for extent in itertools.product(x, y, z):
        rows = _shuffled(_rows(field, extent, edge, keep_empty=keep_empty), seed)
        folder = root / f"s{scale.index}"
        if (first := next(rows, None)) is not None:
            everything = itertools.chain([first], rows)
            paths.append(write_file(folder, file_name(extent, edge), everything, form))
    return sorted(paths)


def write_large(
    root: Path,
    scale: ScaleSpec,
    chunks: int,
    *,
    pitch: int = 28,
    pool: int = 48,
    form: ExportFormat | None = None,
    seed: int = 0,
) -> Path:
    """Write the file of the first extent, fast: its blocks repeat a pool of synthetic ones.

    Args:
        root: the export's folder.
        scale: the scale at the source, whose first extent holds at least `chunks` blocks.
        chunks: rows to write, in ZYX order.
        pitch: distance of neurites in voxels: 28 gives about 20 supervoxels per block and
            5 KB of zstd, 6 about 250 and 36 KB.
        pool: number of distinct blocks.
        form: dialect, Arrow format and rows per batch.
        seed: of the blocks.

    Returns:
        The Arrow file.
    """
    edge = file_edge(scale)
    blocks = pool_rows(pool, pitch, seed)
    extent = [min(edge, n) for n in scale.grid]
    coords = itertools.islice(itertools.product(*map(range, reversed(extent))), chunks)
    rows = (
        replace(blocks[(x * 7 + y * 11 + z * 13) % pool], coords=(x, y, z)) for z, y, x in coords
    )
    name = file_name((0, 0, 0), edge)
    return write_file(root / f"s{scale.index}", name, rows, form or ExportFormat())


def pool_rows(count: int, pitch: int = 28, seed: int = 0) -> list[Row]:
    """Make distinct blocks from the inside of a synthetic volume, without empty voxels."""
    field = SyntheticVolume((1 << 20, 1 << 20, 1 << 20), seed, pitch)
    middle = (1 << 13) - count // 2  # blocks; the tissue's middle
    rows = []
    for i in range(count):
        begin = ((middle + i) * BLOCK_VOXELS, (middle - i) * BLOCK_VOXELS, middle * BLOCK_VOXELS)
        rows.append(make_row((i, 0, 0), field.supervoxels(begin, _far(begin)), field.labels_of))
    return rows


def sample_spec(size: Vec3, scales: int = 1) -> dict[str, Any]:
    """Make a sharded spec with shards of 4x4x4 chunks, so that a small volume has several."""
    entries = []
    for index in range(scales):
        at = tuple(-(-s // 2**index) for s in size)
        bits = sum((-(-s // BLOCK_VOXELS) - 1).bit_length() for s in at)
        entries.append(
            {
                "key": "x".join([str(8 * 2**index)] * 3),
                "size": list(at),
                "resolution": [8 * 2**index] * 3,
                "voxel_offset": [0, 0, 0],
                "chunk_sizes": [[BLOCK_VOXELS] * 3],
                "encoding": "compressed_segmentation",
                "compressed_segmentation_block_size": [8, 8, 8],
                "sharding": {
                    "@type": "neuroglancer_uint64_sharded_v1",
                    "hash": "identity",
                    "preshift_bits": 3,
                    "minishard_bits": 3,
                    "shard_bits": max(0, bits - 6),
                    "data_encoding": "gzip",
                    "minishard_index_encoding": "gzip",
                },
            }
        )
    return {
        "@type": "neuroglancer_multiscale_volume",
        "type": "segmentation",
        "data_type": "uint64",
        "num_channels": 1,
        "scales": entries,
    }


def _rows(field: Field, extent: Vec3, edge: int, *, keep_empty: bool) -> Iterator[Row]:
    """Rows of an extent whose blocks hold a label, in ZYX order."""
    ranges = (
        range(c * edge, min((c + 1) * edge, n))
        for c, n in zip(extent, blocks_of(field.size), strict=True)
    )
    x, y, z = ranges
    for bz, by, bx in itertools.product(z, y, x):
        begin = (bx * BLOCK_VOXELS, by * BLOCK_VOXELS, bz * BLOCK_VOXELS)
        row = make_row((bx, by, bz), field.supervoxels(begin, _far(begin)), field.labels_of)
        if keep_empty or row.labels.any():
            yield row


def _shuffled(rows: Iterator[Row], seed: int) -> Iterator[Row]:
    """Swap some neighbouring rows, as DVID's concurrent writers do."""
    rng = np.random.default_rng(seed)
    for row in rows:
        if rng.random() < _SWAPPED and (following := next(rows, None)) is not None:
            yield following
        yield row


def _far(begin: Vec3) -> Vec3:
    x, y, z = begin
    return x + BLOCK_VOXELS, y + BLOCK_VOXELS, z + BLOCK_VOXELS


def _tube(columns: Int64Array, lines: Int64Array) -> UInt64Array:
    """Number of the neurite in each grid square, (lines, columns)."""
    i, j = (a.astype(np.uint64) & np.uint64(_TUBES - 1) for a in (columns, lines))
    return np.asarray(j[:, None] * np.uint64(_TUBES) + i)


def _hash(numbers: UInt64Array, seed: int) -> UInt64Array:
    """Hash numbers to 64 bits (the finalizer of splitmix64)."""
    h = numbers + np.uint64((seed + 1) * 0x9E3779B97F4A7C15 & 0xFFFF_FFFF_FFFF_FFFF)
    h = (h ^ h >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
    h = (h ^ h >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
    return np.asarray(h ^ h >> np.uint64(31))


def _unit(hashes: UInt64Array) -> npt.NDArray[np.float64]:
    """Scale hashes to numbers from 0 to 1."""
    return (hashes >> np.uint64(11)) / float(1 << 53)
