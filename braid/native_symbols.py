"""Addresses of C functions inside extensions of packages that are installed anyway.

The packages' Python functions take one buffer a call; a kernel calls the C functions behind them
in a loop without the GIL. Where an extension hides them (another build of the package), callers
fall back to the Python functions.
"""

import ctypes
from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec

__all__ = ["Addresses", "addresses", "libdeflate", "libinflate", "libzstd"]

Addresses = tuple[int, ...]


def addresses(extension: str, names: Sequence[str]) -> Addresses | None:
    """Look up C functions in an extension.

    Args:
        extension: the module that holds them.
        names: as the C library calls them.

    Returns:
        Their addresses; None if the extension is missing or hides one of them.
    """
    spec = find_spec(extension)
    if spec is None or spec.origin is None:
        return None
    try:
        library = ctypes.CDLL(spec.origin)
        found = [getattr(library, name) for name in names]
    except (OSError, AttributeError):
        return None
    return tuple(ctypes.cast(function, ctypes.c_void_p).value or 0 for function in found)


@cache
def libdeflate() -> Addresses | None:
    """Addresses that `_braid.gzip_chunks` takes."""
    names = ("alloc_compressor", "gzip_compress", "gzip_compress_bound", "free_compressor")
    return addresses("deflate._deflate", [f"libdeflate_{name}" for name in names])


@cache
def libinflate() -> Addresses | None:
    """Addresses that `_braid.gunzip_chunks` takes."""
    names = ("alloc_decompressor", "gzip_decompress", "free_decompressor")
    return addresses("deflate._deflate", [f"libdeflate_{name}" for name in names])


@cache
def libzstd() -> Addresses | None:
    """Addresses that `_braid.decompress_frames` takes."""
    names = ("createDCtx", "decompressDCtx", "isError", "getErrorName", "freeDCtx")
    return addresses("zstandard._cffi", [f"ZSTD_{name}" for name in names])
