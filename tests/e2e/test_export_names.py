"""Exports whose files have the odd names that DVID gives them, converted: every voxel is right."""

import json
import random
from collections.abc import MutableSequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from braid.precomputed.sharding import shard_hex
from braid.precomputed.volume_spec import VolumeSpec
from braid.typing import Vec3
from consumer.executor.convert import convert_shard
from consumer.protocol.tasks import ConvertTask
from producer.export_listing import list_scale, outside_volume
from producer.export_writer import Dialect, ExportFormat, make_row, write_file
from producer.planner import files_by_shard
from runtime.storage import open_storage
from tests.support.dvid_exports import Naming, write_as_dvid
from tests.support.specs import made_info
from tests.support.volumes import tensorstore_voxels
from tests.support.votes_reference import Voxels
from tests.support.voxel_exports import blobs, source_spec


class HighestFirst(random.Random):
    """Order of a strip in which the blocks of the highest x arrive first."""

    def shuffle(self, x: MutableSequence[Any]) -> None:
        """Sort, x descending; the rest stays as it is."""
        x[:] = sorted(x, key=lambda block: -block[0])


def converted(root: Path, size: Vec3, bits: tuple[int, int]) -> Voxels:
    """Plan and convert what `root`/export holds, shard by shard; the voxels (z, y, x)."""
    info = made_info(size, (), bits=(bits,))
    scale = VolumeSpec.parse(info).scales[0]
    source, dest = open_storage(str(root / "export")), open_storage(str(root / "volume"))
    dest.write("info", json.dumps(info).encode())
    listing = list_scale(source, 0)
    assert (listing.problems, outside_volume(listing, scale)) == ((), ())
    for shard, files in files_by_shard(scale, listing).items():
        task = ConvertTask(
            run="r",
            key=f"s0/{shard_hex(shard, scale.sharding)}",
            volume=info,
            scale=0,
            shard=shard,
            dest=dest.url,
            source=source.url,
            sources=tuple(file.path for file in files),
        )
        convert_shard(task, dest, source, lambda: None, lambda _: None)
    return tensorstore_voxels(root / "volume", 0)


def names(root: Path) -> list[str]:
    """Names of the Arrow files."""
    return sorted(path.stem for path in (root / "export" / "s0").glob("*.arrow"))


def test_a_file_named_after_the_block_beyond_the_last_id(tmp_path: Path) -> None:
    """DVID scans x = size / 64, whose id wraps to x = 0; if it comes first, it names the file."""
    size = (512, 256, 256)
    field = blobs(size, 3)
    write_as_dvid(
        tmp_path / "export", source_spec(size), field, "since-2026-03-21", order=HighestFirst()
    )
    assert names(tmp_path) == ["256_0_0", "512_0_0"]
    assert np.array_equal(converted(tmp_path, size, (3, 3)), field.labels)


def test_files_of_both_names_of_one_shard(tmp_path: Path) -> None:
    """0_0_0 with some rows and 512_0_0 with the others, as an export in parts may leave them."""
    size = (512, 256, 256)
    field = blobs(size, 4)
    (whole, _) = write_as_dvid(tmp_path / "export", source_spec(size), field, "since-2026-03-21")
    blocks = [(x, y, z) for z in range(4) for y in range(4) for x in range(4)]
    for name, part in ((whole.stem, blocks[::2]), ("512_0_0", blocks[1::2])):
        rows = (
            make_row(
                (x, y, z),
                field.supervoxels(
                    (x * 64, y * 64, z * 64), (x * 64 + 64, y * 64 + 64, z * 64 + 64)
                ),
                field.labels_of,
            )
            for x, y, z in part
        )
        write_file(whole.parent, name, rows, ExportFormat())
    assert names(tmp_path) == ["0_0_0", "256_0_0", "512_0_0"]
    assert np.array_equal(converted(tmp_path, size, (3, 3)), field.labels)


@pytest.mark.parametrize(
    ("width", "found"), [(1000, ["256_0_0", "768_0_0"]), (1024, ["1024_0_0", "768_0_0"])]
)
def test_an_old_file_named_after_the_second_half_of_its_shard(
    tmp_path: Path, width: int, found: list[str]
) -> None:
    """Until March 2026 the name's cube had 256 voxels here, and the shard is 512 wide."""
    size = (width, 256, 128)
    field = blobs(size, 5)
    form = ExportFormat(Dialect.OLD)
    write_as_dvid(
        tmp_path / "export", source_spec(size), field, "before", order=HighestFirst(), form=form
    )
    assert names(tmp_path) == found
    assert np.array_equal(converted(tmp_path, size, (3, 3)), field.labels)


@pytest.mark.parametrize(
    ("naming", "size", "bits"),
    [
        ("before", (300, 200, 260), (3, 2)),  # shards of 4 x 4 x 2 blocks in cubes of 2 x 2 x 2
        ("before", (400, 130, 100), (4, 4)),
        ("since-2026-03-21", (320, 100, 150), (2, 1)),
        ("since-2026-03-21", (320, 200, 150), (5, 5)),  # clipped to 5 blocks
    ],
)
def test_files_named_by_chance(
    tmp_path: Path, naming: Naming, size: Vec3, bits: tuple[int, int]
) -> None:
    """Whichever blocks come first, and however many files a shard has."""
    field = blobs(size, 6)
    order = random.Random(6)
    write_as_dvid(tmp_path / "export", source_spec(size, bits), field, naming, order=order)
    assert np.array_equal(converted(tmp_path, size, bits), field.labels)
