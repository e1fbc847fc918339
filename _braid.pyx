# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
# distutils: language = c
"""nogil kernels on bytes and typed memoryviews; no I/O, no Python objects in loops."""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t, uintptr_t
from cpython.buffer cimport Py_buffer, PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memcmp, memcpy, memset

from math import gcd
from typing import NamedTuple

import numpy as np

cdef extern from "kernels/lanes.h" nogil:
    enum:
        LANES_SLACK
    int lanes_wide
    void lanes_choose(int wide)
    void lanes_unpack(const uint8_t* values, int bits, uint8_t* out)
    void lanes_unpack9(const uint8_t* values, uint16_t* out)
    uint64_t lanes_used(const uint8_t* index, int entries)
    void lanes_pack(const uint8_t* index, const uint8_t* palette, int entries, int bits, uint8_t* out)
    unsigned int lanes_used1(const uint8_t* values)
    unsigned int lanes_used2(const uint8_t* values)
    void lanes_recode1(const uint8_t* values, int swap, uint8_t* out)
    void lanes_recode2(const uint8_t* values, const uint8_t* places, uint8_t* out)

cdef extern from * nogil:
    int __builtin_clz(unsigned int)
    int __builtin_clzll(unsigned long long)


class KernelError(ValueError):
    """Bytes that a kernel refuses. `item` is the chunk's index in the batch, or -1."""

    def __init__(self, text: str, item: int = -1) -> None:
        super().__init__(text)
        self.item = item


class FrameError(KernelError):
    """A zstd frame that does not give the bytes that it should."""


# Stand-ins for the address of an empty array.
cdef uint8_t NO_BYTES[8]
cdef uint64_t NO_LABELS[1]

# bits_for(labels) of a DVID sub-block, for 0 to 512 labels.
cdef uint8_t BITS_OF_COUNT[513]

# Words of values and table that such a sub-block needs at most in a cseg chunk.
cdef uint16_t MOST_WORDS_OF_COUNT[513]


include "kernels/views.pxi"
include "kernels/arrow.pxi"
include "kernels/block.pxi"
include "kernels/rows.pxi"
include "kernels/cseg.pxi"
include "kernels/transcode.pxi"
include "kernels/votes.pxi"
include "kernels/downsample.pxi"
include "kernels/gzip.pxi"
include "kernels/zstd.pxi"
include "kernels/payloads.pxi"


def use_wide_lanes(wide: bool) -> bool:
    """Choose AVX2 or portable loops (for tests); returns whether AVX2 is now in use."""
    lanes_choose(wide)
    return bool(lanes_wide)


for _count in range(CELL_LABELS + 1):
    BITS_OF_COUNT[_count] = block_bits(_count)
    MOST_WORDS_OF_COUNT[_count] = 16 * cseg_bits(_count) + 2 * max(_count, 1)
lanes_choose(True)
