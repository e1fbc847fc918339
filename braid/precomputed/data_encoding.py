"""Data encoding of a shard: chunks to payloads (raw or gzip) and back, many in one call."""

from collections.abc import Sequence
from itertools import pairwise

import deflate
import numpy as np

import _braid
from braid.native_symbols import libdeflate, libinflate
from braid.precomputed.chunk_batch import ChunkBatch
from braid.typing import BytesLike, Int64Array, UInt8Array

__all__ = ["gunzip_all", "gzip_all", "payloads_of"]


def payloads_of(chunks: ChunkBatch, data_encoding: str, level: int) -> ChunkBatch:
    """Apply a shard's data encoding to each chunk.

    Args:
        chunks: encoded voxels.
        data_encoding: `raw` or `gzip`.
        level: of gzip, as in `gzip_all`.
    """
    if data_encoding == "raw":
        # Copy, so that the caller does not keep a far larger buffer alive.
        return ChunkBatch(chunks.ids, chunks.start, bytes(chunks.data[: chunks.size]))
    data, start = gzip_all(chunks.data, chunks.start, level)
    return ChunkBatch(chunks.ids, start, data)


def gzip_all(data: BytesLike, start: Int64Array, level: int) -> tuple[bytes, Int64Array]:
    """Compress each chunk for itself.

    Args:
        data: the chunks.
        start: (k + 1,) int64; chunk i is data[start[i]:start[i + 1]].
        level: libdeflate's, 1 to 12 (0 stores).

    Returns:
        Gzip members one after another, and the start of each.
    """
    functions = libdeflate()
    if functions is not None:
        return _braid.gzip_chunks(data, start, level, functions)
    view = memoryview(data)
    parts = zip(start[:-1].tolist(), start[1:].tolist(), strict=True)
    members = [deflate.gzip_compress(view[begin:end], level) for begin, end in parts]
    return b"".join(members), np.cumsum([0, *map(len, members)], dtype=np.int64)


def gunzip_all(members: Sequence[BytesLike], sizes: Sequence[int]) -> list[memoryview]:
    """Decompress gzip members to the sizes that they claim.

    Args:
        members: each one whole.
        sizes: bytes of each when it is decompressed; as much memory is taken.

    Returns:
        Decompressed members, parts of one buffer.

    Raises:
        KernelError: member `.item` is damaged, or holds more or less.
    """
    start = np.cumsum([0, *sizes], dtype=np.int64)
    out = np.empty(int(start[-1]), np.uint8)
    functions = libinflate()
    if functions is None:
        _gunzip_each(members, start, out)
    else:
        _braid.gunzip_chunks(members, start, out, functions)
    view = out.data
    return [view[begin:end] for begin, end in pairwise(start.tolist())]


def _gunzip_each(members: Sequence[BytesLike], start: Int64Array, out: UInt8Array) -> None:
    """The same by the package's own function, a call for each member."""
    for item, (member, (begin, end)) in enumerate(
        zip(members, pairwise(start.tolist()), strict=True)
    ):
        try:
            chunk = deflate.gzip_decompress(member)
        except (deflate.DeflateError, ValueError) as error:
            raise _braid.KernelError(str(error), item) from None
        if len(chunk) != end - begin:
            raise _braid.KernelError(f"not a gzip member of {end - begin} bytes", item)
        out[begin:end] = np.frombuffer(chunk, np.uint8)
