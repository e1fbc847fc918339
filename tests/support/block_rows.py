"""Rows of a cube of blocks in the order of an export, with random bytes in place of blocks."""

import random

from tests.support.arrow_exports import Row


def block_rows(edge: int, seed: int = 0, *, block_bytes: int = 60, labels: int = 4) -> list[Row]:
    """Rows of all blocks of a cube, x fastest; lists and blocks of random lengths."""
    rng = random.Random(seed)
    return [
        Row(
            coords=(x, y, z),
            labels=[rng.getrandbits(64) for _ in range(n)],
            supervoxels=[rng.getrandbits(64) for _ in range(n)],
            block=rng.randbytes(rng.randint(0, 2 * block_bytes)),
            uncompressed_size=rng.getrandbits(32),
        )
        for z in range(edge)
        for y in range(edge)
        for x in range(edge)
        for n in [rng.randint(0, labels)]
    ]
