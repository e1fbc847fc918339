"""Time estimate of a shard, from rates that one core reached on real data (`make bench`).

The rates are a little slow on purpose: a run that ends early is better than one that ends late.
"""

from typing import Final

from braid.precomputed.volume_spec import CodePath
from memmodel.estimate import CELL_CHUNKS, Work

START_S: Final = 1.0  # lease, listing, receipt, cascade
_RATES: Final = {  # (kind, code path) -> source chunks per second and core, storage included
    ("convert", CodePath.PALETTE): 1800.0,
    ("convert", CodePath.VOXELS): 300.0,
    ("convert", CodePath.TENSORSTORE): 140.0,
    ("downsample", CodePath.PALETTE): 2500.0,
    ("downsample", CodePath.VOXELS): 250.0,
    ("downsample", CodePath.TENSORSTORE): 250.0,
}
_CHUNK_BYTES: Final = {"convert": 5000, "downsample": 4000}  # as stored, in real data


def estimated_seconds(work: Work) -> float:
    """Seconds of one worker with one core; bytes read bound the chunks, or the box does."""
    box = work.chunks * (work.slices if work.kind == "convert" else CELL_CHUNKS)
    chunks = min(box, work.bytes_in / _CHUNK_BYTES[work.kind])
    voxels = work.chunk_voxels / 64**3
    return START_S + chunks * voxels / _RATES[work.kind, work.code_path]
