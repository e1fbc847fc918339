"""Formats: Arrow shards of a DVID export in, sharded Neuroglancer volumes out.

Usable alone: it imports no other package of the project. The names of BRAID 1.0 are importable here
and from `braid.reader`, `braid.decompressor`, `braid.cseg_encoder` and `braid.exceptions`.
"""

from braid.cseg_encoder import CSEGEncoder
from braid.decompressor import DVIDDecompressor
from braid.exceptions import BraidError, ChunkNotFoundError, DecompressionError
from braid.reader import LabelType, ShardRangeReader, ShardReader

__all__ = [
    "BraidError",
    "CSEGEncoder",
    "ChunkNotFoundError",
    "DVIDDecompressor",
    "DecompressionError",
    "LabelType",
    "ShardRangeReader",
    "ShardReader",
]
