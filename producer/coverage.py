"""Coverage maps: where the shards of a run lie, and their states, one map for each scale.

Shards are boxes of one size, side by side: a shard holds the chunks whose ids (compressed Morton
codes) share their high bits. Scales that are sharded otherwise are not made and have no map. So a
cell of a map is a shard; where there are too many it is made to stand for several, in the state of
the worst.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt

from braid.precomputed import sharding
from braid.precomputed.volume_spec import ScaleSpec
from braid.typing import Int64Array, Vec3
from delivery.ledger.damage import LedgerDamaged
from delivery.ledger.run import Run
from delivery.ledger.shard_status import RunStatus, ShardState
from delivery.messages import parse_key
from memmodel.run_context import RunContext

NO_SHARD: Final = 0
# From the best to the worst: a cell's rank is a place in this list, counted from 1.
SEVERITY: Final = (
    ShardState.DONE,
    ShardState.WAITING,
    ShardState.READY,
    ShardState.BLOCKED,
    ShardState.GIVEN_UP,
    ShardState.FAILED,
)
_RANKS: Final = {state: rank for rank, state in enumerate(SEVERITY, NO_SHARD + 1)}
NOT_KNOWN: Final = -1
_ONE: Final = (1, 1, 1)

Ranks = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class CoverageMap:
    """Map of a scale.

    Attributes:
        spec: of the scale.
        grid: cells per axis, x y z.
        places: (n, 3) of the cells that have a shard, each once, in the order of z, y, x.
        ranks: (n,) the worst state by its place in `SEVERITY` from 1 on.
        chunks: (n,) that done shards hold, or `NOT_KNOWN`.
        shards: in all.
        edges: shards per axis that a cell stands for.
    """

    spec: ScaleSpec
    grid: Vec3
    places: Int64Array
    ranks: Ranks
    chunks: Int64Array
    shards: int
    edges: Vec3 = _ONE

    @property
    def scale(self) -> int:
        """Its index."""
        return self.spec.index

    @property
    def states(self) -> list[ShardState]:
        """The states that occur in cells, from the best to the worst."""
        return [SEVERITY[rank - 1] for rank in np.unique(self.ranks).tolist()]

    @property
    def layers(self) -> list[int]:
        """Those along z that have a shard."""
        return [int(z) for z in np.unique(self.places[:, 2])]

    @property
    def voxels(self) -> Vec3:
        """Edges of a cell in voxels of the scale."""
        whole = zip(sharding.shard_edges(self.spec), self.spec.chunk_size, self.edges, strict=True)
        x, y, z = (chunks * voxels * shards for chunks, voxels, shards in whole)
        return x, y, z

    @property
    def bounds(self) -> tuple[Int64Array, Int64Array]:
        """Smallest box of cells around those that have a shard: begin and end, x y z."""
        return self.places.min(axis=0), self.places.max(axis=0) + 1

    @property
    def extent(self) -> Vec3:
        """Cells per axis of these bounds."""
        begin, end = self.bounds
        x, y, z = (end - begin).tolist()
        return x, y, z

    def coarsened(self, edges: Vec3) -> "CoverageMap":
        """The map with cells of so many of these per axis, each the worst of those it stands for.

        Edges beyond the grid are cut to it.
        """
        x, y, z = (min(edge, cells) for edge, cells in zip(edges, self.grid, strict=True))
        if (x, y, z) == _ONE:
            return self
        cells = self.places // (x, y, z)
        order = np.lexsort(cells.T)
        cells = cells[order]
        begins = np.flatnonzero(np.concatenate(([True], (np.diff(cells, axis=0) != 0).any(axis=1))))
        return replace(
            self,
            grid=(-(-self.grid[0] // x), -(-self.grid[1] // y), -(-self.grid[2] // z)),
            places=cells[begins],
            ranks=np.maximum.reduceat(self.ranks[order], begins),
            chunks=np.full(len(begins), NOT_KNOWN),
            edges=(self.edges[0] * x, self.edges[1] * y, self.edges[2] * z),
        )

    def flattened(self) -> "CoverageMap":
        """The map seen along z: a cell is a column of shards."""
        return self.coarsened((1, 1, self.grid[2]))

    def planes(self) -> Iterator[tuple[int, Ranks]]:
        """Each layer that has a shard, as ranks (y, x) within the bounds, `NO_SHARD` elsewhere."""
        begin, end = self.bounds
        for z in self.layers:
            plane = np.zeros((end[1] - begin[1], end[0] - begin[0]), np.uint8)
            here = self.places[:, 2] == z
            x, y = (self.places[here, :2] - begin[:2]).T
            plane[y, x] = self.ranks[here]
            yield z, plane


def coverage_maps(run: Run, status: RunStatus) -> list[CoverageMap]:
    """A map of every scale of a run that has a shard; none if its volume is not known."""
    try:
        volume = RunContext(run).volume
    except LedgerDamaged:
        return []
    found: dict[int, list[tuple[int, int, int]]] = {}
    for key, state in status.states.items():
        scale, shard_hex = parse_key(key)
        receipt = status.receipts.get(key) if state is ShardState.DONE else None
        chunks = NOT_KNOWN if receipt is None else receipt.chunks
        found.setdefault(scale, []).append((int(shard_hex, 16), _RANKS[state], chunks))
    maps = (_map(spec, found.get(spec.index, ())) for spec in volume.scales if not spec.unserved)
    return [one for one in maps if one.shards]


def _map(spec: ScaleSpec, shards: Sequence[tuple[int, int, int]]) -> CoverageMap:
    """Map of shards, given as number, rank and chunks; those outside the grid are left out."""
    most = sharding.count_shards(spec)
    held = np.array([one for one in shards if one[0] < most], np.int64).reshape(-1, 3)
    numbers, ranks, chunks = held.T
    edges = np.asarray(sharding.shard_edges(spec))
    x, y, z = (-(-np.asarray(spec.grid) // edges)).tolist()
    places = sharding.shard_boxes(spec, numbers)[0] // edges
    order = np.lexsort(places.T)
    order = order[(places[order] < (x, y, z)).all(axis=1)]
    return CoverageMap(
        spec,
        (x, y, z),
        places[order],
        ranks.astype(np.uint8)[order],
        chunks[order],
        len(order),
    )
