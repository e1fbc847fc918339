"""Colours of segments: those of Neuroglancer, whose Python package has the hash for its server."""

import numpy as np
from neuroglancer.segment_colors import hex_string_from_segment_id

from producer.segment_colours import colour_labels, segment_colours


def test_colours_are_neuroglancers() -> None:
    """For small, large and random labels; the last bit of a channel may be rounded otherwise."""
    rng = np.random.default_rng(0)
    random = rng.integers(0, 1 << 64, 2000, dtype=np.uint64)
    edges = np.array([1, 255, 256, (1 << 32) - 1, 1 << 32, (1 << 64) - 1], np.uint64)
    labels = np.concatenate([np.arange(1, 300, dtype=np.uint64), edges, random])
    for label, ours in zip(labels.tolist(), segment_colours(labels).tolist(), strict=True):
        theirs = bytes.fromhex(hex_string_from_segment_id(0, label)[1:])
        assert max(abs(a - b) for a, b in zip(ours, theirs, strict=True)) <= 1, label


def test_background_is_black() -> None:
    """Label 0 is no segment; the picture has the shape of the labels."""
    picture = colour_labels(np.array([[0, 7], [7, 9], [0, 0]], np.uint64))
    assert picture.shape == (3, 2, 3)
    assert picture[0, 0].tolist() == picture[2, 1].tolist() == [0, 0, 0]
    assert picture[0, 1].tolist() == picture[1, 0].tolist() != picture[1, 1].tolist()
    narrow = colour_labels(np.array([[0, 7]], np.uint32))
    assert narrow[0].tolist() == picture[0].tolist()
