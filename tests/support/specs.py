"""Specs for tests, with only the interesting part spelled out."""

from typing import Literal

from braid.precomputed.volume_spec import ScaleSpec, ShardingSpec

Triple = tuple[int, int, int]


def made_scale(
    size: Triple,
    chunk: Triple = (64, 64, 64),
    bits: Triple = (9, 6, 45),
    *,
    index: int = 0,
    resolution: tuple[float, float, float] = (8, 8, 8),
    encoding: Literal["compressed_segmentation", "raw"] = "raw",
    data_type: Literal["uint64", "uint32"] = "uint64",
) -> ScaleSpec:
    """A scale whose sharding has these (preshift, minishard, shard) bits, gzip throughout."""
    return ScaleSpec(
        index=index,
        key="x".join(f"{r:g}" for r in resolution),
        size=size,
        resolution=resolution,
        chunk_size=chunk,
        block_size=(8, 8, 8) if encoding == "compressed_segmentation" else None,
        encoding=encoding,
        sharding=ShardingSpec(*bits, "gzip", "gzip"),
        data_type=data_type,
    )
