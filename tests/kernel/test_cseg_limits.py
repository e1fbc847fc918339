"""Where compressed_segmentation's 24-bit offsets end."""

import numpy as np
import pytest

import _braid


def test_offsets_beyond_24_bits_are_refused() -> None:
    """A chunk that needs a larger offset is refused where TensorStore writes wrong bytes."""
    voxels = np.arange(2 * 2**20 * 8, dtype=np.uint64).reshape(256, 256, 256)
    with pytest.raises(_braid.KernelError, match="16777215"):
        _braid.cseg_encode(voxels)
    with pytest.raises(_braid.KernelError, match="16777215"):
        _braid.cseg_encode(voxels[:128, :256, :256], (1, 1, 1))


def test_the_largest_offset_is_allowed() -> None:
    """The last table may start at word 2^24 - 1 exactly, one word later it may not."""
    # 2^22 blocks of one voxel: 2^23 words of headers, then a table of two words per new label.
    labels = np.arange(2**22, dtype=np.uint64).reshape(1, 1, 2**22)
    chunk = _braid.cseg_encode(labels, (1, 1, 1))
    assert len(chunk) == 4 * (1 + 2**24)
    out = np.zeros_like(labels)
    _braid.cseg_decode(chunk, out, (1, 1, 1))
    assert np.array_equal(out, labels)
    longer = np.arange(2**22 + 1, dtype=np.uint64).reshape(1, 1, -1)
    with pytest.raises(_braid.KernelError, match="16777216"):
        _braid.cseg_encode(longer, (1, 1, 1))
