# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
# distutils: language = c
"""nogil kernels on bytes and typed memoryviews; no I/O, no Python objects in loops."""


class KernelError(ValueError):
    """Bytes that a kernel refuses. `item` is the chunk's index in the batch, or -1."""

    def __init__(self, text: str, item: int = -1) -> None:
        super().__init__(text)
        self.item = item


include "kernels/block.pxi"
include "kernels/cseg.pxi"
include "kernels/transcode.pxi"
include "kernels/downsample.pxi"
