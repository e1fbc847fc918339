"""Coverage maps: where the shards of a run lie, and their states, one map for each scale.

A cell is a column of shards across z, in the state of the worst of them. A map that is too large is
made coarser, again by the worst.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from braid.precomputed import sharding
from braid.precomputed.volume_spec import ScaleSpec
from delivery.ledger.damage import LedgerDamaged
from delivery.ledger.run import Run
from delivery.ledger.shard_status import RunStatus, ShardState
from delivery.messages import parse_key
from memmodel.run_context import RunContext

NO_SHARD: Final = 0
# From the best to the worst: a cell's value is a place in this list, counted from 1.
SEVERITY: Final = (
    ShardState.DONE,
    ShardState.WAITING,
    ShardState.READY,
    ShardState.BLOCKED,
    ShardState.GIVEN_UP,
    ShardState.FAILED,
)
_RANKS: Final = {state: rank for rank, state in enumerate(SEVERITY, NO_SHARD + 1)}

Cells = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class CoverageMap:
    """Map of a scale, seen along z.

    Attributes:
        scale: its index.
        cells: (y, x); the worst state by its place in `SEVERITY` from 1 on, or `NO_SHARD`.
        shards: in all.
        layers: of shards across z.
        edge: shards in x and in y that a cell stands for.
    """

    scale: int
    cells: Cells
    shards: int
    layers: int
    edge: int = 1

    @property
    def states(self) -> list[ShardState]:
        """The states that occur in cells, from the best to the worst."""
        return [SEVERITY[rank - 1] for rank in np.unique(self.cells).tolist() if rank]

    def coarsened(self, columns: int, rows: int) -> "CoverageMap":
        """The map with at most so many cells, each the worst of those it stands for."""
        height, width = self.cells.shape
        edge = max(-(-width // max(columns, 1)), -(-height // max(rows, 1)), 1)
        if edge == 1:
            return self
        padded = np.pad(self.cells, ((0, -height % edge), (0, -width % edge)))
        blocks = padded.reshape(padded.shape[0] // edge, edge, padded.shape[1] // edge, edge)
        cells: Cells = blocks.max(axis=(1, 3))
        return CoverageMap(self.scale, cells, self.shards, self.layers, self.edge * edge)


def coverage_maps(run: Run, status: RunStatus) -> list[CoverageMap]:
    """A map of every scale of a run that has a shard; none if its volume is not known."""
    try:
        volume = RunContext(run).volume
    except LedgerDamaged:
        return []
    found: dict[int, tuple[list[int], list[int]]] = {}
    for key, state in status.states.items():
        scale, shard_hex = parse_key(key)
        numbers, ranks = found.setdefault(scale, ([], []))
        numbers.append(int(shard_hex, 16))
        ranks.append(_RANKS[state])
    return [
        _map(volume.scales[scale], *found[scale])
        for scale in sorted(found)
        if scale < len(volume.scales) and not volume.scales[scale].unserved
    ]


def _map(scale: ScaleSpec, numbers: Sequence[int], ranks: Sequence[int]) -> CoverageMap:
    edges = np.asarray(sharding.shard_edges(scale))
    grid = -(-np.asarray(scale.grid) // edges)
    begins, _ = sharding.shard_boxes(scale, numbers)
    x, y, _ = (begins // edges).T
    inside = (x < grid[0]) & (y < grid[1])
    cells = np.zeros((grid[1], grid[0]), np.uint8)
    np.maximum.at(cells, (y[inside], x[inside]), np.asarray(ranks, np.uint8)[inside])
    return CoverageMap(scale.index, cells, len(numbers), int(grid[2]))
