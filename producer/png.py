"""PNG files of RGB pixels; up to 256 colours go into a palette, which makes them small.

Format: https://www.w3.org/TR/png/
"""

import struct
import zlib
from typing import Final

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]

_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
_TRUE_COLOUR, _PALETTE = 2, 3
_MOST_COLOURS: Final = 256
_EFFORT: Final = 9
_NO_FILTER: Final = 0  # of a row; segments are runs of one colour, which deflate packs best


def encode_png(pixels: Pixels) -> bytes:
    """Encode an image.

    Args:
        pixels: (height, width, 3) uint8, RGB.
    """
    height, width, _ = pixels.shape
    packed = pixels.astype(np.uint32) @ np.array([1 << 16, 1 << 8, 1], np.uint32)
    colours, places = np.unique(packed, return_inverse=True)
    if len(colours) > _MOST_COLOURS:
        head, rows = _TRUE_COLOUR, pixels.reshape(height, -1)
    else:
        head, rows = _PALETTE, places.reshape(height, width).astype(np.uint8)
    filtered = np.insert(rows, 0, _NO_FILTER, axis=1)
    chunks = [_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, head, 0, 0, 0))]
    if head == _PALETTE:
        chunks.append(_chunk(b"PLTE", b"".join(int(c).to_bytes(3, "big") for c in colours)))
    chunks.append(_chunk(b"IDAT", zlib.compress(filtered.tobytes(), _EFFORT)))
    return _SIGNATURE + b"".join(chunks) + _chunk(b"IEND", b"")


def _chunk(name: bytes, data: bytes) -> bytes:
    body = name + data
    return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))
