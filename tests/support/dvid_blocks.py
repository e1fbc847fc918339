"""Independent reference of DVID blocks: built and read in plain Python."""

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

Labels = npt.NDArray[np.uint64]


@dataclass
class Parts:
    """Fields of a DVID block before serialization; tests may make any of them wrong.

    Attributes:
        grid: sub-blocks along x, y, z.
        table: the block's labels.
        palettes: per sub-block, places in the table.
        values: per sub-block, 512 places in its palette (x fastest).
    """

    grid: tuple[int, int, int]
    table: list[int]
    palettes: list[list[int]] = field(default_factory=list)
    values: list[npt.NDArray[np.uint16]] = field(default_factory=list)

    def to_bytes(self) -> bytes:
        """The block's bytes; one label makes it solid."""
        head = struct.pack("<4I", *self.grid, len(self.table))
        head += struct.pack(f"<{len(self.table)}Q", *self.table)
        if len(self.table) == 1:
            return head
        counts = struct.pack(f"<{len(self.palettes)}H", *(len(p) for p in self.palettes))
        places = [place for palette in self.palettes for place in palette]
        indices = struct.pack(f"<{len(places)}I", *places)
        pairs = zip(self.palettes, self.values, strict=True)
        return head + counts + indices + b"".join(pack(v, bits(len(p))) for p, v in pairs)

    def voxels(self, mapping: dict[int, int] | None = None) -> Labels:
        """Voxels (z, y, x), each label sent through `mapping` if it is there."""
        mapping = mapping or {}
        table = [mapping.get(label, label) for label in self.table]
        gx, gy, gz = self.grid
        out = np.zeros((gz * 8, gy * 8, gx * 8), np.uint64)
        if len(table) == 1:
            out[:] = table[0]
            return out
        for number, (palette, values) in enumerate(zip(self.palettes, self.values, strict=True)):
            if not palette:
                continue  # zeros, whatever the table says
            labels = np.array([table[place] for place in palette], np.uint64)[values]
            x, y, z = number % gx * 8, number // gx % gy * 8, number // (gx * gy) * 8
            out[z : z + 8, y : y + 8, x : x + 8] = labels.reshape(8, 8, 8)
        return out


def bits(labels: int) -> int:
    """Bits per value of a sub-block with so many labels."""
    return max(labels - 1, 0).bit_length()


def pack(values: npt.NDArray[np.uint16], width: int) -> bytes:
    """Values as bits, most significant first."""
    columns = [(values >> (width - 1 - i)) & 1 for i in range(width)]
    return np.packbits(np.stack(columns, -1).astype(np.uint8)).tobytes() if width else b""


def random_parts(
    rng: np.random.Generator,
    sizes: Sequence[int],
    grid: tuple[int, int, int] = (8, 8, 8),
    labels: Sequence[int] | None = None,
    n_labels: int = 600,
) -> Parts:
    """A block whose sub-blocks have palettes of the given sizes, in turn.

    Palettes may repeat an entry, and voxels need not use every entry.
    """
    if labels is None:
        labels = [int(label) for label in rng.integers(0, 2**64, n_labels, np.uint64)]
    palettes, values = [], []
    for number in range(grid[0] * grid[1] * grid[2]):
        size = sizes[number % len(sizes)]
        palettes.append([int(place) for place in rng.integers(0, len(labels), size)])
        values.append(rng.integers(0, rng.integers(0, size) + 1 if size else 1, 512, np.uint16))
    return Parts(grid, list(labels), palettes, values)


def join(blocks: Sequence[bytes]) -> tuple[bytes, npt.NDArray[np.int64]]:
    """Blocks one after another, and their starts."""
    return b"".join(blocks), starts([len(block) for block in blocks])


def starts(sizes: Sequence[int]) -> npt.NDArray[np.int64]:
    """Offsets of parts of these sizes: one more than there are parts."""
    return np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
