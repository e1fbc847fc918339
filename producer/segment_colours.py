"""Colours that Neuroglancer gives segments where a state names none: a hash of the label.

The hash is the inner step of 32-bit MurmurHash3, applied to the low and the high half of the label;
its lowest byte is the hue, the next one the saturation. Label 0 is background.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

from braid.precomputed.chunk_codec import Voxels
from braid.typing import UInt64Array

Colours = npt.NDArray[np.uint8]

BACKGROUND: Final = (0, 0, 0)
_MASK: Final = np.uint64(0xFFFFFFFF)
_K1, _K2, _ADDED = np.uint64(0xCC9E2D51), np.uint64(0x1B873593), np.uint64(0xE6546B64)
_HALF: Final = np.uint64(32)
_SHIFTS: Final = (5.0, 3.0, 1.0)  # of red, green and blue


def colour_labels(labels: Voxels) -> Colours:
    """RGB of every label of an array, in one more dimension; black where there is none."""
    distinct, places = np.unique(labels, return_inverse=True)
    colours = segment_colours(distinct.astype(np.uint64))
    colours[distinct == 0] = BACKGROUND
    found: Colours = colours[places.reshape(labels.shape)]
    return found


def segment_colours(labels: UInt64Array) -> Colours:
    """RGB of labels, (n, 3) uint8, as Neuroglancer draws them with the colour seed 0."""
    state = _combine(np.zeros_like(labels), labels & _MASK)
    state = _combine(state, labels >> _HALF)
    hue = (state & np.uint64(0xFF)) / 255
    saturation = 0.5 + (state >> np.uint64(8) & np.uint64(0xFF)) / 255 / 2
    return _rgb(hue, saturation)


def _combine(state: UInt64Array, value: UInt64Array) -> UInt64Array:
    mixed = _rotate(value * _K1 & _MASK, 15) * _K2 & _MASK
    found: UInt64Array = _rotate(state ^ mixed, 13) * np.uint64(5) + _ADDED & _MASK
    return found


def _rotate(value: UInt64Array, bits: int) -> UInt64Array:
    """Rotate 32 bits to the left."""
    found: UInt64Array = (value << np.uint64(bits) | value >> np.uint64(32 - bits)) & _MASK
    return found


def _rgb(hue: npt.NDArray[np.float64], saturation: npt.NDArray[np.float64]) -> Colours:
    """RGB of full brightness: each channel is a trapezium over the hue, in sixths of the circle."""
    sixths = (hue[:, None] * 6 + np.asarray(_SHIFTS)) % 6
    away = np.clip(np.minimum(sixths, 4 - sixths), 0, 1)
    found: Colours = np.round((1 - saturation[:, None] * away) * 255).astype(np.uint8)
    return found
