"""Joined rows: those of several files as if they were of one."""

from itertools import accumulate

import numpy as np

from braid.reader import Rows
from braid.typing import Int64Array


def concatenated(rows: list[Rows]) -> Rows:
    """Rows, one file after another."""
    if len(rows) == 1:
        return rows[0]
    return Rows(
        coords=np.concatenate([r.coords for r in rows]),
        blocks=np.concatenate([r.blocks for r in rows]),
        block_start=_starts([r.block_start for r in rows]),
        uncompressed_size=np.concatenate([r.uncompressed_size for r in rows]),
        labels=np.concatenate([r.labels for r in rows]),
        label_start=_starts([r.label_start for r in rows]),
        supervoxels=np.concatenate([r.supervoxels for r in rows]),
        supervoxel_start=_starts([r.supervoxel_start for r in rows]),
    )


def _starts(starts: list[Int64Array]) -> Int64Array:
    """Starts into the concatenation of arrays."""
    shifts = accumulate((int(start[-1]) for start in starts), initial=0)
    moved = [start + shift for start, shift in zip(starts, shifts, strict=False)]
    return np.concatenate([*(start[:-1] for start in moved[:-1]), moved[-1]])
