"""Chunks become payloads: as they are, or as gzip members, many in one call."""

import deflate
import numpy as np
import numpy.typing as npt

import _braid
from braid.c_functions import libdeflate
from braid.chunks import Bytes, Chunks

__all__ = ["gzip_all", "payloads_of"]

Starts = npt.NDArray[np.int64]


def payloads_of(chunks: Chunks, data_encoding: str, level: int) -> Chunks:
    """Apply a shard's data encoding to each chunk.

    Args:
        chunks: encoded voxels.
        data_encoding: `raw` or `gzip`.
        level: of gzip, as in `gzip_all`.
    """
    if data_encoding == "raw":
        # A copy: the chunks may lie in a far larger buffer, which nobody shall wait with.
        return Chunks(chunks.ids, chunks.start, bytes(chunks.data[: chunks.size]))
    data, start = gzip_all(chunks.data, chunks.start, level)
    return Chunks(chunks.ids, start, data)


def gzip_all(data: Bytes, start: Starts, level: int) -> tuple[bytes, Starts]:
    """Compress each chunk for itself.

    Args:
        data: the chunks.
        start: (k + 1,) int64; chunk i is data[start[i]:start[i + 1]].
        level: libdeflate's, 1 to 12 (0 stores).

    Returns:
        Gzip members one after another, and where each starts.
    """
    functions = libdeflate()
    if functions is not None:
        return _braid.gzip_chunks(data, start, level, functions)
    view = memoryview(data)
    parts = zip(start[:-1].tolist(), start[1:].tolist(), strict=True)
    members = [deflate.gzip_compress(view[begin:end], level) for begin, end in parts]
    return b"".join(members), np.cumsum([0, *map(len, members)], dtype=np.int64)
