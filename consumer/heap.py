"""Heap of a process that forks others, or is one of many: little waste, few writes after a fork."""

import contextlib
import ctypes
import gc
from typing import Final

_ARENAS: Final = 1
_MMAP_BYTES: Final = 1 << 20
_M_ARENA_MAX: Final = -8  # malloc.h of glibc
_M_MMAP_THRESHOLD: Final = -3

LEAN_ENVIRONMENT: Final = {
    "MALLOC_ARENA_MAX": str(_ARENAS),
    "MALLOC_MMAP_THRESHOLD_": str(_MMAP_BYTES),
}
"""Read by glibc when a program starts. Else threads that fetch and upload keep what they freed in
heaps of their own, and buffers of some MiB leave holes in a heap that others cannot use."""


NO_LIBRARY_THREADS: Final = {
    "JE_ARROW_MALLOC_CONF": "background_thread:false",  # of pyarrow's allocator
    "OPENBLAS_NUM_THREADS": "1",  # of numpy
}
"""Read by libraries when they are imported. Who forks must have no threads."""


def make_lean() -> None:
    """Do what `LEAN_ENVIRONMENT` does, in this process and those forked from it."""
    with contextlib.suppress(AttributeError, OSError):  # only glibc has it
        libc = ctypes.CDLL(None)
        libc.mallopt(_M_ARENA_MAX, _ARENAS)
        libc.mallopt(_M_MMAP_THRESHOLD, _MMAP_BYTES)


def settle() -> None:
    """Leave as few reasons as possible to write to pages that forked processes share."""
    gc.collect()
    gc.freeze()  # else every collection would write to each object
    trim()


def trim() -> None:
    """Return freed pages to the system, also those below others that are in use."""
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)
