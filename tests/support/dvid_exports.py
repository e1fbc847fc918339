"""Which blocks DVID writes to which file, by the rules of its exporter.

Written after DVID's own exporter, apart from the code under test. DVID scans strips of the volume,
one cube of y and z after the other and all of x, up to and including size / 64. Every shard of a
strip has a writer, and the block that comes first names the writer's file.
"""

import itertools
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from braid.precomputed.volume_spec import ScaleSpec
from braid.typing import Vec3
from producer.export_writer import ExportFormat, make_row, write_file

Naming = Literal["since-2026-03-21", "before"]
BLOCK = 64


@dataclass(frozen=True)
class Writer:
    """A writer of DVID: the file's name without its ending, the shard, blocks in their order."""

    name: str
    shard: int
    blocks: Sequence[Vec3]

    @property
    def origin(self) -> Vec3:
        """The voxel that names the file."""
        x, y, z = map(int, self.name.split("_"))
        return x, y, z


def cube_edge(scale: ScaleSpec, naming: Naming) -> int:
    """Edge of the cubes that files are named after; the scale has chunks of 64x64x64."""
    bits = scale.sharding.preshift_bits + scale.sharding.minishard_bits
    if naming == "before":
        return 1 << (18 + bits) // 3
    used, axis = [0, 0, 0], 0
    most = _bits(scale)
    for _ in range(min(bits, sum(most))):
        while used[axis] == most[axis]:
            axis = (axis + 1) % 3
        used[axis] += 1
        axis = (axis + 1) % 3
    return max(min(1 << n, blocks) for n, blocks in zip(used, _blocks(scale), strict=True)) * BLOCK


def writers(scale: ScaleSpec, naming: Naming, order: random.Random | None = None) -> list[Writer]:
    """All writers of an export, strip by strip.

    Args:
        scale: at the source: chunks of 64x64x64.
        naming: rule of the names.
        order: shuffles the blocks of a strip, as DVID's readers side by side may; else ZYX.
    """
    cube = cube_edge(scale, naming)
    found = []
    for z, y in itertools.product(range(0, scale.size[2], cube), range(0, scale.size[1], cube)):
        by_shard: dict[int, list[Vec3]] = {}
        strip = list(_strip(scale, cube, y, z))
        if order is not None:
            order.shuffle(strip)
        for block in strip:
            by_shard.setdefault(shard_of(scale, block), []).append(block)
        found += [Writer(_name(blocks[0], cube), at, blocks) for at, blocks in by_shard.items()]
    return found


def shard_of(scale: ScaleSpec, block: Vec3) -> int:
    """Shard of a block; coordinates beyond the grid lose the bits that ids have no room for."""
    most = _bits(scale)
    code = place = 0
    for bit, axis in itertools.product(range(max(most)), range(3)):
        if bit < most[axis]:
            code |= (block[axis] >> bit & 1) << place
            place += 1
    sharding = scale.sharding
    shard = code >> sharding.preshift_bits >> sharding.minishard_bits
    return shard & ((1 << sharding.shard_bits) - 1)


def write_as_dvid(
    root: Path,
    scale: ScaleSpec,
    field: Any,  # noqa: ANN401 - a Field
    naming: Naming,
    *,
    order: random.Random | None = None,
    form: ExportFormat | None = None,
) -> list[Path]:
    """Export a field, a file per writer; the specs of tests have no two writers of one name."""
    paths = []
    for writer in writers(scale, naming, order):
        rows = (
            make_row(block, field.supervoxels(begin, end), field.labels_of)
            for block in writer.blocks
            for begin, end in [_box(block)]
        )
        folder = root / f"s{scale.index}"
        assert not (folder / f"{writer.name}.arrow").exists(), f"two writers of {writer.name}"
        paths.append(write_file(folder, writer.name, rows, form or ExportFormat()))
    return sorted(paths)


def _strip(scale: ScaleSpec, cube: int, y: int, z: int) -> Iterator[Vec3]:
    rows, slices = (range(at // BLOCK, (at + cube) // BLOCK) for at in (y, z))
    for bz, by, bx in itertools.product(slices, rows, range(scale.size[0] // BLOCK + 1)):
        yield bx, by, bz


def _blocks(scale: ScaleSpec) -> Vec3:
    x, y, z = (-(-size // BLOCK) for size in scale.size)
    return x, y, z


def _bits(scale: ScaleSpec) -> Vec3:
    x, y, z = ((count - 1).bit_length() for count in _blocks(scale))
    return x, y, z


def _name(block: Vec3, cube: int) -> str:
    return "_".join(str(part * BLOCK // cube * cube) for part in block)


def _box(block: Vec3) -> tuple[Vec3, Vec3]:
    x, y, z = (part * BLOCK for part in block)
    return (x, y, z), (x + BLOCK, y + BLOCK, z + BLOCK)
