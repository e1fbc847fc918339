"""Scale specs and infos with defaults for all that a test does not vary."""

from collections.abc import Sequence
from typing import Any, Literal

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


def made_info(
    size: Triple,
    factors: Sequence[Triple] = ((2, 2, 2),),
    *,
    chunks: Sequence[Triple] = ((64, 64, 64),),
    bits: Sequence[tuple[int, int]] = ((9, 6),),
    encoding: str = "compressed_segmentation",
    block: Triple = (8, 8, 8),
    data_type: str = "uint64",
    data_encoding: str = "gzip",
) -> dict[str, Any]:
    """An info of one scale more than `factors`; the last of `chunks` and `bits` repeats.

    `bits` are preshift and minishard; shard bits are what ids need beyond them.
    """
    scales, resolution = [], [8, 8, 8]
    for i in range(len(factors) + 1):
        chunk = chunks[min(i, len(chunks) - 1)]
        preshift, minishard = bits[min(i, len(bits) - 1)]
        grid = [-(-n // c) for n, c in zip(size, chunk, strict=True)]
        needed = sum((n - 1).bit_length() for n in grid)
        scale: dict[str, Any] = {
            "key": f"s{i}",
            "size": list(size),
            "resolution": list(resolution),
            "voxel_offset": [0, 0, 0],
            "chunk_sizes": [list(chunk)],
            "encoding": encoding,
            "sharding": {
                "@type": "neuroglancer_uint64_sharded_v1",
                "hash": "identity",
                "preshift_bits": preshift,
                "minishard_bits": minishard,
                "shard_bits": max(0, needed - preshift - minishard),
                "data_encoding": data_encoding,
                "minishard_index_encoding": "gzip",
            },
        }
        if encoding == "compressed_segmentation":
            scale["compressed_segmentation_block_size"] = list(block)
        scales.append(scale)
        if i < len(factors):
            resolution = [r * f for r, f in zip(resolution, factors[i], strict=True)]
            x, y, z = (-(-n // f) for n, f in zip(size, factors[i], strict=True))
            size = (x, y, z)
    return {
        "@type": "neuroglancer_multiscale_volume",
        "type": "segmentation",
        "data_type": data_type,
        "num_channels": 1,
        "scales": scales,
    }
