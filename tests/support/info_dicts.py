"""A valid `info` of a volume as plain dictionaries, to be changed by tests."""

from typing import Any


def scale_dict(**changes: object) -> dict[str, Any]:
    """One valid scale: 300 x 200 x 100 voxels, grid 5 x 4 x 2, ids of 6 bits."""
    scale = {
        "key": "8x8x8",
        "size": [300, 200, 100],
        "resolution": [8, 8, 8],
        "voxel_offset": [0, 0, 0],
        "chunk_sizes": [[64, 64, 64]],
        "encoding": "compressed_segmentation",
        "compressed_segmentation_block_size": [8, 8, 8],
        "sharding": {
            "@type": "neuroglancer_uint64_sharded_v1",
            "hash": "identity",
            "preshift_bits": 2,
            "minishard_bits": 2,
            "shard_bits": 2,
            "data_encoding": "gzip",
            "minishard_index_encoding": "gzip",
        },
    }
    return {**scale, **changes}


def info_dict(*scales: dict[str, Any], **changes: object) -> dict[str, Any]:
    """A valid info around the scales given."""
    info = {
        "@type": "neuroglancer_multiscale_volume",
        "type": "segmentation",
        "data_type": "uint64",
        "num_channels": 1,
        "scales": list(scales) or [scale_dict()],
    }
    return {**info, **changes}


def sharding_dict(**changes: object) -> dict[str, Any]:
    """The valid scale's sharding with changes."""
    return {**scale_dict()["sharding"], **changes}
