"""The C library's heap, told not to give back pages that the next batch asks for again."""

import ctypes
from contextlib import suppress
from functools import cache
from typing import Final

# From malloc.h.
M_TRIM_THRESHOLD: Final = -1
M_MMAP_THRESHOLD: Final = -3

KEPT_BYTES: Final = 256 << 20  # free at the heap's end before it shrinks
MAPPED_BYTES: Final = 32 << 20  # the largest that glibc takes; larger buffers come from the system


@cache
def keep_pages() -> None:
    """Let batches use the same pages again; costs nothing elsewhere than with glibc.

    By default glibc returns large buffers at once, and the system clears every page that it hands
    out: a tenth of the time of a conversion. The peak stays the same.
    """
    with suppress(AttributeError, OSError):
        library = ctypes.CDLL(None)
        library.mallopt(M_TRIM_THRESHOLD, KEPT_BYTES)
        library.mallopt(M_MMAP_THRESHOLD, MAPPED_BYTES)
