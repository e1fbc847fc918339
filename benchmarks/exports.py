"""Exports to measure with: the real shard, if present, and made-up exports of any size."""

import csv
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from braid.precomputed import morton, sharding
from braid.precomputed.spec_design import design_volume
from braid.precomputed.volume_spec import ScaleSpec, VolumeSpec
from braid.transcode.block_assignment import BLOCK_VOXELS
from braid.typing import Vec3
from producer.synthetic_export import write_large

# Distance of neurites in voxels: 7.5 KB of Arrow per chunk, about as in a real dataset.
USUAL_PITCH = 28
DENSE_PITCH = 9  # more than 60 labels per chunk
HEAVY_PITCH = 6  # 36 KB per block: 32,768 chunks are more than 1 GB
_REAL = "mcns-edge/s1/30720_24576_28672.arrow"
_REAL_SPEC = "mcns-export-specs.json"
_REAL_SCALE = 1
_GRIDS: dict[int, Vec3] = {  # chunks x, y, z; each is one output shard
    64: (4, 4, 4),
    256: (8, 8, 4),
    1024: (16, 8, 8),
    4096: (16, 16, 16),
    16384: (32, 32, 16),
    32768: (32, 32, 32),
}


@dataclass(frozen=True)
class Export:
    """One Arrow file, all of which goes into one output shard.

    Attributes:
        name: for tables.
        root: folder of the export.
        path: of the Arrow file, below the root.
        volume: `info` of the output.
        scale: index of the output's scale.
        shard: its number.
        chunks: rows in the file.
        arrow_bytes: its size.
    """

    name: str
    root: str
    path: str
    volume: dict[str, Any]
    scale: int
    shard: int
    chunks: int
    arrow_bytes: int

    def to_json(self) -> dict[str, Any]:
        """Arguments for a child."""
        return asdict(self)

    @property
    def arrow(self) -> Path:
        """The Arrow file."""
        return Path(self.root) / self.path

    def scale_spec(self, above: int = 0) -> ScaleSpec:
        """The output's scale, or one so many above it."""
        return VolumeSpec.parse(self.volume, self.name).scales[self.scale + above]


def real_export(shared: Path) -> Export | None:
    """The published shard of the male fly CNS, if the folder holds it."""
    arrow, spec = shared / "data" / _REAL, shared / "specs" / _REAL_SPEC
    if not arrow.is_file() or not spec.is_file():
        return None
    volume = VolumeSpec.parse(spec.read_bytes(), str(spec))
    scale = volume.scales[_REAL_SCALE]
    with arrow.with_suffix(".csv").open(newline="") as file:
        chunks = [_chunk(row) for row in csv.DictReader(_without_comments(file))]
    shards = set(sharding.shard_numbers(morton.encode(chunks, scale.grid), scale.sharding).tolist())
    return Export(
        name="real",
        root=str(arrow.parents[1]),
        path=str(arrow.relative_to(arrow.parents[1])),
        volume=volume.to_info(),
        scale=_REAL_SCALE,
        shard=shards.pop(),
        chunks=len(chunks),
        arrow_bytes=arrow.stat().st_size,
    )


def made_up(work: Path, name: str, chunks: int, pitch: int = USUAL_PITCH, pool: int = 48) -> Export:
    """Write an export of that many chunks; its volume is one shard, two scales."""
    grid = _GRIDS[chunks]
    volume = design_volume([n * BLOCK_VOXELS for n in grid], (8, 8, 8), 2)
    root = work / f"export-{chunks}-{pitch}"
    known = sorted(root.rglob("*.arrow"))  # tables share exports
    arrow = (
        known[0] if known else write_large(root, volume.scales[0], chunks, pitch=pitch, pool=pool)
    )
    return Export(
        name=name,
        root=str(root),
        path=str(arrow.relative_to(root)),
        volume=volume.to_info(),
        scale=0,
        shard=0,
        chunks=chunks,
        arrow_bytes=arrow.stat().st_size,
    )


def _without_comments(lines: Iterator[str]) -> Iterator[str]:
    return (line for line in lines if not line.startswith("#"))


def _chunk(row: dict[str, str]) -> Vec3:
    return int(row["x"]), int(row["y"]), int(row["z"])
