"""The formats: Arrow shards of a DVID export in, sharded Neuroglancer volumes out.

Usable alone; it imports no other part of the product. Code written against BRAID 1.0 finds its
names here.
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
