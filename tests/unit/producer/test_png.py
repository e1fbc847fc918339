"""PNG files, as Pillow reads them."""

import io

import numpy as np
import pytest
from PIL import Image

from producer.png import encode_png


@pytest.mark.parametrize("colours", [1, 2, 256, 257, 5000])
@pytest.mark.parametrize("shape", [(1, 1), (37, 91)])
def test_pixels_are_kept(colours: int, shape: tuple[int, int]) -> None:
    """Of few colours as a palette, of many as they are."""
    rng = np.random.default_rng(colours)
    palette = rng.integers(0, 256, (colours, 3), dtype=np.uint8)
    pixels = palette[rng.integers(0, colours, shape)]
    image = Image.open(io.BytesIO(encode_png(pixels)))
    many = len(np.unique(pixels.reshape(-1, 3), axis=0)) > 256
    assert image.mode == ("RGB" if many else "P")
    assert np.array_equal(np.asarray(image.convert("RGB")), pixels)


def test_a_damaged_file_is_noticed() -> None:
    """Every chunk has its checksum."""
    data = bytearray(encode_png(np.zeros((4, 4, 3), np.uint8)))
    data[-20] ^= 1
    with pytest.raises((SyntaxError, OSError)):
        Image.open(io.BytesIO(bytes(data))).load()
