# cython: language_level=3
# cython: boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
# distutils: language = c
"""nogil kernels on bytes and typed memoryviews; no I/O, no Python objects in loops.

One extension, so that small functions are inlined across parts. `_braid.pxd` is the table of
contents: structs, constants and the functions that parts offer to one another.
"""

from libc.stdint cimport uintptr_t
from cpython.buffer cimport Py_buffer, PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memcmp, memcpy, memset

from math import gcd
from typing import NamedTuple

import numpy as np


class KernelError(ValueError):
    """Bytes that a kernel refuses. `item` is the chunk's index in the batch, or -1."""

    def __init__(self, text: str, item: int = -1) -> None:
        super().__init__(text)
        self.item = item


class FrameError(KernelError):
    """A zstd frame that does not give the bytes that it should."""


class MemberError(KernelError):
    """A gzip member that does not decompress to its bytes; `slot` is its place in the cell."""

    def __init__(self, text: str, item: int, slot: int) -> None:
        super().__init__(text, item)
        self.slot = slot


# Stand-ins for the address of an empty array.
cdef uint8_t NO_BYTES[8]
cdef uint64_t NO_LABELS[1]
cdef uint8_t NO_VOTES[64]     # all for rank 0

# subblock_bits(labels), for 0 to 512 labels.
cdef uint8_t SUBBLOCK_BITS[513]

# Words of values and table that such a sub-block needs at most in a cseg chunk.
cdef uint16_t CSEG_MOST_WORDS[513]


include "kernels/faults.pxi"
include "kernels/bytes.pxi"
include "kernels/sorting.pxi"
include "kernels/label_set.pxi"
include "kernels/dvid_block.pxi"
include "kernels/label_map.pxi"
include "kernels/block_batch.pxi"
include "kernels/dvid_block_encode.pxi"
include "kernels/cseg_writer.pxi"
include "kernels/cseg_chunk.pxi"
include "kernels/cseg_voxels.pxi"
include "kernels/transcode.pxi"
include "kernels/votes.pxi"
include "kernels/downsample.pxi"
include "kernels/gzip.pxi"
include "kernels/zstd.pxi"
include "kernels/payloads.pxi"
include "kernels/cells.pxi"
include "kernels/arrow.pxi"
include "kernels/rows.pxi"


def use_wide_lanes(wide: bool) -> bool:
    """Choose AVX2 or portable loops (for tests); returns whether AVX2 is now in use."""
    lanes_choose(wide)
    return bool(lanes_wide)


for _count in range(SUBBLOCK_LABELS + 1):
    SUBBLOCK_BITS[_count] = subblock_bits(_count)
    CSEG_MOST_WORDS[_count] = 16 * cseg_bits(_count) + 2 * max(_count, 1)
lanes_choose(True)
