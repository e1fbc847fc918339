"""Chunks become payloads: as they are, or as gzip members, many in one call.

The `deflate` package compresses one buffer a call. Its extension holds the whole of libdeflate,
though, and a kernel can call that in a loop without the GIL: threads then do not wait for one
another at every chunk. Where the functions cannot be found (another build of the package), chunks
go one by one; the bytes are the same.
"""

import ctypes
from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec

import deflate

import _braid

__all__ = ["gzip_all", "payloads_of"]

_FUNCTIONS = ("alloc_compressor", "gzip_compress", "gzip_compress_bound", "free_compressor")

Bytes = bytes | memoryview
Addresses = tuple[int, ...]


def payloads_of(chunks: Sequence[Bytes], data_encoding: str, level: int) -> list[bytes]:
    """Apply a shard's data encoding to each chunk.

    Args:
        chunks: encoded voxels.
        data_encoding: `raw` or `gzip`.
        level: of gzip, as in `gzip_all`.
    """
    if data_encoding == "raw":
        return [bytes(chunk) for chunk in chunks]
    return gzip_all(chunks, level)


def gzip_all(chunks: Sequence[Bytes], level: int) -> list[bytes]:
    """Compress each chunk for itself.

    Args:
        chunks: what to compress.
        level: libdeflate's, 1 to 12 (0 stores).
    """
    functions = _libdeflate()
    if functions is None:
        return [bytes(deflate.gzip_compress(chunk, level)) for chunk in chunks]
    return _braid.gzip_chunks(chunks, level, functions)


@cache
def _libdeflate() -> Addresses | None:
    """Where libdeflate's functions are in the extension that is already loaded."""
    spec = find_spec("deflate._deflate")
    if spec is None or spec.origin is None:
        return None
    try:
        library = ctypes.CDLL(spec.origin)
        found = [getattr(library, f"libdeflate_{name}") for name in _FUNCTIONS]
    except (OSError, AttributeError):
        return None
    return tuple(ctypes.cast(function, ctypes.c_void_p).value or 0 for function in found)
