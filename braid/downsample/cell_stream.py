"""Stream of cells: walked where their chunks follow each other, else looked up.

Where `cells_are_consecutive` holds (nearly always), walking the fine shards in id order yields one
complete cell after another, in the coarse scale's id order, and every file is read once from its
first chunk to its last. Elsewhere the chunks of each cell are looked up.
"""

from collections.abc import Iterator

from braid.downsample.cell_lookup import lookup_cells
from braid.downsample.cell_walk import walk_cells
from braid.downsample.cells import WINDOW_BYTES, CellLimits, Cells, CellShape, Inputs
from braid.precomputed.sharding import cells_are_consecutive

__all__ = ["iter_cells"]


def iter_cells(
    shape: CellShape,
    shard: int,
    fine_shards: Inputs,
    limits: CellLimits,
    window_bytes: int = WINDOW_BYTES,
) -> Iterator[Cells]:
    """Cells of a coarse shard that hold a chunk, by ascending coarse id.

    Args:
        shape: the two scales.
        shard: of the coarse scale.
        fine_shards: opens them.
        limits: of a batch.
        window_bytes: most stored bytes read at a time.

    Raises:
        InvalidShardFormatError: an input breaks its format.
    """
    if cells_are_consecutive(shape.fine, shape.coarse):
        return walk_cells(shape, shard, fine_shards, limits, window_bytes)
    return lookup_cells(shape, shard, fine_shards, limits, window_bytes)
